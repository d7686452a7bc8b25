"""The whole run, small: it ends, it resumes where it was, and every fault is one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train_zero
from minir1.checkpoint import load_checkpoint
from minir1.config import apply
from minir1.fast import accelerate
from minir1.fast.device import pick_device
from minir1.presets import PRESETS
from minir1.run.phases import RLPhase
from minir1.run.progress import SupervisedProgress
from minir1.run.session import Session

ROOT = Path(__file__).parent.parent
CLOCKS = ("seconds", "tokens_s", "seconds_rollout", "seconds_update", "seconds_step")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train_zero.py"), *map(str, arguments)]
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, **options)


def finish(*arguments, **options) -> tuple[int, str, str]:
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def metrics(run: Path) -> list[dict]:
    """All figures but the clock's."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in lines]


def results(run: Path) -> dict:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return {k: summary[k] for k in ("base", "zero", "references")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    status, out, err = finish("--preset", "smoke", "--out", run)
    assert status == 0, err
    assert "right answers (pass@1)" in out
    last = "\n".join(out.splitlines()[-3:])
    words = ("minir1 play", "checkpoints/zero.pt", "minir1 report", "open ", "report.html")
    assert all(word in last for word in words), last
    start = next(line for line in out.splitlines() if "rl step    0: validation" in line)
    said = "(the base); nearly all responses are cut off (100%)"  # it has read 40,000 tokens
    assert said in start
    return run


def test_a_run_leaves_everything_it_promises(whole):
    names = ("config.json", "metrics.jsonl", "summary.json", "report.html")
    for name in (*names, "checkpoints/base.pt", "checkpoints/zero.pt"):
        assert (whole / name).stat().st_size > 0
    plots = {path.name for path in (whole / "plots").iterdir()}
    assert plots >= {"accuracy.png", "length.png", "health.png"}
    assert len(list((whole / "samples").iterdir())) == 3  # validations at steps 0, 2 and 4
    phases = [row["phase"] for row in metrics(whole)]
    counts = [phases.count(phase) for phase in ("rl", "validate", "answer_only")]
    assert counts == [4, 3, 2]
    references = results(whole)["references"]
    assert set(references) >= {
        "blind_tokens", "blind_pairs", "lookahead_pairs", "plain_writer", "answer_only",
        "pass64_base",
    }  # so small a model makes no attempt and never says yes: two others do not apply
    assert {} not in references.values()


def begun(run: Path, phase: str) -> bool:
    """Whether a phase is under way.

    Its state was saved, or (for the last one) the phase before it is recorded.
    """
    if phase == "test":
        progress = run / "progress.json"
        return progress.exists() and "answer_only" in progress.read_text(encoding="utf-8")
    state = run / "checkpoints" / "state.pt"
    if phase == "pretrain":
        return state.exists()
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8") if file.exists() else ""
    mark = f'"phase": "{phase}"' if phase == "answer_only" else f'"phase": "{phase}", "step": 3'
    return mark in lines


STOPS = [
    ("pretrain", signal.SIGKILL),
    ("rl", signal.SIGKILL),
    ("rl", signal.SIGINT),
    ("answer_only", signal.SIGKILL),
    ("test", signal.SIGKILL),
]


@pytest.mark.parametrize("phase, how", STOPS)
def test_a_stopped_run_ends_with_the_same_metrics(whole, tmp_path, phase, how):
    run = tmp_path / "run"
    process = start("--preset", "smoke", "--out", run)
    deadline = time.time() + 200
    while not begun(run, phase) and time.time() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be stopped"
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in err
        assert f"--resume {run}" in err.splitlines()[-1]
    status, _, err = finish("--resume", run)
    assert status == 0, err
    assert metrics(run) == metrics(whole)
    assert results(run) == results(whole)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "huge"], "unknown preset 'huge'; choose from cpu, gpu, best, t4, smoke"),
        (["--rl.speed", "3"], "unrecognized arguments: --rl.speed 3"),
        (["--rl.lr", "fast"], "argument --rl.lr: 'fast' is not a number"),
        (["--rl.steps", "abc"], "argument --rl.steps: 'abc' is not a whole number"),
        (["--preset", "smoke", "--base", "nowhere.pt"], "no checkpoint at nowhere.pt"),
        (["--preset", "smoke", "--base", "README.md"], "README.md is not a readable checkpoint"),
        (["--rl.tasks", "sudoku:9x9=1"], "no task 'sudoku:9x9'"),
        (["--rl.group_size", "1"], "--rl.group_size lies between 2 and"),
        (["--device", "abacus"], "--device is one of auto, cpu, cuda, mps"),
        (["--resume", "nowhere"], "nothing to resume"),
        (["--resume", "nowhere", "--seed", "1"], "--resume takes a run folder and nothing else"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_status_2(tmp_path, arguments, message):
    out = [] if "--resume" in arguments else ["--out", tmp_path / "run"]
    status, _, err = finish(*arguments, *out, cwd=ROOT)
    assert status == 2
    assert message in err.splitlines()[-1] and "Traceback" not in err


def test_the_control_that_may_not_think_has_a_sampler_for_its_own_responses(whole, monkeypatch):
    """They have at most 64 tokens, whatever those of R1-Zero may have."""
    model, tokenizer = load_checkpoint(whole / "checkpoints" / "base.pt")
    config = apply(PRESETS["smoke"], {"rl.max_tokens": 100, "eval.batch": 16, "device": "cpu"})
    made, engine = [], accelerate.Engine
    monkeypatch.setattr(
        accelerate, "Engine", lambda *how: made.append(engine(*how)) or made[-1])
    session = Session.unsaved(config, pick_device(config), tokenizer)
    train_zero.answer_only(session, model, 1)
    assert [engine.room for engine in made] == [64]
    assert made[0].useful > 0  # and it is the one that samples


def test_the_sampler_is_compiled_once_the_first_step_is_done(tmp_path, monkeypatch):
    """Before, it would delay that step; never, and RL would begin with waiting."""
    events, step = [], SupervisedProgress.step

    def stepped(progress, *done):
        events.append("step")
        step(progress, *done)

    monkeypatch.setattr(SupervisedProgress, "step", stepped)
    compiled = lambda session, model: events.append("sampler")  # noqa: E731
    monkeypatch.setattr(train_zero.Session, "warm_sampler", compiled)
    train_zero.main(["--preset", "smoke", "--rl.steps", "0", "--out", str(tmp_path / "run")])
    assert events[:2] == ["step", "sampler"] and events.count("step") > 2


def test_a_run_is_never_overwritten(whole):
    before = metrics(whole)
    status, _, err = finish("--preset", "smoke", "--out", whole)
    assert status == 2 and f"--resume {whole}" in err
    assert metrics(whole) == before


@pytest.mark.skipif(sys.platform == "win32", reason="file-size limits are POSIX")
def test_a_full_disk_is_one_line_and_status_1_and_loses_nothing(whole, tmp_path):
    import resource

    run = tmp_path / "run"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    status, _, err = finish("--preset", "smoke", "--out", run, preexec_fn=limit)
    assert status == 1 and "Traceback" not in err
    assert "cannot write" in err and f"--resume {run}" in err
    assert not list(run.rglob("*.part"))
    status, _, err = finish("--resume", run)
    assert status == 0, err
    assert metrics(run) == metrics(whole)


def test_help_lists_about_25_flags_and_help_all_lists_every_one():
    _, short, _ = finish("--help")
    _, full, _ = finish("--help-all")
    flags = [sum(t.strip().startswith("--") for t in text.splitlines()) for text in (short, full)]
    assert 18 <= flags[0] <= 36 < 80 < flags[1]


def test_a_resumed_run_holds_on_to_the_refreshed_reference(tmp_path, monkeypatch):
    """The reference computes as before the stop, after a refresh, too: every figure equal."""
    flags = ["--preset", "smoke", "--base", "base-cpu.pt", "--eval.answer_only_steps", "0"]
    flags += ["--rl.steps", "9", "--rl.kl", "0.5", "--rl.kl_refresh", "4", "--rl.max_tokens", "64"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train_zero.guard(train_zero.main, [*flags, "--out", str(whole)]) == 0
    finish_step = RLPhase.finish_step

    def stop(self, step, *figures):
        finish_step(self, step, *figures)
        if step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RLPhase, "finish_step", stop)
        assert train_zero.guard(train_zero.main, [*flags, "--out", str(stopped)]) == 130
    assert train_zero.guard(train_zero.main, ["--resume", str(stopped)]) == 0
    assert metrics(stopped) == metrics(whole)
    a, b = (load_checkpoint(run / "checkpoints" / "zero.pt")[0] for run in (whole, stopped))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
