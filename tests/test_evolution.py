"""The self-evolution page: the decomposition is exact, the "aha" is chosen by its rule, its place
in the data is counted.
"""

import json
import math
import shutil
from pathlib import Path

import pytest

from minir1.__main__ import main as command
from minir1.experiments.evolution import command as evolution
from minir1.experiments.evolution import decomposition
from minir1.tasks.countdown import Countdown
from minir1.transcript import render

ROOT = Path(__file__).parent.parent


def row(step: int, **changes) -> dict:
    base = {
        "accuracy": 0.2, "attempts": 1.0, "hit_rate": 0.1,
        "thinking": 0.5, "check_right": 0.9, "truncated": 0.1,
    }
    return {"phase": "validate", "step": step, **base, **changes}


def test_factors_multiply_to_the_accuracy_and_their_shares_add_up():
    rows = [
        row(0), row(20, accuracy=0.6, attempts=3.0, hit_rate=0.15, thinking=0.9, truncated=0.2),
        row(40, attempts=0.0),
    ]
    found = decomposition.taken_apart(rows)
    assert [step for step, _ in found] == [0, 20]  # nothing can be said without attempts
    for (_, parts), accuracy in zip(found, (0.2, 0.6)):
        assert math.prod(parts.values()) == pytest.approx(accuracy)
    gave = decomposition.shares(found[0][1], found[1][1])
    assert sum(gave.values()) == pytest.approx(math.log(3))
    assert gave["thinking"] == pytest.approx(math.log(1.8)) and gave["tries"] == pytest.approx(
        math.log(3 / 1.8)
    )
    assert gave["hits"] == pytest.approx(math.log(1.5)) and gave["stop"] == pytest.approx(
        math.log(0.8 / 0.9)
    )


def test_counts_of_numbers_stand_apart_where_there_are_several():
    three, four = {"attempts_3": 1.0}, {"attempts_4": 2.0}
    assert decomposition.counts_of([row(0, **three)]) == [""]
    assert decomposition.counts_of([row(0, **three, **four)]) == ["", "_3", "_4"]
    parts = decomposition.factors(row(0, accuracy_4=0.1, attempts_4=2.0, hit_rate_4=0.05), "_4")
    assert parts["tries"] == 4.0 and math.prod(parts.values()) == pytest.approx(0.1)
    assert decomposition.factors(row(0), "_4") is None and decomposition.figure_of([row(0)]) is None


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
    ]  # fmt: skip
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
    assert (
        "Of 5 Countdown thoughts in the corpus 3 (60.0%) end in the same turn" in text
        and "2 go exactly the same way" in text
    )


def test_plans_show_in_the_course_of_a_thought():
    problem = Countdown((5, 3, 10), 65)
    assert evolution.course(
        problem, "<think>try 65 / 5 = 13, need 13: 10 + 3 = 13, yes</think>"
    ) == (("try", "backward", "hit"),)


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
    exam = [
        r
        for r in map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        if r["phase"] == "validate"
    ]
    for r in exam:
        assert f"| {r['step']} | {100 * r['accuracy']:.1f}% | {r['length']:.1f} |" in text
    assert (
        text.count("\n### ") == 5
        and "per 1,000 tokens" in text
        and "accuracy (the product)" in text
    )
    assert (run / "plots/decomposition.png").stat().st_size > 5000 and (
        run / "plots/self-evolution.png"
    ).stat().st_size > 5000


def test_bad_input_is_one_line(tmp_path, capsys):
    for path, message in ((tmp_path, "holds no validation"), (tmp_path / "none", "no folder")):
        assert command(["evolution", str(path)]) == 2 and message in capsys.readouterr().err
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text(json.dumps(row(0)) + "\n", encoding="utf-8")
    assert (
        command(["evolution", str(run)]) == 2
        and "config.json cannot be read" in capsys.readouterr().err
    )
