"""What the puzzles of notebook 09 ask for (reading a run), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def stderr(right_PG: Tensor) -> float:
    shares = [sum(right_G) / len(right_G) for right_G in right_PG.tolist()]
    mean = sum(shares) / len(shares)
    variance = sum((share - mean) ** 2 for share in shares) / (len(shares) - 1)
    return math.sqrt(variance) / math.sqrt(len(shares))


def differ(a: float, error_a: float, b: float, error_b: float) -> bool:
    apart = a - b if a > b else b - a
    return apart > 2 * math.sqrt(error_a * error_a + error_b * error_b)


def trend(values: list[float]) -> tuple[float, float]:
    n = len(values)
    middle, mean = sum(range(n)) / n, sum(values) / n
    above, below = 0.0, 0.0
    for x, y in enumerate(values):
        above += (x - middle) * (y - mean)
        below += (x - middle) ** 2
    slope = above / below
    return mean + slope * (0 - middle), mean + slope * (n - 1 - middle)


def gap(trainer_BT: Tensor, sampler_BT: Tensor, mask_BT: Tensor) -> float:
    total, tokens = 0.0, 0
    for trainer_T, sampler_T, mask_T in zip(trainer_BT, sampler_BT, mask_BT):
        for trainer, sampler, counted in zip(trainer_T, sampler_T, mask_T):
            if counted:
                total += abs(float(trainer) - float(sampler))
                tokens += 1
    return total / tokens


def load_max(chosen_LN: Tensor, experts: int) -> float:
    worst = 0.0
    for chosen_N in chosen_LN.tolist():
        for expert in range(experts):
            worst = max(worst, chosen_N.count(expert) / (len(chosen_N) / experts))
    return worst


def _draw_right(rng: Random) -> tuple:
    P, G = rng.randint(2, 6), rng.randint(1, 4)
    return (torch.tensor([[float(rng.random() < 0.5) for _ in range(G)] for _ in range(P)]),)


def _draw_figures(rng: Random) -> tuple:
    """Close to the border as often as not."""
    a, error_a, error_b = rng.uniform(0.2, 0.8), rng.uniform(0.005, 0.05), rng.uniform(0.005, 0.05)
    apart = rng.choice((-1, 1)) * rng.uniform(0.5, 3.5) * math.hypot(error_a, error_b)
    return a, error_a, a + apart, error_b


def _draw_tokens(rng: Random) -> tuple:
    B, T = rng.randint(1, 3), rng.randint(2, 4)
    mask = [[t > 0 and (t == 1 or rng.random() < 0.6) for t in range(T)] for _ in range(B)]
    return normal(rng, B, T), normal(rng, B, T), torch.tensor(mask)


def _draw_choices(rng: Random) -> tuple:
    L, N, experts = rng.randint(1, 3), rng.randint(2, 8), rng.randint(2, 4)
    return torch.tensor([[rng.randrange(experts) for _ in range(N)] for _ in range(L)]), experts


def _draw_values(rng: Random) -> tuple:
    return ([rng.uniform(0, 5) for _ in range(rng.randint(2, 7))],)


_SURE = {"all problems alike": (torch.tensor([[1.0, 0.0], [0.0, 1.0]]),)}
_BORDER = {"exactly two standard errors are not more": (0.125, 0.1875, 0.75, 0.25)}

PUZZLES = {
    "09.stderr": Puzzle(stderr, _draw_right, _SURE),
    "09.differ": Puzzle(differ, _draw_figures, _BORDER),
    "09.trend": Puzzle(trend, _draw_values, {"two values": ([3.0, 1.0],)}),
    "09.gap": Puzzle(gap, _draw_tokens),
    "09.load_max": Puzzle(load_max, _draw_choices),
}
