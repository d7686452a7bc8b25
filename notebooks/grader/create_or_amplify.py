"""What the puzzles of notebook 11 ask for (create or amplify), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle


def at_most(samples: int) -> float:
    wrong = math.exp(math.log(0.05) / samples)  # of one sample; to the power n it is 0.05
    return 1 - wrong


def random_floor(chance_P: Tensor, k: int) -> float:
    total = 0.0
    for chance in chance_P.tolist():
        none = 1.0
        for _ in range(k):
            none *= 1 - chance
        total += 1 - none
    return total / len(chance_P)


def verdict(low_K: list[float], high_K: list[float]) -> str:
    everywhere = True
    for low in low_K:
        if low <= 0:
            everywhere = False
    if everywhere:
        return "extends"
    if low_K[0] > 0 and high_K[-1] < 0:
        return "sharpens and narrows"
    if low_K[0] > 0:
        return "sharpens"
    if high_K[-1] < 0:
        return "narrows"
    return "nothing"


def _draw_chances(rng: Random) -> tuple:
    return torch.tensor([rng.random() ** 3 for _ in range(rng.randint(2, 6))]), rng.randint(1, 12)


def _draw_bounds(rng: Random) -> tuple:
    """Mostly of one sign, so that each word comes up."""
    lean = rng.choice((-0.3, 0.1, 0.4))
    middle_K = [rng.uniform(-0.3, 0.3) + lean for _ in range(rng.randint(1, 4))]
    width_K = [rng.uniform(0.01, 0.3) for _ in middle_K]
    both = list(zip(middle_K, width_K))
    return [m - w for m, w in both], [m + w for m, w in both]


_BOUNDS = {
    "an interval that touches 0 holds 0": ([0.0, 0.1], [0.2, 0.3]),
    "the same at the largest k": ([0.1, -0.2], [0.2, 0.0]),
    "it touches 0 first and lies below it last": ([0.0, -0.3], [0.2, -0.1]),
    "it touches 0 from below": ([-0.1, -0.2], [0.1, 0.0]),
    "above 0 at both ends, but not between": ([0.1, -0.1, 0.1], [0.3, 0.3, 0.3]),
    "it touches 0 in the middle": ([0.1, 0.0, 0.1], [0.3, 0.3, 0.3]),
    "up at first, down at last": ([0.1, -0.1, -0.3], [0.3, 0.1, -0.1]),
    "down at first": ([-0.3, -0.1], [-0.1, 0.1]),
}

PUZZLES = {
    "11.at_most": Puzzle(at_most, lambda rng: (rng.randint(1, 60),)),
    "11.random_floor": Puzzle(random_floor, _draw_chances),
    "11.verdict": Puzzle(verdict, _draw_bounds, _BOUNDS),
}
