"""`minir1 failures`: common ways to break R1-Zero, each beside the run that is not broken.

    python -m minir1 failures                       what there is
    python -m minir1 failures truncation            broken and fixed, one seed: symptom, figure, fix as a diff
    python -m minir1 failures all --seeds 0,1,2 --workers 12 --out results/failures

Writes OUT/NAME.png, OUT/failures.json and OUT/failures.md; both files grow with every failure that is done.
"""

import argparse
import difflib
import inspect
import json
import os
import statistics
import textwrap
from pathlib import Path

from minir1.config import UserError
from minir1.console.errors import parse
from minir1.console.files import write_text
from minir1.experiments.failures.gallery import ACCURACY, FAILURES, LR, Failure, Symptom
from minir1.experiments.failures.plot import draw
from minir1.experiments.failures.runs import Job, run_arm
from minir1.fast.parallel import parallel_map
from minir1.report.plots import save

ARMS = ("broken", "fixed")

# ---------------------------------------------------------------- the fix as a diff


def fix(failure: Failure) -> str:
    """What turns the broken run into the fixed one: settings as flags, code as a diff of the functions that ran."""
    broken, fixed, lines = failure.broken, failure.fixed, []
    for name in fixed.settings:
        lines += [f"- --{name} {shown(broken.settings[name])}", f"+ --{name} {shown(fixed.settings[name])}"]
    for piece in ("base", "sampler", "feed"):
        one, other = getattr(broken, piece), getattr(fixed, piece)
        if one is not other:
            old, new = (inspect.getsource(f).replace(f.__name__, piece).splitlines() for f in (one, other))  # named alike
            diff = difflib.unified_diff(old, new, lineterm="", n=1)
            lines += [line for line in diff if not line.startswith(("---", "+++", "@@"))]
    return "\n".join(lines)


def shown(value) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


# ---------------------------------------------------------------- runs and their verdict


def jobs_of(name: str, failure: Failure, seeds: list[int], steps: int, prompts: int) -> list[Job]:
    """Broken and fixed, seed by seed."""
    settings = {"rl.lr": LR} | failure.settings
    return [
        Job(getattr(failure, side), settings, failure.fixed.settings, seed, steps, prompts, f"{name} {side} seed {seed}")
        for seed in seeds for side in ARMS
    ]  # fmt: skip


def compare(symptom: Symptom, results: list[dict]) -> dict[str, float]:
    """A figure of both arms over seeds: means, the mean difference (positive: worse when broken) and its standard error."""
    broken, fixed = ([r["last"][symptom.key] for r in results[i::2]] for i in range(2))
    worse = [symptom.sign * (b - f) for b, f in zip(broken, fixed)]
    error = statistics.stdev(worse) / len(worse) ** 0.5 if len(worse) > 1 else None
    return {"broken": statistics.mean(broken), "fixed": statistics.mean(fixed), "worse": statistics.mean(worse), "stderr": error}


def judge(failure: Failure, results: list[dict]) -> dict:
    """`costs`: at least 10 points of accuracy, two standard errors from 0; `shows`: the symptom beyond two standard errors.

    With one seed there is no standard error between runs: both are then None.
    """
    cost, symptom = compare(ACCURACY, results), compare(failure.symptom, results)
    alone = cost["stderr"] is None
    return {
        "seeds": len(results) // 2,
        "before": statistics.mean(r["last"]["before"] for r in results),
        "cost": cost,
        "symptom": {"key": failure.symptom.key, "words": failure.symptom.words, **symptom},
        "costs": None if alone else cost["worse"] >= 0.1 and cost["worse"] > 2 * cost["stderr"],
        "shows": None if alone else symptom["worse"] > 2 * symptom["stderr"],
        "seconds": round(statistics.mean(r["seconds"] for r in results), 1),
    }


def show(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}%" if percent else f"{value:.3g}"


def describe(name: str, failure: Failure, verdict: dict) -> str:
    """What a person reads in the terminal after a run."""
    rows = [("right answers", verdict["cost"], True)]
    if failure.symptom.key != "accuracy":
        rows.append((failure.symptom.words, verdict["symptom"], failure.symptom.percent))
    lines = [f"{name}: {failure.line}", "", *textwrap.wrap(failure.story, 100), f"Seen in: {failure.seen}.", ""]
    lines.append(f"{'':<58}{'broken':>9}{'fixed':>9}")
    lines += [f"{words:<58}{show(f['broken'], p):>9}{show(f['fixed'], p):>9}" for words, f, p in rows]
    lines.append(f"{'right answers before RL':<58}{show(verdict['before'], True):>9}")
    return "\n".join([*lines, "", "the fix:", fix(failure)])


