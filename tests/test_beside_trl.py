"""results/bench/beside_trl.py: rows of ours at toy size, TRL's where it is there, the summary."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from script import load

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "results" / "bench" / "beside_trl.py"
WANTED = ("trl", "datasets", "transformers", "accelerate")


@pytest.fixture(scope="module")
def beside():
    return load("results/bench/beside_trl.py")


def run(out: Path, *options: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--toy", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=settings)
    logs = [path.read_text() for path in out.glob("*.log")]
    assert done.returncode == 0, "\n".join([done.stderr, *logs])
    return done.stdout


def test_a_toy_step_of_ours_is_on_disk_with_its_medians(tmp_path):
    pytest.importorskip("transformers")
    run(tmp_path, "--rows", "qwen-minir1-plain")
    row = json.loads((tmp_path / "qwen-minir1-plain.json").read_text())
    assert len(row["steps_s"]) == len(row["rollout_s"]) == len(row["update_s"]) == 3
    assert row["seconds"] == row["steps_s"][2] > row["update_s"][2] > 0
    assert row["tokens"] == row["responses"] * 12 and row["prompt"] == 9
    assert row["trained"] == row["responses"] * (12 + 9)  # every response has an advantage
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "qwen-minir1-plain": row["seconds"]
    }


@pytest.mark.skipif(any(not importlib.util.find_spec(p) for p in WANTED), reason="needs TRL")
def test_trl_trains_the_same_model_on_as_many_tokens(tmp_path):
    run(tmp_path, "--rows", "qwen-minir1-plain,qwen-trl-float32")
    ours, theirs = (
        json.loads((tmp_path / f"{name}.json").read_text())
        for name in ("qwen-minir1-plain", "qwen-trl-float32")
    )
    for key in ("parameters", "responses", "tokens", "prompt"):
        assert ours[key] == theirs[key]
    result = json.loads((tmp_path / "summary.json").read_text())
    assert result["qwen: TRL's fastest over ours"] == theirs["seconds"] / ours["seconds"]


def test_the_fastest_of_each_side_are_set_beside_each_other(beside, tmp_path):
    seconds = {"qwen-minir1": 2.0, "qwen-minir1-plain": 3.0, "qwen-trl-float32": 9.0}
    for name, value in (seconds | {"qwen-trl-bfloat16": 8.0}).items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"seconds": value}))
    (tmp_path / "qwen-trl-bfloat16-half.json").write_text(json.dumps({"steps_s": [7.0]}))
    for kind, theirs, more in (("float32", 3.5, {"seconds": 0.5}), ("bfloat16", 3.0, {})):
        rows = {"rows": {"TRL, Llama": {"seconds": theirs}}}
        (tmp_path / f"step-{kind}.json").write_text(json.dumps(rows | more))
    result = beside.summary(tmp_path)
    assert result["qwen: TRL's fastest over ours"] == 4.0  # the row without a median is no answer
    assert result["step: seconds over ours"] == {
        "float32: TRL, Llama": 7.0,
        "bfloat16: TRL, Llama": 6.0,
    }


def test_steps_that_warm_up_are_not_counted(beside, tmp_path):
    pytest.importorskip("transformers")
    row = beside.Row(tmp_path / "row.json")
    for number, seconds in enumerate((9.0, 8.0, 1.0, 4.0, 3.0)):
        row.add(seconds)
        assert len(json.loads((tmp_path / "row.json").read_text())["steps_s"]) == number + 1
    assert (row["seconds"], row["least"]) == (3.0, 1.0)


def test_what_the_time_does_not_suffice_for_is_left_out(tmp_path):
    shown = run(tmp_path, "--rows", "qwen-minir1,qwen-trl-bfloat16", "--seconds", "1")
    assert shown.count("left out") == 2 and not list(tmp_path.glob("*.json"))
