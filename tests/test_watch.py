"""What a person sees of a running phase: after an interruption the last line says how to go on; a
busy machine is noticed; the first checkpoint comes early, and a run goes on from it exactly."""

import json
from dataclasses import replace

import pytest
import torch

import train_zero
from minir1.config import Config
from minir1.console.errors import guard
from minir1.fast.device import pick_device
from minir1.presets import PRESETS
from minir1.run import progress
from minir1.run.folder import Run
from minir1.run.progress import Progress, RLProgress
from minir1.run.session import Session


@pytest.mark.parametrize("updates", [0, 1, 9])
def test_an_interruption_is_told_on_the_last_line(tmp_path, capsys, updates):
    run = Run.start(tmp_path / "run", PRESETS["smoke"])

    def work(arguments):
        watch = Progress(Session(run, None), "pretrain", 9)
        with watch:
            for _ in range(updates):
                watch.bar.update()
                watch.bar.refresh()
            raise KeyboardInterrupt("interrupted; go on with: this")

    assert guard(work, [], "train_zero.py") == 130
    err = capsys.readouterr().err
    assert "pretrain" in err
    assert err.splitlines()[-1] == "train_zero.py: interrupted; go on with: this"


def watching(tmp_path, phase: str = "rl") -> Progress:
    run = Run.start(tmp_path / "run", PRESETS["smoke"])
    return Progress(Session(run, pick_device(Config(device="cpu"))), phase, 9)


@pytest.mark.parametrize("seconds, threads, said", [
    ([2, 2, 2, 2, 2, 19, 21, 40], 2, "  this step took 21 s, most 2 s: busy? try --threads 1\n"),
    ([2, 2, 2, 2, 2, 19, 21, 40], 1, ""),  # it has one thread
    ([2, 2, 2, 2, 40], 2, ""),  # too early to know
    ([0.01] * 6 + [0.9], 2, ""),  # too short to matter
])  # fmt: skip
def test_a_busy_machine_is_noticed_once(tmp_path, capsys, monkeypatch, seconds, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with watching(tmp_path) as watch:
        for each in seconds:
            watch.notice(each)
    assert capsys.readouterr().out == said
    assert watch.session.noticed == bool(said)  # so that no later phase says it again


def test_the_first_checkpoint_comes_early(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    with watching(tmp_path) as watch:
        due = []
        for step in range(1, 9):
            now[0] += 12  # seconds a step
            if watch.checkpoint_due(step, 6):
                due.append(step)
    assert due == [2, 6]  # 24 seconds, then as the steps say


def test_a_run_goes_on_exactly_from_its_early_checkpoint(tmp_path, monkeypatch):
    """Stopped in the fourth step, with a checkpoint after the first alone."""
    monkeypatch.setattr(progress, "FIRST_CHECKPOINT", 0)
    smoke = PRESETS["smoke"]
    how = {"checkpoint_every": 100}
    config = replace(smoke, rl=replace(smoke.rl, **how), pretrain=replace(smoke.pretrain, **how))
    device = pick_device(Config(device="cpu"))

    def finish(run: Run) -> tuple[list[dict], list[torch.Tensor]]:
        session = Session(run, device)
        base = session.load_or_make("pretrain", lambda: train_zero.base_model(session), "base")
        zero = session.load_or_make("rl", lambda: train_zero.r1_zero(session, base), "zero")
        text = (run.path / "metrics.jsonl").read_text(encoding="utf-8")
        rows = map(json.loads, text.splitlines())
        timed = ("seconds", "tokens_s")
        kept = [{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows]
        return kept, list(zero.state_dict().values())

    whole = finish(Run.start(tmp_path / "whole", config))
    step = RLProgress.step

    def stop(watch, number, *rest):
        if number == 3:
            raise KeyboardInterrupt
        step(watch, number, *rest)

    monkeypatch.setattr(RLProgress, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        finish(stopped := Run.start(tmp_path / "stopped", config))
    monkeypatch.setattr(RLProgress, "step", step)
    assert stopped.load_state("rl")["step"] == 1
    again = finish(Run.resume(tmp_path / "stopped"))
    assert again[0] == whole[0]
    assert all(map(torch.equal, again[1], whole[1]))
