"""Draws scaling.png from tables-best/tables.json: python results/zero/scaling.py"""

import json
from pathlib import Path

from minir1.report.drawing import BLUE, GREY, RED, dress, figure_of, save

FOLDER = Path(__file__).parent
COLOURS = {"zero": RED, "base": BLUE, "lookahead": GREY}
NAMES = {"zero": "R1-Zero", "base": "base", "lookahead": "look-ahead program"}


def lines(axes, title: str, label: str, ticks: list[int], curves: dict[str, list[float]]) -> None:
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


sections = json.loads((FOLDER / "tables-best" / "tables.json").read_text())["sections"]
figure, (budget, vote) = figure_of(1, 2, (9.5, 3.8))
puzzles, many = sections["puzzles"]["3to4"], sections["many"]
lines(
    budget, "More tokens help R1-Zero, not its base", "tokens allowed per response",
    puzzles["budgets"], {name: puzzles["by_budget"][name] for name in COLOURS},
)
lines(
    vote, "A majority vote helps the base, not R1-Zero", "responses that vote",
    many["k"], {name: many[name]["cons"] for name in ("zero", "base")},
)
budget.set_ylabel("puzzles solved (3 or 4 numbers)", fontsize=9)
save(figure, FOLDER / "scaling.png")
