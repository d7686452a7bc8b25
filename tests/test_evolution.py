"""The self-evolution page: the "aha" is chosen by its rule, its place in the data is counted."""

import json
import shutil
from pathlib import Path

from minir1.__main__ import main as command
from minir1.experiments.evolution import command as evolution
from minir1.measure.diagnosis import phase
from minir1.report.reading import read_metrics
from minir1.tasks.countdown import Countdown
from minir1.transcript import render

ROOT = Path(__file__).parent.parent


def sample(step: int, id: str, thought: str, correct: bool, answer: str = "3 + 5") -> dict:
    question = Countdown((3, 5), 8).question()
    response = render(question, answer, thought).split("Assistant:")[1]
    return {
        "step": step, "id": id, "question": question,
        "response": response, "correct": correct, "tokens": 20,
    }


MISS, TURN = "5 - 3 = 2, not 8", "5 - 3 = 2, not 8\nwait, 3 + 5 = 8, yes"


def test_the_aha_follows_its_rule():
    long = "5 - 3 = 2, not 8\n3 * 5 = 15, not 8\nbut 3 + 5 = 8, yes"
    rows = [
        sample(0, "a", MISS, False), sample(0, "b", TURN, True), sample(0, "c", MISS, False),
        sample(0, "d", MISS, False),
        sample(20, "a", "3 + 5 = 8, yes", True),  # no miss before
        sample(20, "b", TURN, True),  # was right at first
        sample(20, "c", "5 - 3 = 2, not 8\n3 + 5 = 8, yes", True),  # no word opens it
        sample(20, "d", TURN, False),  # not right
        sample(30, "a", "3 + 5 = 8, not 8\nwait, 3 + 5 = 8, yes", True),  # no miss before it
        sample(40, "a", TURN, True), sample(40, "c", long, True), sample(60, "d", long, True),
    ]
    assert evolution.aha(rows) == rows[10]
    assert evolution.aha(rows[:9]) is None and evolution.aha([]) is None
    assert "There is none" in evolution.aha_section(rows[:9], [])


def test_the_place_in_the_data_is_counted():
    problem = Countdown((3, 5), 8)
    thoughts = (TURN, TURN, MISS, TURN.replace("wait", "but"), f"{MISS}\n{TURN}")
    texts = [render(problem.question(), "3 + 5", thought) for thought in thoughts]
    texts.append(render(problem.question(), "3 + 5"))
    texts.append(render("What is 3 + 5?", "8", "3 + 5 = 8"))
    wanted = evolution.course(problem, f"<think>{TURN}</think>")
    assert evolution.place_in_corpus(wanted, texts) == {
        "thoughts": 5, "same": 2, "turn": 3,
        "as_long": 4,
    }
    text = evolution.aha_section([sample(0, "a", MISS, False), sample(9, "a", TURN, True)], texts)
    assert "Of 5 Countdown thoughts in the corpus 3 (60.0%) end in the same turn" in text
    assert "2 go exactly the same way" in text


def test_plans_show_in_the_course_of_a_thought():
    problem = Countdown((5, 3, 10), 65)
    text = "<think>try 65 / 5 = 13, need 13: 10 + 3 = 13, yes</think>"
    assert evolution.course(problem, text) == (("try", "backward", "hit"),)


def test_words_are_counted_in_thoughts_only():
    rows = [
        sample(0, "a", "wait, 3 + 5 = 8\ntry 3 * 5 = 15", True), sample(0, "b", "3 + 5 = 8", True),
    ]
    rows[1]["question"] = "wait try"
    found, tokens = evolution.word_rates(rows)
    assert found == {"wait": 1, "try": 1} and tokens == 40


def test_of_a_group_the_first_response_is_shown(tmp_path):
    (tmp_path / "samples").mkdir()
    rows = [
        sample(0, "a", MISS, False) | {"sample": 0}, sample(0, "a", TURN, True) | {"sample": 1},
        sample(0, "b", TURN, True),
    ]
    lines = "".join(json.dumps(r) + "\n" for r in rows) + '{"torn'
    (tmp_path / "samples" / "rl-00000.jsonl").write_text(lines, encoding="utf-8")
    assert evolution.read_samples(tmp_path) == [rows[0], rows[2]]


def test_the_page_of_a_golden_run(tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(ROOT / "results" / "zero" / "cpu-seed0", run)
    assert command(["evolution", str(run), "--documents", "300"]) == 0, capsys.readouterr().err
    text = (run / "evolution.md").read_text(encoding="utf-8")
    for r in phase(read_metrics(run), "validate"):
        assert f"| {r['step']} | {100 * r['accuracy']:.1f}% | {r['length']:.1f} |" in text
    assert text.count("\n### ") == 5 and "per 1,000 tokens" in text
    assert (run / "plots/self-evolution.png").stat().st_size > 5000


def test_bad_input_is_one_line(tmp_path, capsys):
    for path, message in ((tmp_path, "holds no validation"), (tmp_path / "none", "no folder")):
        assert command(["evolution", str(path)]) == 2 and message in capsys.readouterr().err
    run = tmp_path / "run"
    run.mkdir()
    row = {"phase": "validate", "step": 0, "accuracy": 0.2}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert command(["evolution", str(run)]) == 2
    assert "config.json cannot be read" in capsys.readouterr().err
