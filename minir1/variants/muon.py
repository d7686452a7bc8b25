"""Muon: momentum made orthogonal (Jordan et al. 2024; scaled as in Moonlight, arXiv 2502.16982).

Each weight matrix takes a step in which every direction counts alike, not only the few that
dominate its gradient. Embedding, head, router and vectors keep AdamW. Our base reads 100 M tokens
with it where AdamW needs several times as many (results/LOG.md). `torch.optim.Muon` is the same
rule for one matrix at a time (a test compares them). Here all matrices of one shape, lying or
standing, an expert layer's three stacks among them, are one batch.
"""

import torch
from torch import Tensor

from minir1.model import Transformer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that drives singular values towards 1


def orthogonalise(x_NOI: Tensor, rounds: int = 5) -> Tensor:
    """Nearly U V^T of each matrix U S V^T (singular values 0.7-1.2), by Newton-Schulz rounds."""
    a, b, c = COEFFICIENTS
    tall = x_NOI.shape[-2] > x_NOI.shape[-1]
    x = (x_NOI.mT if tall else x_NOI).bfloat16()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """AdamW, but the groups marked "orthogonal" (of matrices of one shape) take Muon's step, times
    0.2 sqrt(longer side): AdamW's usual size, so that one learning rate serves both."""

    momentum = 0.95
    found_inf = torch.zeros(())  # 1: the gradient is not finite, and the step changes nothing

    def __init__(self, model: Transformer, weight_decay: float):
        shapes: dict[tuple, list] = {}
        matrices, vectors = [], []
        for name, p in model.named_parameters():
            if p.ndim < 2:
                vectors.append(p)
            elif name.startswith(("embed", "head")) or name.endswith("router"):
                matrices.append(p)
            else:
                shapes.setdefault(tuple(sorted(p.shape[-2:])), []).append(p)
        groups = [{"params": same, "orthogonal": True} for same in shapes.values()]
        groups += [{"params": matrices, "orthogonal": False}]
        groups += [{"params": vectors, "orthogonal": False, "weight_decay": 0.0}]
        how = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": weight_decay, "fused": True}
        super().__init__(groups, lr=1.0, **how)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if group["orthogonal"] and group["params"][0].grad is not None:
                self._orthogonal_step(group)
        return super().step(closure)  # leaves alone what has no gradient any more

    def _orthogonal_step(self, group: dict) -> None:
        params, lr = group["params"], group["lr"]
        for p in params:
            if not self.state[p]:  # AdamW asks for a step
                self.state[p] = {"step": torch.zeros(()), "momentum": torch.zeros_like(p)}
        moving = [self.state[p]["momentum"] for p in params]
        broken = self.found_inf > 0  # then nothing may change
        gradients = [torch.where(broken, m, p.grad) for m, p in zip(moving, params)]
        torch._foreach_lerp_(moving, gradients, 1 - self.momentum)
        ahead = torch._foreach_lerp(gradients, moving, self.momentum)  # Nesterov
        short, long = sorted(params[0].shape[-2:])
        lying = [(g if g.shape[-1] == long else g.mT).reshape(-1, short, long) for g in ahead]
        orthogonal = orthogonalise(torch.cat(lying)).to(ahead[0].dtype).masked_fill(broken, 0.0)
        update = []
        for u, p in zip(orthogonal.split([len(x) for x in lying]), params):
            update.append((u if p.shape[-1] == long else u.mT).reshape(p.shape))
        decay = torch.where(broken, 1.0, 1 - lr * group["weight_decay"])
        torch._foreach_mul_(params, decay)
        torch._foreach_add_(params, update, alpha=-lr * 0.2 * long**0.5)
        for p in params:
            p.grad = None
