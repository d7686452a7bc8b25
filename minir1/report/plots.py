"""The plots of a run: rows of metrics.jsonl in, figures out.

What each curve means stands in metrics.md.
"""

import re
from collections.abc import Callable

from minir1.measure.diagnosis import column, phase
from minir1.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LARGEST,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    save,
    smooth,
    spread,
)
from minir1.report.drawing import curve as _curve
from minir1.report.drawing import dress as _dress
from minir1.report.drawing import figure_of as _figure
from minir1.report.drawing import labels as _labels
from minir1.report.seeds import seeds_plot
from minir1.report.words import REFERENCES, entry, references_of

__all__ = [
    "LARGEST", "PLOTS", "accuracy_plot", "panels_plot", "pretrain_plot", "save", "seeds_plot",
    "smooth", "spread",
]

# key in summary["references"] -> (colour, dashes)
LOOKS = {
    "blind_tokens": (GREY, (1, 1.5)), "blind_attempts": (GREY, (4, 2)),
    "blind_budget": (GREY, (6, 2, 1, 2)), "forced_base": (ORANGE, (4, 2)),
    "answer_only": (PURPLE, (4, 2)), "pass64_base": (GREEN, (1, 1.5)),
}

# ---------------------------------------------------------------- the plots of a run


def accuracy_plot(rows: list[dict], summary: dict):
    """Accuracy over RL steps with every reference line."""
    practice, answers = (column(phase(rows, name), "accuracy") for name in ("rl", "answer_only"))
    exam = phase(rows, "validate")
    steps, marks = column(exam, "accuracy")
    base, zero, references = (
        entry(summary.get("base")), entry(summary.get("zero")), references_of(summary),
    )
    if not (practice[1] or marks):
        return None
    figure, (axes,) = _figure(size=(10, 5.4))
    _dress(axes, "Right answers over reinforcement learning", True, "RL step")
    last, labels = max(practice[0] + steps + [1]), []
    lines = [
        (found.get("accuracy"), REFERENCES[key], *LOOKS[key]) for key, found in references.items()
    ]
    for height, text, colour, dashes in [
        *lines, (base.get("accuracy"), "base, before RL (pass@1)", INK, (3, 1.5)),
    ]:
        if height is not None:
            axes.axhline(height, color=colour, linewidth=1.2, dashes=dashes, zorder=1)
            labels.append((height, f"{text}  {100 * height:.1f}%", colour, (0, dashes)))
    axes.plot(*answers, color=PURPLE, alpha=0.35, linewidth=1)
    axes.plot(*practice, color=SKY, alpha=0.55, linewidth=1.1)
    errors = dict(zip(*column(exam, "stderr")))
    error = [max(0.0, errors.get(step, 0.0)) for step in steps]
    axes.errorbar(
        steps, marks, error, color=BLUE, linewidth=2, marker="o", markersize=4.5, capsize=3,
        elinewidth=1.2, zorder=4,
    )
    labels += _end_labels(axes, practice, marks, zero, last)
    top = max([y for y, *_ in labels] + practice[1] + marks + [a + b for a, b in zip(marks, error)])
    axes.set_ylim(0, min(1.02, max(0.1, top * 1.08)))
    axes.set_xlim(-0.01 * last, 1.03 * last)
    _labels(axes, labels)
    return figure


def _end_labels(axes, practice, marks, zero: dict, last: float) -> list[tuple]:
    """Names of the curves themselves, and the point of the final test."""
    labels = []
    if "accuracy" in zero:
        height, error = zero["accuracy"], max(0.0, zero.get("stderr", 0.0))
        axes.errorbar(
            [last], [height], [error], color=RED, marker="D", markersize=7, capsize=4, zorder=5
        )
        labels.append((height, f"R1-Zero, test  {100 * height:.1f} ± {100 * error:.1f}%", RED, "-"))
    if practice[1]:
        labels.append((smooth(practice[1])[-1], "R1-Zero, training batches", "#2B84B8", "-"))
    if marks:
        labels.append((marks[-1], f"R1-Zero, validation  {100 * marks[-1]:.1f}%", BLUE, "-"))
    return labels


# A panel: (title, [(metric, colour, label)], in percent, logarithmic)
LENGTH = [
    (
        "response length (tokens)",
        [("length", BLUE, "mean"), ("length_p95", SKY, "95th percentile")], False, False,
    ),
    ("attempts a response", [("attempts", BLUE, "")], False, False),
    ("responses that think", [("thinking", BLUE, "")], True, False),
    ("reflection words a response", [("reflections", BLUE, "")], False, False),
    ("reflection words per 100 tokens", [("reflections_100", BLUE, "")], False, False),
    (
        "right answers", [("right_if_reflecting", RED, "if reflecting"), ("accuracy", BLUE, "all")],
        True, False,
    ),
]
HEALTH = [
    (
        "reward and its parts",
        [("reward", INK, "reward"), ("accuracy", BLUE, "right"), ("format", ORANGE, "form")], False,
        False,
    ),
    ("signal: responses in groups that differ", [("signal", BLUE, "")], True, False),
    ("cut at the token limit", [("truncated", BLUE, "")], True, False),
    ("entropy (nats a token)", [("entropy", BLUE, "")], False, False),
    ("clip fraction", [("clip_fraction", BLUE, "")], True, False),
    ("gradient norm", [("grad_norm", BLUE, "")], False, False),
    ("sampler-trainer gap (nats)", [("gap", BLUE, "mean")], False, True),
    ("KL to the reference (nats)", [("kl", BLUE, "")], False, False),
    ("load of the busiest expert (1 = even)", [("load_max", BLUE, "")], False, False),
    ("tokens a second", [("tokens_s", BLUE, "")], False, False),
]
EVOLUTION = [  # the star stands for every count of numbers that the run holds
    ("hit rate of one attempt (dotted: blind)", [("hit_rate_*", BLUE, "")], True, False),
    (
        "right answers", [("accuracy_*", BLUE, ""), ("accuracy_arithmetic", GREY, "arithmetic")],
        True, False,
    ),
    ("checks a response", [("checks", BLUE, "")], False, False),
    ("checks that are right", [("check_right", BLUE, "")], True, False),
    ("backtracks a response", [("backtracks", BLUE, "")], False, False),
    ("subgoals a response", [("subgoals", BLUE, "")], False, False),
    ("backward chaining a response", [("backward", BLUE, "")], False, False),
    ("attempts that repeat an earlier one", [("repeated", BLUE, "")], True, False),
    ("written steps that are wrong", [("wrong_steps", BLUE, "")], True, False),
]


