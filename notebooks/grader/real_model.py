"""What the puzzles of notebook 10 ask for (a real model), as obvious loops. (Spoilers.)"""

from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def training_bytes(
    parameters: int, rows: int, tokens: int, layers: int, kv_heads: int, head_width: int
) -> int:
    total = 0
    for size in (4, 4, 4, 4, 2):  # weights, gradients, two moments, the sampler's copy
        total += size * parameters
    for _ in range(2):  # key, value
        total += rows * tokens * layers * kv_heads * head_width * 2
    return total


def equal_steps(lines: int, line_tokens: int, responses: int, response_tokens: int) -> int:
    left, steps = 6 * lines * line_tokens, 0
    while left >= 8 * responses * response_tokens:
        left -= 8 * responses * response_tokens
        steps += 1
    return steps


def neighbours(rows_KD: Tensor) -> Tensor:
    half, order = len(rows_KD) // 2, []
    for i in range(half):
        order.append(i)
        order.append(half + i)
    return torch.stack([rows_KD[i] for i in order])


def _draw_sizes(rng: Random) -> tuple:
    return tuple(rng.randint(2, 9) * scale for scale in (1000, 1, 7, 1, 1, 2))


def _draw_work(rng: Random) -> tuple:
    return rng.randint(5, 40), rng.randint(5, 20), rng.randint(1, 9), rng.randint(2, 9)


def _draw_rows(rng: Random) -> tuple:
    return (normal(rng, 2 * rng.randint(2, 4), rng.randint(1, 3)),)


_EXACT = {"an exact fit": (8, 10, 6, 2), "too few for one": (1, 5, 9, 9)}

PUZZLES = {
    "10.training_bytes": Puzzle(training_bytes, _draw_sizes),
    "10.equal_steps": Puzzle(equal_steps, _draw_work, _EXACT),
    "10.neighbours": Puzzle(neighbours, _draw_rows),
}
