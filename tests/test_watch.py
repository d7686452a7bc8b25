"""What a person sees of a running phase: after an interruption the last line says how to go on; a
busy machine is noticed; the first checkpoint comes early, and a run goes on from it exactly."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

import train_zero
from minir1.config import Config
from minir1.console.errors import guard
from minir1.fast.device import pick_device
from minir1.fast.ranks import Ranks
from minir1.presets import PRESETS
from minir1.run import progress
from minir1.run.folder import Run
from minir1.run.progress import Progress, RLProgress, SupervisedProgress
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


def watching(tmp_path, first: int = 0, silent: bool = False) -> Progress:
    run = Run.start(tmp_path / "run", PRESETS["smoke"])
    run.silent = silent
    return Progress(Session(run, pick_device(Config(device="cpu"))), "rl", 9, first)


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


def test_a_silent_run_says_nothing_of_a_busy_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with watching(tmp_path, silent=True) as watch:
        for seconds in (2, 2, 2, 2, 2, 40):
            watch.notice(seconds)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seconds, first, size, due", [
    (12, 0, 1, [2, 6]),  # 24 seconds, then as the steps say
    (3, 0, 1, [6]),  # saved before 20 seconds have passed
    (12, 1, 1, [6]),  # gone on from what was saved
    (12, 0, 2, [6]),  # two processes, whose clocks do not agree
])  # fmt: skip
def test_the_first_checkpoint_comes_early(tmp_path, monkeypatch, seconds, first, size, due):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    with watching(tmp_path, first) as watch:
        watch.session.ranks = Ranks(0, size)
        found = []
        for step in range(first + 1, 9):
            now[0] += seconds  # a step
            if watch.checkpoint_due(step, 6):
                found.append(step)
    assert found == due


def test_a_run_goes_on_exactly_from_its_early_checkpoint(tmp_path, monkeypatch):
    """Stopped in the fourth step of each phase, with a checkpoint after the first alone. Every step
    of both phases is watched from its own beginning."""
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

    begun = []
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "notice", lambda watch, _: begun.append((watch.phase, watch.begun)))
        whole = finish(Run.start(tmp_path / "whole", config))
    steps = {"pretrain": config.pretrain.tokens // config.pretrain.batch_tokens}
    assert Counter(phase for phase, _ in begun) == steps | {"rl": config.rl.steps}
    assert len(set(begun)) == len(begun)

    run = Run.start(tmp_path / "stopped", config)
    for phase, kind in (("pretrain", SupervisedProgress), ("rl", RLProgress)):

        def stop(watch, step, *rest, usual=kind.step):
            if getattr(step, "step", step) == 3:
                raise KeyboardInterrupt
            usual(watch, step, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "step", stop)
            with pytest.raises(KeyboardInterrupt):
                finish(run)
        assert run.load_state(phase)["step"] == 1
        run = Run.resume(tmp_path / "stopped")
    again = finish(run)
    assert again[0] == whole[0]
    assert all(map(torch.equal, again[1], whole[1]))
