"""Checkpoints to be shipped: matrices in int8, one scale a row, at a quarter of the size.

`python -m minir1 pack runs/t4-0/checkpoints/base.pt base-gpu.pt`; load_checkpoint reads them like
any other, as float32.
"""

from pathlib import Path

import torch
from torch import Tensor

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_writable


def pack(name: str, weight: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """(int8 `[..., I]`, float32 scale `[..., 1]`) of a matrix.

    Routers, norms and biases stay as they are.

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
    parser, add = make_parser("pack", "Write a checkpoint at a quarter of its size.")
    checkpoint = "a file such as runs/cpu-0/checkpoints/zero.pt"
    add("checkpoint", metavar="CHECKPOINT", type=Path, help=checkpoint)
    add("out", metavar="OUT", type=Path, help="file to write")
    arguments = parse(parser, arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(arguments.out, device=False)
    model, tokenizer = load_checkpoint(arguments.checkpoint)
    save_checkpoint(arguments.out, model, tokenizer, pack)
    before, after = (path.stat().st_size / 1e6 for path in (arguments.checkpoint, arguments.out))
    print(f"{arguments.out}: {after:.1f} MB (was {before:.1f})")
