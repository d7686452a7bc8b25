"""The figure of a failure: accuracy, and the curve that tells, broken beside fixed."""

import textwrap

from minir1.experiments.failures.gallery import Failure
from minir1.report.plots import GREEN, GREY, INK, RED, smooth

LOOKS = {"broken": (RED, "--"), "fixed": (GREEN, "-")}


def draw(failure: Failure, results: list[dict]):
    """`results`: broken and fixed in turn, seed by seed. Thin: each run; thick: their mean."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4.4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    figure.suptitle(failure.line[0].upper() + failure.line[1:], x=0.01, ha="left", fontsize=12, color=INK)
    for index, (side, (colour, style)) in enumerate(LOOKS.items()):
        mine = results[index::2]
        _curves(left, [_column(r["exams"], "accuracy") for r in mine], colour, style, side, "o")
        _curves(right, [_column(r["rows"], failure.curve) for r in mine], colour, style, side)
    _dress(left, "Right answers to held-out puzzles")
    _dress(right, f"{failure.curve}, in practice")
    left.set_ylim(0, max(0.2, left.get_ylim()[1]))
    right.set_ylim(bottom=0)
    left.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    figure.supxlabel(textwrap.fill(failure.story, 150), x=0.01, ha="left", fontsize=8.5, color=GREY)
    return figure


def _column(rows: list[dict], name: str) -> tuple[list, list]:
    kept = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in kept], [value for _, value in kept]


def _curves(axes, curves: list[tuple[list, list]], colour: str, style: str, label: str, marker: str | None = None) -> None:
    for steps, values in curves:
        axes.plot(steps, values, color=colour, alpha=0.35, linewidth=0.9, linestyle=style)
    steps = curves[0][0]
    if steps and all(found == steps for found, _ in curves):
        mean = [sum(column) / len(column) for column in zip(*(values for _, values in curves))]
        axes.plot(steps, mean if marker else smooth(mean), color=colour, linewidth=2.2, linestyle=style, marker=marker, label=label)


def _dress(axes, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel("RL step", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
