"""Baselines: those that apply, in the model's own notation and tokens."""

import json
import re
from dataclasses import replace
from random import Random

import pytest
import torch

from minir1.__main__ import main
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, to_json
from minir1.corpus.writers import plain
from minir1.measure.baselines import (
    blind,
    blind_pairs,
    lookahead,
    lookahead_pairs,
    pair_line,
    perfect_writer,
)
from minir1.measure.evaluator import Evaluator
from minir1.rollout import sampling
from minir1.sampler import Samples
from minir1.tasks import draw_problems
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown, steps_of

torch.set_num_threads(1)

SUM = Arithmetic("What is 98 plus 45?", "143")


@pytest.fixture(scope="module")
def base():
    return load_checkpoint("minir1/data/base-cpu.pt")


def test_random_pairs_and_looking_ahead_on_cpu_and_3to4(base):
    """With 400 puzzles a share near 0.78 has a standard error of 0.02."""
    tokenizer = base[1]
    asked = draw_problems(("countdown:cpu",), ("en",), "test", "test", 400)
    pairs, ahead = (search(asked, tokenizer, 256) for search in (blind_pairs, lookahead_pairs))
    assert pairs["accuracy"] == pytest.approx(0.789, abs=0.06)
    assert pairs["length"] == pytest.approx(114, rel=0.12)
    assert ahead["accuracy"] > 0.99 and ahead["length"] == pytest.approx(77, rel=0.1)
    assert pairs["accuracy"] > blind(asked, tokenizer, 256)["accuracy"] + 0.2
    asked = draw_problems(("countdown:3to4",), ("en",), "test", "test", 400)
    found = blind_pairs(asked, tokenizer, 1024)
    assert found["accuracy"] == pytest.approx(0.76, abs=0.06)
    assert found == blind_pairs(asked, tokenizer, 1024)


@pytest.mark.parametrize("search", [blind_pairs, lookahead_pairs])
def test_each_line_is_paid_for(base, search):
    """One look at a puzzle that every pair solves: 3 tokens, and those of the line."""
    tokenizer, asked = base[1], [Countdown((1, 1, 1), 1)] * 30
    least = 3 + len(tokenizer.encode("\n1 - 1 = 0, with 1: 1, yes"))
    assert search(asked, tokenizer, 200)["accuracy"] == 1
    assert search(asked, tokenizer, least - 1)["accuracy"] == 0
    hopeless = search([Countdown((1, 1, 1), 90)], tokenizer, 50)
    assert hopeless["accuracy"] == 0 and hopeless["length"] <= 50


@pytest.mark.parametrize("numbers", [(3, 5, 2), (3, 5, 2, 7)])
def test_the_notation_is_the_corpus_s(numbers):
    """A systematic writer's line, its opener aside."""
    systematic = plain.systematic_attempts(Random(1), numbers, 16, set())
    problem = Countdown(numbers, 16)
    trace = plain._systematic_trace(Random(1), numbers, 16, Config().corpus.habits, "en", 0.0)
    steps, other, _ = next(iter(systematic))
    left = list(numbers)
    for step in steps:
        left.remove(step.a)
        left.remove(step.b)
        left.append(step.value)
    assert left[0] == other
    line, hit = pair_line(Random(2), problem, steps, tuple(left))
    opener = next(o for o in plain.RETRY["en"] if line.startswith(o))
    assert re.sub(", (yes|no)$", "", line.removeprefix(opener)) in trace.thought
    assert hit == any(step.value == 16 for step in steps_of(*left))


@pytest.mark.parametrize("search", [blind, lookahead, blind_pairs, lookahead_pairs])
def test_a_baseline_without_puzzles_is_absent(base, search):
    assert search([SUM], base[1], 256) == {} == perfect_writer([SUM], base[1], 256, "plain")


def test_blind_attempts_of_a_policy_that_makes_none_are_absent(base):
    assert blind([Countdown((3, 5, 2), 16)], base[1], 10**9, {3: 0.0}) == {}


def saying(tokenizer, text: str):
    """A sampler that says `text` to whatever it is asked."""
    ids = tokenizer.encode(text)

    def say(model, prompts, group, settings, generator):
        rows = len(prompts) * group
        stopped = torch.tensor([ids[-1] in settings.stop_ids] * rows)
        ids_BT = torch.tensor([ids] * rows)
        length_B = torch.tensor([len(ids)] * rows)
        return Samples(ids_BT, torch.zeros_like(ids_BT, dtype=torch.float32), length_B, stopped)

    return say


@pytest.mark.parametrize("says", [False, True])
def test_the_forced_base_that_never_says_yes_is_absent(base, says):
    """The summary holds what applies, and each with puzzles behind it."""
    model, tokenizer = base
    text = "3 + 5 = 8, yes" if says else "3 + 5 = 8, 8"
    config = replace(Config(), eval=replace(Config().eval, problems=8, many=8, arithmetic=0))
    how = (saying(tokenizer, text), sampling(tokenizer, 8), 64)
    evaluator = Evaluator(tokenizer, *how)

    def draw(split, count):
        return draw_problems(("countdown:cpu",), ("en",), split, split, count)

    found = evaluator.compare({"base": model, "zero": model}, draw, config)["references"]
    searches = {"blind_tokens", "blind_pairs", "lookahead_pairs", "plain_writer", "pass64_base"}
    assert searches <= set(found) and ("forced_base" in found) == says
    assert found["lookahead_pairs"]["n"] == 8


def test_pass_at_k_of_base_and_policy_side_by_side(base, tmp_path, capsys):
    model, tokenizer = base
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(to_json(Config()), encoding="utf-8")
    for name in ("base", "zero"):
        save_checkpoint(tmp_path / "checkpoints" / f"{name}.pt", model, tokenizer)
    out = tmp_path / "rows.jsonl"
    call = ["evaluate", str(tmp_path), "--k", "4", "--count", "5", "--max-tokens", "60"]
    assert main([*call, "--out", str(out), "--device", "cpu"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["k", "base", "pass@k", "R1-Zero", "pass@k"]
    assert [line.split()[0] for line in lines] == ["1", "2", "4"]
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    right = [sum(s["correct"] for s in row["samples"]) for row in rows if row["model"] == "base"]
    shares = [1.0 if c > 2 else 1 - (4 - c) * (3 - c) / 12 for c in right]  # k = 2 of 4
    mean = sum(shares) / 5
    error = (sum((s - mean) ** 2 for s in shares) / 4 / 5) ** 0.5
    assert lines[1].split()[1:4] == [f"{mean:.1%}", "±", f"{100 * error:.1f}"]
    assert main(["evaluate", str(tmp_path)]) == 2
