"""Two stages on the same held-out puzzles, one response each: the paired difference.

    python -m minir1.r1.scoreboard.compare runs/r1-cpu-0 zero r1 --problems 4096

With its standard error, how many responses of each are right and readable, and why the others are
not.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch

from minir1.config import UserError, apply, between
from minir1.console.errors import guard, parse
from minir1.console.flags import Value, whole
from minir1.measure.evaluator import standard_error
from minir1.r1.data.curation import unreadable
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.scoreboard.board import Board
from minir1.rollout import Rollouts

PROGRAM = "python -m minir1.r1.scoreboard.compare"


def paired(first_P: list[float], second_P: list[float]) -> tuple[float, float]:
    """Mean of the second less the first, and its standard error over the pairs.

    >>> paired([0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0])
    (0.25, 0.25)
    """
    difference_P = torch.tensor(second_P) - torch.tensor(first_P)
    return difference_P.mean().item(), standard_error(difference_P)


def shares(rollouts: Rollouts) -> str:
    """Right and readable responses in percent, of all and by count of numbers; one a puzzle."""
    faults = [*map(unreadable, rollouts.problems, rollouts.texts)]
    asked = zip(rollouts.problems, rollouts.rewards, faults)
    rows, parts = [(len(p.numbers), reward.accuracy, not fault) for p, reward, fault in asked], []
    for count in ("all", *sorted({count for count, *_ in rows})):
        some = [row[1:] for row in rows if count in ("all", row[0])]
        right, clear = (100 * sum(column) / len(some) for column in zip(*some))
        name = "all" if count == "all" else f"{count} numbers"
        parts.append(f"{name} {right:.1f}% right, {clear:.1f}% readable of {len(some)}")
    found = Counter(filter(None, faults)).most_common()
    why = [f"{100 * count / len(rows):.1f}% {fault}" for fault, count in found]
    return "; ".join(parts) + (f"; not readable: {', '.join(why)}" if why else "")


def board_of(run: str | Path, puzzles: int) -> Board:
    """The scoreboard of a run folder, with so many puzzles and hardly anything else."""
    pipeline = Pipeline.open(["--resume", str(run)])
    small = {"score.countdown": puzzles, "score.arithmetic": 1, "score.general": 1}
    pipeline.config = apply(pipeline.config, small)
    return Board(pipeline)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of train_r1.py")
    parser.add_argument("first", help="checkpoint by name: zero, dev1, r1 ...")
    parser.add_argument("second", help="the one that is compared with it")
    size = Value(whole, between(2, 1_000_000))
    parser.add_argument("--problems", type=size, default=4096, help="held-out Countdown problems")
    chosen = parse(parser, arguments)
    if not (Path(chosen.run) / "config.json").is_file():
        raise UserError(f"{chosen.run} is no run folder of train_r1.py")
    board = board_of(chosen.run, chosen.problems)
    right = []
    for name in (chosen.first, chosen.second):
        rollouts = board.ask(*board.load(name), board.puzzles, 1)
        right.append([reward.accuracy for reward in rollouts.rewards])
        print(f"{name}: {shares(rollouts)}", flush=True)
    mean, error = (100 * figure for figure in paired(*right))
    print(f"{chosen.second} less {chosen.first}: {mean:+.1f} points, standard error {error:.1f}")


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], PROGRAM))
