"""The plots of a run: rows of metrics.jsonl in, figures out.

What each curve means stands in metrics.md.
"""

import re
from collections.abc import Callable
from functools import partial

from minir1.measure.diagnosis import column, phase
from minir1.report import drawing
from minir1.report.drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SEVERAL, SKY
from minir1.report.words import REFERENCES, blind_hit_rates, entry, references_of

# key in summary["references"] -> (colour, dashes)
LOOKS = {
    "blind_tokens": (GREY, (1, 1.5)),
    "blind_attempts": (GREY, (4, 2)),
    "blind_pairs": (GREY, (2, 1)),
    "forced_base": (ORANGE, (4, 2)),
    "answer_only": (PURPLE, (4, 2)),
    "pass64_base": (GREEN, (1, 1.5)),
}

# ---------------------------------------------------------------- accuracy


def reference_lines(summary: dict) -> list[tuple[float, str, str, tuple]]:
    """(accuracy, name, colour, dashes) of the reference lines and of the base."""
    lines = []
    for key, line in references_of(summary).items():
        if key in LOOKS and "accuracy" in line:
            lines.append((line["accuracy"], REFERENCES[key], *LOOKS[key]))
    base = entry(summary.get("base"))
    if "accuracy" in base:
        lines.append((base["accuracy"], "base, test puzzles", INK, (3, 1.5)))
    return lines


def errors_at(rows: list[dict], steps: list[float]) -> list[float]:
    """One standard error of the accuracy at each step; 0 where it is not known."""
    errors = dict(zip(*column(rows, "stderr")))
    return [max(0.0, errors.get(step, 0.0)) for step in steps]


def accuracy_plot(rows: list[dict], summary: dict):
    """Accuracy over RL steps with every reference line."""
    practice = column(phase(rows, "rl"), "accuracy")
    validations = phase(rows, "validate")
    steps, marks = column(validations, "accuracy")
    if not (practice[1] or marks):
        return None
    figure, (axes,) = drawing.figure_of(size=(10, 5.4))
    drawing.dress(axes, "Right answers over reinforcement learning", True, "RL step")
    labels = []
    for height, name, colour, dashes in reference_lines(summary):
        axes.axhline(height, color=colour, linewidth=1.2, dashes=dashes, zorder=1)
        labels.append((height, f"{name}  {100 * height:.1f}%", colour, (0, dashes)))
    answers = column(phase(rows, "answer_only"), "accuracy")
    axes.plot(*answers, color=PURPLE, alpha=0.35, linewidth=1)
    axes.plot(*practice, color=SKY, alpha=0.55, linewidth=1.1)
    errors = errors_at(validations, steps)
    look = {"marker": "o", "markersize": 4.5, "capsize": 3, "elinewidth": 1.2}
    axes.errorbar(steps, marks, errors, color=BLUE, linewidth=2, zorder=4, **look)
    last = max([*practice[0], *steps, 1])
    labels += _final_test(axes, entry(summary.get("zero")), last)
    if practice[1]:
        end = drawing.smooth(practice[1])[-1]
        labels.append((end, "R1-Zero, training batches", "#2B84B8", "-"))
    if marks:
        labels.append((marks[-1], f"R1-Zero, validation  {100 * marks[-1]:.1f}%", BLUE, "-"))
    upper = [mark + error for mark, error in zip(marks, errors)]
    top = max([height for height, *_ in labels] + practice[1] + upper)
    axes.set_ylim(0, min(1.02, max(0.1, top * 1.08)))
    axes.set_xlim(-0.01 * last, 1.03 * last)
    drawing.write_labels(axes, labels)
    return figure


def _final_test(axes, zero: dict, last: float) -> list[tuple]:
    """The point of the final test; returns its label."""
    if "accuracy" not in zero:
        return []
    height, error = zero["accuracy"], max(0.0, zero.get("stderr", 0.0))
    look = {"marker": "D", "markersize": 7, "capsize": 4}
    axes.errorbar([last], [height], [error], color=RED, zorder=5, **look)
    return [(height, f"R1-Zero, test  {100 * height:.1f} ± {100 * error:.1f}%", RED, "-")]


