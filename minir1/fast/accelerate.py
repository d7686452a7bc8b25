"""Plugs the fast twins into a model: experts and compilation to train, the engine to sample."""

from collections.abc import Callable
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import torch

from minir1.config import Config
from minir1.fast import experts
from minir1.fast.device import Device
from minir1.fast.engine import Engine
from minir1.fast.graphs import Replayed
from minir1.fast.norms import norms_by_hand
from minir1.model import Transformer, looped_experts
from minir1.rollout import Sampler
from minir1.sampler import sample
from minir1.supervised import Learner
from minir1.tokenizer import TextCodec
from minir1.transcript import prompt
from minir1.variants.memory import LARGE, PLAIN, Rows, agree, checkpointed, score_by_chunks

COMPILES = ("cuda",)  # where compiled blocks pay


@contextmanager
def accelerate(
    model: Transformer, device: Device, compiled: bool = False, learner: Learner | None = None,
    cudnn: bool = True, save_memory: bool = False,
):
    """While training: the device's expert kernel, and on CPU cores norms by hand. Of a large
    vocabulary logits by chunks; with `save_memory` checkpointed blocks.

    `compiled` (CUDA, all batches of one shape): compiled blocks (all of a kind share one
    compilation), cuDNN's attention, planned once, and the `learner`'s gradients from a CUDA graph.
    """
    compiled = compiled and device.name in COMPILES
    cudnn_before = torch.backends.cuda.cudnn_sdp_enabled()
    by_hand = device.name == "cpu" and device.kernels != "plain"
    replayed = Replayed(learner) if compiled and learner else None

    experts.set_expert_kernel(model, expert_kernel(device, compiled))
    if compiled:
        start_compiler()
    for block in model.blocks if compiled else ():
        block.forward = torch.compile(block.forward, options=experts.COMPILER)
    if replayed:
        learner.gradients = replayed
    torch.backends.cuda.enable_cudnn_sdp(cudnn_before or (compiled and cudnn))
    if model.config.vocab_size >= LARGE and type(model) is Transformer:
        model.score = partial(score_by_chunks, model, rows=row_functions(device))
    try:
        with (
            norms_by_hand(model) if by_hand else nullcontext(),
            checkpointed(model) if save_memory else nullcontext(),
        ):
            yield model
    finally:
        vars(model).pop("score", None)
        experts.set_expert_kernel(model, looped_experts)
        torch.backends.cuda.enable_cudnn_sdp(cudnn_before)
        for block in model.blocks if compiled else ():
            vars(block).pop("forward", None)
        if replayed:
            vars(learner).pop("gradients", None)


def start_compiler() -> None:
    """Start the processes that compile kernels, before the first is wanted. Until they are there,
    seconds later, PyTorch compiles one after the other."""
    with suppress(ImportError):  # a name of PyTorch's own
        from torch._inductor.async_compile import maybe_warm_pool

        maybe_warm_pool()


def expert_kernel(device: Device, compiled: bool = False) -> Callable:
    """The twin of looped_experts that trains fastest there."""
    if device.kernels == "grouped":
        return experts.grouped_experts_compiled if compiled else experts.grouped_experts
    on_cores = device.name == "cpu"  # without launches to save, fewer operations win
    return looped_experts if on_cores or device.kernels == "plain" else experts.batched_experts


def row_functions(device: Device) -> Rows:
    """What computes log-probs of a large vocabulary: on Hopper kernels.py's functions, if they
    run here and give what the plain ones give in a small case."""
    if device.kernels != "grouped":
        return PLAIN
    try:
        from minir1.fast.kernels import LARGE_ROWS

        return LARGE_ROWS if agree(LARGE_ROWS, device.name) else PLAIN
    except Exception:  # noqa: BLE001 - no Triton, or a card that it does not know
        return PLAIN


def make_sampler(model: Transformer, device: Device, config: Config, codec: TextCodec) -> Sampler:
    """The fast twin of `sampler.sample`, for the largest batch that a run draws at once."""
    rows, _ = slots(config, codec)
    return sampler_of(model, device, codec, rows, config.rl.max_tokens, config.compile)


def sampler_of(
    model: Transformer, device: Device, codec: TextCodec, rows: int, tokens: int,
    compiled: bool = False,
) -> Sampler:
    """The same for `rows` responses of `tokens` tokens, behind the template of `codec`."""
    if device.kernels == "plain":
        return sample
    room, compiled = tokens + beyond(codec), compiled and device.kernels == "grouped"
    return Engine(model, device.dtype, rows, room, compiled).sample


def slots(config: Config, codec: TextCodec) -> tuple[int, int]:
    """The engine's rows and their room in tokens, to which it adds 128 for prompts."""
    rows = max(config.eval.batch, config.rl.prompts * config.rl.group_size)
    return rows, config.rl.max_tokens + beyond(codec)


def beyond(codec: TextCodec) -> int:
    """Tokens of a codec's template that the engine's 128 for prompts do not hold: 28 are ours."""
    return max(0, len(codec.encode(prompt(""))) - 28)
