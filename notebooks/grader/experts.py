"""What the puzzles of notebook 02 ask for (the experts), as obvious loops. (Spoilers.)"""

from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def gates(score_E: Tensor, bias_E: Tensor, top_k: int) -> Tensor:
    E = len(score_E)
    chosen = sorted(range(E), key=lambda e: -float(score_E[e] + bias_E[e]))[:top_k]
    total = sum(float(score_E[e]) for e in chosen)
    gate_E = torch.zeros(E)
    for e in chosen:
        gate_E[e] = float(score_E[e]) / total
    return gate_E


def share_of_choices(expert_NK: Tensor, experts: int) -> Tensor:
    share_E = torch.zeros(experts)
    for row in expert_NK.tolist():
        for e in row:
            share_E[e] += 1 / expert_NK.numel()
    return share_E


def step_bias(bias_E: Tensor, load_E: Tensor, rate: float) -> Tensor:
    mean = sum(load_E.tolist()) / len(load_E)
    moved = []
    for bias, load in zip(bias_E.tolist(), load_E.tolist()):
        if load > mean:
            moved.append(bias - rate)
        elif load < mean:
            moved.append(bias + rate)
        else:
            moved.append(bias)
    return torch.tensor(moved)


def sequence_balance(expert_TK: Tensor, score_TE: Tensor) -> float:
    (T, K), E = expert_TK.shape, score_TE.shape[1]
    total = 0.0
    for e in range(E):
        count = sum(chosen == e for row in expert_TK.tolist() for chosen in row)
        p = sum(float(score_TE[t, e] / score_TE[t].sum()) for t in range(T)) / T
        total += E / (K * T) * count * p
    return total


def _draw_choices(rng: Random) -> tuple[Tensor, Tensor]:
    T, E, K = rng.randint(3, 6), rng.randint(3, 6), rng.randint(1, 2)
    score_TE = normal(rng, T, E).sigmoid()
    return (score_TE + normal(rng, E)).topk(K).indices, score_TE


def _draw_gates(rng: Random) -> tuple:
    E = rng.randint(3, 8)
    return normal(rng, E).sigmoid(), normal(rng, E, scale=0.5), rng.randint(1, E - 1)


def _draw_share(rng: Random) -> tuple:
    expert_TK, score_TE = _draw_choices(rng)
    return expert_TK, score_TE.shape[1]


def _draw_bias(rng: Random) -> tuple:
    E = rng.choice((4, 8))
    load_E = torch.tensor(rng.choices((0.0, 0.125, 0.25, 0.5), k=E))
    bias_E = normal(rng, E, scale=0.1)
    if rng.random() < 0.2:
        load_E = torch.full((E,), 0.25)
    return bias_E, load_E, rng.uniform(0.001, 0.1)


_ALL = {"every expert is chosen": (torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, 0.0, 0.0]), 3)}
_IDLE = {"the last experts are idle": (torch.tensor([[0, 1], [1, 0]]), 4)}

PUZZLES = {
    "02.gates": Puzzle(gates, _draw_gates, _ALL),
    "02.share_of_choices": Puzzle(share_of_choices, _draw_share, _IDLE),
    "02.step_bias": Puzzle(step_bias, _draw_bias),
    "02.sequence_balance": Puzzle(sequence_balance, _draw_choices),
}
