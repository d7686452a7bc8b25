"""A record to beat: seconds from an empty folder until a policy solves held-out puzzles.

    python -m minir1 bench speedrun gpu                  76% of `3to4` on one GPU, three seeds
    python -m minir1 bench speedrun gpu-87               87% of the same
    python -m minir1 bench speedrun cpu --seeds 0        90% of `cpu` on two cores, one seed
    python -m minir1 bench speedrun gpu -- --pretrain.tokens 200000000    flags of train_zero.py
    python -m minir1 bench speedrun verify runs/speedrun-gpu     the checkpoints, puzzles drawn anew

Rules and records: results/speedrun. Each seed is a process of its own with an empty compiler
cache; its clock starts with the process. Whenever the run's validation is at the goal, the judge
measures 2,048 fresh puzzles of the test split, while the clock stands still. At the goal there,
too, the checkpoint is kept and the run ends; else training goes on.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, UserError
from minir1.console.errors import guard, make_parser, parse
from minir1.console.files import read_object, write_json
from minir1.console.flags import seeds
from minir1.fast.accelerate import sampler_of
from minir1.fast.device import Device, pick_device
from minir1.measure.evaluator import Evaluator, many_problems
from minir1.model import Transformer
from minir1.rollout import sampling
from minir1.run.phases import Parts, RLPhase
from minir1.run.session import Session
from train_zero import base_model, r1_zero

FRESH = 2048  # puzzles that the judge asks, as many as verify, one response each
VERIFY = ("speedrun verify", 1)  # key of its puzzles, seed of its responses


class Goal(NamedTuple):
    preset: str
    task: str
    accuracy: float
    tokens: int  # of a response, at most


GOALS = {
    "gpu": Goal("gpu", "countdown:3to4", 0.76, 1024),
    "gpu-87": Goal("gpu", "countdown:3to4", 0.87, 1024),
    "cpu": Goal("cpu", "countdown:cpu", 0.90, 256),
}


def judged(
    model: Transformer, tokenizer, goal: Goal, device: Device, key: str = "speedrun", seed: int = 0
) -> float:
    """Accuracy on fresh puzzles of that key, which no run reads, practises or validates on."""
    problems = many_problems((goal.task,), ("en",), "test", key, FRESH)
    rows = FRESH if device.name == "cuda" else 256
    sampler = sampler_of(model, device, tokenizer, rows, goal.tokens)
    evaluator = Evaluator(tokenizer, sampler, sampling(tokenizer, goal.tokens), rows)
    return evaluator.examine(model, problems, 1, seed)["accuracy"]


# ---------------------------------------------------------------- one seed, in its own process


class Crossed(Exception):
    """The goal is reached."""


class Judge:
    """Sees each row that a run logs, and stops it at the goal. `seen`: what is recorded."""

    def __init__(self, session: Session, goal: Goal, start: float):
        self.session, self.goal, self.start = session, goal, start
        self.model: Transformer | None = None  # the present policy
        self.paused, self.tries = 0.0, []
        self.seen = {"seconds": None, "start": round(time.time() - start, 2), "tries": self.tries}
        self.plain_log, session.run.log = session.run.log, self.log

    def after(self, step: int, phase: RLPhase, *rest) -> None:
        self.model = phase.model

    def log(self, phase: str, **row) -> None:
        self.plain_log(phase, **row)
        if phase == "validate" and row["accuracy"] >= self.goal.accuracy:
            self.measure(row)

    def measure(self, row: dict) -> None:
        began, session = time.time(), self.session
        fresh = judged(self.model, session.tokenizer, self.goal, session.device)
        self.tries.append({"step": row["step"], "validation": row["accuracy"], "fresh": fresh})
        print(f"  the judge: {fresh:.1%} of {FRESH:,} fresh puzzles", flush=True)
        if fresh >= self.goal.accuracy:
            self.seen["seconds"] = round(began - self.start - self.paused, 1)
            save_checkpoint(session.run.path / "crossing.pt", self.model, session.tokenizer)
            raise Crossed
        self.paused += time.time() - began


def work(arguments: list[str]) -> None:
    """`NAME START FOLDER flags ...`: one run until it is at the goal. START: time.time() before."""
    name, start, folder, *flags = arguments
    session = Session.open(["--preset", GOALS[name].preset, "--out", folder, *flags])
    judge = Judge(session, GOALS[name], float(start))
    judge.model = session.load_or_make("pretrain", lambda: base_model(session), "base")
    judge.seen["base"] = round(time.time() - judge.start, 1)
    with suppress(Crossed):
        r1_zero(session, judge.model, Parts(after=judge.after))
    record = judge.seen | {"goal": name, "device": session.device.label, "torch": torch.__version__}
    write_json(Path(folder) / "speedrun.json", record)


def timed(name: str, seed: int, folder: Path, flags: list[str]) -> dict:
    """One seed from process start, with an empty compiler cache: what `work` has recorded."""
    out = folder / f"seed{seed}"
    with tempfile.TemporaryDirectory() as cache:
        caches = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"), cache)
        command = [sys.executable, "-m", "minir1.experiments.bench.speedrun", name]
        command += [str(time.time()), str(out), "--seed", str(seed), *flags]
        run = subprocess.run(command, env=os.environ | caches)
    if run.returncode:
        raise UserError(f"the run in {out} has ended with status {run.returncode}")
    return read_object(out / "speedrun.json")


# ---------------------------------------------------------------- the command


def row(name: str, records: list[dict]) -> str:
    """A line of results/speedrun: the slowest seed counts."""
    seconds = [record["seconds"] for record in records]
    slowest = "not reached" if None in seconds else f"{max(seconds):.0f} s"
    each = ", ".join("-" if s is None else f"{s:.0f}" for s in seconds)
    fresh = ", ".join(f"{r['tries'][-1]['fresh']:.1%}" for r in records if r["tries"])
    words = time.strftime("%Y-%m-%d"), records[0]["device"], name, f"**{slowest}**", each, fresh
    return f"| {' | '.join(words)} | (verified) | (what changed) |"


def verify(folder: Path) -> int:
    """Each seed's checkpoint on puzzles drawn anew. Returns 1 if one is below the goal by more
    than two standard errors: of policies that are just at it half measure a little below."""
    below = 0
    paths = sorted(folder.glob("seed*/crossing.pt"))
    for path in paths:
        said = read_object(path.parent / "speedrun.json")
        goal = GOALS.get(said.get("goal"))
        if goal is None:
            raise UserError(f"{path.parent} is no run of bench speedrun {' or '.join(GOALS)}")
        device = pick_device(Config())
        model, tokenizer = load_checkpoint(path, device.name)
        fresh = judged(model, tokenizer, goal, device, *VERIFY)
        error = (fresh * (1 - fresh) / FRESH) ** 0.5
        below += fresh + 2 * error < goal.accuracy
        then = f"{said['seconds']} s, {said['tries'][-1]['fresh']:.1%} then"
        print(f"{path}: {fresh:.1%} ± {100 * error:.1f}, the goal is {goal.accuracy:.0%} ({then})")
    if not paths:
        raise UserError(f"{folder} holds no seed*/crossing.pt: no run there was at its goal")
    return min(1, below)


def main(arguments: list[str]) -> int:
    """See --help. Returns 1 if a run did not get there, or a checkpoint is clearly below."""
    about = "Seconds until 76 or 87% of held-out 3to4, or 90% of cpu: results/speedrun."
    parser, flag = make_parser("bench speedrun", about)
    more = "which goal; verify: a folder, puzzles drawn anew; behind -- flags of train_zero.py"
    flag("what", choices=[*GOALS, "verify"], help=more)
    flag("folder", nargs="?", type=Path, help="of the runs (default: runs/speedrun-gpu)")
    flag("--seeds", type=seeds, default=(0, 1, 2), help="such as 0,1,2: a record needs three")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options, flags = parse(parser, arguments[:cut]), arguments[cut + 1 :]
    folder = options.folder or Path("runs", f"speedrun-{options.what}")
    if options.what == "verify":
        return verify(folder)
    records = []
    for number in options.seeds:
        records.append(timed(options.what, number, folder, flags))
        print(row(options.what, records), flush=True)
    return int(any(record["seconds"] is None for record in records))


if __name__ == "__main__":
    sys.exit(guard(work, sys.argv[1:], "bench speedrun"))
