"""results/r1/readable.py, results/studies/ask_more.py and chance.py: what R1 and bases write."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from script import load

from minir1.rewards import score
from minir1.tasks.countdown import Countdown
from minir1.transcript import END, prompt

DATA = Path(__file__).parent.parent / "minir1" / "data"
BASE, POLICY = DATA / "base-cpu.pt", DATA / "zero-cpu.pt"
PUZZLE = Countdown((3, 5, 2), 4)
FIRST = "<think>3 + 2 = 5, 5 * 5 = 25, not 4\n"
THOUGHT = FIRST + "wait, 3 + 5 = 8, 8 / 2 = 4, yes</think>"
RIGHT = f"{THOUGHT}So (3 + 5) / 2 = 4.<answer>(3 + 5) / 2</answer>{END}"


def test_responses_are_counted_by_attempts():
    again = RIGHT.replace(FIRST, FIRST + "wait, 3 + 2 = 5, 5 * 5 = 25, not 4\n")
    slip = RIGHT.replace("= 25", "= 24").replace("(3 + 5) / 2<", "3<")
    found = load("results/r1/readable.py").count(
        [(PUZZLE, True, RIGHT), (PUZZLE, True, again), (PUZZLE, False, slip)])
    assert found["all"] == {
        "responses": 3, "right": 2, "readable": 1, "both": 1, "repeated attempt": 1,
        "with a repeated attempt": 1, "false step": 1, "with a false step": 1,
    }
    assert found["0 to 2"] == {
        "responses": 2, "right": 1, "readable": 1, "both": 1, "false step": 1,
        "with a false step": 1,
    }
    assert found["3 to 5"]["responses"] == 1 and found["48 or more"] == {}


def test_the_rarest_step_is_the_product_of_its_tokens():
    tokens = ["<think>", "3", " + 5", " = 8", ", ", "8 / 2", " = 4", ", yes"]
    chances = torch.tensor([0.01, 0.5, 0.5, 0.5, 0.01, 0.5, 0.2, 0.01])
    chance, step = load("results/studies/chance.py").rarest_step(chances.log(), tokens)
    assert chance == pytest.approx(0.1) and step == "8 / 2 = 4"


def test_a_puzzle_is_asked_on_and_the_chance_of_its_thoughts_is_exact(
    tmp_path, monkeypatch, capsys
):
    def run(module, *arguments) -> list[str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()
        return capsys.readouterr().out.splitlines()

    chance, asking = load("results/studies/chance.py"), load("results/studies/ask_more.py")
    monkeypatch.setattr(asking, "ROUND", 64)
    file, puzzle = tmp_path / "counts.jsonl", ("3,5,2", 4)
    for samples in (64, 128, 128):  # the same command goes on; the third has nothing to do
        run(asking, POLICY, *puzzle, file, "--samples", samples)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row["samples"] for row in rows] == [64, 64] and rows[0] != rows[1]
    texts = [text for row in rows for text in row["texts"]]
    assert len(texts) == sum(row["right"] for row in rows) >= 8
    assert all(score(PUZZLE, text).accuracy for text in texts)

    *thoughts, last = map(json.loads, run(chance, BASE, POLICY, *puzzle, file))
    assert last["samples"] == 128
    assert sum(row["drawn"] for row in thoughts) == sum(row["thought"] for row in rows)
    terms = [row["drawn"] / 128 * row["base"] / row["policy"] for row in thoughts]
    assert math.fsum(terms) == pytest.approx(last["estimate"], rel=1e-4)
    model, tokenizer = chance.load_checkpoint(POLICY)
    for row in thoughts[:3]:
        logp, tokens = chance.logp_of((model, tokenizer), PUZZLE, row["text"])
        ids = tokenizer.encode(prompt(PUZZLE.question()) + row["text"])
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0]
        by_hand = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
        torch.testing.assert_close(logp, by_hand[-len(tokens) :], atol=1e-4, rtol=1e-4)
        assert "".join(tokens) == row["text"] and row["tokens"] == len(tokens)
        assert logp.sum().exp().item() == pytest.approx(row["policy"])

    guess = {"samples": 128, "texts": [f"<answer>(3 + 5) / 2</answer>{END}"]}
    lines = [json.dumps(row) for row in (*rows, *rows, guess)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    *twice, last_twice = map(json.loads, run(chance, BASE, POLICY, *puzzle, file))
    assert [row["drawn"] for row in twice] == [2 * row["drawn"] for row in thoughts]
    assert last_twice["estimate"] == pytest.approx(2 / 3 * last["estimate"])  # of 384, no guess

    likelier = max(thoughts, key=lambda row: row["policy"] / row["base"])
    assert likelier["policy"] > likelier["base"]
    one = {"samples": 1, "right": 1, "thought": 1, "texts": [likelier["text"]]}
    file.write_text(json.dumps(one) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="does not hold responses of"):  # the models swapped
        run(chance, POLICY, BASE, *puzzle, file)
