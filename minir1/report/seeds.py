"""Several runs in one picture: a line per run, their mean, and the band between the least and the
most.
"""

import numpy as np

from minir1.measure.diagnosis import column, phase
from minir1.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dress,
    figure_of,
    smooth,
)
from minir1.report.fonts import families, readable

RUNS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK, GREY)


def seeds_plot(runs: list[list[dict]], names: list[str] | None = None):
    """Accuracy and length of several runs (their rows): a line per run, their mean, the band from
    least to most.
    """
    named = [
        (rows, name)
        for rows, name in zip(runs, names or [""] * len(runs))
        if phase(rows, "rl") or phase(rows, "validate")
    ]
    runs = [rows for rows, _ in named]
    validated = all(len(column(phase(rows, "validate"), "accuracy")[1]) > 1 for rows in runs)
    accuracy = [column(phase(rows, "validate" if validated else "rl"), "accuracy") for rows in runs]
    length = [column(phase(rows, "rl"), "length") for rows in runs]
    if not any(y for _, y in accuracy + length):
        return None
    figure, grid = figure_of(1, 2, (10, 4.2))
    titles = (
        f"Right answers, {'validation' if validated else 'training batches'}",
        "Response length (tokens)",
    )
    for axes, title, curves, percent in zip(grid, titles, (accuracy, length), (True, False)):
        dress(axes, f"{title}, {len(runs)} run" + "s" * (len(runs) != 1), percent, "RL step")
        _band(axes, curves, percent, smoothing=not (percent and validated))
    if any(name for _, name in named):
        _name_runs(grid[1], [name for _, name in named])
    return figure


def _name_runs(axes, names: list[str]) -> None:
    """Whose line is whose, in any script."""
    shown = [
        (RUNS[i % len(RUNS)], readable(name if len(name) < 29 else f"{name[:27]}…"))
        for i, name in enumerate(names)
    ][:10]
    handles = [
        axes.plot([], [], color=colour, linewidth=1.6, label=f"{text} ")[0]
        for colour, text in shown
    ]
    font = {"family": families(), "size": 8.5}
    legend = axes.legend(
        handles=handles, frameon=False, prop=font, loc="lower right", handlelength=1.4
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _band(axes, curves: list[tuple[list, list]], percent: bool, smoothing: bool) -> None:
    curves = [(x, smooth(y) if smoothing else y) for x, y in curves]
    for i, (x, y) in enumerate(curves):
        axes.plot(x, y, color=RUNS[i % len(RUNS)], linewidth=1.1)
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        return
    steps = np.array(sorted({step for x, _ in curves for step in x}))
    table = np.array([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves])
    shared = ~np.isnan(table).any(0)  # where every run has got to
    steps, table = steps[shared], table[:, shared]
    axes.fill_between(steps, table.min(0), table.max(0), color=GREY, alpha=0.2, linewidth=0)
    axes.plot(steps, table.mean(0), color=INK, linewidth=2.4)
    axes.set_ylim(0, 1.08 * max(max(y) for _, y in curves) or 1)
    if len(steps):
        low, mean, high = (f(table[:, -1]) for f in (np.min, np.mean, np.max))
        show = (lambda v: f"{100 * v:.1f}%") if percent else (lambda v: f"{v:.0f}")
        axes.annotate(f"mean {show(mean)}\n({show(low)} to {show(high)})", (1.01, mean), xycoords=("axes fraction", "data"),
                      color=INK, fontsize=9, va="center", annotation_clip=False)  # fmt: skip
