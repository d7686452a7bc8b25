"""results/bench/several_gpus.py: a process measures and writes; the figure compares like parts."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "results" / "bench"))
import several_gpus  # noqa: E402


def test_one_process_measures_all_parts_and_draws_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(several_gpus, "STEPS", 1)
    monkeypatch.setattr(several_gpus, "READ", 4)
    several_gpus.measure(tmp_path, workers=1)
    one = json.loads((tmp_path / "speed-1.json").read_text(encoding="utf-8"))
    assert one["processes"] == 1 and set(several_gpus.PARTS) <= set(one)
    assert one["rl"]["seconds"] >= one["rl"]["rollout"] + one["rl"]["update"]
    assert one["rl_quad"]["tokens"] > 2 * one["rl"]["tokens"]
    assert capsys.readouterr().out.count(" s  1: ") == 4
    two = json.loads(json.dumps(one)) | {"processes": 2}
    two["rl"]["seconds"] /= 2
    two["pretrain_ready"]["tokens_s"] *= 1.5
    speeds = [several_gpus.times_as_fast(one, two, part) for part in several_gpus.PARTS]
    assert speeds == pytest.approx([2, 1, 1.5, 1])
    (tmp_path / "speed-2.json").write_text(json.dumps(two), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["several_gpus.py", str(tmp_path), "--draw"])
    several_gpus.main()
    assert (tmp_path / "several-gpus.png").stat().st_size > 10_000
