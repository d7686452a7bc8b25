"""`python -m minir1 evaluate` and its relatives: scores, statistics, malformed lines, exit
statuses, whole files.
"""

import errno
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.__main__ import COMMANDS, main
from minir1.checkpoint import save_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.console import files
from minir1.console.errors import guard
from minir1.console.files import write_lines
from minir1.corpus.mixture import sample_text
from minir1.measure import evaluate
from minir1.measure.evaluate import evaluate_model, read_answers, read_problems, table
from minir1.measure.evaluator import Evaluator
from minir1.measure.statistics import interval, majority, pass_at_k
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.sampler import Samples, Sampling, pad, sample
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown
from minir1.tasks.lines import Line
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt

torch.set_num_threads(1)

PUZZLE = Countdown((19, 36, 55, 7), 65, id="a")
SMALL = Countdown((3, 5, 2), 10, "zh", id="b")
SUM = Arithmetic("What is 98 plus 45?", "143", id="c")
PROBLEMS = [PUZZLE, SMALL, SUM]
SORTING = Path(__file__).parents[1] / "notebooks" / "own_tasks" / "sorting.py"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sample_text(PRESETS["cpu"].corpus, 0, 200), 400)


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(
        vocab_size=len(tokenizer), width=16, layers=2, heads=2, kv_rank=8, nope_width=4,
        rope_width=4, value_width=4,
        dense_width=24, experts=4, top_k=2, expert_width=8, positions=128,
    )).eval()  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_checkpoint(path, model, tokenizer)
    return path


