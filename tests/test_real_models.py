"""What the commands do with a model from elsewhere: its memory told, its student compared with RL
alone, word problems from a file."""

import json
from random import Random

import pytest
import torch
from imported import small_codec, small_llama

import train_zero
from minir1.__main__ import main as minir1
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import UserError
from minir1.fast.grouped_decoder import GroupedDecoder
from minir1.measure.evaluator import Evaluator
from minir1.r1.students import comparison
from minir1.run import session
from minir1.tasks.countdown import Countdown
from minir1.tasks.lines import Line, read_file
from minir1.transcript import ANSWER, ANSWER_END, END
from minir1.variants.memory import LARGE

SHORT = "{question}\n"
TINY = ("--preset", "smoke", "--from_scratch", "off", "--rl.prompts", "2", "--rl.group_size", "2",
        "--rl.minibatches", "1", "--rl.max_tokens", "8", "--eval.problems", "4",
        "--eval.validation", "2", "--eval.many", "1", "--eval.answer_only_steps", "0",
        "--eval.batch", "8")  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.pt"
    save_checkpoint(path, small_llama(), small_codec("<|im_start|>" + SHORT))
    return path


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def taught(question: str, answer: str) -> dict:
    return {"question": question, "response": f"{ANSWER}{answer}{ANSWER_END}{END}"}


# ---------------------------------------------------------------- a large vocabulary


def test_a_large_model_tells_its_memory_and_samples_with_the_engine(tmp_path, capsys, monkeypatch):
    path, made = tmp_path / "large.pt", []
    save_checkpoint(path, small_llama(LARGE), small_codec(SHORT))
    make = session.make_sampler
    monkeypatch.setattr(session, "make_sampler", lambda *a: made.append(make(*a)) or made[-1])
    run = tmp_path / "run"
    train_zero.main([*TINY, "--rl.steps", "1", "--base", str(path), "--out", str(run)])
    told = [line for line in capsys.readouterr().out.splitlines() if "memory:" in line]
    assert len(told) == 1 and "needs about" in told[0] and "cache" in told[0]
    assert {type(sampler.__self__.decoder) for sampler in made} == {GroupedDecoder}


def test_a_small_one_does_not(base, tmp_path, capsys):
    run = tmp_path / "run"
    train_zero.main([*TINY, "--rl.steps", "1", "--base", str(base), "--out", str(run)])
    assert "memory:" not in capsys.readouterr().out


# ---------------------------------------------------------------- distilled, beside RL alone


