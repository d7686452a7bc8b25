"""What the puzzles of notebook 00 ask for (the tour), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def replay(numbers: tuple[int, ...], steps: list[tuple[int, str, int]], target: int) -> bool:
    there = list(numbers)
    for a, operator, b in steps:
        for n in (a, b):
            if n not in there:
                return False
            there.remove(n)
        there.append({"+": a + b, "-": a - b, "*": a * b}[operator])
    return there == [target]


def response_probability(logp_T: Tensor) -> float:
    product = 1.0
    for logp in logp_T.tolist():
        product *= math.exp(logp)
    return product


def push(reward_G: Tensor) -> list[int]:
    rewards, total = reward_G.tolist(), 0.0
    for reward in rewards:
        total += reward
    signs = []
    for reward in rewards:
        above = reward - total / len(rewards)
        signs.append(0 if abs(above) < 1e-6 else 1 if above > 0 else -1)
    return signs


def majority(answers: list[str | None]) -> str | None:
    best, most = None, 0
    for answer in answers:
        count = 0
        for other in answers:
            if answer is not None and answer == other:
                count += 1
        if count > most:
            best, most = answer, count
    return best


def _draw_replay(rng: Random) -> tuple:
    """Steps that are sound, and in half of the cases one fault in them."""
    numbers = tuple(rng.randint(1, 9) for _ in range(rng.randint(2, 4)))
    there, steps = list(numbers), []
    while len(there) > 1:
        rng.shuffle(there)
        a, b, operator = there.pop(), there.pop(), rng.choice("+-*")
        steps.append((a, operator, b))
        there.append({"+": a + b, "-": a - b, "*": a * b}[operator])
    target = there[0]
    faults = ("other", "short", "target", "reused", "doubled")
    fault = rng.choice(("none", "none", "none", *faults))
    if fault == "other":
        a, operator, b = steps[0]
        steps[0] = (a + rng.choice((-1, 1)), operator, b + rng.choice((-1, 0, 1)))
    elif fault == "short":
        steps.pop()
    elif fault == "target":
        target += 1
    elif fault == "doubled":  # one number is taken twice
        a, operator, _ = steps[0]
        steps[0] = (a, operator, a)
        target = {"+": a + a, "-": 0, "*": a * a}[operator] if len(steps) == 1 else target
    elif fault == "reused":  # a number that was used up is added once more
        steps.append((target, "+", numbers[0]))
        target += numbers[0]
    return numbers, steps, target


def _draw_rewards(rng: Random) -> tuple:
    """One group in five is even; the mean of 7 or 8 times 0.1 is off by a bit."""
    if rng.random() < 0.2:
        return (torch.full((rng.choice((2, 7, 8)),), rng.choice((0.1, 0.1, 1.1))),)
    return (torch.tensor(rng.choices((0.0, 0.1, 1.1), k=rng.randint(2, 8))),)


def _draw_answers(rng: Random) -> tuple:
    return (rng.choices(("3 + 5", "8 * 2", "9 - 1", None, None), k=rng.randint(1, 7)),)


def _draw_logps(rng: Random) -> tuple:
    return (-normal(rng, rng.randint(1, 5)).abs(),)


_REPLAYS = {
    "a number is used twice and is there once": ((3, 5), [(3, "+", 3), (6, "-", 5)], 1),
    "the first number is not there": ((3, 5), [(8, "-", 5)], 3),
    "no step": ((5,), [], 5),
    "no step, and the target is another number": ((5,), [], 4),
    "a result that was there before": ((3, 3, 6), [(3, "+", 3), (6, "-", 6)], 0),
}
_EQUAL = {
    "all are equal; their mean may be off by rounding": (torch.full((7,), 0.1),),
    "all are equal, and above 1": (torch.full((10,), 1.1),),
    "one is the mean": (torch.tensor([0.0, 0.5, 1.0]),),
}
_UNANSWERED = {
    "nobody answered": ([None, None],),
    "no response at all": ([],),
    "two thirds gave no answer": ([None, None, "3 + 5"],),
}

PUZZLES = {
    "00.replay": Puzzle(replay, _draw_replay, _REPLAYS),
    "00.response_probability": Puzzle(response_probability, _draw_logps),
    "00.push": Puzzle(push, _draw_rewards, _EQUAL),
    "00.majority": Puzzle(majority, _draw_answers, _UNANSWERED),
}
