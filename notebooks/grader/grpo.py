"""What the puzzles of notebook 06 ask for (GRPO), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def advantages(reward_G: Tensor) -> Tensor:
    reward = reward_G.tolist()
    if all(r == reward[0] for r in reward):
        return torch.zeros(len(reward))
    mean = sum(reward) / len(reward)
    std = math.sqrt(sum((r - mean) ** 2 for r in reward) / (len(reward) - 1))
    return torch.tensor([(r - mean) / (std + 1e-4) for r in reward])


def clipped_terms(ratio_T: Tensor, advantage: float, low: float, high: float) -> Tensor:
    terms = []
    for ratio in ratio_T.tolist():
        clipped = ratio
        if ratio < 1 - low:
            clipped = 1 - low
        if ratio > 1 + high:
            clipped = 1 + high
        terms.append(min(ratio * advantage, clipped * advantage))
    return torch.tensor(terms)


def gradient_weights(ratio_T: Tensor, advantage: float, low: float, high: float) -> Tensor:
    weights = []
    for ratio in ratio_T.tolist():
        good_enough = advantage > 0 and ratio > 1 + high
        bad_enough = advantage < 0 and ratio < 1 - low
        weights.append(0.0 if good_enough or bad_enough else ratio * advantage)
    return torch.tensor(weights)


def kl_estimate(logp_T: Tensor, ref_logp_T: Tensor) -> Tensor:
    estimate = []
    for logp, ref in zip(logp_T.tolist(), ref_logp_T.tolist()):
        ratio = math.exp(ref) / math.exp(logp)
        estimate.append(ratio - math.log(ratio) - 1)
    return torch.tensor(estimate)


def average_three_ways(
    loss_BT: Tensor, mask_BT: Tensor, max_tokens: int
) -> tuple[float, float, float]:
    total, tokens, of_responses = 0.0, 0, 0.0
    for loss_T, mask_T in zip(loss_BT.tolist(), mask_BT.tolist()):
        mine, length = 0.0, 0
        for loss, counted in zip(loss_T, mask_T):
            if counted:
                mine += loss
                length += 1
        total += mine
        tokens += length
        of_responses += mine / length
    responses = len(loss_BT)
    return of_responses / responses, total / tokens, total / (responses * max_tokens)


def response_ratio(logp_T: Tensor, old_logp_T: Tensor, mask_T: Tensor) -> float:
    product, length = 1.0, 0
    for logp, old, counted in zip(logp_T.tolist(), old_logp_T.tolist(), mask_T.tolist()):
        if counted:
            product *= math.exp(logp - old)
            length += 1
    return product ** (1 / length)


def _draw_rewards(rng: Random) -> tuple:
    G = rng.randint(2, 8)
    levels = (0.0, 0.1, 1.1) if rng.random() < 0.8 else (0.1,)
    return (torch.tensor(rng.choices(levels, k=G)),)


def _draw_ratios(rng: Random) -> tuple:
    T = rng.randint(1, 6)
    ratio_T = normal(rng, T, scale=0.4).exp()
    advantage = rng.choice((-1, 1)) * rng.uniform(0.2, 2)
    return ratio_T, advantage, rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.5)


def _draw_mask(rng: Random, B: int, T: int) -> Tensor:
    first = [rng.randint(0, 1) for _ in range(B)]
    length = [rng.randint(1, T - 1) for _ in range(B)]
    rows = [[start <= t < start + n for t in range(T)] for start, n in zip(first, length)]
    return torch.tensor(rows)


def _draw_losses(rng: Random) -> tuple:
    B, T = rng.randint(2, 4), rng.randint(3, 6)
    return normal(rng, B, T), _draw_mask(rng, B, T), rng.randint(T, 12)


def _draw_logps(rng: Random) -> tuple:
    T = rng.randint(2, 6)
    return -normal(rng, T).abs(), -normal(rng, T).abs()


def _draw_masked_logps(rng: Random) -> tuple:
    T = rng.randint(3, 6)
    return -normal(rng, T).abs(), -normal(rng, T).abs(), _draw_mask(rng, 1, T)[0]


_EQUAL = {
    "all are equal; their mean may be off by rounding": (torch.full((7,), 0.1),),
    "all are equal, and above 1": (torch.full((10,), 1.1),),
}
_BEFORE = {
    "the first update: all ratios are 1": (torch.ones(3), -1.0, 0.2, 0.28),
    "far outside on both sides, good": (torch.tensor([0.1, 9.0]), 1.0, 0.2, 0.28),
    "far outside on both sides, bad": (torch.tensor([0.1, 9.0]), -1.0, 0.2, 0.28),
}
_SAME = {"policy and reference agree": (torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -2.0]))}

PUZZLES = {
    "06.advantages": Puzzle(advantages, _draw_rewards, _EQUAL),
    "06.clipped_terms": Puzzle(clipped_terms, _draw_ratios, _BEFORE),
    "06.gradient_weights": Puzzle(gradient_weights, _draw_ratios, _BEFORE),
    "06.kl_estimate": Puzzle(kl_estimate, _draw_logps, _SAME),
    "06.average_three_ways": Puzzle(average_three_ways, _draw_losses),
    "06.response_ratio": Puzzle(response_ratio, _draw_masked_logps),
}
