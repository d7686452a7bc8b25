"""Plugs the fast twins into a model: experts and compilation for training, the engine for sampling."""

from contextlib import contextmanager

import torch

from minir1.config import Config
from minir1.fast.engine import Engine
from minir1.fast.experts import batched_experts, grouped_experts, use
from minir1.fast.graphs import Replayed
from minir1.fast.precision import Device
from minir1.model import Transformer, looped_experts
from minir1.sampler import sample
from minir1.supervised import Learner


@contextmanager
def accelerate(
    model: Transformer, device: Device, compiled: bool = False, learner: Learner | None = None, region: str = "blocks",
    cudnn: bool = True
):  # fmt: skip
    """While training: grouped or batched experts. `compiled`, where all batches have one shape (CUDA): a compiled forward pass
    (block by block, which compiles sooner since all blocks of a kind share it, or the whole trunk), cuDNN's attention, planned
    once, and the `learner`'s gradients from a CUDA graph."""
    portable = looped_experts if device.name == "cpu" else batched_experts  # without launches to save, fewer operations win
    use(model, {"grouped": grouped_experts, "portable": portable, "plain": looped_experts}[device.kernels])
    compiled, before = compiled and device.name == "cuda", torch.backends.cuda.cudnn_sdp_enabled()
    if compiled:
        for part, name in [(model, "trunk")] if region == "trunk" else [(block, "forward") for block in model.blocks]:
            part.__dict__[name] = torch.compile(getattr(part, name))
        torch.backends.cuda.enable_cudnn_sdp(before or cudnn)
    if compiled and learner:
        learner.gradients = Replayed(learner)
    try:
        yield model
    finally:
        use(model, looped_experts)
        torch.backends.cuda.enable_cudnn_sdp(before)
        for part, name in [(model, "trunk"), (learner, "gradients"), *((block, "forward") for block in model.blocks)]:
            vars(part).pop(name, None) if part else None


def make_sampler(model: Transformer, device: Device, config: Config):
    """A function with the signature of `sampler.sample`."""
    if device.kernels == "plain":
        return sample
    rows = max(config.eval.batch, config.rl.prompts * config.rl.group_size)
    return Engine(model, device.dtype, rows, config.rl.max_tokens, config.compile and device.kernels == "grouped").sample
