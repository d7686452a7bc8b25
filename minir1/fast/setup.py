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
def accelerate(model: Transformer, device: Device, compiled: bool = False, learner: Learner | None = None, cudnn: bool = True):
    """While training: grouped or batched experts. `compiled`, where all batches have one shape (CUDA): compiled blocks, of which
    all of a kind share one compilation, cuDNN's attention, planned once, and the `learner`'s gradients from a CUDA graph."""
    portable = looped_experts if device.name == "cpu" else batched_experts  # without launches to save, fewer operations win
    use(model, {"grouped": grouped_experts, "portable": portable, "plain": looped_experts}[device.kernels])
    replaced, before = [], torch.backends.cuda.cudnn_sdp_enabled()
    if compiled and device.name == "cuda":
        replaced = [(block, "forward", torch.compile(block.forward)) for block in model.blocks]
        replaced += [(learner, "gradients", Replayed(learner))] if learner else []
        torch.backends.cuda.enable_cudnn_sdp(before or cudnn)
    for part, name, twin in replaced:
        vars(part)[name] = twin
    try:
        yield model
    finally:
        use(model, looped_experts)
        torch.backends.cuda.enable_cudnn_sdp(before)
        for part, name, _ in replaced:
            del vars(part)[name]


def make_sampler(model: Transformer, device: Device, config: Config):
    """A function with the signature of `sampler.sample`."""
    if device.kernels == "plain":
        return sample
    rows = max(config.eval.batch, config.rl.prompts * config.rl.group_size)
    return Engine(model, device.dtype, rows, config.rl.max_tokens, config.compile and device.kernels == "grouped").sample
