"""`minir1 failures`: common ways to break R1-Zero, each beside the run that is not broken.

    python -m minir1 failures                       what there is
    python -m minir1 failures truncation            broken and fixed: symptom, figure, fix as a diff
    python -m minir1 failures all --seeds 0,1,2 --workers 12 --out results/failures
    python -m minir1 failures --blind 3             three of them, unnamed: diagnose, then look

Writes OUT/NAME.png, OUT/failures.json and OUT/failures.md; both files grow with every failure.
Blind, it writes OUT/case-1.png and so on, and nothing else.
"""

import argparse
import difflib
import inspect
import statistics
import sys
import textwrap
from pathlib import Path
from random import Random

from minir1.config import UserError, between
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, write_json, write_text
from minir1.console.flags import Value, count, seeds, whole
from minir1.console.tables import markdown
from minir1.experiments.failures.gallery import ACCURACY, FAILURES, LR, Failure, Symptom
from minir1.experiments.failures.plot import draw
from minir1.experiments.failures.runs import Job, run_arm
from minir1.fast.parallel import parallel_map, usable_cores
from minir1.report.drawing import save


def fix(failure: Failure) -> str:
    """What turns broken into fixed: settings as flags, code as a diff of the functions that ran."""
    broken, fixed, lines = failure.broken, failure.fixed, []
    for name, value in fixed.settings.items():
        lines.append(f"- --{name} {shown(broken.settings[name])}")
        lines.append(f"+ --{name} {shown(value)}")
    for piece in ("base", "sampler", "feed"):
        functions = [getattr(arm, piece) for arm in (broken, fixed)]
        if functions[0] is not functions[1]:
            old, new = (source(function, piece) for function in functions)
            diff = difflib.unified_diff(old, new, lineterm="", n=1)
            lines += [line for line in diff if not line.startswith(("---", "+++", "@@"))]
    return "\n".join(lines)


def source(function, name: str) -> list[str]:
    """The lines of a function, as if it were called `name`."""
    return inspect.getsource(function).replace(function.__name__, name).splitlines()


def shown(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def jobs_of(label: str, failure: Failure, seeds, steps: int, prompts: int) -> list[Job]:
    """Broken and fixed, seed by seed. The label stands before each line of progress."""
    settings, exam = {"rl.lr": LR} | failure.settings, failure.fixed.settings
    jobs = []
    for seed in seeds:
        for side in ("broken", "fixed"):
            said = f"{label} {side} seed {seed}"
            jobs.append(Job(getattr(failure, side), settings, exam, seed, steps, prompts, said))
    return jobs


def compare(symptom: Symptom, results: list[dict]) -> dict[str, float]:
    """A figure of both arms: means over seeds, and the mean difference with its standard error.

    `worse`, the difference, is positive if the figure is worse when broken. All None if a run
    lacks the figure.
    """
    figures = [run["last"].get(symptom.key) for run in results]
    if None in figures:  # a run that found nothing to train on has no gap, no loss
        return dict.fromkeys(("broken", "fixed", "worse", "stderr"))
    broken, fixed = figures[::2], figures[1::2]
    worse = [symptom.sign * (b - f) for b, f in zip(broken, fixed)]
    means = {"broken": broken, "fixed": fixed, "worse": worse}
    error = statistics.stdev(worse) / len(worse) ** 0.5 if len(worse) > 1 else None
    return {name: statistics.mean(values) for name, values in means.items()} | {"stderr": error}


def judge(failure: Failure, results: list[dict]) -> dict:
    """`costs`: at least 10 points of accuracy, two standard errors from 0.

    `shows`: the symptom beyond two standard errors. With one seed there is no standard error
    between runs: both are then None.
    """
    cost = compare(ACCURACY, results)
    symptom = compare(failure.symptom, results)
    costs = shows = None
    if cost["stderr"] is not None:
        costs = cost["worse"] >= 0.1 and cost["worse"] > 2 * cost["stderr"]
        shows = symptom["worse"] is not None and symptom["worse"] > 2 * symptom["stderr"]
    return {
        "seeds": len(results) // 2,
        "before": statistics.mean(run["last"]["before"] for run in results),
        "cost": cost,
        "symptom": {"key": failure.symptom.key, "words": failure.symptom.words, **symptom},
        "costs": costs,
        "shows": shows,
        "seconds": round(statistics.mean(run["seconds"] for run in results), 1),
    }


def show(value: float | None, percent: bool) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}%" if percent else f"{value:.3g}"


def describe(name: str, failure: Failure, diagnosis: dict) -> str:
    """What a person reads in the terminal after a run."""
    lines = [f"{name}: {failure.line}", "", *textwrap.wrap(failure.story, 100)]
    lines += [f"Seen in: {failure.seen}.", "", f"{'':<58}{'broken':>9}{'fixed':>9}"]
    rows = {"cost": ACCURACY}
    if failure.symptom != ACCURACY:
        rows["symptom"] = failure.symptom
    for key, symptom in rows.items():
        broken, fixed = (show(diagnosis[key][s], symptom.percent) for s in ("broken", "fixed"))
        lines.append(f"{symptom.words:<58}{broken:>9}{fixed:>9}")
    lines.append(f"{'right answers before RL':<58}{show(diagnosis['before'], True):>9}")
    head = "the other choice:" if failure.choice else "the fix:"
    return "\n".join([*lines, "", head, fix(failure)])


