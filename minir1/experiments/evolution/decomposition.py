"""Accuracy taken apart over training: thinking x attempts x hit rate x check x stopping, and what
the product leaves over.

The factors are those of metrics.md. Their product with the rest is the accuracy exactly, so that
the logarithms of their growth add up to the logarithm of the accuracy's growth: how much of the
gain is more attempts, and how much better ones.
"""

import math

from minir1.measure.diagnosis import number, phase
from minir1.report import plots

# name -> what it is
FACTORS = {
    "thinking": "responses that think",
    "tries": "attempts a thought",
    "hits": "hit rate of an attempt",
    "check": "checks that are right",
    "stop": "responses that end by themselves",
    "rest": "the rest: hits answered wrongly or not at all, right answers without a thought",
}
COLOURS = dict(
    zip(FACTORS, (plots.SKY, plots.BLUE, plots.RED, plots.GREEN, plots.PURPLE, plots.GREY))
)


def factors(row: dict, count: str = "") -> dict[str, float] | None:
    """The factors of one row of metrics.jsonl; `count` "_3" looks at puzzles of three numbers.

    None if one is missing or 0.

    Thinking, checks and stopping are measured over all responses of the row.

    >>> row = {"accuracy": 0.3, "attempts": 2.0, "hit_rate": 0.2, "thinking": 0.5, "check_right": 1.0, "truncated": 0.0}
    >>> {k: round(v, 3) for k, v in factors(row).items()}
    {'thinking': 0.5, 'tries': 4.0, 'hits': 0.2, 'check': 1.0, 'stop': 1.0, 'rest': 0.75}
    """
    names = (
        f"accuracy{count}", f"attempts{count}", f"hit_rate{count}", "thinking", "check_right",
        "truncated",
    )
    values = [number(row.get(name)) for name in names]
    if None in values or min(values[:5]) <= 0 or values[5] >= 1:
        return None
    accuracy, attempts, hits, thinking, check, truncated = values
    parts = {
        "thinking": thinking, "tries": attempts / thinking, "hits": hits,
        "check": check, "stop": 1 - truncated,
    }
    return parts | {"rest": accuracy / math.prod(parts.values())}


def counts_of(rows: list[dict]) -> list[str]:
    """ "" for all puzzles, and "_3", "_4", ... where there are several counts of numbers."""
    found = sorted(
        {
            name.removeprefix("attempts")
            for row in rows
            for name in row
            if name.startswith("attempts_")
        }
    )
    return ["", *found] if len(found) > 1 else [""]


def taken_apart(rows: list[dict], count: str = "") -> list[tuple[float, dict[str, float]]]:
    """(step, factors) of each validation that has them all."""
    found = [(row["step"], factors(row, count)) for row in phase(rows, "validate")]
    return [(step, parts) for step, parts in found if parts is not None]


def shares(first: dict[str, float], last: dict[str, float]) -> dict[str, float]:
    """ln of each factor's growth; they add up to ln of the accuracy's growth.

    >>> shares({"tries": 1.0, "hits": 0.1}, {"tries": 2.0, "hits": 0.1})
    {'tries': 0.6931471805599453, 'hits': 0.0}
    """
    return {name: math.log(last[name] / first[name]) for name in first}


def figure_of(rows: list[dict]):
    """Each factor over training, as a multiple of its start; and what each has given in all.

    None without data.
    """
    counts = [
        count for count in counts_of(phase(rows, "validate")) if len(taken_apart(rows, count)) > 1
    ]
    if not counts:
        return None
    figure, grid = plots._figure(1, 1 + len(counts), (5.2 + 4.6 * len(counts), 4.6))
    for axes, count in zip(grid, counts):
        found = taken_apart(rows, count)
        name = f", {count[1:]} numbers" if count else ""
        plots._dress(axes, f"factors of accuracy{name} (1 = at the start)", False, "RL step")
        for key in FACTORS:
            axes.plot(
                [s for s, _ in found], [p[key] / found[0][1][key] for _, p in found],
                color=COLOURS[key], marker="o", markersize=3,
            )
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes = grid[len(counts)]
    plots._dress(axes, "what each factor has given (ln)", False)
    for place, count in enumerate(counts):
        found, ends = taken_apart(rows, count), [0.0, 0.0]
        for key, value in shares(found[0][1], found[-1][1]).items():
            side = int(value < 0)
            axes.bar(
                place, value, 0.6, ends[side], color=COLOURS[key],
                label=FACTORS[key] if not place else None,
            )
            ends[side] += value
        axes.plot([place - 0.33, place + 0.33], [sum(ends)] * 2, color=plots.INK, linewidth=2)
    axes.axhline(0, color=plots.INK, linewidth=0.8)
    axes.set_xticks(
        range(len(counts)), [f"{count[1:]} numbers" if count else "all" for count in counts]
    )
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8,
        frameon=False,
    )
    return figure
