"""The figures of reward hacking: proxy against truth, over steps and over the distance from the start."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from minir1.report.plots import BLUE, GREY, RED

TITLES = {
    "preference": ("preference reward", "general answers that are right by rule"),
    "reasoning": ("neural judge of the reasoning", "Countdown answers that are right by rule"),
}


def read_runs(kind: str, folder: Path) -> dict[str, list[dict]]:
    """The files of a kind by arm (hacked, control), seeds in order."""
    found: dict[str, list[dict]] = {"hacked": [], "control": []}
    for path in sorted(folder.glob(f"{kind}-*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found[run["arm"]].append(run)
    return found


def curve(runs: list[dict], name: str) -> np.ndarray:
    """[seeds, measurements], cut to the shortest run."""
    shortest = min((len(run["rows"]) for run in runs), default=0)
    return np.array([[row[name] for row in run["rows"][:shortest]] for run in runs]).reshape(len(runs), shortest)


def draw_figure(kind: str, folder: Path) -> Path:
    """KIND.png: mean over seeds, and each seed thinly. Left over the steps, right over the distance from the start."""
    runs, (proxy_name, truth_name) = read_runs(kind, folder), TITLES[kind]
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for arm, name, colour, label in (
        ("hacked", "proxy", RED, f"proxy: {proxy_name}, rescaled to 0..1"),
        ("hacked", "truth", BLUE, f"truth: {truth_name}"),
        ("control", "truth", GREY, "truth, if the rule itself is the reward"),
    ):
        values = curve(runs[arm], name) / (2 if name == "proxy" else 1) + (0.5 if name == "proxy" else 0)
        distance = np.sqrt(np.maximum(0, curve(runs[arm], "kl")))
        for axes, x in ((left, curve(runs[arm], "step")), (right, distance)):
            if len(values):
                axes.plot(x.T, values.T, color=colour, alpha=0.3, linewidth=0.8)
                axes.plot(x.mean(0), values.mean(0), color=colour, label=label, linewidth=2)
    left.set(xlabel="steps of reinforcement learning", ylabel="share, or reward", ylim=(0, 1.02))
    right.set(xlabel="distance from the start: square root of the KL in nats a response", ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8, loc="best")
    seeds = len(runs["hacked"]) or len(runs["control"])
    figure.suptitle(f"{seeds} seed{'s' * (seeds != 1)}: what is optimised, and what was meant", fontsize=11)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{kind}.png")
    return folder / f"{kind}.png"
