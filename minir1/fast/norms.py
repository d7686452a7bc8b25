"""RMSNorm with its gradient by hand, for training on CPU cores: twin of `model.RMSNorm`.

On a CPU an elementwise operation costs what it reads and writes. What autograd records of a norm
reads and writes the row a dozen times; by hand it is a third of that, most of it in place. An
update is a tenth faster (results/LOG.md).
"""

from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minir1.model import RMSNorm, Transformer


def scale_of(x: Tensor, eps: Tensor) -> Tensor:
    """What RMSNorm multiplies rows by, in three operations. (Of a float eps, torch would make a
    tensor each time.)"""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


class Normal(torch.autograd.Function):
    """`F.rms_norm` over the last dimension, in float32."""

    @staticmethod
    def forward(ctx, x, weight_D, eps):
        scale = scale_of(x, torch.tensor(eps))
        ctx.save_for_backward(x, weight_D, scale)
        return (x * scale).mul_(weight_D)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight_D, scale = ctx.saved_tensors
        product_ND = (grad * x).flatten(0, -2)
        along = (product_ND @ weight_D).view_as(scale)  # a longer row is scaled by less
        along = along * scale**3 / -x.shape[-1]
        grad_D = scale.view(-1) @ product_ND
        grad_x = torch.mul(grad, weight_D, out=product_ND.view_as(grad))
        return grad_x.mul_(scale).addcmul_(x, along), grad_D, None


def forward(self: RMSNorm, x: Tensor) -> Tensor:
    plain = x.dtype == self.weight.dtype == torch.float32
    if plain and not torch.is_autocast_enabled(x.device.type):
        return Normal.apply(x, self.weight, self.eps)
    return RMSNorm.forward(self, x)


@contextmanager
def norms_by_hand(model: Transformer):
    """All norms of a model, by methods bound to each: a copy of the model made meanwhile computes
    with its own weights."""
    norms = [module for module in model.modules() if type(module) is RMSNorm]
    for module in norms:
        module.forward = MethodType(forward, module)
    try:
        yield
    finally:
        for module in norms:
            vars(module).pop("forward", None)
