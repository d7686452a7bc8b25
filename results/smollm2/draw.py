"""Draws smollm2.png from the results beside it: python results/smollm2/draw.py"""

import json
from pathlib import Path

from minir1.report.drawing import GREY, ORANGE, RED, dress, figure_of, save

FOLDER = Path(__file__).parent
STAGES = {
    "before": ("seed-*", "before", GREY),
    "R1-Zero's\nlines": ("r1-zero-lines/seed-*", "distilled", ORANGE),
    "then\nRL": ("r1-zero-lines/seed-*", "distilled_rl", ORANGE),
    "a fixed\norder": ("seed-*", "distilled", RED),
    "then RL\n(140 steps)": ("seed-*", "middle", RED),
}
LOOKED = {"distilled": "distilled", "RL, 140 steps": "middle", "RL, 240 steps": "end"}


def seeds(pattern: str, stage: str) -> list[float]:
    paths = sorted(FOLDER.glob(f"{pattern}.json"))
    return [json.loads(path.read_text(encoding="utf-8"))[stage]["right"] for path in paths]


def listed(counts: dict, operators: str) -> float:
    return sum(counts[f"listed {o}"] for o in operators) / sum(
        counts[f"due {o}"] for o in operators
    )


figure, (left, right) = figure_of(1, 2, (9, 3.4))
dress(left, "What is distilled counts for more than RL", percent=True)
dress(right, "RL stops listing quotients", percent=True)
for x, (pattern, stage, color) in enumerate(STAGES.values()):
    runs = seeds(pattern, stage)
    left.plot([x] * len(runs), runs, "o", color=color, markersize=5)
    average, low = sum(runs) / len(runs), min(runs)
    place = {"xytext": (0, 7 if low == 0 else -15), "textcoords": "offset points", "ha": "center"}
    left.annotate(f"{average:.1%}", (x, low), fontsize=9, **place)
left.set_ylim(-0.02, 1.02)
left.set_xticks(range(len(STAGES)), list(STAGES), fontsize=8)
left.set_xlim(-0.5, len(STAGES) - 0.5)
left.set_ylabel("test puzzles solved, three seeds", fontsize=9)
looked = json.loads((FOLDER / "look.json").read_text(encoding="utf-8"))
stages = [looked[f"validation-{stage}"] for stage in LOOKED.values()]
for name, operators, color in (
    ("sums, differences, products", "+-*", GREY),
    ("quotients", "/", RED),
):
    shares = [listed(counts, operators) for counts in stages]
    right.plot(range(len(stages)), shares, "o-", color=color, label=name)
    for x, share in enumerate(shares):
        place = {"xytext": (0, -15), "textcoords": "offset points", "ha": "center"}
        right.annotate(f"{share:.0%}", (x, share), fontsize=9, **place)
right.set_ylim(0, 1.05)
right.set_xticks(range(len(LOOKED)), list(LOOKED))
right.set_xlim(-0.5, len(LOOKED) - 0.5)
right.set_ylabel("values that a try lists, of those it could", fontsize=9)
right.legend(frameon=False, fontsize=9, loc="lower left")
save(figure, FOLDER / "smollm2.png")
