"""What a puzzle is, and a draw that several of them share."""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor


class Puzzle(NamedTuple):
    specification: Callable
    draw: Callable[[Random], tuple]  # the specification's arguments
    edges: dict[str, tuple] = {}  # arguments that chance seldom draws, under what is odd in them


def normal(rng: Random, *shape: int, scale: float = 1.0) -> Tensor:
    """Normal numbers of a shape, from a plain Random."""
    return torch.tensor([rng.gauss(0, scale) for _ in range(math.prod(shape))]).view(shape)
