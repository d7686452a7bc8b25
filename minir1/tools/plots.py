"""The plots of a run: rows of metrics.jsonl in, figures out. What each curve means stands in metrics.md.

Colours are Okabe and Ito's, a little darker for text, told apart by colour-blind readers. Figures are
objects of their own: nothing here touches pyplot's global state, so a notebook or a thread can draw.

>>> spread([0.5, 0.5, 0.9], 0.1)
[0.45, 0.55, 0.9]
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minir1.tools.words import REFERENCES, column, entry, phase, references_of

BLUE, SKY, RED, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
PURPLE, ORANGE, GREY, INK = "#A8508A", "#B87A00", "#777777", "#222222"
LARGEST = 200_000  # bytes of one PNG

# key in summary["references"] -> (colour, dashes)
LOOKS = {
    "blind_tokens": (GREY, (1, 1.5)),
    "blind_attempts": (GREY, (4, 2)),
    "blind_budget": (GREY, (6, 2, 1, 2)),
    "forced_base": (ORANGE, (4, 2)),
    "answer_only": (PURPLE, (4, 2)),
    "pass64_base": (GREEN, (1, 1.5)),
}

# ---------------------------------------------------------------- drawing


def smooth(values: list[float]) -> list[float]:
    """Each value by a straight line fitted around it (over a twentieth of the curve): a moving mean that keeps its ends.

    >>> smooth([1.0, 5.0, 3.0]), smooth([2.0 * i for i in range(13)])[-1]
    ([1.0, 5.0, 3.0], 24.0)
    """
    n = len(values)
    reach = max(n // 40, 2) if n >= 12 else 0
    found = []
    for i in range(n):
        first = min(max(0, i - reach), n - 1 - 2 * reach)  # at the ends the window stays as wide
        at = range(first, first + 2 * reach + 1)
        x, y = sum(at) / len(at), sum(values[j] for j in at) / len(at)
        slope = sum((j - x) * (values[j] - y) for j in at) / (sum((j - x) ** 2 for j in at) or 1)
        found.append(y + slope * (i - x))
    return found


def spread(heights: list[float], gap: float) -> list[float]:
    """Positions in 0..1 near `heights` and about `gap` apart, for labels beside a plot: neighbours push each other away."""
    order, placed = sorted(range(len(heights)), key=heights.__getitem__), list(heights)
    for _ in range(300):
        for low, high in zip(order, order[1:]):
            push = max(0.0, gap - placed[high] + placed[low]) / 2
            placed[low], placed[high] = max(0.0, placed[low] - push), min(1.0, placed[high] + push)
    return [round(y, 4) for y in placed]


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (9, 5), layout: str | None = "constrained"):
    from matplotlib.figure import Figure  # here, because the console's verdict needs no plots

    figure = Figure(size, layout=layout, facecolor="white")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _dress(axes, title: str, percent: bool = False, xlabel: str = "") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#444444", labelsize=9)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color="#444444")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    short = lambda v: f"{v / 1000:g} k" if abs(v) >= 10_000 else f"{v:.4g}"  # noqa: E731
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%" if percent else short(value))


def _curve(axes, x: list, y: list, colour: str, style="-") -> None:
    """The raw values pale, their moving mean on top."""
    if len(y) >= 12:
        axes.plot(x, y, color=colour, alpha=0.28, linewidth=0.9)
    axes.plot(x, smooth(y), color=colour, linewidth=1.8, linestyle=style, marker="o" if len(y) < 4 else None, markersize=3.5)


def _labels(axes, labels: list[tuple[float, str, str, object]], gap: float = 0.062) -> None:
    """(height in data, text, colour, line style) at the right side, apart from each other, each tied to its height."""
    low, high = axes.get_ylim()
    heights = [min(max((y - low) / (high - low), 0), 1) for y, *_ in labels]
    for (_, text, colour, style), true, placed in zip(labels, heights, spread(heights, gap)):
        tie = {"transform": axes.transAxes, "clip_on": False, "color": colour, "linewidth": 1.2}
        axes.plot([1.0, 1.05], [true, placed], **tie | {"linewidth": 0.8})
        axes.plot([1.05, 1.085], [placed, placed], linestyle=style, **tie | {"linewidth": 1.8})
        axes.text(1.095, placed, text, transform=axes.transAxes, color=colour, fontsize=9, va="center", parse_math=False)


def save(figure, path: Path) -> Path:
    """A PNG below LARGEST: fewer dots until it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for dpi in (110, 90, 60):
        figure.savefig(path, dpi=dpi)
        if path.stat().st_size < LARGEST:
            break
    return path