# ---------------------------------------------------------------- the table


def table(found: dict[str, dict]) -> str:
    """Markdown: one row a failure, differences with their standard errors."""
    lines = [
        "| failure | right, broken | right, fixed | cost in points | symptom | broken | fixed | beyond |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, verdict in found.items():
        cost, symptom, percent = verdict["cost"], verdict["symptom"], FAILURES[name].symptom.percent
        error = "" if cost["stderr"] is None else f" ± {100 * cost['stderr']:.1f}"
        marks = [word for word, holds in (("10 points", verdict["costs"]), ("two standard errors", verdict["shows"])) if holds]
        beyond = "one seed" if verdict["costs"] is None else " and ".join(marks) or "neither"
        line = FAILURES[name].line.replace("|", r"\|")  # or the table would end there
        lines.append(
            f"| {name}: {line} | {show(cost['broken'], True)} | {show(cost['fixed'], True)} | "
            f"{100 * cost['worse']:.1f}{error} | {symptom['words']} | {show(symptom['broken'], percent)} | "
            f"{show(symptom['fixed'], percent)} | {beyond} |"
        )
    return "\n".join(lines) + "\n"


def write(out: Path, found: dict[str, dict], given: argparse.Namespace) -> None:
    command = f"python -m minir1 failures {' '.join(given.names)} --seeds {shown(tuple(map(str, given.seeds)))} "
    command += f"--steps {given.steps} --prompts {given.prompts} --workers {given.workers}"
    note = {"command": command, "machine": f"{os.cpu_count()} CPU cores, one thread a run"}
    write_text(out / "failures.json", json.dumps(note | {"failures": found}, indent=1, ensure_ascii=False))
    size = f"{given.steps} steps of {given.prompts} puzzles x 8, each arm from the shipped `cpu` base"
    head = f"`{command}`, {note['machine']}; {size}.\n"
    rules = "Cost: held-out puzzles, mean over seeds ± one standard error of the paired differences.\n"
    write_text(out / "failures.md", f"# What the failures cost\n\n{head}{rules}\n{table(found)}")


# ---------------------------------------------------------------- the command


def listing() -> str:
    lines = [f"  {name:<16}{failure.line}" for name, failure in FAILURES.items()]
    return "\n".join(["failures, each run beside its fix:", "", *lines, "", "python -m minir1 failures NAME, or all"])


def build_parser() -> argparse.ArgumentParser:
    about = "Break R1-Zero in known ways, beside the run that is not broken."
    parser = argparse.ArgumentParser("minir1 failures", description=about)
    parser.add_argument("names", metavar="NAME", nargs="*", help="failures to run, or all; without a name they are listed")
    parser.add_argument("--seeds", "--seed", type=_numbers, default=[0], metavar="N,N", help="seeds (0)")
    parser.add_argument("--steps", type=int, default=30, metavar="N", help="RL steps of each run (30)")
    parser.add_argument("--prompts", type=int, default=24, metavar="N", help="puzzles a step, an even number (24)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="runs at a time, one thread each (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/failures"), metavar="DIR", help="where figures and numbers go")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: list[str]) -> None:
    given = parse(build_parser(), arguments)
    if not given.names:
        print(listing())
        return
    names = list(FAILURES) if given.names == ["all"] else given.names
    if unknown := [name for name in names if name not in FAILURES]:
        raise UserError(f"unknown failure {unknown[0]!r}; there are {', '.join(FAILURES)}, or all")
    if given.steps < 1 or given.prompts < 2 or given.prompts % 2 or given.workers < 1:
        raise UserError("--steps and --workers are at least 1, --prompts is an even number")
    jobs = {name: jobs_of(name, FAILURES[name], given.seeds, given.steps, given.prompts) for name in names}
    results, found = parallel_map(run_arm, ((job,) for name in names for job in jobs[name]), given.workers), {}
    for name in names:
        mine = [next(results) for _ in jobs[name]]
        found[name] = judge(FAILURES[name], mine)
        figure = save(draw(FAILURES[name], mine), given.out / f"{name}.png")
        write(given.out, found, given)
        print(f"\n{describe(name, FAILURES[name], found[name])}\n\nfigure: {figure}\n", flush=True)
    results.close()
