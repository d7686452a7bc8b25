"""Draws smollm2.png from the results beside it: python results/smollm2/draw.py"""

import json
from pathlib import Path

from minir1.report.drawing import GREY, ORANGE, RED, dress, figure_of, save

FOLDER = Path(__file__).parent
STAGES = {
    "before": ("", "before"), "distilled": ("", "distilled"),
    "then RL\nat 2e-5": ("", "distilled_rl"), "or RL\nat 6e-5": ("6e-5-", "distilled_rl"),
}  # fmt: skip


def seeds(prefix: str, stage: str) -> list[dict]:
    paths = sorted(FOLDER.glob(f"{prefix}seed-*.json"))
    return [json.loads(path.read_text(encoding="utf-8"))[stage] for path in paths]


figure, (left, right) = figure_of(1, 2, (9, 3.3))
dress(left, "Distilling teaches it, careful RL adds three points", percent=True)
dress(right, "What is not right", percent=True)
for x, where in enumerate(STAGES.values()):
    runs = seeds(*where)
    left.plot([x] * len(runs), [run["right"] for run in runs], "o", color=RED, markersize=5)
    low = min(run["right"] for run in runs)
    average = sum(run["right"] for run in runs) / len(runs)
    place = {"xytext": (0, 7 if low == 0 else -15), "textcoords": "offset points", "ha": "center"}
    left.annotate(f"{average:.1%}", (x, low), fontsize=9, **place)
    if x:
        cut = sum(run["cut_off"] for run in runs) / len(runs)
        right.bar(x, cut, 0.55, color=GREY, label="cut off" if x == 1 else None)
        name = "a false answer" if x == 1 else None
        right.bar(x, 1 - average - cut, 0.55, cut, color=ORANGE, label=name)
left.set_ylim(-0.02, 1)
left.axhline(0.93, color=GREY, linewidth=1, linestyle=":")
left.text(-0.3, 0.94, "wanted: 93%", fontsize=8, color="#444444")
right.legend(frameon=False, fontsize=9, loc="upper left")
right.set_ylim(0, 0.3)
for axes, first in ((left, 0), (right, 1)):
    axes.set_xticks(range(first, len(STAGES)), list(STAGES)[first:])
    axes.set_xlim(first - 0.5, len(STAGES) - 0.5)
left.set_ylabel("puzzles solved (mean of three seeds)", fontsize=9)
right.set_ylabel("responses (mean of three seeds)", fontsize=9)
save(figure, FOLDER / "smollm2.png")
