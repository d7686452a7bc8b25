"""`python -m minir1 bench --curves`: the limit by hand, a tiny run, and points that do not fit."""

import json

import pytest
import torch

from minir1.__main__ import main
from minir1.config import ModelConfig, replace
from minir1.experiments.bench import command as bench
from minir1.experiments.bench import curves as bench_curves
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.run.costs import parameter_counts

PARTS = {"batch": 2, "length": 2, "long": 1, "size": 2, "pretraining": 2}  # points in the tiny plan
TINY = bench_curves.Plan((2, 4), 6, (4, 8), 2, (4, 12), ((16, 2, 4), (32, 2, 4)), 4, 2, 1)
POINT = {"parameters", "tokens_s", "limit_tokens_s", "peak_bytes"}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setitem(bench_curves.PLANS, "cpu", TINY)
    monkeypatch.setitem(bench.SHAPES, "cpu", (2, 2, 8, 16, 4, 64, 1))
    smoke = PRESETS["smoke"]
    pretrain = replace(smoke.pretrain, batch_tokens=64, row_tokens=32)
    monkeypatch.setitem(PRESETS, "smoke", replace(smoke, pretrain=pretrain, model=replace(smoke.model, positions=64)))
    torch.set_num_threads(1)


def curves(tmp_path, *more: str) -> tuple[int, dict]:
    out = tmp_path / "new" / "curves.json"
    status = main(["bench", "--curves", "--preset", "smoke", "--device", "cpu", "--out", str(out), *more])
    return status, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("copy", "matrix", "seconds"), [(1e-6, 1e9, 2 * (1000 + 3 * 10 * 2 * 9) / 1e3), (1e9, 1e-9, 3 * 1520 / 1e3)]
)
def test_the_limit_is_the_longer_of_copying_and_computing(copy, matrix, seconds):
    """3 rows that look back on 10 tokens, 2 bytes a number: 3,080 bytes at 1,000 a second, or 3 x 1,520 operations at 1,000."""
    c = ModelConfig(layers=2, heads=3, kv_rank=5, rope_width=4, nope_width=2, value_width=3)
    assert bench.operations(c, 220, 10) == 2 * 220 + 2 * 2 * 3 * 9 * 10 == 1520
    limit = bench_curves.decode_limit(c, (1000, 220), 3, 10, 2, {"copy_GB_s": copy, "matrix_TFLOP_s": matrix})
    assert limit == pytest.approx(3 / seconds)


@pytest.mark.parametrize(("preset", "plan", "sizes"), [("gpu", "gpu", (1, 4, 8, 16, 50)), ("cpu", "cpu", (0.2, 1, 2))])
def test_the_sizes_are_those_asked_for(preset, plan, sizes):
    for shape, millions in zip(bench_curves.PLANS[plan].sizes, sizes, strict=True):
        c = bench_curves.scaled(PRESETS[preset].model, *shape)
        with torch.device("meta"):
            everything, _ = parameter_counts(Transformer(c))
        assert everything / 1e6 == pytest.approx(millions, rel=0.2)
        assert c.cache_width % 8 == 0 and c.expert_width % 8 == 0  # what flash attention and grouped products want


def test_a_run_writes_its_curves(quick, tmp_path, capsys):
    status, found = curves(tmp_path)
    shown = capsys.readouterr().out
    assert status == 0 and {"device", "torch", "date", "command", "ceilings", "preset", "plan"} <= set(found)
    for part, points in PARTS.items():
        assert len(found[part]) == points and all(set(row) >= POINT for row in found[part].values())
        assert all(row["tokens_s"] > 0 and row["limit_tokens_s"] > 0 and row["peak_bytes"] is None for row in found[part].values())
    axes = [(row["responses"], row["tokens"]) for part in ("batch", "length", "long", "size") for row in found[part].values()]
    assert axes == [(2, 6), (4, 6), (2, 4), (2, 8), (4, 12), (4, 6), (4, 6)]
    everything = [row["parameters"][0] for row in found["size"].values()]
    assert everything == [row["parameters"][0] for row in found["pretraining"].values()] and everything[0] < everything[1]
    for row in found["pretraining"].values():
        assert row["matrix_share"] == pytest.approx(row["tokens_s"] / row["limit_tokens_s"])
    assert (tmp_path / "new" / "curves.png").stat().st_size > 10_000 and "% of the limit" in shown and "curves.png" in shown


def test_a_point_that_does_not_fit_is_left_out_and_the_next_goes_on(quick, tmp_path, monkeypatch, capsys):
    decode = bench_curves.Curves.decode

    def small(self, rows, tokens):
        if (rows, tokens) in ((2, 6), (4, 12)):  # the first of a curve, and all of another
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                if rows == 4:
                    raise RuntimeError("capture was broken")  # as the end of a graph's capture hides it
        return decode(self, rows, tokens)

    monkeypatch.setattr(bench_curves.Curves, "decode", small)
    status, found = curves(tmp_path)
    assert status == 0 and "left out, out of memory" in capsys.readouterr().out
    first, second = found["batch"].values()
    assert first["left_out"] == "out of memory" and "tokens_s" not in first and second["tokens_s"] > 0
    assert [row["left_out"] for row in found["long"].values()] == ["out of memory"] and len(found["pretraining"]) == 2
    assert (tmp_path / "new" / "curves.png").is_file()


def test_other_faults_are_not_taken_for_a_lack_of_memory(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_curves.Curves, "decode", lambda *_: (_ for _ in ()).throw(RuntimeError("wrong shape")))
    assert main(["bench", "--curves", "--preset", "smoke", "--device", "cpu"]) == 1
    assert "wrong shape" in capsys.readouterr().err


def test_memory_is_labelled(tmp_path):
    """As on CUDA: bytes beside each point."""
    row = {"parameters": [8, 4], "responses": 2, "tokens": 6, "tokens_s": 5.0, "limit_tokens_s": 9.0, "peak_bytes": 2.5e9}
    found = {part: {"a": row, "b": row | {"left_out": "out of memory"}} for part in PARTS}
    figure = bench_curves.draw(found | {"device": "a card", "plan": TINY._asdict()})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("2.5 GB") == 5 and texts.count("out of memory") == 5
    assert "2.50 GB" in bench_curves.show(row)


@pytest.mark.parametrize("wrong", [["base.pt"], ["--out", "curves.png"], ["--device", "tpu"]])
def test_wrong_arguments_get_one_line(wrong, capsys):
    assert main(["bench", "--curves", *wrong]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and len(shown.splitlines()) == 1