# ---------------------------------------------------------------- small multiples

Panel = tuple[str, list[tuple], bool, bool]


def panel(title: str, *curves: str | tuple, percent=False, logarithmic=False) -> Panel:
    """(title, [(metric, colour, label)], in percent, logarithmic); a metric alone is blue."""
    full = [(curve, BLUE, "") if isinstance(curve, str) else curve for curve in curves]
    return title, full, percent, logarithmic


LENGTH = [
    panel(
        "response length (tokens)", ("length", BLUE, "mean"),
        ("length_p95", SKY, "95th percentile"),
    ),
    panel("attempts a response", "attempts"),
    panel("responses that think", "thinking", percent=True),
    panel("reflection words a response", "reflections"),
    panel("reflection words per 100 tokens", "reflections_100"),
    panel("right answers, if reflecting", ("right_if_reflecting", RED, ""), percent=True),
]
HEALTH = [
    panel("reward and form", ("reward", INK, "reward"), ("format", ORANGE, "form")),
    panel("signal: responses in groups that differ", "signal", percent=True),
    panel("cut at the token limit", "truncated", percent=True),
    panel(
        "entropy (nats per token)", ("entropy", BLUE, "of what is trained"),
        ("entropy_all", ORANGE, "of all responses"),
    ),
    panel("clip fraction", "clip_fraction", percent=True),
    panel("gradient norm", "grad_norm"),
    panel("sampler-trainer gap (nats)", ("gap", BLUE, "mean"), logarithmic=True),
    panel("KL to the reference (nats)", "kl"),
    panel("load of the busiest expert (1 = even)", "load_max"),
    panel("tokens a second", "tokens_s"),
]
EVOLUTION = [  # the star stands for every count of numbers that the run holds
    panel("hit rate of one attempt (dotted: blind)", "hit_rate_*", percent=True),
    panel("right answers", "accuracy_*", ("accuracy_arithmetic", GREY, "arithmetic"), percent=True),
    panel("checks a response", "checks"),
    panel("checks that are right", "check_right", percent=True),
    panel("backtracks a response", "backtracks"),
    panel("subgoals a response", "subgoals"),
    panel("backward chaining a response", "backward"),
    panel("attempts that repeat an earlier one", "repeated", percent=True),
    panel("written steps that are wrong", "wrong_steps", percent=True),
]


def expand(rows: list[dict], curves: list[tuple]) -> list[tuple]:
    """The curves that have data; "hit_rate_*" is one for each count of numbers in the rows.

    Puzzles of one count alone are all puzzles: of those the accuracy plot tells.
    """
    expanded = []
    for metric, colour, label in curves:
        if "*" not in metric:
            expanded.append((metric, colour, label))
            continue
        names = {name for row in rows for name in row}
        starred = re.compile(metric.replace("*", "[1-9]"))
        for i, name in enumerate(sorted(filter(starred.fullmatch, names))):
            expanded.append((name, SEVERAL[i % len(SEVERAL)], f"{name[-1]} numbers"))
    drawn = [curve for curve in expanded if any(column([row], curve[0])[1] for row in rows)]
    return [] if len(drawn) == 1 and drawn[0][0].startswith("accuracy_") else drawn


