"""What the puzzles of notebook 07 ask for (R1-Zero), as obvious loops. (Spoilers.)"""

from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle


def learning_rate(step: int, steps: int, peak: float, warmup: int, end: float) -> float:
    rate = peak
    for _ in range(step):
        rate -= (peak - end * peak) / steps
    if step + 1 < warmup:
        rate *= (step + 1) / warmup
    return rate


def signal(reward_PG: Tensor) -> float:
    counted, everyone = 0, 0
    for reward_G in reward_PG.tolist():
        for _ in reward_G:
            everyone += 1
            if any(reward != reward_G[0] for reward in reward_G):
                counted += 1
    return counted / everyone


def search(hit_rate: float, most: int) -> tuple[float, float]:
    solved, attempts, going = 0.0, 0.0, 1.0
    for _ in range(most):
        attempts += going  # whoever is still going makes one
        solved += going * hit_rate
        going -= going * hit_rate
    return solved, attempts


def repeats(attempts: list[str]) -> int:
    count = 0
    for place, attempt in enumerate(attempts):
        if attempt in attempts[:place]:
            count += 1
    return count


def _draw_rate(rng: Random) -> tuple:
    steps = rng.randint(5, 40)
    step = rng.randint(0, steps - 1)
    peak = rng.choice((1e-4, 3e-3)) * 1e3
    return step, steps, peak, rng.randint(0, 8), rng.choice((0.0, 0.1, 0.5))


def _draw_groups(rng: Random) -> tuple:
    P, G = rng.randint(1, 5), rng.randint(2, 4)
    rewards = []
    for _ in range(P):
        levels = (0.1, 1.1) if rng.random() < 0.6 else (rng.choice((0.1, 1.1)),)
        rewards.append(rng.choices(levels, k=G))
    return (torch.tensor(rewards),)


def _draw_attempts(rng: Random) -> tuple:
    return (rng.choices(("3 + 5 = 8", "5 - 3 = 2", "3 * 5 = 15"), k=rng.randint(0, 6)),)


def _draw_search(rng: Random) -> tuple:
    return rng.uniform(0.05, 0.6), rng.randint(1, 12)


_RATES = {
    "no warm-up": (0, 10, 1.0, 0, 0.1),
    "the first step of a warm-up": (0, 10, 1.0, 4, 0.1),
    "the warm-up's last step": (3, 10, 1.0, 4, 0.1),
}
_SEARCHES = {"every attempt hits": (1.0, 5), "one attempt": (0.25, 1)}

PUZZLES = {
    "07.learning_rate": Puzzle(learning_rate, _draw_rate, _RATES),
    "07.signal": Puzzle(signal, _draw_groups),
    "07.search": Puzzle(search, _draw_search, _SEARCHES),
    "07.repeats": Puzzle(repeats, _draw_attempts, {"three times the same": (["3 + 5 = 8"] * 3,)}),
}
