"""Several runs in one picture: a line per run, their mean, the band from least to most."""

import numpy as np

from minir1.measure.diagnosis import column, phase
from minir1.report import drawing
from minir1.report.drawing import GREY, INK, SEVERAL
from minir1.report.fonts import families, readable


def seeds_plot(runs: list[list[dict]], names: list[str] | None = None):
    """Accuracy and length of several runs (their rows): each run, their mean, least and most."""
    names = names or [""] * len(runs)
    pairs = [p for p in zip(runs, names) if phase(p[0], "rl") or phase(p[0], "validate")]
    runs, names = [rows for rows, _ in pairs], [name for _, name in pairs]
    validations = [column(phase(rows, "validate"), "accuracy") for rows in runs]
    validated = all(len(y) > 1 for _, y in validations)
    batches = [column(phase(rows, "rl"), "accuracy") for rows in runs]
    accuracy = validations if validated else batches
    length = [column(phase(rows, "rl"), "length") for rows in runs]
    if not any(y for _, y in accuracy + length):
        return None
    figure, (left, right) = drawing.figure_of(1, 2, (10, 4.2))
    what = "validation" if validated else "training batches"
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    drawing.dress(left, f"Right answers, {what}, {count}", True, "RL step")
    drawing.dress(right, f"Response length (tokens), {count}", False, "RL step")
    _band(left, accuracy, "{:.1%}", smoothing=not validated)
    _band(right, length, "{:.0f}", smoothing=True)
    if any(names):
        _name_runs(right, names)
    return figure


def _name_runs(axes, names: list[str]) -> None:
    """Whose line is whose, in any script."""
    handles = []
    for i, name in enumerate(names[:10]):
        label = readable(name if len(name) < 29 else f"{name[:27]}…") + " "
        handles += axes.plot([], [], color=SEVERAL[i % len(SEVERAL)], linewidth=1.6, label=label)
    font = {"family": families(), "size": 8.5}
    look = {"frameon": False, "prop": font, "handlelength": 1.4}
    legend = axes.legend(handles=handles, loc="lower right", **look)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _band(axes, curves: list[tuple[list, list]], form: str, smoothing: bool) -> None:
    curves = [(x, drawing.smooth(y) if smoothing else y) for x, y in curves]
    for i, (x, y) in enumerate(curves):
        axes.plot(x, y, color=SEVERAL[i % len(SEVERAL)], linewidth=1.1)
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        return
    steps = np.array(sorted({step for x, _ in curves for step in x}))
    table = np.array([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves])
    shared = ~np.isnan(table).any(0)  # where every run has got to
    steps, table = steps[shared], table[:, shared]
    mean, low, high = table.mean(0), table.min(0), table.max(0)
    axes.fill_between(steps, low, high, color=GREY, alpha=0.2, linewidth=0)
    axes.plot(steps, mean, color=INK, linewidth=2.4)
    axes.set_ylim(0, 1.08 * max(max(y) for _, y in curves) or 1)
    if len(steps):
        last, least, most = (form.format(curve[-1]) for curve in (mean, low, high))
        text = f"mean {last}\n({least} to {most})"
        look = {"color": INK, "fontsize": 9, "va": "center", "annotation_clip": False}
        axes.annotate(text, (1.01, mean[-1]), xycoords=("axes fraction", "data"), **look)