def table(diagnoses: dict[str, dict]) -> str:
    """Markdown: one row a failure, differences with their standard errors."""
    head = ["failure", "right, broken", "right, fixed", "cost in points"]
    head += ["symptom", "broken", "fixed", "beyond"]
    rows = []
    for name, diagnosis in diagnoses.items():
        cost, symptom = diagnosis["cost"], diagnosis["symptom"]
        percent = FAILURES[name].symptom.percent
        cells = [f"{name}: {FAILURES[name].line}".replace("|", r"\|")]  # or the table ends there
        cells += [show(cost[side], True) for side in ("broken", "fixed")]
        error = "" if cost["stderr"] is None else f" ± {100 * cost['stderr']:.1f}"
        cells += [f"{100 * cost['worse']:.1f}{error}", symptom["words"]]
        cells += [show(symptom[side], percent) for side in ("broken", "fixed")]
        marks = {"10 points": diagnosis["costs"], "two standard errors": diagnosis["shows"]}
        beyond = " and ".join(mark for mark, holds in marks.items() if holds) or "neither"
        rows.append([*cells, "one seed" if diagnosis["costs"] is None else beyond])
    return f"{markdown(head, rows)}\n"


def write(out: Path, diagnoses: dict[str, dict], given: argparse.Namespace) -> None:
    command = f"python -m minir1 failures {' '.join(given.names)} --seeds {shown(given.seeds)}"
    command += f" --steps {given.steps} --prompts {given.prompts} --workers {given.workers}"
    note = {"command": command, "machine": f"{usable_cores()} CPU cores, one thread a run"}
    write_json(out / "failures.json", note | {"failures": diagnoses})
    size = f"{given.steps} steps of {given.prompts} puzzles x 8, each arm from the shipped `cpu`"
    head = f"# What the failures cost\n\n`{command}`, {note['machine']}; {size} base.\n"
    rule = "Cost: held-out puzzles, mean over seeds ± one standard error of the paired differences."
    write_text(out / "failures.md", f"{head}{rule}\n\n{table(diagnoses)}")


def build_parser() -> argparse.ArgumentParser:
    about = "Break R1-Zero in known ways, beside the run that is not broken."
    parser, add = make_parser("failures", about)
    number = {"type": count, "metavar": "N"}
    names = "failures to run, or all; without a name they are listed"
    add("names", metavar="NAME", nargs="*", help=names)
    blind = "N unnamed failures (all), of the given or of any; the seeds draw them; answers last"
    add("--blind", nargs="?", const=len(FAILURES), help=blind, **number)
    add("--seeds", "--seed", type=seeds, default=(0,), metavar="N,N", help="seeds (0)")
    add("--steps", default=30, help="RL steps of each run (30)", **number)
    add("--prompts", default=24, help="puzzles a step, an even number (24)", **number)
    number["type"] = Value(whole, between(1, 1024))
    add("--workers", default=2, help="runs at a time, one thread each (2)", **number)
    out = {"type": Path, "default": Path("runs/failures"), "metavar": "DIR"}
    add("--out", help="where figures and numbers go", **out)
    return parser


def main(arguments: list[str]) -> None:
    given = parse(build_parser(), arguments)
    if not given.names and not given.blind:
        print("failures, each run beside its fix:\n")
        for name, failure in FAILURES.items():
            print(f"  {name:<16}{failure.line}")
        print("\npython -m minir1 failures NAME, or all")
        return
    names = given.names if given.names not in ([], ["all"]) else list(FAILURES)
    if unknown := [name for name in names if name not in FAILURES]:
        raise UserError(f"unknown failure {unknown[0]!r}; there are {', '.join(FAILURES)}, or all")
    if given.prompts % 2:
        raise UserError("--prompts is an even number")
    check_folder(given.out)
    if given.blind:
        names = draw_cases(names, given)
    run_all(names, given)


def draw_cases(names: list[str], given: argparse.Namespace) -> list[str]:
    """At most `given.blind` of the failures, in an order that the seeds decide."""
    cases = [name for name in names if not FAILURES[name].choice]
    Random(str(given.seeds)).shuffle(cases)
    return cases[: given.blind]


def run_all(names: list[str], given: argparse.Namespace) -> None:
    """Run, draw and judge each; blind, what names a failure comes when all have been shown."""
    labels = [f"case-{i + 1}" if given.blind else name for i, name in enumerate(names)]
    size = (given.seeds, given.steps, given.prompts)
    pairs = list(zip(labels, names))
    jobs = [(job,) for label, name in pairs for job in jobs_of(label, FAILURES[name], *size)]
    runs, diagnoses, answers = parallel_map(run_arm, jobs, given.workers), {}, []
    for label, name in pairs:
        failure = FAILURES[name]
        results = [next(runs) for _ in range(2 * len(given.seeds))]
        diagnoses[name] = judge(failure, results)
        title = f"{label}: what is broken?" if given.blind else ""
        figure = save(draw(failure, results, title), given.out / f"{label}.png")
        text = describe(name, failure, diagnoses[name])
        if given.blind:
            answers.append(f"{label} was {text}")
            print(f"\n{label}: {figure}", flush=True)
            continue
        write(given.out, diagnoses, given)
        print(f"\n{text}\n\nfigure: {figure}\n", flush=True)
    runs.close()
    if answers and sys.stdin.isatty():
        input("\nWrite down a diagnosis for each case; Enter shows the answers. ")
    for answer in answers:
        print(f"\n{answer}\n")
