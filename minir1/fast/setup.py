"""Plugs the fast twins into a model: experts and compilation for training, the engine for sampling."""

from contextlib import contextmanager

import torch

from minir1.config import Config
from minir1.fast.engine import Engine
from minir1.fast.experts import batched_experts, grouped_experts, use
from minir1.fast.precision import Device
from minir1.model import Transformer, looped_experts
from minir1.sampler import sample


@contextmanager
def accelerate(model: Transformer, device: Device, compiled: bool = False, region: str = "trunk", cudnn: bool = False):
    """While training: grouped or batched experts, and if asked for a compiled forward pass (for one shape): the whole trunk, or
    block by block, which compiles sooner since all blocks of a kind share it. `cudnn`: its attention, planned once a shape."""
    portable = looped_experts if device.name == "cpu" else batched_experts  # without launches to save, fewer operations win
    use(model, {"grouped": grouped_experts, "portable": portable, "plain": looped_experts}[device.kernels])
    if compiled and device.name == "cuda":
        for part, name in [(model, "trunk")] if region == "trunk" else [(block, "forward") for block in model.blocks]:
            part.__dict__[name] = torch.compile(getattr(part, name))
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(before or cudnn)
    try:
        yield model
    finally:
        use(model, looped_experts)
        torch.backends.cuda.enable_cudnn_sdp(before)
        for part, name in [(model, "trunk"), *((block, "forward") for block in model.blocks)]:
            part.__dict__.pop(name, None)


def make_sampler(model: Transformer, device: Device, config: Config):
    """A function with the signature of `sampler.sample`."""
    if device.kernels == "plain":
        return sample
    rows = max(config.eval.batch, config.rl.prompts * config.rl.group_size)
    return Engine(model, device.dtype, rows, config.rl.max_tokens, config.compile and device.kernels == "grouped").sample
