"""What a study found: one JSON file, a table, and pictures with a band over the seeds."""

import json
import textwrap
import time
from pathlib import Path
from statistics import mean

import numpy as np

from minir1.experiments.studies.plans import STUDIES
from minir1.report import plots
from minir1.report.command import read_metrics
from minir1.report.words import column, phase
from minir1.report.words import table as columns

CURVES = ("accuracy", "length", "attempts", "reflections_100", "checks", "hit_rate", "check_right", "truncated", "thinking")
FINAL = ("accuracy", "stderr", "length", "attempts", "hit_rate", "checks", "check_right", "reflections", "reflections_100",
         "right_if_reflecting", "repeated", "wrong_steps", "truncated", "thinking", "n")  # fmt: skip

# ---------------------------------------------------------------- gathering


def curves_of(run: Path) -> dict[str, list]:
    """Validation, of the phase that the run is about; training is in the run's own metrics."""
    rows, found = read_metrics(run), {}
    exam = phase(rows, "validate_answer_only" if phase(rows, "answer_only") else "validate")
    for metric in CURVES:
        steps, values = column(exam, metric)
        if steps:
            found[f"validate {metric}"] = [list(pair) for pair in zip(steps, values)]
    return found


def kept(found: dict) -> dict:
    """The figures of a test that a study is about."""
    return {k: v for k, v in found.items() if k in FINAL or k.startswith("accuracy_")}


def gather(name: str, scale: str, command: str, done: list, missing: list[str]) -> dict:
    """Everything a study found, as plain data. `done`: finished jobs."""
    variants: dict[str, dict] = {}
    for job in done:
        result = json.loads((job.path / "result.json").read_text(encoding="utf-8"))
        known = {"about": job.variant.about, "flags": job.flags, "hooks": job.variant.hooks, "seeds": {}}
        found = variants.setdefault(job.variant.name, known)
        if job.variant.kind == "references":
            found["references"] = result
            continue
        found["seeds"][str(job.seed)] = {
            **{side: kept(result[side]) for side in ("base", "zero")},
            "more_numbers": {k: v["accuracy"] for k, v in result["more_numbers"].items()},
            "corpus": result["corpus"],
            "seconds": result["seconds"],
            "device": result["device"],
            "curves": curves_of(job.path),
        }
    about = STUDIES[name].about
    head = {"study": name, "about": about, "scale": scale, "command": command, "date": time.strftime("%Y-%m-%d")}
    return head | {"missing": missing, "variants": variants}


def over_seeds(variant: dict, side: str, metric: str) -> list[float]:
    return [seed[side][metric] for seed in variant["seeds"].values() if metric in seed[side]]


# ---------------------------------------------------------------- the table


def spread_of(values: list[float], percent: bool) -> str:
    """Mean, and least to most where there are several.

    >>> spread_of([0.5, 0.6], True), spread_of([20.0], False), spread_of([], True)
    ('55.0% (50.0 to 60.0)', '20.0', '')
    """
    scale, unit = (100, "%") if percent else (1, "")
    if not values:
        return ""
    band = f" ({scale * min(values):.1f} to {scale * max(values):.1f})" if len(values) > 1 else ""
    return f"{scale * mean(values):.1f}{unit}{band}"


def table(summary: dict) -> str:
    """A line a variant: test accuracy, length, attempts, reflection words per 100 tokens, before and after."""
    rows = []
    for name, variant in summary["variants"].items():
        cells = [str(len(variant["seeds"]))]
        for metric, percent in (("accuracy", True), ("length", False), ("attempts", False), ("reflections_100", False)):
            before, after = (spread_of(over_seeds(variant, side, metric), percent) for side in ("base", "zero"))
            cells.append(f"{before.split(' (')[0]} -> {after}" if before and after else "")
        if variant["seeds"]:
            rows.append((name, *cells))
    for variant in summary["variants"].values():
        for key, found in variant.get("references", {}).items():
            accuracy = found if isinstance(found, float) else found.get("accuracy") if isinstance(found, dict) else None
            if accuracy is not None:
                rows.append((f"({key})", "", spread_of([accuracy], True)))
    width = max(map(len, rows), default=0)
    head = ("", "seeds", "right", "tokens", "attempts", "reflections/100")
    return columns(head, [(*row, *[""] * (len(head) - len(row))) for row in rows]) if width else "nothing is done yet"