def test_distilling_is_compared_with_rl_alone_at_equal_operations(
    base, tmp_path, capsys, monkeypatch
):
    begun, phase, examine = {}, comparison.RLPhase, Evaluator.examine
    examined = []  # the scoreboard's policies, in the end

    def start(session, model, name, rl, budget):
        begun[name] = (model, rl, budget)
        return phase(session, model, name, rl, budget=budget)

    def seen(evaluator, model, problems, *how, **more):
        examined.append((model, {problem.split() for problem in problems}))
        return examine(evaluator, model, problems, *how, **more)

    monkeypatch.setattr(comparison, "RLPhase", start)
    monkeypatch.setattr(Evaluator, "examine", seen)
    puzzle = Countdown((3, 5), 8)
    lines = write(tmp_path / "lines.jsonl", [taught(puzzle.question(), "3 + 5")] * 8)
    run, out = tmp_path / "run", tmp_path / "student.pt"
    how = ["--epochs", "3", "--rows", "4", "--out", str(out), "--compare", str(run)]
    assert minir1(["distil", lines, "--base", str(base), *how, *TINY, "--rl.steps", "2"]) == 0
    shown = capsys.readouterr().out
    board = json.loads((run / "scoreboard.json").read_text())
    assert list(board) == ["base", "RL alone", "distilled", "distilled, then RL"]
    assert all(name in shown for name in board)
    spent = {name: row["operations"] for name, row in board.items()}
    assert spent["base"] == 0 < spent["distilled"] < spent["distilled, then RL"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    steps = [row for row in rows if row["phase"] == "rl-alone"]
    largest = max(b["flops"] - a["flops"] for a, b in zip([{"flops": 0}, *steps], steps))
    assert abs(spent["RL alone"] - spent["distilled, then RL"]) <= largest
    assert all(row["n"] == 4 for row in board.values())
    student, _ = load_checkpoint(out)
    kept, _ = load_checkpoint(run / "checkpoints" / "distil.pt")
    assert all(map(torch.equal, student.parameters(), kept.parameters()))

    policies, splits = zip(*examined[-4:])
    assert splits == 4 * ({"test"},) and len(set(map(id, policies))) == 4
    given, alone, taught_, _ = policies
    assert begun["rl-alone"][0] is given and begun["distil-rl"][0] is taught_
    assert all(map(torch.equal, student.parameters(), taught_.parameters()))
    assert not any(alone is model for model, *_ in begun.values())
    assert begun["rl-alone"][2] == spent["distilled, then RL"] and begun["distil-rl"][2] is None
    assert all(rl.lr_end == 1 and rl.early_tokens == 0 for _, rl, _ in begun.values())


def test_flags_of_rl_without_a_comparison_are_refused(base, tmp_path, capsys):
    lines = write(tmp_path / "lines.jsonl", [taught("q", "3")])
    for more in (["--rl.steps", "2"], ["--compare", str(tmp_path / "r"), "--rl.nonsense", "2"]):
        assert minir1(["distil", lines, "--base", str(base), *more]) == 2
        shown = capsys.readouterr().err
        assert more[-2] in shown and shown.count("\n") == 1
    assert not (tmp_path / "r").exists()


# ---------------------------------------------------------------- word problems

NAMES = ("Ana", "Ben", "Chen", "Dora", "Eli", "Femi")
THINGS = ("apples", "books", "coins", "tickets")


def word_problem(rng: Random) -> dict:
    """As in GSM8K: a story, a worked answer, the number behind ####."""
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b, c = rng.randint(11, 99), rng.randint(2, 9), rng.randint(2, 10)
    right = a + b * c
    story = f"{who} has {a} {thing} and buys {b} bags of {c} more. How many {thing} are there?"
    worked = f"The bags hold {b} * {c} = <<{b}*{c}={b * c}>>{b * c}.\n#### {right:,}"
    return {"question": story, "answer": worked}


def test_a_thousand_word_problems_train_and_are_evaluated(base, tmp_path, capsys):
    rng = Random(0)
    rows = list({row["question"]: row for row in (word_problem(rng) for _ in range(1000))}.values())
    path = write(tmp_path / "words.jsonl", rows)
    splits = read_file(path)
    assert sum(map(len, splits.values())) == len(rows) > 980
    assert all(len(splits[split]) > 60 for split in ("train", "validation", "test"))
    run = tmp_path / "run"
    task = ("--rl.tasks", f"file:{path}=1", "--rl.steps", "2")
    train_zero.main([*TINY, *task, "--base", str(base), "--out", str(run)])
    assert "right answers" in capsys.readouterr().out
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if row["phase"] == "rl"] == [1, 2]
    held = [line.to_json() | {"id": str(i)} for i, line in enumerate(splits["test"])]
    problems, out = write(tmp_path / "test.jsonl", held), tmp_path / "results.jsonl"
    zero = run / "checkpoints" / "zero.pt"
    how = ["--problems", problems, "--max-tokens", "8", "--out", str(out)]
    assert minir1(["evaluate", str(zero), *how]) == 0
    results = [json.loads(line) for line in out.open()]
    assert [row["id"] for row in results] == [row["id"] for row in held]
    assert {row["task"] for row in results} == {"file"}


def test_the_answer_of_a_worked_one_stands_behind_four_signs():
    line = Line.from_json({"question": "q", "answer": "1 + 2 = 3\n#### 1,234"})
    assert line.answer == "1,234" and line.verify("1234") and not line.verify("3")
    with pytest.raises(ValueError, match='"answer"'):
        Line.from_json({"question": "q", "answer": "1 + 2 = 3 ####  "})


def test_malformed_lines_are_all_named(tmp_path):
    rows = [json.dumps(word_problem(Random(i))) for i in range(9)]
    rows[1], rows[4], rows[8] = "{", '{"question": "q"}', "[]"
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(rows))
    with pytest.raises(UserError) as caught:
        read_file(str(path))
    said = str(caught.value)
    assert "line 2: " in said and said.endswith("(and lines 5, 9)") and "\n" not in said


def test_of_many_malformed_lines_twenty_more_are_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    for count, end in ((21, "20, 21)"), (22, "20, 21, ...)")):
        path.write_text(count * "{\n")
        read_file.cache_clear()
        with pytest.raises(UserError) as caught:
            read_file(str(path))
        assert "(and lines 2, 3," in str(caught.value) and str(caught.value).endswith(end)
