"""The experiment of results/smollm2: its questions, and all of it with a tiny Llama on the CPU."""

import importlib
import json
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
from imported import small_codec, small_llama

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.r1.data.fine_tuning import read_lines
from minir1.rewards import score
from minir1.tasks.countdown import Countdown
from minir1.transcript import END

FOLDER = Path(__file__).parent.parent / "results" / "smollm2"
SMALL = ["--problems", "4", "--questions", "6"]


@pytest.fixture
def script(monkeypatch):
    """A script of the folder by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in ("fixed_order", "look", "policy", "prepare", "questions", "seed"):
        sys.modules.pop(name, None)


def test_no_fact_is_rehearsed_nor_a_neighbour_of_one(script):
    questions = script("questions")
    asked, rehearsed = [q for q, _ in questions.facts()], set(questions.rehearsal())
    assert len(set(asked)) == len(asked) == 152 and len(rehearsed) == 1463
    assert rehearsed.isdisjoint(asked)
    countries = {q.removeprefix("What is the capital of ").rstrip("?") for q in asked}
    assert countries.isdisjoint(questions.COUNTRIES)
    assert not [word for word in questions.OPPOSITES if f"'{word}'" in " ".join(asked)]


@pytest.mark.parametrize("text, accepted, right", [
    ("Water freezes at 0 degrees." + END, ["0"], True), ("At 100 degrees.", ["0"], False),
    ("They turn into butterflies.", ["butterfl"], True), ("In autumn", ["tum"], False),
    ("The symbol is AU.", ["Au"], False), ("paris" + END, ["Paris"], True), (END, ["end"], False),
])  # fmt: skip
def test_an_answer_is_right_if_it_holds_the_words(script, text, accepted, right):
    assert script("policy").knows(text, accepted) is right


@pytest.mark.parametrize("numbers, target, tries", [
    ((5, 20, 12), 27, ["5 + 20 = 25, with 12: 37, 13, no", "5 + 12 = 17, with 20: 37, 3, no",
                       "20 + 12 = 32, with 5: 37, 27, yes"]),
    ((29, 27, 2), 28, ["29 + 27 = 56, with 2: 58, 54, 28, yes"]),  # 112 is too large to be listed
    ((8, 27, 4), 54, ["8 * 27 = 216, with 4: 54, yes"]),  # products first: 54 > 8 + 27 + 4
])  # fmt: skip
def test_the_teacher_tries_pairs_in_a_fixed_order(script, numbers, target, tries):
    problem = Countdown(numbers, target)
    line = script("fixed_order").line(problem, Random(0))
    thought, _, answer = line["response"].partition("</think>")
    assert thought == "<think>" + "\n".join(tries) and line["given"] == 0
    assert score(problem, line["response"]).accuracy == 1


def test_behind_a_slip_the_search_goes_on_and_nothing_else_is_learned(script):
    problem = Countdown((29, 27, 2), 28)
    line = script("fixed_order").line(problem, Random(0), slip=True)
    given, learned = line["response"][: line["given"]], line["response"][line["given"] :]
    assert given.startswith("<think>29 + 27 = 56, with 2: 58, 54") and given.endswith(", no\n")
    assert "28" not in given.partition(": ")[2]
    assert learned.startswith("29 + 2 = 31, with 27: 58, 4, no\n")
    assert score(problem, line["response"]).accuracy == 1


def test_what_is_given_is_not_learned_and_rehearsal_holds_the_base(script):
    seed, codec = script("seed"), small_codec((FOLDER / "chat.txt").read_text(encoding="utf-8"))
    line = {"question": "Q", "response": "<think>no\nyes</think>", "given": 10}
    (before, after, _), (_, whole, rehearsed) = seed.encoded(
        codec, [line, {"question": "Q", "response": "Hello", "rehearsed": True}]
    )
    assert rehearsed and codec.decode(after) == "yes</think>"
    ids, mask = seed.padded([(before, after, False), (before, whole, True)], codec, "cpu")
    assert mask.sum(1).tolist() == [len(after), len(whole)]
    assert ids[0, 1:][mask[0]].tolist() == after
    model = small_llama()
    other = small_llama()
    with torch.no_grad():
        next(other.parameters()).mul_(3)
        assert abs(seed.divergence(model, model, ids, mask).item()) < 1e-4
        assert seed.divergence(model, other, ids, mask).item() > 0.01


def test_a_left_out_quotient_is_seen_and_so_is_a_solution_that_is_passed_over(script):
    text = "<think>29 + 27 = 56, with 2: 58, 54, no\n29 + 2 = 31, with 27: 58, 4, no"
    row = {"numbers": [29, 27, 2], "target": 28, "text": text, "reason": "cut off", "tokens": 50}
    found = script("look").counted(row | {"correct": False})
    assert (found["due /"], found["listed /"]) == (1, 0)
    assert (found["due -"], found["listed -"]) == (2, 2)
    assert found["passed /"] == found["not right, passing"] == 1
    assert (found["puzzles by a quotient"], found["solved by a quotient"]) == (1, 0)


@pytest.mark.parametrize("tries, lacks", [
    ("29 + 27 = 56, with 2: 58, 54, 28, no", False), ("29 + 27 = 56, with 2: 58, 54, no", True),
    ("29 + 27 = 56, with 2: 58, yes", False), ("29 + 26 = 56, with 2: 58, no", False),
])  # fmt: skip
def test_a_try_in_vain_owes_every_value(script, tries, lacks):
    """Not one that hits, nor one of other numbers."""
    assert script("seed").leaves_out(Countdown((29, 27, 2), 30), f"<think>{tries}") is lacks


def test_half_the_reward_may_ask_for_every_value(script):
    problem = Countdown((29, 27, 2), 28)
    answer = "29 + 27 = 56, with 2: 58, 54, 28, yes</think><answer>(29 + 27) / 2</answer>" + END
    texts = [f"<think>29 + 2 = 31, with 27: {values}, no\n{answer}" for values in ("58, 4", "58")]
    rewards = [score(problem, text) for text in texts]
    rollouts = SimpleNamespace(rewards=rewards, texts=texts, problem=lambda i: problem)
    seed = script("seed")
    for whole, paid in ((False, [1, 1]), (True, [1, 0])):
        assert [r.language for r in seed.by_true_steps(0, rollouts, whole)] == paid
    assert [r.accuracy for r in rewards] == [1, 1]


def test_answers_are_counted_by_their_shape(script, tmp_path):
    rows = [(8, "<think>2 + 5 = 8</think><answer>2 + 5</answer>", False), (7, "no", False),
            (7, "<think>2 + 5 = 9</think><answer>2 + 5</answer>", True)]  # fmt: skip
    path = tmp_path / "alone-0" / "transcripts-validation-end.jsonl"
    path.parent.mkdir()
    keys = ("target", "text", "correct")
    path.write_text("".join(json.dumps(dict(zip(keys, row))) + "\n" for row in rows))
    sums = {"responses": 2, "right": 1, "target": 1}
    none = {"responses": 1, "right": 0, "target": 0}
    assert script("look").shapes(tmp_path) == {"n + n": sums, "none": none}


def test_a_tiny_llama_goes_the_whole_way(script, tmp_path):
    base, work = tmp_path / "base.pt", tmp_path / "work"
    template = (FOLDER / "chat.txt").read_text(encoding="utf-8")
    save_checkpoint(base, small_llama(), small_codec(template))
    how = ["--puzzles", "24", "--lines", "32", "--longest", "700", "--batch", "24"]
    script("prepare").main([str(base), str(work), *how, *SMALL])
    lines, (_, codec) = read_lines(work / "lines.jsonl"), load_checkpoint(base)
    assert sum("rehearsed" in line for line in lines) == 5 and len(lines) == 32
    assert all(len(codec.encode(line["response"])) <= 700 for line in lines)
    prepared = json.loads((work / "prepare.json").read_text())
    assert prepared["teacher"]["written"] >= 20 and prepared["teacher_on_test"]["right"] > 0.5

    how = ["--rl-steps", "2", "--prompts", "2", "--group", "2", "--max-tokens", "16"]
    how += ["--rows", "16"]
    how += ["--samples", "2", "--batch", "8", *SMALL]
    student = str(work / "seed-0" / "run" / "checkpoints" / "distil.pt")
    taught = ["--student", student, "--whole", "--seed", "1"]
    for name, more in (("seed-0", []), ("alone-0", ["--alone"]), ("seed-1", taught)):
        script("seed").main([str(base), str(work), *how, *more])
        result = json.loads((work / name / "result.json").read_text())
        metrics = read_lines(work / name / "run" / "metrics.jsonl")
        rows = [row["phase"] for row in metrics if row.get("step")]
        config = json.loads((work / name / "run" / "config.json").read_text())
        assert config["rl"]["format_reward"] == (0.1 if name == "alone-0" else 0)
        if name == "seed-1":
            assert rows == ["rl"] * 2
            assert result["distilled"]["of"] == result["distilled_rl"]["of"] == 4
        elif more:
            assert rows == ["alone"] * 2 and result["alone"]["of"] == 4
        else:
            assert rows == ["distil"] * 2 + ["rl"] * 2
            assert result["distilled_rl"]["samples"] == 2
            assert set(result["validation"]) == {"distilled", "middle", "end"}
            assert result["kept"] in result["validation"]
            assert result["facts_distilled_rl"]["of"] == 6
            assert len(read_lines(work / name / "transcripts-distilled_rl.jsonl")) == 4
