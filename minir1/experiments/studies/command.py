"""Experiments: variants of the default run, each with several seeds, side by side.

    python -m minir1 study                                 what there is
    python -m minir1 study controls --devices cpu --workers 16
    python -m minir1 study habits --seeds 0,1,2 --devices cuda:0,cuda:1 --workers 6 --minutes 8.5
    python -m minir1 study habits --out DIR --only-draw    the figures again, from what DIR holds

Each run is a process of its own. Finished runs are never run again; a run that was stopped goes on
from its last checkpoint. With --minutes the study ends in time, says what is missing, and the same
command goes on. Writes OUT/NAME.json and OUT/NAME.png.
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

from minir1.config import UserError, between
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, checked_read, read_object, write_text
from minir1.console.flags import Value, parse_command_line, parts, real, seeds, whole
from minir1.experiments.studies import figures, verdicts
from minir1.experiments.studies.plans import SCALES, STUDIES, Flags, Variant, flags_of
from minir1.fast.parallel import usable_cores


@dataclass
class Job:
    """One run of a study: a variant with a seed, in a folder of its own."""

    variant: Variant
    seed: int
    path: Path
    flags: Flags
    process: subprocess.Popen | None = None
    device: str = ""
    began: float = 0.0

    @property
    def done(self) -> bool:
        return (self.path / "result.json").is_file()

    def __str__(self):
        return f"{self.variant.name}, seed {self.seed}"


def plan(given: argparse.Namespace) -> list[Job]:
    """The runs asked for, seed by seed. Raises UserError for settings that no run could have."""
    study = STUDIES[given.name]
    seeds = given.seeds or study.seeds
    names = [variant.name for variant in study.variants]
    chosen = given.variants or names
    if unknown := [name for name in chosen if name not in names]:
        fault = f"has no variant {unknown[0]!r}; there are {', '.join(names)}"
        raise UserError(f"study {given.name} {fault}")
    device = "cpu" if given.devices == ("cpu",) else "cuda"
    jobs = []
    for seed in seeds:
        for variant in study.variants:
            repeated = variant.kind == "references" and seed != seeds[0]  # the same for every seed
            if variant.name in chosen and not repeated:
                flags = flags_of(variant, given.scale, device, dict(given.set))
                parse_command_line([f"--{name}={value}" for name, value in flags.items()])
                path = given.out / "runs" / f"{variant.name}-{seed}"
                jobs.append(Job(variant, seed, path, flags))
    return jobs


def prepare(job: Job) -> None:
    """Write what the worker reads. Raises UserError if the folder holds a run of other settings."""
    variant, path = job.variant, job.path / "spec.json"
    spec = {"variant": variant.name, "kind": variant.kind, "seed": job.seed}
    text = json.dumps(spec | {"flags": job.flags, "hooks": variant.hooks}, indent=1)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        advice = "choose another --out, or remove it"
        raise UserError(f"{job.path} holds a run with other settings: {advice}")
    write_text(path, text)


def start(job: Job, device: str, writers: int) -> None:
    """Begin, or go on with, a run in a process of its own: one thread on a CPU, one visible GPU."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    if device != "cpu":
        index = device.partition(":")[2] or "0"
        visible = parts(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        environment["CUDA_VISIBLE_DEVICES"] = visible[int(index)] if visible else index
    module = "minir1.experiments.studies.worker"
    command = [sys.executable, "-m", module, str(job.path), str(writers)]
    with (job.path / "log.txt").open("a", encoding="utf-8") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        job.process = subprocess.Popen(command, env=environment, **streams)
    job.device = device
    job.began = time.time()


def run(jobs: list[Job], devices: tuple[str, ...], workers: int, minutes: float) -> list[Job]:
    """Run what is not done, `workers` at a time spread over `devices`; returns what failed.

    When the time is over no run begins, and those under way are stopped; they go on next time.
    """
    deadline = time.time() + 60 * minutes
    waiting = [job for job in jobs if not job.done]
    running: list[Job] = []
    failed: list[Job] = []
    writers = max(1, (usable_cores() - workers) // workers)
    try:
        while (waiting or running) and time.time() < deadline:
            while waiting and len(running) < workers:
                busy = Counter(job.device for job in running)
                start(waiting[0], min(devices, key=lambda device: busy[device]), writers)
                running.append(waiting.pop(0))
            time.sleep(0.2)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if not job.done:
                    failed.append(job)
                left = len(waiting) + len(running)
                print(f"{job}: {outcome_of(job)} ({left} to go)", flush=True)
    finally:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()
    return failed


def outcome_of(job: Job) -> str:
    seconds = f"{time.time() - job.began:.0f} s on {job.device}"
    if not job.done:
        log = job.path / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"failed after {seconds}: {lines[-1] if lines else 'no word'} (see {log})"
    path = job.path / "result.json"
    result = read_object(path)
    with checked_read(path):
        words = [f"{s} {100 * result[s]['accuracy']:.1f}%" for s in ("base", "zero") if s in result]
    return ", ".join([*words, seconds])


def build_parser() -> argparse.ArgumentParser:
    parser, add = make_parser("study", "Experiments: variants x seeds.", allow_abbrev=False)
    add("name", metavar="NAME", nargs="?", help=f"one of {', '.join(STUDIES)}; none: list them")
    add("--seeds", type=seeds, help="such as 0,1,2 (default: the study's own)")
    add("--variants", type=parts, help="these only, such as normal,random")
    workers = "runs at a time (default: one a CPU core, three a GPU)"
    add("--workers", type=Value(whole, between(1, 1024)), help=workers)
    add("--devices", type=parts, help="cpu, or cuda:0,cuda:1 ... (default: all GPUs, or cpu)")
    scales = "smoke: seconds; cpu: small model; gpu: large model (default: cpu)"
    add("--scale", choices=tuple(SCALES), default="cpu", help=scales)
    minutes = Value(real, between(1e-6, 1e6))
    add("--minutes", type=minutes, default=1e6, help="stop in time; the same command goes on later")
    flag = {"type": setting, "action": "append", "default": [], "metavar": "NAME=VALUE"}
    add("--set", help="a flag of train_zero.py for all variants", **flag)
    add("--out", type=Path, help="where runs and figures go (default: results/studies/NAME)")
    add("--only-draw", action="store_true", help="run nothing, draw what is there")
    return parser


def setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} should read like rl.steps=50")
    return name, value


def complete(given: argparse.Namespace) -> None:
    """Fill in what was not said. Raises UserError for what cannot be."""
    if given.name not in STUDIES:
        raise UserError(f"unknown study {given.name!r}; there are {', '.join(STUDIES)}")
    cards = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    given.devices = devices = given.devices or cards or ("cpu",)
    if absent := [device for device in devices if device not in ("cpu", *cards)]:
        raise UserError(f"--devices: {absent[0]} is not here")
    if "cpu" in devices and len(devices) > 1:
        raise UserError("--devices: cpu stands alone")
    given.workers = given.workers or (usable_cores() if devices == ("cpu",) else 3 * len(devices))
    given.out = given.out or Path("results") / "studies" / given.name


def main(arguments: list[str]) -> int:
    """Exit status 0 if every run is done, 1 if some are missing or failed."""
    given = parse(build_parser(), arguments)
    if given.name is None:
        for name, study in STUDIES.items():
            seeds = ", ".join(map(str, study.seeds))
            print(f"{name:<12}{len(study.variants):>3} variants, seeds {seeds}: {study.about}")
        return 0
    complete(given)
    check_folder(given.out)
    name, out, jobs = given.name, given.out, plan(given)
    if not given.only_draw:
        for job in jobs:
            prepare(job)
    done = f"{len(jobs)} runs, {sum(job.done for job in jobs)} of them done"
    print(f"study {name}: {done}, {given.workers} at a time")
    failed, command = [], "python -m minir1 study " + " ".join(arguments)
    path = out / f"{name}.json"
    if not given.only_draw:
        failed = run(jobs, given.devices, given.workers, given.minutes)
    elif path.is_file():  # the command that ran them, not the one that draws them
        command = str(read_object(path).get("command", command))
    summary = figures.gather(name, given.scale, command, jobs)
    shown = figures
    if name in ("create", "confirm"):
        shown, summary["rows"] = verdicts, verdicts.decide(summary)
    write_text(path, json.dumps(summary, ensure_ascii=False) + "\n")
    for figure in shown.draw(summary, out):
        print(f"wrote {figure}")
    print(shown.table(summary))
    if summary["missing"]:
        print(f"missing: {'; '.join(summary['missing'])}")
        print(f"failed: {'; '.join(map(str, failed))}" if failed else "the same command goes on")
    return 1 if summary["missing"] else 0
