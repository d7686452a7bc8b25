"""Expert computation without a loop: twins of `model.looped_experts`."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGN = 8  # the grouped product wants each group's rows at multiples of 16 bytes
PIECES = 8  # an expert's weight gradient, a sum over all its rows, in parts: else a GPU idles


def batched_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """Every expert for every token, in three plain matrix products; unchosen ones get weight 0.

    E/K times the operations, but no sorting and no synchronisation: best for decoding, where
    launches cost more than operations, and on cards without a grouped product.
    """
    N, E = len(x_ND), len(gate_EFD)
    weight_NE = torch.zeros(N, E, dtype=weight_NK.dtype, device=x_ND.device)
    weight_NE = weight_NE.scatter(1, expert_NK, weight_NK)
    gate = F.linear(x_ND, gate_EFD.flatten(0, 1))
    hidden = F.silu(gate) * F.linear(x_ND, up_EFD.flatten(0, 1))
    hidden_NEF = hidden.unflatten(-1, (E, -1)) * weight_NE[..., None].to(hidden.dtype)
    return F.linear(hidden_NEF.flatten(1), down_EDF.transpose(0, 1).flatten(1))


class PickRows(torch.autograd.Function):
    """x[row_M], each row at most once: its gradient is put back, not added up, which would sort."""

    @staticmethod
    def forward(ctx, x_PD, row_M):
        ctx.save_for_backward(row_M)
        ctx.rows = len(x_PD)
        return x_PD.index_select(0, row_M)

    @staticmethod
    def backward(ctx, grad_MD):
        (row_M,) = ctx.saved_tensors
        return grad_MD.new_zeros(ctx.rows, grad_MD.shape[1]).index_copy(0, row_M, grad_MD), None


def slots(expert_NK: Tensor, experts: int, compiled: bool = False) -> tuple[Tensor, Tensor]:
    """Where each choice stands in order of expert, `[NK]`, and where each expert's rows end, `[E]`;
    they begin at multiples of ALIGN. Counted by one running sum over all experts' marks."""
    expert_M = expert_NK.flatten()
    expert_E = torch.arange(experts, device=expert_NK.device)
    chosen_EM = expert_M == expert_E[:, None]
    place_EM = chosen_EM.flatten().cumsum(0).view_as(chosen_EM)
    return (fast(settle) if compiled else settle)(place_EM, chosen_EM)


def settle(place_EM: Tensor, chosen_EM: Tensor) -> tuple[Tensor, Tensor]:
    """`slots`, from each choice's place without gaps: 1, 2, ... by expert, then by token."""
    last_E = place_EM[:, -1]
    count_E = last_E.diff(prepend=last_E.new_zeros(1))
    room_E = (count_E + ALIGN - 1) // ALIGN * ALIGN
    end_E = room_E.cumsum(0)
    shift_E = (end_E - room_E) - (last_E - count_E)
    return ((place_EM - 1 + shift_E[:, None]) * chosen_EM).sum(0), end_E


class GroupedProduct(torch.autograd.Function):
    """Each expert's rows of a `[M, I]` times its own matrix of w `[E, O, I]`; they end at end_E."""

    @staticmethod
    def forward(ctx, a_MI, w_EOI, end_E):
        ctx.save_for_backward(a_MI, w_EOI, end_E)
        return torch._grouped_mm(a_MI, w_EOI.mT, offs=end_E)

    @staticmethod
    def backward(ctx, grad_MO):
        a_MI, w_EOI, end_E = ctx.saved_tensors
        grad_MO = grad_MO.contiguous()
        part_EP, rows_EP = pieces(end_E)
        part = products(grad_MO, a_MI, part_EP)
        part = part.masked_fill(rows_EP[..., None, None] == 0, 0.0)  # as in add_up
        grad_w = part.sum(1, dtype=torch.float32).to(w_EOI.dtype)
        return torch._grouped_mm(grad_MO, w_EOI, offs=end_E), grad_w, None