# ---------------------------------------------------------------- pictures

PANELS = (("accuracy", "right answers, validation", True), ("length", "response length (tokens)", False),
          ("attempts", "attempts a response", False), ("reflections_100", "reflection words per 100 tokens", False))  # fmt: skip
COLOURS = (plots.INK, plots.BLUE, plots.RED, plots.GREEN, plots.PURPLE, plots.ORANGE, plots.SKY, plots.GREY)


def look(index: int) -> dict:
    """A colour and a dash for each variant: eight colours, then the same dashed."""
    return {"color": COLOURS[index % 8], "linestyle": ("-", (0, (4, 1.5)), (0, (1, 1.2)))[index // 8 % 3]}


def band(variant: dict, curve: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(steps, values `[seeds, steps]`) where every seed has been measured; None without data."""
    found = [dict(map(tuple, seed["curves"][curve])) for seed in variant["seeds"].values() if curve in seed["curves"]]
    steps = sorted(set.intersection(*(set(f) for f in found))) if found else []
    return (np.array(steps), np.array([[f[s] for s in steps] for f in found])) if steps else None


def draw(summary: dict, out: Path) -> list[Path]:
    """NAME.png: curves over RL steps, a band from least to most over the seeds; and NAME-dose.png where doses were given."""
    trained = {name: v for name, v in summary["variants"].items() if v["seeds"]}
    if not trained:
        return []
    figure, grid = plots._figure(2, 2, (12, 8))
    lines = _reference_lines(grid[0], summary)
    for axes, (metric, title, percent) in zip(grid, PANELS):
        plots._dress(axes, title, percent, "RL step")
        for i, (name, variant) in enumerate(trained.items()):
            found = band(variant, f"validate {metric}")
            if found is not None:
                steps, values = found
                axes.fill_between(steps, values.min(0), values.max(0), color=look(i)["color"], alpha=0.13, linewidth=0)
                axes.plot(steps, values.mean(0), linewidth=1.8, label=name, **look(i))
        axes.set_ylim(0)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8.5, frameon=False)
    seeds = sorted({seed for v in trained.values() for seed in v["seeds"]}, key=int)
    about = textwrap.fill(f"{summary['study']}: {summary['about']}", 160)
    title = f"{about}\nseeds {', '.join(seeds)}, {summary['scale']} scale{lines}"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    written = [plots.save(figure, out / f"{summary['study']}.png")]
    dose = dose_plot(trained)
    return written + ([plots.save(dose, out / f"{summary['study']}-dose.png")] if dose else [])


def _reference_lines(axes, summary: dict) -> str:
    found = {k: v for variant in summary["variants"].values() for k, v in variant.get("references", {}).items()}
    for i, key in enumerate(k for k in ("blind_tokens", "lookahead", "forced_base") if k in found):
        axes.axhline(found[key]["accuracy"], color=plots.GREY, linewidth=1.1, dashes=((1, 1.5), (4, 2), (6, 2, 1, 2))[i], label=key)
    return "; grey: no training" if found else ""


def dose_plot(trained: dict):
    """Accuracy and growth over the measured share of Countdown documents with more than one attempt. None without doses."""
    doses = [(v["seeds"], name) for name, v in trained.items() if "dose" in v["hooks"].get("corpus", {})]
    if len(doses) < 2:
        return None
    figure, grid = plots._figure(1, 3, (12, 4))
    for axes, (metric, title, percent) in zip(grid, PANELS):
        title = title.replace("validation", "test")
        plots._dress(axes, title, percent, "Countdown documents with more than one attempt (%)")
        for side, colour, text in (("base", plots.GREY, "base"), ("zero", plots.BLUE, "after RL")):
            points = sorted((100 * mean(s["corpus"]["dose"] for s in seeds.values()), [s[side][metric] for s in seeds.values()])
                            for seeds, _ in doses)  # fmt: skip
            x, low, middle, high = zip(*((d, min(v), mean(v), max(v)) for d, v in points))
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(x, middle, color=colour, marker="o", markersize=4, label=text)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlim(left=-0.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylim(0)
    grid[0].legend(fontsize=9, frameon=False)
    return figure
