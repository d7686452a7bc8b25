"""The figures of reward hacking: proxy against truth, over steps and over the KL distance."""

from pathlib import Path

import numpy as np

from minir1.console.files import checked_read, read_object
from minir1.report.drawing import BLUE, GREY, RED, figure_of, save

TITLES = {
    "preference": ("preference reward", "general answers that are right by rule"),
    "reasoning": ("neural judge of the reasoning", "Countdown answers that are right by rule"),
}


def read_runs(kind: str, folder: Path) -> dict[str, list[dict]]:
    """The files of a kind by arm (hacked, control), seeds in order."""
    runs: dict[str, list[dict]] = {"hacked": [], "control": []}
    for path in sorted(folder.glob(f"{kind}-*.json")):
        run = read_object(path)
        with checked_read(path):
            runs[run["arm"]].append(run | {"rows": [dict(row) for row in run["rows"]]})
    return runs


def curve(runs: list[dict], name: str) -> np.ndarray:
    """`[seeds, measurements]`, cut to the shortest run."""
    shortest = min((len(run["rows"]) for run in runs), default=0)
    values = [[row[name] for row in run["rows"][:shortest]] for run in runs]
    return np.array(values).reshape(len(runs), shortest)


def draw_figure(kind: str, folder: Path) -> Path:
    """KIND.png: mean over seeds, and each seed thinly. Over steps, and over the distance."""
    runs, (proxy, truth) = read_runs(kind, folder), TITLES[kind]
    figure, (left, right) = figure_of(1, 2, (10, 4.2))
    for arm, name, colour, label in (
        ("hacked", "proxy", RED, f"proxy: {proxy}, rescaled to 0..1"),
        ("hacked", "truth", BLUE, f"truth: {truth}"),
        ("control", "truth", GREY, "truth, if the rule itself is the reward"),
    ):
        values = curve(runs[arm], name)
        if not len(values):
            continue
        if name == "proxy":
            values = values / 2 + 0.5
        distance = np.sqrt(np.maximum(0, curve(runs[arm], "kl")))
        for axes, x in ((left, curve(runs[arm], "step")), (right, distance)):
            axes.plot(x.T, values.T, color=colour, alpha=0.3, linewidth=0.8)
            axes.plot(x.mean(0), values.mean(0), color=colour, label=label, linewidth=2)
    left.set(xlabel="steps of reinforcement learning", ylabel="share, or reward")
    right.set(xlabel="distance from the start: square root of the KL in nats a response")
    left.legend(frameon=False, fontsize=8, loc="best")
    seeds = len(runs["hacked"]) or len(runs["control"])
    title = f"{seeds} seed{'s' * (seeds != 1)}: what is optimised, and what was meant"
    figure.suptitle(title, fontsize=11)
    for axes in (left, right):
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    return save(figure, folder / f"{kind}.png")
