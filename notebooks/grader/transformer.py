"""What the puzzles of notebook 01 ask for (the transformer), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def cache_numbers(
    kind: str, heads: int, kv_heads: int, head_width: int, kv_rank: int, rope_width: int
) -> int:
    count = 0
    if kind == "mla":
        for _ in range(kv_rank):
            count += 1
        for _ in range(rope_width):
            count += 1
        return count
    for _ in range(heads if kind == "mha" else kv_heads):
        for _ in ("key", "value"):
            count += head_width
    return count


def rotate_pairs(x_C: Tensor, position: int, base: float) -> Tensor:
    turned = torch.zeros(len(x_C))
    for pair in range(len(x_C) // 2):
        angle = position / base ** (2 * pair / len(x_C))
        a, b = float(x_C[2 * pair]), float(x_C[2 * pair + 1])
        turned[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        turned[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def causal_weights(score_TS: Tensor) -> Tensor:
    T, S = score_TS.shape
    weight_TS = torch.zeros(T, S)
    for t in range(T):
        seen = [s for s in range(S) if s <= S - T + t]
        total = sum(math.exp(float(score_TS[t, s])) for s in seen)
        for s in seen:
            weight_TS[t, s] = math.exp(float(score_TS[t, s])) / total
    return weight_TS


def absorb_query(q_HC: Tensor, up_HCR: Tensor) -> Tensor:
    H, C, R = up_HCR.shape
    moved_HR = torch.zeros(H, R)
    for h in range(H):
        for r in range(R):
            for c in range(C):
                moved_HR[h, r] += q_HC[h, c] * up_HCR[h, c, r]
    return moved_HR


def attend_latent(query_HW: Tensor, stored_SW: Tensor, rank: int, scale: float) -> Tensor:
    H, W = query_HW.shape
    mixed_HR = torch.zeros(H, rank)
    for h in range(H):
        score = []
        for stored_W in stored_SW:
            score.append(scale * sum(float(query_HW[h, w] * stored_W[w]) for w in range(W)))
        total = sum(math.exp(x) for x in score)
        for s in range(len(stored_SW)):
            for r in range(rank):
                mixed_HR[h, r] += math.exp(score[s]) / total * stored_SW[s, r]
    return mixed_HR


def _draw_cache(rng: Random) -> tuple:
    kind, heads = rng.choice(("mha", "gqa", "mla")), rng.choice((4, 8, 16))
    kv_heads = heads // rng.choice((2, 4))
    return kind, heads, kv_heads, rng.randint(20, 64), rng.randint(30, 99), rng.randint(4, 16)


def _draw_scores(rng: Random) -> tuple:
    T = rng.randint(1, 4)
    return (normal(rng, T, T + rng.randint(0, 3)),)


def _draw_absorb(rng: Random) -> tuple:
    H, C, R = rng.randint(1, 3), rng.randint(2, 4), rng.randint(2, 5)
    return normal(rng, H, C), normal(rng, H, C, R)


def _draw_attend(rng: Random) -> tuple:
    H, rank, rope, S = rng.randint(1, 3), rng.randint(2, 4), rng.randint(1, 3), rng.randint(1, 5)
    return normal(rng, H, rank + rope), normal(rng, S, rank + rope), rank, rng.uniform(0.2, 0.8)


def _draw_pairs(rng: Random) -> tuple:
    return normal(rng, 2 * rng.randint(1, 3)), rng.randint(0, 9), rng.choice((10.0, 100.0))


_ONE = {"one query, one key": (torch.ones(1, 1),)}
_START = {"position 0": (torch.tensor([1.0, 2.0, 3.0, 4.0]), 0, 10.0)}

PUZZLES = {
    "01.cache_numbers": Puzzle(cache_numbers, _draw_cache),
    "01.rotate_pairs": Puzzle(rotate_pairs, _draw_pairs, _START),
    "01.causal_weights": Puzzle(causal_weights, _draw_scores, _ONE),
    "01.absorb_query": Puzzle(absorb_query, _draw_absorb),
    "01.attend_latent": Puzzle(attend_latent, _draw_attend),
}