def pieces(end_E: Tensor) -> tuple[Tensor, Tensor]:
    """Each expert's rows in PIECES parts, at multiples of ALIGN: (ends, sizes), `[E, P]` both."""
    start_E = F.pad(end_E, (1, 0))[:-1]
    share_E = -(-(end_E - start_E) // (PIECES * ALIGN)) * ALIGN
    number_P = torch.arange(1, PIECES + 1, dtype=end_E.dtype, device=end_E.device)
    part_EP = torch.minimum(start_E[:, None] + share_E[:, None] * number_P, end_E[:, None])
    return part_EP, part_EP.diff(dim=1, prepend=start_E[:, None])


def products(grad_MO: Tensor, a_MI: Tensor, part_EP: Tensor) -> Tensor:
    """An expert's weight gradient in pieces, `[E, P, O, I]`."""
    part = torch._grouped_mm(grad_MO.mT, a_MI, offs=part_EP.flatten())
    return part.unflatten(0, part_EP.shape)


def grouped_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """Tokens in order of their experts, then one grouped product per projection (bfloat16, Hopper
    and later). Not to be compiled: gradients of these products are then wrong now and then (torch
    2.11, CUDA: results/LOG.md)."""
    (N, K), half = expert_NK.shape, torch.bfloat16
    slot_M, end_E = slots(expert_NK, len(gate_EFD))
    places = N * K + ALIGN * len(gate_EFD)
    x = torch.zeros(places, x_ND.shape[1], dtype=half, device=x_ND.device)
    x = x.index_copy(0, slot_M, x_ND.to(half)[:, None].expand(-1, K, -1).flatten(0, 1))

    def product(a: Tensor, w_EOI: Tensor) -> Tensor:
        return GroupedProduct.apply(a, w_EOI.to(half), end_E.int())

    gate, up = product(x, torch.cat([gate_EFD, up_EFD], dim=1)).chunk(2, dim=-1)
    y_MD = PickRows.apply(product(F.silu(gate) * up, down_EDF), slot_M)
    return (y_MD.view(N, K, -1) * weight_NK[..., None].to(half)).sum(1).to(x_ND.dtype)


# ---------------------------------------------------------------- the same, compiled in between
# P places: rows in order of expert, with gaps. choice_P: whose place it is; N * K: nobody's.


def arrange(x_ND, choice_P, K: int) -> Tensor:
    """Each place's token in half precision. Where nobody stands zeros, of which the experts make
    zeros and zero gradients."""
    row_P = (choice_P // K).clamp(max=len(x_ND) - 1)
    return torch.where((choice_P < K * len(x_ND))[:, None], x_ND[row_P].bfloat16(), 0.0)


def swiglu(both_PF) -> Tensor:
    gate, up = both_PF.float().chunk(2, dim=-1)
    return (F.silu(gate) * up).bfloat16()


def combine(y_PD, slot_NK, weight_NK) -> Tensor:
    return (y_PD[slot_NK].float() * weight_NK[..., None].float()).sum(1)


def combine_gradient(grad_ND, y_PD, slot_NK, weight_NK, choice_P) -> tuple[Tensor, Tensor]:
    """Gradients of y (anything finite where nobody stands: `arrange`) and of the weights."""
    choice_P = choice_P.clamp(max=slot_NK.numel() - 1)
    weight_P1 = weight_NK.flatten()[choice_P, None]
    grad_PD = grad_ND[choice_P // slot_NK.shape[1]].float() * weight_P1.float()
    grad_NK = (grad_ND[:, None].float() * y_PD[slot_NK].float()).sum(-1)
    return grad_PD.bfloat16(), grad_NK


def swiglu_gradient(both_PF, grad_PF) -> tuple[Tensor, Tensor]:
    """What `swiglu` gives, computed again rather than kept, and the gradient of both its halves."""
    (gate, up), grad = both_PF.float().chunk(2, dim=-1), grad_PF.float()
    open_PF = gate.sigmoid()
    swish = gate * open_PF
    grads = grad * up * (open_PF + swish * (1 - open_PF)), grad * swish
    return (swish * up).bfloat16(), torch.cat(grads, dim=-1).bfloat16()


def arrange_gradient(grad_PD, slot_NK) -> Tensor:
    return grad_PD[slot_NK].float().sum(1)


def halves(gate_EFD, up_EFD, down_EDF) -> tuple[Tensor, Tensor]:
    return torch.cat([gate_EFD, up_EFD], dim=1).bfloat16(), down_EDF.bfloat16()


def add_up(part_EPOI, rows_EP) -> Tensor:
    """Sum of an expert's pieces; nothing says what a product over no rows holds."""
    return torch.where(rows_EP[..., None, None] == 0, 0.0, part_EPOI.float()).sum(1)


COMPILER = {"triton.autotune_pointwise": False}  # one kernel each, not the fastest of several


@cache
def fast(function):
    """The function compiled, for each shape apart, when it is first called."""
    return torch.compile(function, dynamic=False, options=COMPILER)


class Grouped(torch.autograd.Function):
    """`grouped_experts` with its gradient by hand: the compiler sees only functions that compute in
    one pass over the data and know nothing of gradients. Places behind the last expert's rows hold
    anything; only such places read them."""

    @staticmethod
    def forward(ctx, x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF):
        (N, K), E = expert_NK.shape, len(gate_EFD)
        slot_M, end_E = slots(expert_NK, E, compiled=True)
        end_E, slot_NK = end_E.int(), slot_M.view(N, K)
        choice_P = slot_M.new_full((N * K + ALIGN * E,), N * K)
        choice_P.index_copy_(0, slot_M, torch.arange(N * K, device=x_ND.device))
        both_EFD, down = fast(halves)(gate_EFD, up_EFD, down_EDF)
        x_PD = fast(arrange)(x_ND, choice_P, K)
        both_PF = torch._grouped_mm(x_PD, both_EFD.mT, offs=end_E)
        y_PD = torch._grouped_mm(fast(swiglu)(both_PF), down.mT, offs=end_E)
        places = (weight_NK, slot_NK, choice_P, end_E)
        ctx.save_for_backward(x_PD, both_PF, y_PD, both_EFD, down, *places)
        ctx.dtypes = x_ND.dtype, weight_NK.dtype, gate_EFD.dtype
        return fast(combine)(y_PD, slot_NK, weight_NK).to(x_ND.dtype)

    @staticmethod
    def backward(ctx, grad_ND):
        x_PD, both_PF, y_PD, both_EFD, down, *places = ctx.saved_tensors
        weight_NK, slot_NK, choice_P, end_E = places
        of_x, of_weight, of_experts = ctx.dtypes
        part_EP, rows_EP = fast(pieces)(end_E)
        grad_PD, grad_NK = fast(combine_gradient)(grad_ND, y_PD, slot_NK, weight_NK, choice_P)
        grad_PF = torch._grouped_mm(grad_PD, down, offs=end_E)
        hidden_PF, grad_PF = fast(swiglu_gradient)(both_PF, grad_PF)
        grad_down = fast(add_up)(products(grad_PD, hidden_PF, part_EP), rows_EP).to(of_experts)
        grad_both = fast(add_up)(products(grad_PF, x_PD, part_EP), rows_EP).to(of_experts)
        grad_gate, grad_up = grad_both.chunk(2, dim=1)
        grad_PD = torch._grouped_mm(grad_PF, both_EFD, offs=end_E)
        grad_x = fast(arrange_gradient)(grad_PD, slot_NK).to(of_x)
        return grad_x, None, grad_NK.to(of_weight), grad_gate, grad_up, grad_down


def grouped_experts_compiled(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """`grouped_experts` with fewer kernels, where all batches have one shape (each is compiled
    apart). A compiled block stops here, too: the functions above are compiled apart from it."""
    return Grouped.apply(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF)


def set_expert_kernel(model, compute) -> None:
    """Let every expert layer of the model compute its experts with `compute`. Grouped ones are
    closed to the compiler here: a decorator would import the compiler everywhere."""
    if compute in (grouped_experts, grouped_experts_compiled):
        compute = torch.compiler.disable(compute)
    for layer in model.expert_layers():
        layer.compute = compute
