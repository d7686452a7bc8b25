"""`python -m minir1 bench`: counts by hand, the table, and a run on a tiny model."""

import json
import time

import pytest
import torch

from minir1.__main__ import main
from minir1.config import ModelConfig
from minir1.experiments.bench import command, measuring, others
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.run.costs import parameter_counts


def test_operations_are_twice_the_parameters_used_and_attention():
    """One dense layer of one head, by hand: every matrix a token meets, and its scores and mixing
    over 7 tokens."""
    c = ModelConfig(
        vocab_size=11, width=4, layers=1, heads=1, kv_rank=3, nope_width=2, rope_width=2,
        value_width=2, dense_width=5, experts=0,
    )
    _, used = parameter_counts(Transformer(c))
    assert measuring.operations(c, used, 7) == 2 * used + 7 * (2 * (2 + 2) + 2 * 2)


def test_bytes_of_a_step_are_weights_and_caches():
    c = ModelConfig(layers=2, kv_rank=5, rope_width=4)
    step = measuring.decode_bytes(c, 1000, rows=3, context=10, width=2)
    assert step == 2 * (1000 + 3 * 10 * 2 * 9)


def test_the_stopwatch_leaves_the_first_time_out():
    calls = []

    def work():
        calls.append(time.sleep(0.2 if not calls else 0.01))

    assert 0.01 <= measuring.Stopwatch("cpu")(work, 3) < 0.1 and len(calls) == 4


def test_the_reward_differs_between_responses():
    assert others.share_of_digits(["12ab", "", "7"]) == [0.5, 0.0, 1.0]


def test_what_is_not_installed_is_named():
    absent = others.missing("json", "no_such_package_here")
    assert absent == "no_such_package_here not installed"
    assert others.missing("json") == ""


def test_rows_are_shown_against_the_first():
    rows = {
        "a": {"tokens_s": 2000.0, "operations_s": 5e11, "bytes_s": 2e8},
        "b": {"tokens_s": 500.0},
        "c": {"left_out": "trl not installed"},
    }
    lines = command.show("part", rows, {"copy_GB_s": 1.0, "matrix_TFLOP_s": 1.0})
    assert "1.00 x" in lines[1] and "4.00 x" in lines[2]
    assert "50.0% of the matrix rate" in lines[1] and "20.0% of the copy rate" in lines[1]
    assert lines[3].endswith("left out, trl not installed")


@pytest.fixture
def quick(monkeypatch):
    """The tiny preset, few tokens, and no others (they have their own packages to bring)."""
    monkeypatch.setitem(measuring.SHAPES, "cpu", measuring.Shape(2, 2, 8, 16, 4, 64, 1))
    monkeypatch.setattr(others, "missing", lambda *packages: "left out here")
    torch.set_num_threads(1)


def test_a_run_prints_and_writes_its_table(quick, tmp_path, capsys):
    out = tmp_path / "new" / "bench.json"
    assert main(["bench", "--preset", "smoke", "--device", "cpu", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    results = json.loads(out.read_text(encoding="utf-8"))
    for part in ("ceilings", "generate", "step", "pretrain"):
        assert part in results and (part == "ceilings" or part in shown)
    assert "as_in_rl" not in results and "give a CHECKPOINT" in shown
    assert results["shape"] == [2, 2, 8, 16, 4, 64, 1]
    for part in ("generate", "step", "pretrain"):
        assert all(row["tokens_s"] > 0 for row in results[part].values() if "tokens_s" in row)
    step = results["step"]["minir1"]
    assert step["samples_s"] == pytest.approx(4 / step["seconds"])
    assert step["rollout"] > 0 and step["update"] > 0
    assert PRESETS["smoke"].pretrain.batch_tokens == 4096


def test_wrong_arguments_get_one_line(capsys):
    assert main(["bench", "--preset", "nonsense"]) == 2
    assert main(["bench", "no-such.pt"]) == 2
    assert all("Traceback" not in line for line in capsys.readouterr().err.splitlines())
