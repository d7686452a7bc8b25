"""The tables' figures by hand, the problem sets against their packages, and a whole trial."""

import json
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from minir1.__main__ import main as command
from minir1.corpus.mixture import sample_text
from minir1.experiments.tables import command as tables
from minir1.experiments.tables import page as tables_page
from minir1.experiments.tables import problems
from minir1.measure.baselines import blind, lookahead, perfect_writer
from minir1.presets import PRESETS
from minir1.tasks.arithmetic import GPT3_TASKS, Arithmetic
from minir1.tasks.countdown import Countdown, evaluate, solve
from minir1.tokenizer import Tokenizer

ROOT = Path(__file__).parent.parent


def result(*samples: tuple[bool, int, str]) -> dict:
    rows = [
        {"correct": c, "tokens": t, "answer": a, "stopped": True, "text": ""} for c, t, a in samples
    ]
    return {"pass_at_1": sum(c for c, _, _ in samples) / len(samples), "samples": rows}


def test_a_response_longer_than_the_budget_counts_as_wrong():
    results = [result((True, 10, ""), (True, 30, "")), result((False, 5, ""), (True, 20, ""))]
    assert [tables.within(results, b) for b in (9, 10, 20, 30)] == [0, 0.25, 0.5, 0.75]


def test_consensus_votes_in_separate_sets():
    problem = Countdown((3, 5), 8)
    right, wrong = "3 + 5", "3 * 5"
    results = [result(*((a == right, 5, a) for a in (right, wrong, wrong, wrong, right, right)))]
    assert tables.consensus([problem], results, 1) == 0.5
    assert tables.consensus([problem], results, 3) == 0.5  # wrong of (r, w, w), right of (w, r, r)
    assert tables.consensus([problem], results, 6) == 1.0  # three all: the one written first


def test_figures_of_results_by_hand():
    found = tables.figures(
        [result((True, 10, ""), (False, 30, "")), result((True, 20, ""), (True, 20, ""))]
    )
    assert (
        found["accuracy"] == 0.75
        and found["tokens"] == 20
        and found["cut"] == 0
        and found["n"] == 2
    )


def test_accuracy_by_count_of_numbers():
    asked = [Countdown((1, 2, 3), 6), Countdown((1, 2, 3, 4), 10), Countdown((1, 2, 4), 7)]
    results = [result((True, 1, "")), result((False, 1, "")), result((False, 1, ""))]
    assert tables.by_count(asked, results) == {"accuracy_3": 0.5, "accuracy_4": 0.0}


@pytest.mark.parametrize("kind", [*GPT3_TASKS, "5dx"])
def test_gpt3_questions_read_as_in_the_paper_and_are_held_out(kind):
    found = problems.gpt3(kind, 60)
    assert len(found) == 60 and found == problems.gpt3(kind, 60)
    for problem in found:
        assert (
            problem.split() == "test"
            and problem.text.startswith("What is ")
            and problem.text.endswith("?")
        )
        expression = problem.text[8:-1]
        if kind == "1dc":
            assert expression.count("(") == 1 and not set("plusminetm") & set(expression)
        else:
            assert {"+": " plus ", "-": " minus ", "x": " times "}[
                kind[2]
            ] in expression and not set("+-*") & set(expression)
        for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*")):
            expression = expression.replace(word, sign)
        assert evaluate(expression)[0] == Fraction(int(problem.answer))


@pytest.mark.parametrize("name", problems.GYM)
def test_reasoning_gym_items_keep_their_answers(name):
    gym = pytest.importorskip("reasoning_gym")
    task, parameters = problems.GYM[name]
    items = gym.create_dataset(task, size=20, seed=0, **parameters)
    # its own solutions, simplified to powers or a leading minus now and then, which we do not read
    if task == "countdown":
        pairs = list(zip(problems.gym(name, 20), items))
        readable = [
            (p, item["answer"]) for p, item in pairs if evaluate(item["answer"]) is not None
        ]
        assert (
            len(readable) >= 10
            and sum(p.verify(answer) for p, answer in readable) >= len(readable) - 2
        )
        assert all(
            list(p.numbers) == i["metadata"]["numbers"] and p.target == i["metadata"]["target"]
            for p, i in pairs
        )
    for problem, item in zip(problems.gym(name, 20), items):
        if task != "countdown":
            assert isinstance(problem, Arithmetic) and problem.verify(item["answer"])
            assert "".join(item["metadata"]["expression"].split()) in "".join(problem.text.split())


def test_one_number_more_than_was_practised():
    found = problems.one_number_more(
        ("countdown:3to4=0.5", "countdown:sos4=0.4", "arithmetic:2dx=0.1"), "test", 12
    )
    assert {len(p.numbers) for p in found} == {5} and all(
        p.split() == "test" and 10 <= p.target <= 99 for p in found
    )
    assert all(solve(p.numbers, p.target) for p in found)
    assert {len(p.numbers) for p in problems.one_number_more(("countdown:cpu",), "test", 5)} == {4}


def test_training_cost_from_a_run_folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    rows = [
        {"phase": p, "tokens": n}
        for p, n in (("pretrain", 500), ("pretrain", 1000), ("rl", 30), ("rl", 20))
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8"
    )
    (tmp_path / "summary.json").write_text(
        json.dumps({"seconds": {"pretrain": 120, "rl": 3600}}), encoding="utf-8"
    )
    (tmp_path / "config.json").write_text(json.dumps({"rl": {"recompute": True}}), encoding="utf-8")
    found = tables.training_cost(tmp_path / "checkpoints" / "zero.pt", 7)
    assert found["pretraining"] == {
        "tokens": 1000, "flops": 6 * 7 * 1000, "minutes": 2.0,
        "dollars": pytest.approx(120 / 1800),
    }
    assert found["reinforcement learning"] == {
        "tokens": 50, "flops": 10 * 7 * 50, "minutes": 60.0,
        "dollars": 2.0,
    }