def lines(path, rows) -> str:
    path.write_text(
        "".join(
            (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n"
            for row in rows
        ),
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture
def problems(tmp_path):
    return lines(tmp_path / "problems.jsonl", [p.to_json() for p in PROBLEMS])


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scripted(tokenizer: Tokenizer, texts: list[str]):
    """A sampler that says these texts, whatever it is asked."""
    script = iter(texts)

    def say(model, prompts, group, settings, stream):
        rows = [tokenizer.encode(next(script)) for _ in range(len(prompts) * group)]
        ids_BT = pad(rows, tokenizer.end)
        stopped = torch.tensor([row[-1] == tokenizer.end for row in rows])
        return Samples(
            ids_BT, torch.zeros(ids_BT.shape), torch.tensor([len(row) for row in rows]), stopped
        )

    return say


def answer(text: str, end: str = "<|end|>") -> str:
    return f"<answer>{text}</answer>{end}"


# ---------------------------------------------------------------- statistics


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_hit(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(max, subsets)) / len(subsets))


def test_pass_at_k_is_unbiased_and_exact_for_many_samples():
    assert (
        pass_at_k(1000, 1, 500) == pytest.approx(0.5)
        and pass_at_k(4096, 0, 64) == 0
        and pass_at_k(4096, 4096, 1) == 1
    )


def test_interval_covers_the_truth_about_95_times_in_100():
    """2,000 draws: coverage outside 93..97.5% has a chance below 10^-4 if it truly is 95%."""
    rng = random.Random(0)
    for p, samples in ((0.5, 1), (0.9, 1), (0.3, 4)):
        covered = 0
        for _ in range(2000):
            low, high = interval(
                [sum(rng.random() < p for _ in range(samples)) / samples for _ in range(60)]
            )
            covered += low <= p <= high
        assert 0.93 < covered / 2000 < 0.975
    assert (
        interval([0.0] * 10)[0] == 0
        and interval([0.0] * 10)[1] > 0.2
        and interval([0.5, 0.5])[0] < 0.2
    )
    narrow, wide = interval([0.5, 0.25, 0.75] * 20), interval([0.0, 1.0] * 30)
    assert narrow[1] - narrow[0] < 0.6 * (wide[1] - wide[0])


def test_one_wrong_of_many_samples_does_not_narrow_the_interval():
    """100 of 100 right: at least 96.3%. One wrong of 1,600 samples is no stronger evidence."""
    sure, less = interval([1.0] * 100), interval([1.0] * 99 + [15 / 16])
    assert sure[0] == pytest.approx(0.963, abs=5e-4) and less[0] <= sure[0]
    assert less[0] == pytest.approx(0.963, abs=1e-3)
    # single samples: Wilson's own, by hand for 9 of 10
    assert interval([1.0] * 9 + [0.0]) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_the_majority_is_by_value(model, tokenizer):
    """Three right answers in three ways outvote two equal wrong ones."""
    texts = [answer(a) for a in ("3 * 5", "3 * 5", "(3 + 5) * 2", "2 * (5 + 3)", "(5 + 3) * 2")]
    (found,) = evaluate_model(
        model, tokenizer, [Countdown((3, 5, 2), 16)], 5, Sampling(40, (tokenizer.end,)),
        sampler=scripted(tokenizer, texts),
    )
    assert found["correct"] and found["answer"] == "(3 + 5) * 2"


def test_majority():
    assert majority(["2", "1", "1"]) == "1" and majority(["2", "1", "1", "2"]) == "2"
    assert majority([None, None, "3"]) == "3" and majority([None]) is None and majority([]) is None
    assert majority(["1+2", "3", "1 + 2"]) == "1+2"


# ---------------------------------------------------------------- a model's answers


def test_evaluate_model_scores_each_sample(model, tokenizer):
    right, other = "36 + 55 - 19 - 7", "55 + 36 - 19 - 7"
    texts = [
        # PUZZLE: 3 of 4; the majority is right
        answer(other), answer("1"), answer(right), answer(right.replace(" ", "")),
        # SMALL: a number is missing
        answer("5 * 2"), answer("5 * 2"), answer("5 * 2"), answer("2 * 5 * 1"),
        # SUM: unended, no tags, right, wrong
        answer("143", ""), "143", answer("143"), answer("144"),
    ]  # fmt: skip
    found = evaluate_model(
        model, tokenizer, PROBLEMS, 4, Sampling(40, (tokenizer.end,)),
        sampler=scripted(tokenizer, texts), batch=8,
    )
    assert [r["id"] for r in found] == ["a", "b", "c"] and [r["task"] for r in found] == [
        "countdown", "countdown", "arithmetic",
    ]
    # all right ones are one answer, by its value: the one written first stands for them
    assert [r["answer"] for r in found] == [other, "5 * 2", "143"]
    assert [r["correct"] for r in found] == [True, False, True] and [
        r["pass_at_1"] for r in found
    ] == [0.75, 0, 0.25]
    last = found[2]["samples"]
    assert [(s["answer"], s["correct"], s["stopped"]) for s in last] == [
        (None, False, False), (None, False, False), ("143", True, True), ("144", False, True)
    ]  # fmt: skip
    assert [s["text"] for s in last] == texts[8:] and last[2]["tokens"] == len(
        tokenizer.encode(texts[10])
    )
    shown = table(PROBLEMS, found, 4).splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["all", "countdown", "3", "4", "arithmetic"]
    head = {
        name: shown[0].index(name) + len(name) for name in ("cons@4", "pass@2", "pass@4", "cut off")
    }
    assert {name: shown[1][:end].split()[-1] for name, end in head.items()} == {
        # pass@2: (1 + 0 + 1/2) / 3
        "cons@4": "66.7%", "pass@2": "50.0%", "pass@4": "66.7%", "cut off": "16.7%",
    }  # fmt: skip
    assert "33.3%  (" in shown[1] and "75.0%  (" in shown[4]


def test_one_sample_and_the_prefix(model, tokenizer):
    texts = ["143</answer><|end|>", "144</answer><|end|>"]
    found = evaluate_model(
        model, tokenizer, [SUM, SUM], 1, Sampling(40, (tokenizer.end,)),
        sampler=scripted(tokenizer, texts), prefix="<answer>",
    )
    assert [(r["answer"], r["correct"], r["pass_at_1"]) for r in found] == [
        ("143", True, 1), ("144", False, 0),
    ]
    assert "cons@" not in table([SUM, SUM], found, 1)


def test_a_prompt_that_does_not_fit_is_refused_alone(model, tokenizer):
    long = Arithmetic(f"What is {'1 + ' * 100}1?", "101", id="long")
    for first in (0, 1):
        asked = [SUM, SUM]
        asked.insert(first, long)
        found = evaluate_model(model, tokenizer, asked, 2, Sampling(8, (tokenizer.end,)), batch=2)
        assert (
            "fault" in found[first]
            and not found[first]["correct"]
            and found[first]["samples"] == []
        )
        assert [len(r["samples"]) for r in found].count(2) == 2
        assert "66.7%" not in table(asked, found, 2)


def test_a_prompt_that_just_fits_is_asked(model, tokenizer):
    room = model.config.positions - len(tokenizer.encode(prompt(SUM.question())))
    fits = evaluate_model(model, tokenizer, [SUM], 1, Sampling(room, (tokenizer.end,)))
    assert len(fits[0]["samples"]) == 1 and fits[0]["samples"][0]["tokens"] <= room
    assert (
        "fault"
        in evaluate_model(model, tokenizer, [SUM], 1, Sampling(room + 1, (tokenizer.end,)))[0]
    )


def test_the_seed_decides(model, tokenizer):
    def run(seed: int) -> list[dict]:
        settings = Sampling(20, (tokenizer.end,))
        return evaluate_model(model, tokenizer, PROBLEMS, 2, settings, seed=seed)

    assert run(3) == run(3) != run(4)


# ---------------------------------------------------------------- the evaluator


def test_the_forced_base_may_not_end_its_thought_before_it_says_yes(model, tokenizer):
    """An untrained model draws every token alike, so the banned ones must show where they may."""
    rows = []

    def spied(*how):
        samples = sample(*how)
        rows.extend(ids[:n] for ids, n in zip(samples.ids_BT.tolist(), samples.length_B))
        return samples

    settings = Sampling(100, (tokenizer.end,))
    Evaluator(tokenizer, spied, settings, 64).forced(model, [PUZZLE] * 256)
    until = set(tokenizer.ids_holding(", yes") + tokenizer.ids_holding("，对"))
    banned = {tokenizer.id(token) for token in ("</think>", "<answer>", "<think>", "<|end|>")}
    said = [next((t for t, id in enumerate(row) if id in until), len(row)) for row in rows]
    before = [id for row, t in zip(rows, said) for id in row[:t]]
    after = [id for row, t in zip(rows, said) for id in row[t:]]
    assert until and len(before) > 5000 and len(after) > 1000
    # of 400 tokens; allowed, some 50 before and 10 after would be expected
    assert not banned & set(before) and banned & set(after)


def test_the_standard_error_is_over_problems_not_responses(tokenizer):
    """Shares 1, 1, 0, 1/2: std sqrt(0.6875 / 3) = 0.4787, over sqrt(4). The 8 responses as if they
    were independent would give 0.183.
    """
    right, wrong = answer("143"), answer("144")
    texts = [right, right, right, right, wrong, wrong, right, wrong]
    how = {"sampler": scripted(tokenizer, texts), "settings": Sampling(40, (tokenizer.end,))}
    evaluator = Evaluator(tokenizer, batch=64, **how)
    figures = evaluator.examine(None, [SUM] * 4, 2)
    assert figures["accuracy"] == pytest.approx(0.625) and figures["n"] == 4
    assert figures["stderr"] == pytest.approx(0.2394, abs=1e-4)


# ---------------------------------------------------------------- the command on a checkpoint


def test_a_checkpoint_from_the_command_line(checkpoint, problems, tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    call = [
        "evaluate", str(checkpoint), "--problems", problems, "--samples", "3", "--max-tokens", "12",
        "--out", str(out), "--device", "cpu",
    ]
    assert main(call) == 0
    first, shown = read(out), capsys.readouterr().out
    assert [row["id"] for row in first] == ["a", "b", "c"]
    for row in first:
        assert (
            row["correct"] in (True, False)
            and {"id", "answer", "correct", "reason", "pass_at_1", "samples"} <= row.keys()
        )
        assert len(row["samples"]) == 3 and all(
            {"answer", "correct", "reason", "tokens", "stopped", "text"} == s.keys()
            for s in row["samples"]
        )
        assert all(1 <= s["tokens"] <= 12 for s in row["samples"])
    assert "cons@3" in shown and "pass@3" in shown and "4 numbers" in shown
    # the same seed, the same results, over the old file
    assert main(call) == 0 and read(out) == first
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_greedy_and_the_default_budget(checkpoint, problems, capsys):
    assert (
        main(
            [
                "evaluate", str(checkpoint), "--problems", problems, "--temperature", "0",
                "--device", "cpu", "--batch", "2",
            ]
        )
        == 0
    )
    assert "cons" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--problems"), (["--problems", "P"], "either a CHECKPOINT or --answers"),
        (["C", "--problems", "P", "--answers", "P"], "either"),
        (["C", "--problems", "missing.jsonl"], "no file missing.jsonl"),
        (["missing.pt", "--problems", "P"], "no checkpoint at missing.pt"),
        (["P", "--problems", "P"], "not a readable checkpoint"),
        (["C", "--problems", "P", "--samples", "0"], "--samples"),
        (["C", "--problems", "P", "--samples", "many"], "--samples"),
        (["C", "--problems", "P", "--top-p", "0"], "--top-p"),
        (["C", "--problems", "P", "--temperature", "-1"], "--temperature"),
        (["C", "--problems", "P", "--temperature", "nan"], "--temperature"),
        (["C", "--problems", "P", "--max-tokens", "128"], "leaves no room"),
        (["C", "--problems", "P", "--device", "tpu"], "--device"),
        (["C", "--problems", "P", "--colour", "red"], "--colour"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, words, checkpoint, problems, capsys):
    names = {"C": str(checkpoint), "P": problems}
    assert main(["evaluate", *(names.get(a, a) for a in arguments)]) == 2
    shown = capsys.readouterr().err
    assert words in shown and shown.startswith("minir1: ") and shown.count("\n") == 1


# ---------------------------------------------------------------- answers from elsewhere


def test_answers(problems, tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    rows = [
        {"id": "c", "answer": 143}, {"id": "a", "answer": " (55 + 36) - 19 - 7 "},
        {"id": "b", "answer": "5 * 2"},
    ]
    answers = lines(tmp_path / "answers.jsonl", rows)
    assert main(["evaluate", "--problems", problems, "--answers", answers, "--out", str(out)]) == 0
    assert [(r["id"], r["answer"], r["correct"]) for r in read(out)] == [
        ("a", " (55 + 36) - 19 - 7 ", True), ("b", "5 * 2", False), ("c", "143", True)
    ]  # fmt: skip
    shown = capsys.readouterr()
    assert (
        shown.err == ""
        and "66.7%" in shown.out
        and "unanswered" in shown.out
        and "tokens" not in shown.out
    )


def cells(shown: str, *columns: str) -> list[str]:
    """Of the table's line of all problems, what stands under these columns."""
    head, row = (line for line in shown.splitlines()[:2])
    return [row[: head.index(name) + len(name)].split()[-1] for name in columns]


def test_unreadable_answers_are_told_from_wrong_ones(tmp_path, capsys):
    """A reason a line, a column of the table; white space around an answer does not count."""
    asked = [
        (PUZZLE, "\t55 + 36 - 19 - 7\r\n", "right"), (PUZZLE, "55 + 36 - 19", "wrong"),
        (PUZZLE, "65 = 55 + 36 - 19 - 7", "unreadable"), (PUZZLE, "", "unreadable"),
        (PUZZLE, None, "unanswered"),
        (SUM, "\n143\u3000", "right"), (SUM, "134", "wrong"), (SUM, "143.", "unreadable"),
        (Line("2 halves?", "1"), " 1\n", "right"), (Line("2 halves?", "1"), "2", "wrong"),
        (Line("2 halves?", "1"), "one", "unreadable"), (Line("Capital?", "Rome"), "1", "wrong"),
    ]  # fmt: skip
    rows = [problem.to_json() | {"id": str(i)} for i, (problem, *_) in enumerate(asked)]
    # a task that says nothing about readable answers
    rows.append({"id": "12", "task": str(SORTING), "numbers": [31, 4, 15, 9]})
    asked.append((None, "nonsense", "wrong"))
    problems = lines(tmp_path / "p.jsonl", rows)
    given = [{"id": str(i), "answer": text} for i, (_, text, _) in enumerate(asked)]
    path, out = lines(tmp_path / "a.jsonl", given), tmp_path / "r.jsonl"
    assert main(["evaluate", "--problems", problems, "--answers", path, "--out", str(out)]) == 0
    assert [r["reason"] for r in read(out)] == [why for *_, why in asked]
    assert [r["correct"] for r in read(out)] == [why == "right" for *_, why in asked]
    assert [r["answer"] for r in read(out)] == [text for _, text, _ in asked], "as it was given"
    shown = capsys.readouterr().out
    # 4 and 1 of 13; 3 right
    assert cells(shown, "unreadable", "unanswered") == ["30.8%", "7.7%"] and "23.1%  (" in shown


def test_unreadable_responses_are_told_from_wrong_and_cut_off_ones(model, tokenizer):
    texts = [
        answer("143"), answer("\n143 "), answer("144"), answer("many"), "143<|end|>", "143",
        answer("143") + answer("143"), answer("143", ""),
    ]  # fmt: skip
    reasons = [
        "right", "right", "wrong", "unreadable", "unreadable", "cut off", "unreadable", "cut off",
    ]  # fmt: skip
    how = {"sampler": scripted(tokenizer, texts + texts[5:6] * 8)}
    settings = Sampling(40, (tokenizer.end,))
    found = evaluate_model(model, tokenizer, [SUM, SUM], 8, settings, **how)
    assert [s["reason"] for s in found[0]["samples"]] == reasons
    assert [s["correct"] for s in found[0]["samples"]] == [why == "right" for why in reasons]
    # of the answer given most often; without any, of the responses
    assert [r["reason"] for r in found] == ["right", "cut off"]
    # 3 and 10 of 16
    assert cells(table([SUM, SUM], found, 8), "unreadable", "cut off") == ["18.8%", "62.5%"]


def test_problems_of_a_task_in_a_file_of_the_users(model, tokenizer, tmp_path, capsys):
    """Known shares, beside a puzzle; a group a task, and counts of numbers for Countdown only."""
    row = {"task": str(SORTING), "numbers": [31, 4, 15, 9]}
    rows = [row | {"id": "right"}, row | {"id": "wrong"}, PUZZLE.to_json()]
    problems = lines(tmp_path / "p.jsonl", rows)
    given = {"right": "4 9 15 31", "wrong": "4 15 9 31", "a": "36 + 55 - 19 - 7"}
    answers = [{"id": id, "answer": text} for id, text in given.items()]
    path, out = lines(tmp_path / "a.jsonl", answers), tmp_path / "r.jsonl"
    assert main(["evaluate", "--problems", problems, "--answers", path, "--out", str(out)]) == 0
    assert [(r["task"], r["correct"]) for r in read(out)] == [
        ("sorting", True), ("sorting", False), ("countdown", True)
    ]  # fmt: skip
    shown = capsys.readouterr().out.splitlines()
    assert [row.split()[:3] for row in shown[1:]] == [
        ["all", "3", "66.7%"], ["sorting", "2", "50.0%"], ["countdown", "1", "100.0%"],
        ["4", "numbers", "1"],
    ]
    asked, _, _ = read_problems(tmp_path / "p.jsonl")
    texts = [answer(text) for text in given.values()]
    how = {"sampler": scripted(tokenizer, texts)}
    found = evaluate_model(model, tokenizer, asked, 1, Sampling(40, (tokenizer.end,)), **how)
    assert [r["pass_at_1"] for r in found] == [1, 0, 1]


def test_malformed_and_missing_lines_lose_nothing_else(tmp_path, capsys):
    bad = [
        "{", "[]", "null", '{"id": "x"}', '{"task": ["countdown"]}',
        '{"task": "countdown", "numbers": "3", "target": 3}',
        '{"task": "arithmetic", "question": "1 + 1", "answer": true}',
        '{"task": "arithmetic", "question": "\\ud800", "answer": "2"}',
        '{"task": "countdown", "numbers": [1, 2], "target": 1e3}',
        '{"task": "countdown", "numbers": [1, -2], "target": 3, "lang": "fr"}',
        "[" * 100_000,
    ]  # fmt: skip
    good = [
        PUZZLE.to_json(), SUM.to_json() | {"id": 7},
        {"task": "countdown", "numbers": [3, 5], "target": 8}, PUZZLE.to_json(),
    ]
    problems = lines(
        tmp_path / "p.jsonl", [good[0], *bad[:5], "", good[1], good[2], *bad[5:], good[3]]
    )
    answers = lines(tmp_path / "a.jsonl", [
        {"id": "a", "answer": "36 + 55 - 19 - 7"}, {"id": "zz", "answer": "1"},
        {"id": "a", "answer": "1"},
        {"id": 7, "answer": None}, {"id": "9"}, {"answer": "1"}, {"id": "9", "answer": ["3 + 5"]},
        "nonsense",
        '{"id": "9", "answer": "\\udfff"}', {"id": "9", "answer": True},
    ])  # fmt: skip
    out = tmp_path / "r.jsonl"
    assert main(["evaluate", "--problems", problems, "--answers", answers, "--out", str(out)]) == 2
    assert [(r["id"], r["answer"], r["correct"]) for r in read(out)] == [
        ("a", "36 + 55 - 19 - 7", True), ("7", None, False), ("9", None, False),
        ("a", "36 + 55 - 19 - 7", True),
    ]  # fmt: skip
    shown = capsys.readouterr()
    named = [line.split(": ")[1:3] for line in shown.err.splitlines()]
    assert all(line.startswith("minir1: ") for line in shown.err.splitlines())
    assert [b for a, b in named if a == problems] == [
        f"line {n}" for n in (2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16)
    ]
    assert [b for a, b in named if a == answers][:8] == [
        f"line {n}" for n in (5, 6, 7, 8, 9, 10, 2, 3)
    ]
    assert "line 2: there is no problem 'zz'" in shown.err and "second answer to 'a'" in shown.err
    assert (
        "no answer to '7', '9': counted as wrong" in shown.err and "is that of line 1" in shown.err
    )
    assert "50.0%" in shown.out


def test_notes_alone_are_no_fault(problems, tmp_path, capsys):
    answers = lines(tmp_path / "a.jsonl", [{"id": "unknown", "answer": "1"}])
    assert main(["evaluate", "--problems", problems, "--answers", answers]) == 0
    assert capsys.readouterr().err.count("\n") == 2


def test_many_unanswered_problems_are_summed_up(tmp_path):
    (tmp_path / "a.jsonl").touch()
    _, _, notes = read_answers(
        tmp_path / "a.jsonl", [Arithmetic("1 + 1 =", "2", id=str(i)) for i in range(30)]
    )
    assert len(notes) == 1 and "and 20 others" in notes[0] and len(notes[0]) < 200


def test_no_problem_at_all(tmp_path, capsys):
    for text in ("", "\n\n", "{\n"):
        (tmp_path / "p.jsonl").write_text(text)
        assert (
            main(
                [
                    "evaluate", "--problems", str(tmp_path / "p.jsonl"), "--answers",
                    str(tmp_path / "p.jsonl"),
                ]
            )
            == 2
        )
        assert "holds no problem" in capsys.readouterr().err


def test_a_byte_order_mark_and_strange_bytes(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + json.dumps(SUM.to_json()).encode()
        + b"\r\n\xff\xfe{}\r\n"
        + json.dumps(PUZZLE.to_json()).encode()
    )
    found, faults, _ = read_problems(path)
    assert [p.id for p in found] == ["c", "a"] and len(faults) == 1 and "line 2" in faults[0]


# ---------------------------------------------------------------- writing


def test_results_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"
    write_lines(path, [{"id": "中"}])
    before = path.read_text(encoding="utf-8")
    assert before == '{"id": "中"}\n'

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match=r"cannot write .*r\.jsonl: No space left on device$"):
        write_lines(path, [{"id": "new"}])
    assert path.read_text(encoding="utf-8") == before and os.listdir(tmp_path) == ["r.jsonl"]


def test_an_unwritable_out_is_found_before_the_work(problems, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "read_problems", lambda path: pytest.fail("too late"))
    for out in (tmp_path, tmp_path / "no" / "such" / "r.jsonl"):
        assert (
            main(["evaluate", "--problems", problems, "--answers", problems, "--out", str(out)])
            == 1
        )
        shown = capsys.readouterr().err
        assert "cannot write" in shown and shown.count("\n") == 1
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    assert (
        main(
            [
                "evaluate", "--problems", problems, "--answers", problems, "--out",
                str(tmp_path / "r.jsonl"),
            ]
        )
        == 1
    )
    assert "no permission" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_line(problems, tmp_path, capsys):
    answers = lines(tmp_path / "a.jsonl", [{"id": p.id, "answer": "1"} for p in PROBLEMS])
    assert (
        main(["evaluate", "--problems", problems, "--answers", answers, "--out", "/dev/full"]) == 1
    )
    assert capsys.readouterr().err == "minir1: cannot write /dev/full: No space left on device\n"
    assert not os.path.isfile("/dev/full")


# ---------------------------------------------------------------- the entry point


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(
        sum(line.split()[:1] == [name] for line in shown.splitlines()) == 1 for name in COMMANDS
    )
    assert main([]) == 2
    assert main(["evaluate", "--help"]) == 0 and "--top-p" in capsys.readouterr().out
    assert main(["dance"]) == 2
    assert (
        capsys.readouterr().err
        == "minir1: unknown command 'dance'; there are " + ", ".join(COMMANDS) + "\n"
    )


LESS_MEMORY = (
    "no memory left: lower --batch, --budget, --problems or --max-tokens, if the command has them"
)


@pytest.mark.parametrize(
    ("fault", "status", "shown"),
    [
        (UserError("put it right"), 2, "put it right"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x"), 1,
            "[Errno 28] No space left on device: 'x'",
        ),
        (RuntimeError("CUDA out of memory\nand a long story"), 1, LESS_MEMORY),
        (MemoryError(), 1, LESS_MEMORY),
        (KeyboardInterrupt(), 130, "interrupted"),
        # of something else than our output
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "[Errno 32] Broken pipe"),
    ],
)
def test_the_guard(fault, status, shown, capsys, monkeypatch):
    def fail(arguments):
        raise fault

    monkeypatch.delenv("MINIR1_TRACEBACK", raising=False)
    assert guard(fail, [], "train_zero") == status
    assert capsys.readouterr().err == f"train_zero: {shown}\n"
    monkeypatch.setenv("MINIR1_TRACEBACK", "1")
    with pytest.raises(type(fault)):
        guard(fail, [])


def test_the_guard_lets_bugs_and_statuses_through():
    assert guard(lambda arguments: None, []) == 0 and guard(lambda arguments: 3, []) == 3
    assert (
        guard(lambda arguments: sys.exit(4), []) == 4
        and guard(lambda arguments: sys.exit(), []) == 0
    )
    with pytest.raises(ZeroDivisionError):
        guard(lambda arguments: 1 // 0, [])


def command(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "minir1", *arguments], capture_output=True, text=True, timeout=300,
        **more,
    )


def test_the_module_runs(problems, tmp_path):
    done = command(
        "evaluate", "--problems", problems, "--answers", lines(tmp_path / "a.jsonl", ["{"])
    )
    assert (
        done.returncode == 2
        and done.stdout.startswith(" ")
        and "Traceback" not in done.stderr
        and "line 1" in done.stderr
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_printed():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "minir1", "--help"], stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=300,
        )
    assert done.returncode == 1 and done.stderr == "minir1: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "minir1", "corpus", "--documents", "300"], stdout=writer,
        stderr=subprocess.PIPE, text=True, timeout=300,
    )
    os.close(writer)
    assert done.returncode == 1 and done.stderr == ""