# ---------------------------------------------------------------- the plots of a run


def accuracy_plot(rows: list[dict], summary: dict):
    """Accuracy over RL steps with every reference line."""
    practice, answers = (column(phase(rows, name), "accuracy") for name in ("rl", "answer_only"))
    exam = phase(rows, "validate")
    steps, marks = column(exam, "accuracy")
    base, zero, references = entry(summary.get("base")), entry(summary.get("zero")), references_of(summary)
    if not (practice[1] or marks):
        return None
    figure, (axes,) = _figure(size=(10, 5.4))
    _dress(axes, "Right answers over reinforcement learning", True, "RL step")
    last, labels = max(practice[0] + steps + [1]), []
    lines = [(found.get("accuracy"), REFERENCES[key], *LOOKS[key]) for key, found in references.items()]
    for height, text, colour, dashes in [*lines, (base.get("accuracy"), "base, before RL (pass@1)", INK, (3, 1.5))]:
        if height is not None:
            axes.axhline(height, color=colour, linewidth=1.2, dashes=dashes, zorder=1)
            labels.append((height, f"{text}  {100 * height:.1f}%", colour, (0, dashes)))
    axes.plot(*answers, color=PURPLE, alpha=0.35, linewidth=1)
    axes.plot(*practice, color=SKY, alpha=0.55, linewidth=1.1)
    errors = dict(zip(*column(exam, "stderr")))
    error = [max(0.0, errors.get(step, 0.0)) for step in steps]
    axes.errorbar(steps, marks, error, color=BLUE, linewidth=2, marker="o", markersize=4.5, capsize=3, elinewidth=1.2, zorder=4)
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
        axes.errorbar([last], [height], [error], color=RED, marker="D", markersize=7, capsize=4, zorder=5)
        labels.append((height, f"R1-Zero, test  {100 * height:.1f} ± {100 * error:.1f}%", RED, "-"))
    if practice[1]:
        labels.append((smooth(practice[1])[-1], "R1-Zero, training batches", "#2B84B8", "-"))
    if marks:
        labels.append((marks[-1], f"R1-Zero, validation  {100 * marks[-1]:.1f}%", BLUE, "-"))
    return labels


# A panel: (title, [(metric, colour, label)], in percent, logarithmic)
LENGTH = [
    ("response length (tokens)", [("length", BLUE, "mean"), ("length_p95", SKY, "95th percentile")], False, False),
    ("attempts a response", [("attempts", BLUE, "")], False, False),
    ("responses that think", [("thinking", BLUE, "")], True, False),
    ("reflection words a response", [("reflections", BLUE, "")], False, False),
    ("reflection words per 100 tokens", [("reflections_100", BLUE, "")], False, False),
    ("right answers", [("right_if_reflecting", RED, "if reflecting"), ("accuracy", BLUE, "all")], True, False),
]
HEALTH = [
    ("reward and its parts", [("reward", INK, "reward"), ("accuracy", BLUE, "right"), ("format", ORANGE, "form")], False, False),
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
    ("right answers", [("accuracy_*", BLUE, ""), ("accuracy_arithmetic", GREY, "arithmetic")], True, False),
    ("checks a response", [("checks", BLUE, "")], False, False),
    ("checks that are right", [("check_right", BLUE, "")], True, False),
    ("backtracks a response", [("backtracks", BLUE, "")], False, False),
    ("subgoals a response", [("subgoals", BLUE, "")], False, False),
    ("backward chaining a response", [("backward", BLUE, "")], False, False),
    ("attempts that repeat an earlier one", [("repeated", BLUE, "")], True, False),
    ("written steps that are wrong", [("wrong_steps", BLUE, "")], True, False),
]