def panels_plot(rows: list[dict], summary: dict, panels: list[Panel]):
    """Small multiples over RL steps: the panels that have data."""
    rows = phase(rows, "rl")
    drawn = [(title, expand(rows, curves), *how) for title, curves, *how in panels]
    drawn = [panel for panel in drawn if panel[1]]
    if not drawn:
        return None
    columns = min(3, len(drawn))
    lines = -(-len(drawn) // columns)
    wide, high = 3.4 * columns, 2.35 * lines + 0.25  # inches
    figure, grid = drawing.figure_of(lines, columns, (wide, high), layout=None)
    # by hand: measuring every label takes most of the time
    left, bottom, right, top = 0.55 / wide, 0.5 / high, 1 - 0.1 / wide, 1 - 0.3 / high
    figure.subplots_adjust(left, bottom, right, top, wspace=0.19, hspace=0.32)
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    blind = blind_hit_rates(summary)
    for i, (title, curves, percent, logarithmic) in enumerate(drawn):
        drawing.dress(grid[i], title, percent, "RL step" if i >= len(drawn) - columns else "")
        _draw_panel(grid[i], rows, curves, logarithmic, blind)
    return figure


def _draw_panel(
    axes, rows: list[dict], curves: list[tuple], logarithmic: bool, blind: dict[str, float]
) -> None:
    labels, heights = [], []
    for metric, colour, label in curves:
        x, y = column(rows, metric)
        if metric.startswith("hit_rate") and metric in blind:
            axes.axhline(blind[metric], color=colour, linewidth=1.2, dashes=(1, 1.5))
            heights.append(blind[metric])
        if logarithmic:
            x, y = [a for a, b in zip(x, y) if b > 0], [b for b in y if b > 0]
        if y:
            drawing.draw_curve(axes, x, y, colour)
            heights += y
            labels.append((label, colour))
    if logarithmic:
        axes.set_yscale("log")
    elif min(heights) >= 0:
        axes.set_ylim(0, 1.08 * max(heights) or 1)
    if len(labels) > 1:
        for label, colour in labels:
            axes.plot([], [], color=colour, linewidth=2.5, label=label)
        how = {"labelcolor": "linecolor", "handlelength": 1.2, "borderpad": 0.1}
        axes.legend(fontsize=8, frameon=False, **how)


def pretrain_plot(rows: list[dict], summary: dict):
    """Cross-entropy of the base over the tokens it read."""
    rows = phase(rows, "pretrain")
    x, y = column(rows, "loss", "tokens")
    unit, scale = "tokens read (millions)", 1e-6
    if not y:
        x, y = column(rows, "loss")
        unit, scale = "step", 1
    if not y:
        return None
    figure, (axes,) = drawing.figure_of(size=(8, 4))
    drawing.dress(axes, "Pretraining loss (nats a token)", False, unit)
    axes.xaxis.get_major_locator().set_params(integer=False)
    drawing.draw_curve(axes, [scale * a for a in x], y, BLUE)
    axes.margins(x=0.01)
    last = drawing.smooth(y)[-1]
    drawing.write_labels(axes, [(last, f"{last:.3f}", BLUE, "-")])
    return figure


# ---------------------------------------------------------------- all of them

PANELS = {"length": LENGTH, "evolution": EVOLUTION, "health": HEALTH}
# file name -> (title, how to read it, figure from (rows, summary))
PLOTS: dict[str, tuple[str, str, Callable]] = {
    "accuracy": (
        "Right answers over the steps of reinforcement learning",
        "Learning shows in what rises above the dashed lines. Lines and ◆: the test puzzles, used "
        "once at the end. Dots: validation puzzles, asked as training goes on.",
        accuracy_plot,
    ),
    "length": (
        "Length and reflection",
        "Longer responses pay only if the attempts in them are new and checked reliably. "
        "Compare words per 100 tokens: a longer text holds more of any word.",
        partial(panels_plot, panels=LENGTH),
    ),
    "evolution": (
        "Self-evolution",
        "Is the gain in better attempts (hit rate), more of them, or better checks?",
        partial(panels_plot, panels=EVOLUTION),
    ),
    "health": (
        "Health",
        "Signal must stay above zero, entropy must not fall to zero, the gap must stay small.",
        partial(panels_plot, panels=HEALTH),
    ),
    "pretrain": ("Pretraining", "Falls fast, then slowly, without jumps.", pretrain_plot),
}