def expand(rows: list[dict], curves: list[tuple]) -> list[tuple]:
    """("hit_rate_*", ...) as one curve for each count of numbers in the rows; curves without data
    left out.
    """
    found = []
    for metric, colour, text in curves:
        names = {
            name for row in rows for name in row if re.fullmatch(metric.replace("*", "[1-9]"), name)
        }
        for i, name in enumerate(sorted(names)):
            starred = (
                name, (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK)[i % 7], f"{name[-1]} numbers",
            )
            found.append(starred if "*" in metric else (name, colour, text))
    return [curve for curve in found if column(rows, curve[0])[1]]


def panels_plot(rows: list[dict], summary: dict, panels: list[tuple]):
    """Small multiples over RL steps: the panels that have data."""
    rows = phase(rows, "rl")
    drawn = [(title, expand(rows, curves), *how) for title, curves, *how in panels]
    drawn = [panel for panel in drawn if panel[1]]
    if not drawn:
        return None
    found = summary.get("references")
    blind = entry(found.get("blind_hit_rates")) if isinstance(found, dict) else {}
    width = min(3, len(drawn))
    height = -(-len(drawn) // width)
    # inches; margins by hand: measuring every label takes most of the time
    wide, high = 3.4 * width, 2.35 * height + 0.25
    figure, grid = _figure(height, width, (wide, high), layout=None)
    figure.subplots_adjust(
        0.55 / wide, 0.5 / high, 1 - 0.1 / wide, 1 - 0.3 / high, wspace=0.19, hspace=0.32
    )
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    for i, (axes, (title, curves, percent, logarithmic)) in enumerate(zip(grid, drawn)):
        _dress(axes, title, percent, "RL step" if i >= len(drawn) - width else "")
        _panel(axes, rows, curves, logarithmic, blind)
    return figure


def _panel(
    axes, rows: list[dict], curves: list[tuple], logarithmic: bool, blind: dict[str, float]
) -> None:
    labels, highest = [], 0.0
    for metric, colour, text in curves:
        x, y = column(rows, metric)
        if metric.startswith("hit_rate") and metric in blind:
            axes.axhline(blind[metric], color=colour, linewidth=1.2, dashes=(1, 1.5))
            highest = max(highest, blind[metric])
        if logarithmic:
            x, y = [a for a, b in zip(x, y) if b > 0], [b for b in y if b > 0]
        if y:
            _curve(axes, x, y, colour)
            labels.append((text, colour))
            highest = max(highest, *y)
    if logarithmic:
        axes.set_yscale("log")
    elif all(b >= 0 for metric, *_ in curves for b in column(rows, metric)[1]):
        axes.set_ylim(0, 1.08 * highest or 1)
    if len(labels) > 1:
        handles = [
            axes.plot([], [], color=colour, linewidth=2.5, label=text)[0] for text, colour in labels
        ]
        axes.legend(
            handles=handles, fontsize=8, frameon=False, labelcolor="linecolor", handlelength=1.2,
            loc="best", borderpad=0.1,
        )


def pretrain_plot(rows: list[dict], summary: dict):
    """Cross-entropy of the base over the tokens it read."""
    rows = phase(rows, "pretrain")
    (x, y), unit, scale = column(rows, "loss", "tokens"), "tokens read (millions)", 1e-6
    if not y:
        (x, y), unit, scale = column(rows, "loss"), "step", 1
    if not y:
        return None
    figure, (axes,) = _figure(size=(8, 4))
    _dress(axes, "Pretraining loss (nats a token)", False, unit)
    axes.xaxis.get_major_locator().set_params(integer=False)
    _curve(axes, [scale * a for a in x], y, BLUE)
    axes.margins(x=0.01)
    _labels(axes, [(smooth(y)[-1], f"{smooth(y)[-1]:.3f}", BLUE, "-")])
    return figure


# file name -> (title, how to read it, figure from (rows, summary))
PLOTS: dict[str, tuple[str, str, Callable]] = {
    "accuracy": (
        "Accuracy",
        "Learning counts as far as it rises above the dashed lines: what costs nothing, or no learning.",
        accuracy_plot,
    ),
    "length": (
        "Length and reflection",
        "Longer responses pay only if the attempts in them are new and checked reliably. Compare words per 100 tokens: "
        "a longer text holds more of any word.",
        lambda rows, summary: panels_plot(rows, summary, LENGTH),
    ),
    "evolution": (
        "Self-evolution",
        "Is the gain in better attempts (hit rate), more of them, or better checks?",
        lambda rows, summary: panels_plot(rows, summary, EVOLUTION),
    ),
    "health": (
        "Health",
        "Signal must stay above zero, entropy must not fall to zero, the gap must stay small.",
        lambda rows, summary: panels_plot(rows, summary, HEALTH),
    ),
    "pretrain": ("Pretraining", "Falls fast, then slowly, without jumps.", pretrain_plot),
}
