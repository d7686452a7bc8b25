"""Plugs the fast twins into a model: experts and compilation for training, the engine for sampling."""

from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import torch

from minir1.config import Config
from minir1.fast.device import Device
from minir1.fast.engine import Engine
from minir1.fast.experts import batched_experts, grouped_experts, grouped_experts_compiled, set_expert_kernel
from minir1.fast.graphs import Replayed
from minir1.fast.norms import norms_by_hand
from minir1.model import Transformer, looped_experts
from minir1.sampler import sample
from minir1.supervised import Learner

COMPILES = ("cuda",)  # where compiled blocks pay


@contextmanager
def accelerate(model: Transformer, device: Device, compiled: bool = False, learner: Learner | None = None, cudnn: bool = True,
               early: Callable | None = None):  # fmt: skip
    """While training: grouped or batched experts, and on CPU cores norms by hand. `compiled`, where all batches have one shape
    (CUDA): compiled blocks, of which all of a kind share one compilation, cuDNN's attention, planned once, and the `learner`'s
    gradients from a CUDA graph. `early` (fast/warm.py: Waiting): begin without compiled blocks,
    and change over when another process has filled the compiler's cache."""
    compiled, before = compiled and device.name in COMPILES, torch.backends.cuda.cudnn_sdp_enabled()
    portable = looped_experts if device.name == "cpu" else batched_experts  # without launches to save, fewer operations win
    kernels = {"grouped": grouped_experts, "portable": portable, "plain": looped_experts}
    norms = norms_by_hand(model) if device.name == "cpu" and device.kernels != "plain" else nullcontext()
    replayed = Replayed(learner) if compiled and learner else None

    def switch() -> None:
        set_expert_kernel(model, (kernels | {"grouped": grouped_experts_compiled})[device.kernels])
        for block in model.blocks:
            block.forward = torch.compile(block.forward)
        if learner:
            learner.gradients = replayed  # its count of warm steps begins here

    set_expert_kernel(model, kernels[device.kernels])
    waiting = early(learner, device, switch) if replayed and early else None
    if waiting:
        learner.gradients = waiting
    elif compiled:
        switch()
    torch.backends.cuda.enable_cudnn_sdp(before or (compiled and cudnn))
    try:
        with norms:
            yield model
    finally:
        if waiting:
            waiting.end()
        set_expert_kernel(model, looped_experts)
        torch.backends.cuda.enable_cudnn_sdp(before)
        if compiled:
            for part in (*model.blocks, *([learner] if learner else [])):
                vars(part).pop("gradients" if part is learner else "forward", None)


def make_sampler(model: Transformer, device: Device, config: Config):
    """A function with the signature of `sampler.sample`."""
    if device.kernels == "plain":
        return sample
    rows = max(config.eval.batch, config.rl.prompts * config.rl.group_size)
    return Engine(model, device.dtype, rows, config.rl.max_tokens, config.compile and device.kernels == "grouped").sample