def expand(rows: list[dict], curves: list[tuple]) -> list[tuple]:
    """("hit_rate_*", ...) as one curve for each count of numbers in the rows; curves without data left out."""
    found = []
    for metric, colour, text in curves:
        names = {name for row in rows for name in row if re.fullmatch(metric.replace("*", "[1-9]"), name)}
        for i, name in enumerate(sorted(names)):
            starred = (name, (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK)[i % 7], f"{name[-1]} numbers")
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
    wide, high = 3.4 * width, 2.35 * height + 0.25  # inches; margins by hand: measuring every label takes most of the time
    figure, grid = _figure(height, width, (wide, high), layout=None)
    figure.subplots_adjust(0.55 / wide, 0.5 / high, 1 - 0.1 / wide, 1 - 0.3 / high, wspace=0.19, hspace=0.32)
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    for i, (axes, (title, curves, percent, logarithmic)) in enumerate(zip(grid, drawn)):
        _dress(axes, title, percent, "RL step" if i >= len(drawn) - width else "")
        _panel(axes, rows, curves, logarithmic, blind)
    return figure


def _panel(axes, rows: list[dict], curves: list[tuple], logarithmic: bool, blind: dict[str, float]) -> None:
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
        handles = [axes.plot([], [], color=colour, linewidth=2.5, label=text)[0] for text, colour in labels]
        axes.legend(handles=handles, fontsize=8, frameon=False, labelcolor="linecolor", handlelength=1.2, loc="best", borderpad=0.1)


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


# ---------------------------------------------------------------- several seeds


def seeds_plot(runs: list[list[dict]]):
    """Accuracy and length of several runs (their rows): a line per run, their mean, the band from least to most."""
    runs = [rows for rows in runs if phase(rows, "rl") or phase(rows, "validate")]
    validated = all(len(column(phase(rows, "validate"), "accuracy")[1]) > 1 for rows in runs)
    accuracy = [column(phase(rows, "validate" if validated else "rl"), "accuracy") for rows in runs]
    length = [column(phase(rows, "rl"), "length") for rows in runs]
    if not any(y for _, y in accuracy + length):
        return None
    figure, grid = _figure(1, 2, (10, 4.2))
    titles = (f"Right answers, {'validation' if validated else 'training batches'}", "Response length (tokens)")
    for axes, title, curves, percent in zip(grid, titles, (accuracy, length), (True, False)):
        _dress(axes, f"{title}, {len(runs)} run" + "s" * (len(runs) != 1), percent, "RL step")
        _band(axes, [curve for curve in curves if curve[1]], percent, smoothing=not (percent and validated))
    return figure


def _band(axes, curves: list[tuple[list, list]], percent: bool, smoothing: bool) -> None:
    if not curves:
        return
    curves = [(x, smooth(y) if smoothing else y) for x, y in curves]
    for x, y in curves:
        axes.plot(x, y, color=BLUE, alpha=0.55, linewidth=0.9)
    steps = np.array(sorted({step for x, _ in curves for step in x}))
    table = np.array([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves])
    shared = ~np.isnan(table).any(0)  # where every run has got to
    steps, table = steps[shared], table[:, shared]
    axes.fill_between(steps, table.min(0), table.max(0), color=SKY, alpha=0.3, linewidth=0)
    axes.plot(steps, table.mean(0), color=BLUE, linewidth=2.2)
    axes.set_ylim(0, 1.08 * max(max(y) for _, y in curves) or 1)
    if len(steps):
        low, mean, high = (f(table[:, -1]) for f in (np.min, np.mean, np.max))
        show = (lambda v: f"{100 * v:.1f}%") if percent else (lambda v: f"{v:.0f}")
        axes.annotate(f"{show(mean)}\n({show(low)} to {show(high)})", (1.01, mean), xycoords=("axes fraction", "data"),
                      color=BLUE, fontsize=9, va="center", annotation_clip=False)  # fmt: skip
