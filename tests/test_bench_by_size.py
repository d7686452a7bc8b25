"""results/bench/by_size.py: the limit by hand, a tiny run, and points that do not fit."""

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from minir1.config import ModelConfig, replace
from minir1.console import errors
from minir1.experiments.bench import measuring
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.run.costs import parameter_counts

sys.path.insert(0, str(Path(__file__).parent.parent / "results" / "bench"))
import by_size as curves  # noqa: E402

POINTS = {"batch": 2, "length": 2, "long": 1, "size": 2, "pretraining": 2}  # in the tiny plan
TINY = curves.Plan((2, 4), 6, (4, 8), 2, (4, 12), ((16, 2, 4), (32, 2, 4)), 4, 2, 1)
KEYS = {"parameters", "tokens_s", "limit_tokens_s", "peak_bytes"}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setitem(curves.PLANS, "cpu", TINY)
    monkeypatch.setitem(measuring.SHAPES, "cpu", measuring.Shape(2, 2, 8, 16, 4, 64, 1))
    smoke = PRESETS["smoke"]
    pretrain = replace(smoke.pretrain, batch_tokens=64, row_tokens=32)
    model = replace(smoke.model, positions=64)
    monkeypatch.setitem(PRESETS, "smoke", replace(smoke, pretrain=pretrain, model=model))
    torch.set_num_threads(1)


COMMAND = ("--preset", "smoke", "--device", "cpu")


def command(*arguments: str) -> int:
    return errors.guard(curves.main, list(arguments), "by_size.py")


def run(tmp_path, *more: str) -> tuple[int, dict]:
    out = tmp_path / "new" / "curves.json"
    status = command(*COMMAND, "--out", str(out), *more)
    return status, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("copy", "matrix", "seconds"),
    [(1e-6, 1e9, 2 * (1000 + 3 * 10 * 2 * 9) / 1e3), (1e9, 1e-9, 3 * 1520 / 1e3)],
)
def test_the_limit_is_the_longer_of_copying_and_computing(copy, matrix, seconds):
    """3 rows that look back on 10 tokens, 2 bytes a number: 3,080 bytes at 1,000 a second, or
    3 x 1,520 operations at 1,000."""
    c = ModelConfig(layers=2, heads=3, kv_rank=5, rope_width=4, nope_width=2, value_width=3)
    assert measuring.operations(c, 220, 10) == 2 * 220 + 2 * 2 * 3 * 9 * 10 == 1520
    limits = {"copy_GB_s": copy, "matrix_TFLOP_s": matrix}
    limit = curves.decode_limit(c, (1000, 220), 3, 10, 2, limits)
    assert limit == pytest.approx(3 / seconds)


@pytest.mark.parametrize(("preset", "sizes"), [("gpu", (1, 4, 8, 16, 50)), ("cpu", (0.2, 1, 2))])
def test_the_sizes_are_those_asked_for(preset, sizes):
    for shape, millions in zip(curves.PLANS[preset].sizes, sizes, strict=True):
        c = curves.scaled(PRESETS[preset].model, *shape)
        with torch.device("meta"):
            everything, _ = parameter_counts(Transformer(c))
        assert everything / 1e6 == pytest.approx(millions, rel=0.2)
        # what flash attention and grouped products want
        assert c.cache_width % 8 == 0 and c.expert_width % 8 == 0


def test_a_run_writes_its_curves(quick, tmp_path, capsys):
    status, results = run(tmp_path)
    shown = capsys.readouterr().out
    heading = {"device", "torch", "date", "command", "ceilings", "preset", "plan"}
    assert status == 0 and heading <= set(results)
    rows = {curve: list(results[curve].values()) for curve in POINTS}
    for curve, points in POINTS.items():
        assert len(rows[curve]) == points
        for row in rows[curve]:
            assert set(row) >= KEYS
            assert row["tokens_s"] > 0 and row["limit_tokens_s"] > 0 and row["peak_bytes"] is None
    decoded = rows["batch"] + rows["length"] + rows["long"] + rows["size"]
    places = [(row["responses"], row["tokens"]) for row in decoded]
    assert places == [(2, 6), (4, 6), (2, 4), (2, 8), (4, 12), (4, 6), (4, 6)]
    everything = [row["parameters"][0] for row in rows["size"]]
    assert everything == [row["parameters"][0] for row in rows["pretraining"]]
    assert everything[0] < everything[1]
    for row in rows["pretraining"]:
        assert row["matrix_share"] == pytest.approx(row["tokens_s"] / row["limit_tokens_s"])
    assert (tmp_path / "new" / "curves.png").stat().st_size > 10_000
    assert "% of the limit" in shown and "curves.png" in shown


def test_a_point_that_does_not_fit_is_left_out_and_the_next_goes_on(
    quick, tmp_path, monkeypatch, capsys
):
    decode = curves.Curves.decode

    def small(self, rows, tokens):
        if (rows, tokens) in ((2, 6), (4, 12)):  # the first of a curve, and all of another
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                if rows == 4:
                    # as the end of a graph's capture hides it
                    raise RuntimeError("capture was broken")
        return decode(self, rows, tokens)

    monkeypatch.setattr(curves.Curves, "decode", small)
    status, results = run(tmp_path)
    assert status == 0 and "left out, out of memory" in capsys.readouterr().out
    first, second = results["batch"].values()
    assert first["left_out"] == "out of memory"
    assert "tokens_s" not in first and second["tokens_s"] > 0
    assert [row["left_out"] for row in results["long"].values()] == ["out of memory"]
    assert len(results["pretraining"]) == 2
    assert (tmp_path / "new" / "curves.png").is_file()


def test_other_faults_are_not_taken_for_a_lack_of_memory(quick, tmp_path, monkeypatch, capsys):
    broken = Mock(side_effect=RuntimeError("wrong shape"))
    monkeypatch.setattr(curves.Curves, "decode", broken)
    assert command(*COMMAND) == 1
    assert "wrong shape" in capsys.readouterr().err


def test_memory_is_labelled(tmp_path):
    """As on CUDA: bytes beside each point."""
    row = {"parameters": [8, 4], "responses": 2, "tokens": 6, "tokens_s": 5.0}
    row |= {"limit_tokens_s": 9.0, "peak_bytes": 2.5e9}
    results = {curve: {"a": row, "b": row | {"left_out": "out of memory"}} for curve in POINTS}
    figure = curves.draw(results | {"device": "a card", "plan": TINY._asdict()})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("2.5 GB") == 5 and texts.count("out of memory") == 5
    assert "2.50 GB" in curves.show(row)


@pytest.mark.parametrize("wrong", [["base.pt"], ["--out", "curves.png"], ["--device", "tpu"]])
def test_wrong_arguments_get_one_line(wrong, capsys):
    assert command(*wrong) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and len(shown.splitlines()) == 1
