"""Draws learning.png and scaling.png from the files beside it: python results/zero/draw.py"""

import json
from pathlib import Path
from statistics import mean

from minir1.measure.diagnosis import column, phase
from minir1.report.drawing import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    dress,
    figure_of,
    save,
    write_labels,
)
from minir1.report.reading import read_metrics

FOLDER = Path(__file__).parent

# ---------------------------------------------------------------- learning.png

# key in a summary's references -> (name, colour, dashes)
LINES = {
    "lookahead_pairs": ("look-ahead program", GREY, (6, 2)),
    "blind_pairs": ("blind pairs", PURPLE, (2, 1)),
    "forced_base": ("forced base", ORANGE, (4, 2)),
    "blind_tokens": ("blind search", INK, (1, 1.5)),
}


def average(summaries: list[dict], key: str) -> float:
    """Over the runs that hold it: programs were run once where they give all seeds the same."""
    found = [summary["references"][key] for summary in summaries if key in summary["references"]]
    return mean(line["accuracy"] for line in found)


def learning(axes, title: str, runs: list[Path]) -> None:
    """Every seed's curve; what needs no reinforcement learning as dashed lines, their mean."""
    for run in runs:
        steps, heights = column(phase(read_metrics(run), "validate"), "accuracy")
        axes.plot(steps, heights, color=RED, linewidth=1.3, marker="o", markersize=3)
    labels = [(heights[-1], f"R1-Zero, {len(runs)} seeds", RED, "-")]
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs]
    for key, (name, colour, dashes) in LINES.items():
        height = average(summaries, key)
        axes.axhline(height, color=colour, linewidth=1.2, dashes=dashes, zorder=1)
        labels.append((height, name, colour, (0, dashes)))
    dress(axes, title, percent=True, xlabel="step of reinforcement learning")
    axes.set_ylim(0, 1.03)
    write_labels(axes, labels)


# ---------------------------------------------------------------- scaling.png

COLOURS = {"zero": RED, "base": BLUE, "lookahead": GREY}
NAMES = {"zero": "R1-Zero", "base": "base", "lookahead": "look-ahead program"}


def scaling(axes, title: str, label: str, ticks: list[int], curves: dict) -> None:
    """One line for each name, with the name at its left end."""
    dress(axes, title, percent=True, xlabel=label)
    for name, heights in curves.items():
        axes.plot(ticks, heights, color=COLOURS[name], linewidth=2, marker="o", markersize=4)
        axes.annotate(
            NAMES[name], (ticks[0], heights[0]), (8, 14 if name == "zero" else -14),
            textcoords="offset points", fontsize=9, color=COLOURS[name],
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_ylim(0, 1.1)


figure, (laptop, card) = figure_of(2, 1, (7.2, 6.4))  # on a phone one above the other
learning(laptop, "Laptop, three numbers", sorted(FOLDER.glob("cpu-seed*")))
learning(card, "One GPU, three or four numbers", sorted(FOLDER.glob("gpu-seed*")))
for axes in (laptop, card):
    axes.set_ylabel("validation puzzles (lines: test)", fontsize=9)
title = (
    "R1-Zero passes random search and its forced base;\n"
    "a program that looks ahead solves more on average"
)
figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
save(figure, FOLDER / "learning.png")

text = (FOLDER / "tables-best" / "tables.json").read_text(encoding="utf-8")
sections = json.loads(text)["sections"]
figure, (budget, vote) = figure_of(1, 2, (9.5, 3.8))
puzzles, many = sections["puzzles"]["3to4"], sections["many"]
scaling(
    budget, "More tokens help R1-Zero, not its base", "tokens allowed per response",
    puzzles["budgets"], {name: puzzles["by_budget"][name] for name in COLOURS},
)
scaling(
    vote, "A majority vote helps the base, not R1-Zero", "responses that vote",
    many["k"], {name: many[name]["cons"] for name in ("zero", "base")},
)
budget.set_ylabel("puzzles solved (3 or 4 numbers)", fontsize=9)
save(figure, FOLDER / "scaling.png")
