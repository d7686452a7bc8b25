"""Experiments: variants of the default run, each with several seeds, run side by side, measured and drawn.

    python -m minir1 study                                 what there is
    python -m minir1 study controls --devices cpu --workers 16
    python -m minir1 study habits --seeds 0,1,2 --devices cuda:0,cuda:1 --workers 6 --minutes 8.5
    python -m minir1 study habits --out DIR --only-draw    the figures again, from what DIR holds

Each run is a process of its own. Finished runs are never run again; a run that was stopped goes on from its last checkpoint.
With --minutes the study ends in time, says what is missing, and the same command goes on. Writes OUT/NAME.json and OUT/NAME.png.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from minir1.config import UserError
from minir1.console import errors as cli
from minir1.console.files import write_text
from minir1.console.flags import parse_command_line
from minir1.experiments.studies import figures as study_figures
from minir1.experiments.studies.plans import SCALES, STUDIES, Variant, flags_of


@dataclass
class Job:
    """One run of a study: a variant with a seed, in a folder of its own."""

    variant: Variant
    seed: int
    path: Path
    flags: dict[str, object]
    process: subprocess.Popen | None = None
    device: str = ""
    began: float = 0.0

    @property
    def done(self) -> bool:
        return (self.path / "result.json").is_file()

    def __str__(self):
        return f"{self.variant.name}, seed {self.seed}"


# ---------------------------------------------------------------- planning


def plan(given: argparse.Namespace) -> list[Job]:
    """The runs that a command line asks for, seed by seed. Raises UserError for settings that no run could have."""
    study, device = STUDIES[given.name], "cpu" if given.devices == ["cpu"] else "cuda"
    names = [v.name for v in study.variants]
    unknown = [name for name in given.variants or () if name not in names]
    if unknown:
        raise UserError(f"study {given.name} has no variant {unknown[0]!r}; there are {', '.join(names)}")
    jobs = []
    for seed in given.seeds or study.seeds:
        for variant in study.variants:
            if given.variants and variant.name not in given.variants:
                continue
            if variant.kind == "references" and seed != (given.seeds or study.seeds)[0]:
                continue  # they are the same for every seed
            flags = flags_of(variant, given.scale, device, dict(given.set))
            parse_command_line([text for name, value in flags.items() for text in (f"--{name}", str(value))])
            jobs.append(Job(variant, seed, given.out / "runs" / f"{variant.name}-{seed}", flags))
    return jobs


def prepare(job: Job) -> None:
    """Write what the worker reads. Raises UserError if the folder holds a run with other settings."""
    spec = {"variant": job.variant.name, "kind": job.variant.kind, "seed": job.seed, "flags": job.flags, "hooks": job.variant.hooks}
    path, text = job.path / "spec.json", json.dumps(spec, indent=1)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{job.path} holds a run with other settings: choose another --out, or remove it")
    write_text(path, text)


# ---------------------------------------------------------------- running


def start(job: Job, device: str, writers: int) -> None:
    """Begin, or go on with, a run in a process of its own: one thread on a CPU, one visible card on a GPU."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    if device != "cpu":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        cards, index = [c for c in visible.split(",") if c], int(device.partition(":")[2] or 0)
        environment["CUDA_VISIBLE_DEVICES"] = cards[index] if cards else str(index)
    with (job.path / "log.txt").open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "minir1.experiments.studies.worker", str(job.path), str(writers)]
        job.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, stdin=subprocess.DEVNULL)
    job.device, job.began = device, time.time()


