"""Expert computation without a loop: twins of `model.looped_experts`, tested equal to it."""

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGN = 8  # the grouped product wants each group's rows at multiples of 16 bytes


def batched_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """Every expert for every token, in three plain matrix products; unchosen ones get weight 0.

    E/K times the operations, but no sorting and no synchronisation: best for decoding, where
    launches cost more than operations, and on cards without a grouped product.
    """
    E, F_, _ = gate_EFD.shape
    weight_NE = torch.zeros(len(x_ND), E, dtype=weight_NK.dtype, device=x_ND.device).scatter(1, expert_NK, weight_NK)
    hidden = F.silu(F.linear(x_ND, gate_EFD.flatten(0, 1))) * F.linear(x_ND, up_EFD.flatten(0, 1))
    hidden = hidden.unflatten(-1, (E, F_)) * weight_NE[..., None].to(hidden.dtype)
    return F.linear(hidden.flatten(1), down_EDF.transpose(0, 1).flatten(1))


def grouped_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """Tokens sorted by expert, then one grouped matrix product per projection (bfloat16, Hopper and later)."""
    N, K = expert_NK.shape
    E = len(gate_EFD)
    expert_M, order_M = expert_NK.flatten().sort(stable=True)
    count_E = (expert_NK.flatten()[:, None] == torch.arange(E, device=x_ND.device)).sum(0)
    room_E = (count_E + ALIGN - 1) // ALIGN * ALIGN
    end_E = room_E.cumsum(0)
    shift_E = (end_E - room_E) - (count_E.cumsum(0) - count_E)
    place_M = torch.arange(N * K, device=x_ND.device) + shift_E[expert_M]
    x = torch.zeros(N * K + ALIGN * E, x_ND.shape[1], dtype=torch.bfloat16, device=x_ND.device)
    x = x.index_copy(0, place_M, x_ND.to(torch.bfloat16)[order_M // K])
    product = lambda a, w_EOI: torch._grouped_mm(a, w_EOI.to(torch.bfloat16).mT, offs=end_E.int())  # noqa: E731
    hidden = F.silu(product(x, gate_EFD)) * product(x, up_EFD)
    y_MD = product(hidden, down_EDF)[place_M] * weight_NK.flatten()[order_M, None].to(torch.bfloat16)
    back_M = torch.empty_like(order_M).scatter(0, order_M, torch.arange(N * K, device=x_ND.device))
    return y_MD[back_M].view(N, K, -1).sum(1).to(x_ND.dtype)


def use(model, compute) -> None:
    """Let every expert layer of the model compute its experts with `compute`."""
    for layer in model.expert_layers():
        layer.compute = compute
