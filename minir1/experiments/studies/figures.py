"""What a study found: one JSON file, a table, and pictures with a band over the seeds."""

import textwrap
import time
from pathlib import Path
from statistics import mean

import numpy as np

from minir1.console.files import checked_read, read_object
from minir1.experiments.studies.plans import STUDIES
from minir1.measure.diagnosis import column, phase
from minir1.report import drawing
from minir1.report.reading import read_metrics
from minir1.report.words import entry
from minir1.report.words import table as columns

CURVES = ("accuracy", "length", "attempts", "reflections_100", "checks", "hit_rate", "check_right")
CURVES += ("truncated", "thinking")
FINAL = (*CURVES, "stderr", "reflections", "right_if_reflecting", "repeated", "wrong_steps", "n")
PANELS = (  # metric, title, in percent
    ("accuracy", "right answers, validation", True),
    ("length", "response length (tokens)", False),
    ("attempts", "attempts a response", False),
    ("reflections_100", "reflection words per 100 tokens", False),
)


def gather(name: str, scale: str, command: str, jobs: list) -> dict:
    """Everything a study found, as plain data."""
    summary = {"study": name, "about": STUDIES[name].about, "scale": scale, "command": command}
    summary["date"] = time.strftime("%Y-%m-%d")
    summary["missing"] = [str(job) for job in jobs if not job.done]
    variants: dict[str, dict] = {}
    for job in [job for job in jobs if job.done]:
        spec, result = (read_object(job.path / file) for file in ("spec.json", "result.json"))
        variant = variants.setdefault(job.variant.name, {"about": job.variant.about})
        with checked_read(job.path):
            variant |= {"flags": spec["flags"], "hooks": spec["hooks"]}
            seeds = variant.setdefault("seeds", {})
            if spec["kind"] == "references":
                variant["references"] = result
            elif "cells" in result:
                seeds[str(job.seed)] = result["cells"]
            else:
                seeds[str(job.seed)] = run_of(result) | {"curves": curves_of(job.path)}
    return summary | {"variants": variants}


def run_of(result: dict) -> dict:
    """The figures of a run that a study is about."""
    run = {}
    for side in ("base", "zero"):
        test = result[side].items()
        run[side] = {k: v for k, v in test if k in FINAL or k.startswith("accuracy_")}
    run["more_numbers"] = {key: test["accuracy"] for key, test in result["more_numbers"].items()}
    return run | {key: result[key] for key in ("corpus", "seconds", "device")}


def curves_of(run: Path) -> dict[str, list]:
    """Validation of the phase that the run is about; training is in the run's own metrics."""
    rows, curves = read_metrics(run), {}
    name = "validate_answer_only" if phase(rows, "answer_only") else "validate"
    for metric in CURVES:
        pairs = [list(pair) for pair in zip(*column(phase(rows, name), metric))]
        if pairs:
            curves[f"validate {metric}"] = pairs
    return curves


def over_seeds(variant: dict, side: str, metric: str) -> list[float]:
    return [seed[side][metric] for seed in variant["seeds"].values() if metric in seed[side]]


def references_of(summary: dict) -> dict:
    """What no training gives, by name."""
    references = {}
    for variant in summary["variants"].values():
        references |= variant.get("references", {})
    return references


def spread_of(values: list[float], percent: bool) -> str:
    """Mean, and least to most where there are several.

    >>> spread_of([0.5, 0.6], True), spread_of([20.0], False)
    ('55.0% (50.0 to 60.0)', '20.0')
    """
    scale, unit = (100, "%") if percent else (1, "")
    text = f"{scale * mean(values):.1f}{unit}"
    if len(values) > 1:
        text += f" ({scale * min(values):.1f} to {scale * max(values):.1f})"
    return text


def change_of(variant: dict, metric: str, percent: bool) -> str:
    """A figure before and after training; "" where it was not measured."""
    before, after = (over_seeds(variant, side, metric) for side in ("base", "zero"))
    if not (before and after):
        return ""
    return f"{spread_of([mean(before)], percent)} -> {spread_of(after, percent)}"


def table(summary: dict) -> str:
    """A line a variant: accuracy on the test, length, attempts, reflection words per 100 tokens."""
    rows = []
    for name, variant in summary["variants"].items():
        if variant["seeds"]:
            cells = [change_of(variant, metric, percent) for metric, _, percent in PANELS]
            rows.append((name, str(len(variant["seeds"])), *cells))
    for key, value in references_of(summary).items():
        if "accuracy" in entry(value):
            rows.append((f"({key})", "", spread_of([entry(value)["accuracy"]], True), "", "", ""))
    head = ("", "seeds", "right", "tokens", "attempts", "reflections/100")
    return columns(head, rows) if rows else "nothing is done yet"


COLOURS = (drawing.INK, drawing.BLUE, drawing.RED, drawing.GREEN, drawing.PURPLE, drawing.ORANGE)
COLOURS += (drawing.SKY, drawing.GREY)
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
REFERENCES = {"blind_tokens": (1, 1.5), "lookahead": (4, 2), "forced_base": (6, 2, 1, 2)}


def band(variant: dict, curve: str) -> tuple[list, np.ndarray]:
    """(steps, values `[seeds, steps]`) where every seed has been measured."""
    runs = [dict(s["curves"][curve]) for s in variant["seeds"].values() if curve in s["curves"]]
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    return steps, np.array([[run[step] for step in steps] for run in runs])


def draw(summary: dict, out: Path) -> list[Path]:
    """NAME.png: curves over RL steps, a band from least to most over the seeds."""
    trained = {name: v for name, v in summary["variants"].items() if v["seeds"]}
    if not trained:
        return []
    figure, grid = drawing.figure_of(2, 2, (12, 8))
    references = references_of(summary)
    for key, dashes in REFERENCES.items():
        if key in references:
            look = {"color": drawing.GREY, "linewidth": 1.1, "dashes": dashes}
            grid[0].axhline(references[key]["accuracy"], label=key, **look)
    for axes, (metric, title, percent) in zip(grid, PANELS):
        drawing.dress(axes, title, percent, "RL step")
        for index, (name, variant) in enumerate(trained.items()):
            colour, dash = COLOURS[index % 8], DASHES[index // 8 % 3]
            steps, values = band(variant, f"validate {metric}")
            if steps:
                low, high = values.min(0), values.max(0)
                axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
                look = {"color": colour, "linestyle": dash, "linewidth": 1.8}
                axes.plot(steps, values.mean(0), label=name, **look)
        axes.set_ylim(0)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8.5, frameon=False)
    seeds = sorted({seed for variant in trained.values() for seed in variant["seeds"]}, key=int)
    about = textwrap.fill(f"{summary['study']}: {summary['about']}", 160)
    note = "; grey: no training" if references else ""
    title = f"{about}\nseeds {', '.join(seeds)}, {summary['scale']} scale{note}"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return [drawing.save(figure, out / f"{summary['study']}.png")]
