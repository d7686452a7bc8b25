"""The experiment of results/smollm2: its questions, and all of it with a tiny Llama on the CPU."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from imported import small_codec, small_llama

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.r1.data.fine_tuning import read_lines
from minir1.transcript import END

FOLDER = Path(__file__).parent.parent / "results" / "smollm2"
SMALL = ["--problems", "4", "--questions", "6"]


@pytest.fixture
def script(monkeypatch):
    """A script of the folder by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in ("policy", "prepare", "questions", "seed"):
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


def test_a_tiny_llama_goes_the_whole_way(script, tmp_path):
    base, work = tmp_path / "base.pt", tmp_path / "work"
    template = (FOLDER / "chat.txt").read_text(encoding="utf-8")
    save_checkpoint(base, small_llama(), small_codec(template))
    how = [
        "--puzzles",
        "24",
        "--samples",
        "2",
        "--lines",
        "32",
        "--longest",
        "400",
        "--batch",
        "24",
    ]
    script("prepare").main([str(base), str(work), *how, *SMALL])
    lines, (_, codec) = read_lines(work / "lines.jsonl"), load_checkpoint(base)
    assert len(lines) == 32 and all(len(codec.encode(line["response"])) <= 400 for line in lines)
    prepared = json.loads((work / "prepare.json").read_text())
    assert prepared["teacher"]["solved"] > 8
    assert sum(prepared["teacher"]["judged"].values()) == 2 * prepared["teacher"]["puzzles"]

    how = [
        "--rl-steps",
        "2",
        "--prompts",
        "2",
        "--group",
        "2",
        "--max-tokens",
        "16",
        "--rows",
        "16",
    ]
    how += ["--samples", "2", "--batch", "8", *SMALL]
    for name, more in (("seed-0", []), ("alone-0", ["--alone"])):
        script("seed").main([str(base), str(work), *how, *more])
        result = json.loads((work / name / "result.json").read_text())
        metrics = read_lines(work / name / "run" / "metrics.jsonl")
        rows = [row["phase"] for row in metrics if row.get("step")]
        if more:
            assert rows == ["alone"] * 2 and result["alone"]["of"] == 4
        else:
            assert rows == ["distil"] * 2 + ["rl"] * 2
            assert result["distilled_rl"]["samples"] == 2
            assert result["facts_distilled_rl"]["of"] == 6
            assert len(read_lines(work / name / "transcripts-distilled_rl.jsonl")) == 4
