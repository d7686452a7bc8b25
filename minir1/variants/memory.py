"""Training that needs less memory: twins of `Transformer.score` and of a block's forward.

Of a vocabulary of 150,000 a token's logits take 0.6 MB in float32, several times over: by far the
largest tensors. Here those of a few tokens exist at a time, forwards and backwards; what is kept
are the hidden states. Checkpointed blocks keep their inputs alone and compute the rest once more
when gradients need it (arXiv 1604.06174): a third more operations.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from minir1.model import Transformer, wide

LARGE = 8192  # tokens: from here on a vocabulary is large
CHUNK = 2**26  # logits at a time: 256 MB in float32


class Scores(torch.autograd.Function):
    """(hidden `[N, D]`, head `[V, D]`, ids `[N]`, temperature, rows) -> log-probs and entropies
    `[N]`. Products are computed in the type of the hidden states, what lies between by `rows`."""

    @staticmethod
    def forward(ctx, hidden_ND, head_VD, ids_N, temperature, rows):
        chunks = max(1, rows.chunks * 2 // hidden_ND.element_size())
        size = max(1, chunks * CHUNK // len(head_VD))
        weight_VD = head_VD.to(hidden_ND.dtype)
        parts = zip(hidden_ND.split(size), ids_N.split(size))
        found = [rows.scores(h_ND @ weight_VD.T, part_N, temperature) for h_ND, part_N in parts]
        logp_N, entropy_N, total_N = (torch.cat(each) for each in zip(*found))
        ctx.save_for_backward(hidden_ND, head_VD, ids_N, total_N)
        ctx.how = temperature, rows, size
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N, _):
        hidden_ND, head_VD, *by_row = ctx.saved_tensors
        temperature, rows, size = ctx.how
        weight_VD, grad_VD = head_VD.to(hidden_ND.dtype), torch.zeros_like(head_VD)
        grads = []
        for part_ND, *part in zip(*(each.split(size) for each in (hidden_ND, *by_row, grad_N))):
            grad_NV = rows.gradients(part_ND @ weight_VD.T, *part, temperature)
            grad_VD += grad_NV.T @ part_ND
            grads.append(grad_NV @ weight_VD)
            del grad_NV  # before the next chunk's logits
        return torch.cat(grads), grad_VD, None, None, None


def tempered(logits_NV: Tensor, temperature: float) -> Tensor:
    """Wide, over the temperature. May overwrite the logits."""
    logits_NV = wide(logits_NV)
    return logits_NV if temperature == 1 else logits_NV.div_(temperature)


def scores(logits_NV: Tensor, ids_N: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs of the ids, entropies and log-sum-exps `[N]`. May overwrite the logits."""
    logits_NV = tempered(logits_NV, temperature)
    logp_NV = logits_NV.log_softmax(-1)
    logp_N = logp_NV.gather(-1, ids_N[:, None])[:, 0]
    total_N = logits_NV.gather(-1, ids_N[:, None])[:, 0] - logp_N
    return logp_N, -torch.exp(logp_NV, out=logits_NV).mul_(logp_NV).sum(-1), total_N


def gradients(logits_NV, ids_N, total_N, grad_N, temperature: float) -> Tensor:
    """By the logits, in their place: 1 at the chosen id minus the probabilities, times the
    log-prob's gradient, over the temperature. `total_N`: log-sum-exps."""
    share_NV = tempered(logits_NV, temperature).sub_(total_N[:, None]).exp_()
    share_NV.scatter_add_(1, ids_N[:, None], share_NV.new_full((len(ids_N), 1), -1))
    return torch.mul(share_NV, grad_N[:, None] / -temperature, out=logits_NV)


class Rows(NamedTuple):
    """What is computed from a chunk's logits: `scores` and `gradients`, or twins of both."""

    scores: Callable
    gradients: Callable
    chunks: int = 1  # of CHUNK logits at a time, in 16 bits


PLAIN = Rows(scores, gradients)


def agree(rows: Rows, device: str) -> bool:
    """Whether a twin gives there what the plain functions give: a small case with both ends."""
    logits_NV = 4 * torch.linspace(0, 2e5, 4 * (LARGE + 48), device=device).sin().view(4, -1)
    ids_N = torch.tensor([0, LARGE + 47, 5, LARGE], device=device)
    found = []
    for each in (PLAIN, rows):
        by_row = each.scores(logits_NV.bfloat16(), ids_N, 0.7)
        grad_NV = each.gradients(logits_NV.bfloat16(), ids_N, by_row[2], by_row[1], 0.7)
        found.append((torch.stack(by_row), grad_NV.float()))
    (plain, plain_NV), (twin, twin_NV) = found
    near = torch.allclose(twin, plain, rtol=1e-4, atol=1e-4)
    return near and torch.allclose(twin_NV, plain_NV, rtol=0.01, atol=1e-7)


def score_by_chunks(model: Transformer, ids_BT: Tensor, temperature: float, rows=PLAIN):
    """`Transformer.score`."""
    hidden_BTD, _ = model.trunk(ids_BT[:, :-1])
    hidden_ND, device = model.norm(hidden_BTD).flatten(0, 1), ids_BT.device.type
    if torch.is_autocast_enabled(device):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(device))
    target_BT = ids_BT[:, 1:]
    found = Scores.apply(hidden_ND, model.head.weight, target_BT.flatten(), temperature, rows)
    return tuple(score_N.view(target_BT.shape) for score_N in found)


@contextmanager
def checkpointed(model: Transformer):
    """Its blocks keep only what they are given."""
    how = {"use_reentrant": False, "preserve_rng_state": False}  # nothing in them is random
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, **how)
    try:
        yield
    finally:
        for block in model.blocks:
            vars(block).pop("forward", None)
