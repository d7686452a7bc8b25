"""Draws unsuccessful.png, writes summary.json: python results/unsuccessful/draw.py"""

import json
from pathlib import Path

import numpy as np

from minir1.report.drawing import BLUE, GREY, ORANGE, RED, dress, figure_of

FOLDER = Path(__file__).parent


def load(kind: str, name: str) -> list[dict]:
    """The runs of an arm or a policy, by seed."""
    paths = sorted(FOLDER.glob(f"{kind}-{name}-*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def curve(run: dict, get) -> tuple[list[int], list[float]]:
    return [row["step"] for row in run["rows"]], [get(row) for row in run["rows"]]


def draw_rewards(axes) -> None:
    """What the judge says while it is followed, and the accuracy; a line for each seed."""
    dress(axes, "A learned process reward is followed", percent=True, xlabel="RL steps")
    curves = (
        ("learned", lambda row: (row["learned"] + 1) / 2, RED, "good steps, says the judge"),
        ("learned", lambda row: row["truth"], BLUE, "right answers"),
        ("rule", lambda row: row["truth"], GREY, "right, rule as reward"),
    )
    for arm, get, colour, label in curves:
        for i, run in enumerate(load("reward", arm)):
            label_once = None if i else label
            axes.plot(*curve(run, get), color=colour, linewidth=1.6, label=label_once)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    axes.set_ylim(0, 1.02)


def sampled_points(runs: list[dict], name: str) -> list[tuple[float, float]]:
    """(tokens, share right) by number of samples."""
    points = []
    for rows in zip(*(run["sampled"] for run in runs)):
        trials = sum(row["trials"] for row in rows)
        tokens = sum(row["tokens"] for row in rows) / len(rows)
        points.append((tokens, sum(row[name] for row in rows) / trials))
    return points


def methods(runs: list[dict]) -> dict[str, list[dict]]:
    """The rows of each search, one for each seed that has it."""
    rows = [row for run in runs for row in run["searches"]]
    names = dict.fromkeys(row["method"] for row in rows)
    return {name: [row for row in rows if row["method"] == name] for name in names}


def summary(runs: list[dict]) -> dict[str, dict]:
    """Shares over all puzzles of each search, beside plain samples with equal tokens: on average
    (read off between powers of two; beyond the most samples drawn: of those), and on each puzzle.
    """
    figures = {}
    for method, rows in methods(runs).items():
        names = [name for name, value in rows[0].items() if type(value) is int]
        total = {name: sum(row[name] for row in rows) for name in names}
        puzzles, tokens = total["puzzles"], total["tokens"] / total["puzzles"]
        figures[method] = {
            "seeds": len(rows), "puzzles": puzzles, "tokens": tokens,
            "right": total["right"] / puzzles,
            "distinct": total["distinct"] / total["children"],
            "not_chosen": total["written_not_chosen"] / puzzles,
            "never_written": total["never_written"] / puzzles,
        }
        for name in ("best_value", "majority", "perfect"):
            x, y = zip(*sampled_points(runs, name))
            mean = float(np.interp(np.log(tokens), np.log(x), y))
            figures[method] |= {name: mean}
            each = sum(row["equal"][name] for row in rows) / puzzles
            figures[method] |= {f"{name}_each": each}
    return figures


def draw_search(axes, policy: str, title: str, lowest: float) -> None:
    """Right answers by tokens per puzzle. Lines: plain samples. Dots: searches."""
    dress(axes, title, percent=True, xlabel="tokens written per puzzle")
    runs = load("search", policy)
    for name, colour, label in (
        ("perfect", GREY, "samples, a perfect judge"),
        ("best_value", ORANGE, "samples, best by value head"),
        ("majority", BLUE, "samples, majority vote"),
    ):
        axes.plot(*zip(*sampled_points(runs, name)), color=colour, linewidth=1.8, label=label)
    for kind, marker, label in (("beam", "o", "beam search"), ("tree", "^", "tree search")):
        found = [row for method, row in summary(runs).items() if method.startswith(kind)]
        points = [(row["tokens"], row["right"]) for row in found]
        axes.scatter(*zip(*points), color=RED, marker=marker, s=30, zorder=3, label=label)
    axes.set_xscale("log")
    axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))


def main() -> None:
    whole = {policy: summary(load("search", policy)) for policy in ("base", "zero")}
    (FOLDER / "summary.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    figure, (left, middle, right) = figure_of(1, 3, (10, 4.2))
    draw_rewards(left)
    draw_search(middle, "base", "Search with the base", 0.2)
    draw_search(right, "zero", "Search with R1-Zero", 0.9)
    middle.legend(
        frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    figure.savefig(FOLDER / "unsuccessful.png", dpi=95, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
