"""The figure of a failure: accuracy, and the curve that tells, broken beside fixed."""

import textwrap

from minir1.experiments.failures.gallery import Failure
from minir1.measure.diagnosis import column
from minir1.report.drawing import GREEN, GREY, INK, RED, dress, figure_of, smooth

LOOKS = {"broken": (RED, "--"), "fixed": (GREEN, "-")}


def draw(failure: Failure, results: list[dict], title: str = ""):
    """`results`: broken and fixed in turn, seed by seed. Thin: each run; thick: their mean.

    A `title` stands in the place of all words that name the failure.
    """
    figure, (left, right) = figure_of(1, 2, (10, 4.4))
    story = "" if title else textwrap.fill(failure.story, 150)
    title = title or failure.line[0].upper() + failure.line[1:]
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    dress(left, "Right answers to held-out puzzles", True, "RL step")
    dress(right, f"{failure.curve}, in practice", xlabel="RL step")
    for index, side in enumerate(LOOKS):
        arm = results[index::2]
        name = label(failure, side)
        _curves(left, [column(run["exams"], "accuracy") for run in arm], side, name, "o")
        _curves(right, [column(run["rows"], failure.curve) for run in arm], side, name)
    left.set_ylim(0, max(0.2, left.get_ylim()[1]))
    right.set_ylim(bottom=0)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
    figure.supxlabel(story, x=0.01, ha="left", fontsize=8.5, color=GREY)
    return figure


def label(failure: Failure, side: str) -> str:
    """Of an arm in the legend; of two choices neither is called broken."""
    settings = getattr(failure, side).settings
    return " ".join(map(str, *settings.items())) if failure.choice else side


def _curves(axes, curves: list, side: str, name: str, marker: str | None = None) -> None:
    colour, style = LOOKS[side]
    look = {"color": colour, "linestyle": style}
    for steps, values in curves:
        axes.plot(steps, values, alpha=0.35, linewidth=0.9, **look)
    steps = curves[0][0]
    if steps and all(other == steps for other, _ in curves):
        mean = [sum(values) / len(values) for values in zip(*(values for _, values in curves))]
        mean = mean if marker else smooth(mean)
        axes.plot(steps, mean, linewidth=2.2, marker=marker, label=name, **look)
