"""Draws unsuccessful.png and prints what the page says: python results/unsuccessful/draw.py"""

import json
from pathlib import Path

from minir1.report.drawing import BLUE, GREEN, GREY, ORANGE, RED, dress, figure_of, save

FOLDER = Path(__file__).parent


def load(kind: str, name: str) -> list[dict]:
    """The runs of an arm or a policy, by seed."""
    paths = sorted(FOLDER.glob(f"{kind}-{name}-*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def mean_curve(runs: list[dict], get) -> tuple[list[int], list[float]]:
    """Mean over seeds, as far as all of them go."""
    shortest = min(len(run["rows"]) for run in runs)
    steps = [row["step"] for row in runs[0]["rows"][:shortest]]
    means = [sum(get(run["rows"][i]) for run in runs) / len(runs) for i in range(shortest)]
    return steps, means


def draw_rewards(axes) -> None:
    """Reward and accuracy of the arm that follows the learned judge alone; the rule's accuracy."""
    dress(axes, "the judge's reward is followed", percent=True, xlabel="steps")
    curves = (
        ("learned", lambda row: (row["learned"] + 1) / 2, RED, "what the judge says of the steps"),
        ("learned", lambda row: (row["stated"] + 1) / 2, ORANGE, "what the rules say of them"),
        ("learned", lambda row: row["truth"], BLUE, "right answers"),
        ("both", lambda row: row["truth"], GREEN, "right answers, rule and judge"),
        ("rule", lambda row: row["truth"], GREY, "right answers, rule alone"),
    )
    for arm, get, colour, label in curves:
        runs = load("reward", arm)
        if not runs:
            continue
        for run in runs:
            x, y = mean_curve([run], get)
            axes.plot(x, y, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(*mean_curve(runs, get), color=colour, linewidth=2, label=label)
    axes.legend(frameon=False, fontsize=8)
    axes.set_ylim(0, 1.02)


def draw_search(axes, policy: str, title: str) -> None:
    """Right answers by tokens a puzzle; lines: samples, dots: searches; over all seeds' puzzles."""
    dress(axes, title, percent=True, xlabel="tokens written per puzzle")
    runs = load("search", policy)
    for name, colour, label in (
        ("perfect", GREY, "samples, any is right"),
        ("majority", BLUE, "samples, majority"),
        ("best_value", ORANGE, "samples, best by value head"),
    ):
        points = []
        for rows in zip(*(run["sampled"] for run in runs)):
            trials = sum(row["trials"] for row in rows)
            tokens = sum(row["tokens"] for row in rows) / len(rows)
            points.append((tokens, sum(row[name] for row in rows) / trials))
        axes.plot(*zip(*points), color=colour, linewidth=1.8, label=label)
    for kind, marker, label in (("beam", "o", "beam by value head"), ("tree", "^", "tree search")):
        points = []
        for rows in zip(*(run["searches"] for run in runs)):
            if rows[0]["method"].startswith(kind):
                n = sum(row["puzzles"] for row in rows)
                point = [sum(row[key] for row in rows) / n for key in ("tokens", "right")]
                points.append(point)
        if points:
            axes.scatter(*zip(*points), color=RED, marker=marker, s=28, zorder=3, label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def main() -> None:
    figure, (left, middle, right) = figure_of(1, 3, (12.5, 4.2))
    draw_rewards(left)
    draw_search(middle, "base", "search with the base")
    draw_search(right, "zero", "search with R1-Zero")
    print(save(figure, FOLDER / "unsuccessful.png"))


if __name__ == "__main__":
    main()