def run(jobs: list[Job], devices: list[str], workers: int, minutes: float) -> list[Job]:
    """Run what is not done, `workers` at a time spread over `devices`; returns the runs that failed.

    When the time is over no run begins, and those under way are stopped; they go on next time.
    """
    deadline = time.time() + 60 * minutes
    waiting, running, failed = [job for job in jobs if not job.done], [], []
    writers = max(1, ((os.cpu_count() or 2) - workers) // workers)
    try:
        while (waiting or running) and time.time() < deadline:
            while waiting and len(running) < workers:
                busy = Counter(job.device for job in running)
                job = waiting.pop(0)
                start(job, min(devices, key=lambda d: busy[d]), writers)
                running.append(job)
            time.sleep(0.2)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                failed += [] if job.done else [job]
                left = len(waiting) + len(running)
                print(f"{job}: {_outcome(job)} ({left} to go)", flush=True)
    finally:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()
    return failed


def _outcome(job: Job) -> str:
    seconds = f"{time.time() - job.began:.0f} s on {job.device}"
    if not job.done:
        lines = (job.path / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"failed after {seconds}: {lines[-1] if lines else 'no word'} (see {job.path / 'log.txt'})"
    found = json.loads((job.path / "result.json").read_text(encoding="utf-8"))
    accuracy = {k: found[k]["accuracy"] for k in ("base", "zero") if k in found}
    return ", ".join([*(f"{k} {100 * v:.1f}%" for k, v in accuracy.items()), seconds])


# ---------------------------------------------------------------- the command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("minir1 study", description="Experiments: variants x seeds.", allow_abbrev=False)
    add = parser.add_argument
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    names = lambda text: [part for part in text.split(",") if part]  # noqa: E731
    add("name", metavar="NAME", nargs="?", help=f"one of {', '.join(STUDIES)}; none: list them")
    add("--seeds", type=numbers, help="such as 0,1,2 (default: the study's own)")
    add("--variants", type=names, help="these only, such as normal,random")
    add("--workers", type=int, help="runs at a time (default: one a CPU core, three a GPU)")
    add("--devices", type=names, help="cpu, or cuda:0,cuda:1 ... (default: all GPUs, or cpu)")
    add("--scale", choices=tuple(SCALES), default="cpu", help="smoke: seconds; cpu: small model; gpu: large model (default: cpu)")
    add("--minutes", type=float, default=1e6, help="stop in time; the same command goes on later")
    add("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="a flag of train_zero.py for all variants")
    add("--out", type=Path, help="where runs and figures go (default: results/studies/NAME)")
    add("--only-draw", action="store_true", help="run nothing, draw what is there")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} should read like rl.steps=50")
    return name, value


def complete(given: argparse.Namespace) -> None:
    """Fill in what was not said. Raises UserError for what cannot be."""
    if given.name not in STUDIES:
        raise UserError(f"unknown study {given.name!r}; there are {', '.join(STUDIES)}")
    cards = torch.cuda.device_count()
    given.devices = given.devices or [f"cuda:{i}" for i in range(cards)] or ["cpu"]
    wrong = [d for d in given.devices if d != "cpu" and d not in [f"cuda:{i}" for i in range(cards)]]
    if wrong or ("cpu" in given.devices and len(given.devices) > 1):
        raise UserError(f"--devices: {wrong[0]} is not here" if wrong else "--devices: cpu stands alone")
    given.workers = given.workers or ((os.cpu_count() or 1) if given.devices == ["cpu"] else 3 * len(given.devices))
    given.out = given.out or Path("results") / "studies" / given.name
    if given.workers < 1 or given.minutes <= 0:
        raise UserError("--workers and --minutes must be above 0")


def main(arguments: list[str]) -> int:
    """Exit status 0 if every run is done, 1 if some are missing or failed."""
    given = cli.parse(build_parser(), arguments)
    if given.name is None:
        for name, study in STUDIES.items():
            print(f"{name:<12}{len(study.variants):>3} variants, seeds {', '.join(map(str, study.seeds))}: {study.about}")
        return 0
    complete(given)
    jobs, failed = plan(given), []
    for job in jobs if not given.only_draw else ():
        prepare(job)
    print(f"study {given.name}: {len(jobs)} runs, {sum(job.done for job in jobs)} of them done, {given.workers} at a time")
    if not given.only_draw:
        failed = run(jobs, given.devices, given.workers, given.minutes)
    missing = [job for job in jobs if not job.done]
    command = "python -m minir1 study " + " ".join(arguments)
    done, absent = [job for job in jobs if job.done], [str(job) for job in missing]
    path = given.out / f"{given.name}.json"
    if given.only_draw:  # what has run them, not what draws them
        command = json.loads(path.read_text(encoding="utf-8"))["command"] if path.is_file() else command
        for job in done:
            job.flags = json.loads((job.path / "spec.json").read_text(encoding="utf-8"))["flags"]
    summary = study_figures.gather(given.name, given.scale, command, done, absent)
    write_text(path, json.dumps(summary, ensure_ascii=False) + "\n")
    for path in study_figures.draw(summary, given.out):
        print(f"wrote {path}")
    print(study_figures.table(summary))
    if missing:
        print(f"missing: {'; '.join(map(str, missing))}")
        print(f"failed: {'; '.join(map(str, failed))}" if failed else "the same command goes on")
    return 1 if missing else 0