def test_a_trial_writes_page_and_pictures_and_sections_add_up(tmp_path):
    arguments = [
        "tables", str(ROOT / "minir1/data/zero-cpu.pt"), "--base",
        str(ROOT / "minir1/data/base-cpu.pt"), "--device", "cpu",
    ]
    arguments += ["--puzzles", "cpu", "--quick", "--budget", "24", "--out", str(tmp_path)]
    assert command([*arguments, "--only", "many"]) == 0
    assert command([*arguments, "--only", "sweep"]) == 0
    found = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    assert (
        set(found["sections"]) == set(found["asking"]) == {"many", "sweep"}
        and found["budget"] == 24
    )
    many = found["sections"]["many"]
    assert many["k"] == [1, 2, 4, 8] and many["zero"]["pass"] == sorted(many["zero"]["pass"])
    assert many["zero"]["pass"][0] == pytest.approx(many["zero"]["accuracy"])
    assert many["best_of"]["judged"] >= many["best_of"]["majority"]
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "pass@k" in text and "endless loops" in text and "A trial on few problems" in text
    assert (tmp_path / "passk.png").is_file() and (tmp_path / "temperature.png").is_file()
    whole = [argument for argument in arguments if argument != "--quick"]
    assert command([*whole, "--only", "sweep", "--problems", "2"]) == 0
    found = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    assert {row["n"] for row in found["sections"]["sweep"].values()} == {2}


def made_up() -> dict:
    """A whole tables.json by hand, so that the page can be read."""
    figure = {"accuracy": 0.9, "interval": [0.88, 0.92], "n": 2048, "tokens": 200.0, "cut": 0.01}
    sides = {
        "zero": figure | {"accuracy_4": 0.82}, "base": figure, "blind": {"accuracy": 0.39},
        "lookahead": {"accuracy": 0.86},
    }
    curves = {side: [0.3, 0.5, 0.8] for side in sides}
    return {
        "checkpoint": "zero.pt", "base": "", "device": "H100", "date": "2026-01-01", "command": "c",
        "quick": False,
        "parameters": 8e6, "used_per_token": 4e6, "budget": 1024,
        "training": {"pretraining": tables.cost(10, 60.0, 1.0)}, "asking": {},
        "sections": {
            "puzzles": {"sos4": sides | {"budgets": [256, 512, 1024], "by_budget": curves}},
            "arithmetic": {"2dx": {"zero": figure, "base": figure, "direct": figure}},
            "gym": {"countdown easy": sides},
        },
    }  # fmt: skip


def test_published_figures_stand_beside_at_the_same_budget(tmp_path):
    text = tables_page.page(made_up())
    line = next(
        line for line in text.splitlines() if line.startswith("| 17 M, backtracking + GRPO")
    )
    assert line == "| 17 M, backtracking + GRPO (published) | 23.5% | 31.0% | 41.0% |"
    ours = "90.0% (88.0 to 92.0)"
    assert f"| 2dx | {ours} | {ours} | {ours} | 200 | 29.2% | 100% | 99.4% |" in text
    line = f"| countdown easy | {ours} | {ours} | 39.0% | 86.0% |  | 94.7% | 74% | 76% | 63.3% |"
    assert f"{line} 0% |" in text
    assert "| pretraining | 10 | 1.00e+00 | 1.0 | 0.03 |" in text
    assert [p.name for p in tables_page.draw(made_up(), tmp_path)] == ["budgets.png"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.pt"], "no checkpoint at nowhere.pt"),
        (["nowhere.pt", "--only", "weather"], "--only: is one of puzzles, many"),
        (["nowhere.pt", "--budget", "0"], "--budget: lies between 1 and"),
        (["nowhere.pt", "--problems", "0"], "--problems: lies between 1 and"),
        (["nowhere.pt", "--puzzles", "sudoku"], "invalid choice: 'sudoku'"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(tmp_path, capsys, arguments, message):
    assert command(["tables", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_each_reference_is_its_own_search_within_each_budget():
    tokenizer = Tokenizer.train(sample_text(PRESETS["best"].corpus, 0, 500), 512)
    writer = PRESETS["best"].corpus.writer
    asked = problems.held_out("sos4", 24)
    found = tables.references(
        SimpleNamespace(tokenizer=tokenizer, writer=writer), asked, [128, 512]
    )
    lines = {
        "blind": blind, "lookahead": lookahead, "writer": partial(perfect_writer, writer=writer),
    }
    assert found == {
        name: [search(asked, tokenizer, b) for b in (128, 512)] for name, search in lines.items()
    }


def test_costs_name_the_device_of_each_section():
    spent = {"tokens": 10, "flops": 1.0, "minutes": 1.0, "dollars": 0.03}
    found = {
        "training": {"pretraining": spent | {"device": "H200, bfloat16"}}, "asking": {"gym": spent},
        "device": "CPU, float32",
    }
    trained, asked = tables_page.costs(found).splitlines()[-2:]
    assert trained.endswith("| 0.03 | H200 |") and asked.endswith("|  | CPU |")
