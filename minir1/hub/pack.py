"""Checkpoints to be shipped: matrices in int8, one scale a row, at a quarter of the size.

`python -m minir1 pack runs/t4-0/checkpoints/base.pt base-gpu.pt`; load_checkpoint reads them like
any other, as float32.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import UserError


def pack(name: str, weight: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """(int8 `[..., I]`, float32 scale `[..., 1]`) of a matrix; routers, norms and biases stay as
    they are.

    >>> values, scale = pack("head.weight", torch.tensor([[1.0, -0.5], [0.0, 0.0]]))
    >>> (values * scale).round(decimals=2)
    tensor([[ 1.0000, -0.5000],
            [ 0.0000,  0.0000]])
    """
    if weight.ndim < 2 or name.endswith("router"):
        return weight
    scale = weight.float().abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round().to(torch.int8), scale


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "minir1 pack", description="Write a checkpoint at a quarter of its size."
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path,
        help="a file such as runs/cpu-0/checkpoints/zero.pt",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="file to write")
    parser.error = lambda message: (_ for _ in ()).throw(
        UserError(f"{message} (see minir1 pack --help)")
    )
    given = parser.parse_args(arguments)
    model, tokenizer = load_checkpoint(given.checkpoint)
    save_checkpoint(given.out, model, tokenizer, pack)
    print(
        f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB (was {given.checkpoint.stat().st_size / 1e6:.1f})"
    )
