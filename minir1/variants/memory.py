"""Training that needs less memory: twins of `Transformer.score` and of a block's forward.

Of a vocabulary of 150,000 a token's logits take 0.6 MB in float32, several times over: by far the
largest tensors. Here those of a few tokens exist at a time, forwards and backwards; what is kept
are the hidden states. Checkpointed blocks keep their inputs alone and compute the rest once more
when gradients need it (arXiv 1604.06174): a third more operations.
"""

from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from minir1.model import Transformer, wide

LARGE = 8192  # tokens: from here on a vocabulary is large
CHUNK = 2**26  # logits at a time: 256 MB in float32


class Scores(torch.autograd.Function):
    """(hidden `[N, D]`, head `[V, D]`, ids `[N]`, temperature) -> log-probs and entropies `[N]`.

    Products are computed in the type of the hidden states, all else as `model.wide` says.
    """

    @staticmethod
    def forward(ctx, hidden_ND, head_VD, ids_N, temperature):
        ctx.save_for_backward(hidden_ND, head_VD, ids_N)
        ctx.temperature, ctx.rows = temperature, max(1, CHUNK // len(head_VD))
        weight_VD = head_VD.to(hidden_ND.dtype)
        parts = zip(hidden_ND.split(ctx.rows), ids_N.split(ctx.rows))
        found = [scores(*part, weight_VD, temperature) for part in parts]
        logp_N, entropy_N = (torch.cat(each) for each in zip(*found))
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N, _):
        hidden_ND, head_VD, ids_N = ctx.saved_tensors
        weight_VD, grad_VD = head_VD.to(hidden_ND.dtype), torch.zeros_like(head_VD)
        parts = zip(*(tensor.split(ctx.rows) for tensor in (hidden_ND, ids_N, grad_N)))
        how = (weight_VD, ctx.temperature, grad_VD)
        grads = [gradients(*part, *how) for part in parts]
        return torch.cat(grads), grad_VD, None, None


def scores(hidden_ND, ids_N, weight_VD, temperature: float) -> tuple[Tensor, Tensor]:
    """Of one chunk. What it makes is gone when it returns."""
    logp_NV = wide(hidden_ND @ weight_VD.T).div_(temperature).log_softmax(-1)
    chosen_N = logp_NV.gather(-1, ids_N[:, None])[:, 0]
    return chosen_N, -logp_NV.exp().mul_(logp_NV).sum(-1)


def gradients(hidden_ND, ids_N, grad_N, weight_VD, temperature: float, grad_VD: Tensor) -> Tensor:
    """By one chunk's hidden states; that by the head is added to `grad_VD`. By the logits it is 1
    at the chosen id minus the probabilities, over the temperature."""
    share_NV = wide(hidden_ND @ weight_VD.T).div_(temperature).softmax(-1)
    grad_N1 = grad_N[:, None] / temperature
    share_NV.mul_(-grad_N1).scatter_add_(1, ids_N[:, None], grad_N1)
    grad_NV = share_NV.to(hidden_ND.dtype)
    grad_VD += grad_NV.T @ hidden_ND
    return grad_NV @ weight_VD


def score_by_chunks(model: Transformer, ids_BT: Tensor, temperature: float):
    """`Transformer.score`."""
    hidden_BTD, _ = model.trunk(ids_BT[:, :-1])
    hidden_ND, device = model.norm(hidden_BTD).flatten(0, 1), ids_BT.device.type
    if torch.is_autocast_enabled(device):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(device))
    target_BT = ids_BT[:, 1:]
    scores = Scores.apply(hidden_ND, model.head.weight, target_BT.flatten(), temperature)
    return tuple(score_N.view(target_BT.shape) for score_N in scores)


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
