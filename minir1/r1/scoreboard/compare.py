"""Two stages on the same held-out puzzles, one response each: the paired difference with its standard error, and what is readable.

python -m minir1.r1.scoreboard.compare runs/r1-cpu-0 zero r1 --problems 4096
"""

import argparse
import sys
from pathlib import Path

import torch

from minir1.config import UserError, apply
from minir1.console.errors import guard, parse
from minir1.r1.data.curation import readable
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.stages import sampler_for
from minir1.r1.scoreboard.scoreboard import Board, standard_error
from minir1.rollout import Rollouts


def paired(right_N: list[float], other_N: list[float]) -> tuple[float, float]:
    """Mean of the second less the first, and its standard error over the pairs.

    >>> paired([0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0])
    (0.25, 0.25)
    """
    difference = torch.tensor(other_N) - torch.tensor(right_N)
    return difference.mean().item(), standard_error(difference)


def shares(asked: Rollouts) -> str:
    """Right and readable responses in percent, of all and by count of numbers; one response a puzzle."""
    responses = zip(asked.problems, asked.rewards, asked.texts)
    rows = [(len(problem.numbers), reward.accuracy, readable(problem, text)) for problem, reward, text in responses]
    told = []
    for k in ("all", *sorted({count for count, *_ in rows})):
        part = [row for row in rows if k in ("all", row[0])]
        right, clear = (100 * sum(row[i] for row in part) / len(part) for i in (1, 2))
        told.append(f"{k if k == 'all' else f'{k} numbers'} {right:.1f}% right, {clear:.1f}% readable of {len(part)}")
    return "; ".join(told)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m minir1.r1.scoreboard.compare", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of train_r1.py")
    parser.add_argument("first", help="checkpoint by name: zero, dev1, r1 ...")
    parser.add_argument("second", help="the one that is compared with it")
    parser.add_argument("--problems", type=int, default=4096, help="held-out Countdown problems")
    given = parse(parser, arguments)
    if given.problems < 2:
        raise UserError("--problems must be at least 2")
    if not (Path(given.run) / "config.json").is_file():
        raise UserError(f"{given.run} is no run folder of train_r1.py")
    pipeline = Pipeline.open(["--resume", given.run])
    small = {"score.countdown": given.problems, "score.arithmetic": 1, "score.general": 1}
    pipeline.config = apply(pipeline.config, small)
    right = {}
    for name in (given.first, given.second):
        model = pipeline.model(name)
        if not right:
            board = Board(pipeline)
        sampler = sampler_for(model, pipeline, pipeline.config, pipeline.config.score.max_tokens)
        asked = board.ask(model, sampler, board.puzzles, 1)
        right[name] = [reward.accuracy for reward in asked.rewards]
        print(f"{name}: {shares(asked)}", flush=True)
    mean, error = paired(*right.values()) if len(right) == 2 else (0.0, 0.0)
    print(f"{given.second} less {given.first}: {100 * mean:+.1f} points, standard error {100 * error:.1f}")


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "python -m minir1.r1.scoreboard.compare"))
