"""How much memory RL on a large dense model will take, before it starts.

What is counted are tensors. The CUDA libraries take about a gigabyte beside them.
"""

from typing import NamedTuple

import torch

from minir1.config import ModelConfig, RLConfig
from minir1.model import Transformer
from minir1.variants.memory import CHUNK

FLOAT = 4  # bytes


class Load(NamedTuple):
    """What is trained with what. `copies`: float32 models held, the policy among them. `item`:
    bytes of a number in the sampler and in products. `size`: tokens of a row of its cache.
    `fused`: RMSNorm is one kernel, which keeps its input alone (CUDA)."""

    rows: int  # of the sampler
    size: int
    copies: int = 1
    item: int = 2
    fused: bool = True


def plan(c: ModelConfig, rl: RLConfig, load: Load) -> dict[str, int]:
    """Bytes by what they are for, of a dense model with grouped-query attention."""
    with torch.device("meta"):
        count = sum(p.numel() for p in Transformer(c).parameters())
    entry = c.layers * c.cache_width * load.item
    return {
        "weights": FLOAT * count * load.copies,
        "gradients": FLOAT * count,
        "moments": 2 * FLOAT * count,
        "sampler": load.item * count,
        "cache": load.rows * load.size * entry,
        "drawing": load.rows * c.vocab_size * 4 * FLOAT,
        "activations": rl.train_tokens * kept(c, rl, load) + cast(c, rl, load, count),
        "logits": max(logits(c, rl), backwards(c, rl, load)),
    }


def block(c: ModelConfig, load: Load) -> int:
    """Bytes a token that one block keeps for its gradients."""
    item, D, HK, F = load.item, c.width, c.heads * c.head_width, c.dense_width
    norm = FLOAT * (1 if load.fused else 2)
    size = 2 * (norm * D + FLOAT) + FLOAT * c.heads  # two norms; attention's sums
    size += 5 * item * D if item < FLOAT else 2 * FLOAT * D  # a cast for each product, or for all
    size += 4 * item * HK + 4 * item * F  # q, k, v, mixed; gate, up, its SiLU, their product
    if c.qk_norm:
        size += (norm * c.head_width + FLOAT) * (c.heads + c.kv_heads)
    return size


def kept(c: ModelConfig, rl: RLConfig, load: Load) -> int:
    """Bytes a token of a micro-batch when the forward pass has ended."""
    each = FLOAT * c.width if rl.save_memory else block(c, load)
    return c.layers * each + (FLOAT * (1 if load.fused else 2) + load.item) * c.width


def backwards(c: ModelConfig, rl: RLConfig, load: Load) -> int:
    """Bytes while a block's gradients are computed. A tied head's wait for the embedding's."""
    token = 3 * load.item * c.dense_width + 2 * FLOAT * c.width
    token += block(c, load) if rl.save_memory else 0
    return rl.train_tokens * token + FLOAT * c.vocab_size * c.width * c.tied


def cast(c: ModelConfig, rl: RLConfig, load: Load, count: int) -> int:
    """Weights in half precision, kept for the products' gradients."""
    ends = c.vocab_size * c.width * (1 if c.tied else 2)
    return load.item * (count - ends) if load.item < FLOAT and not rl.save_memory else 0


def logits(c: ModelConfig, rl: RLConfig) -> int:
    """Bytes of a chunk, and of what the head's gradient takes meanwhile."""
    tokens = min(rl.train_tokens, max(1, CHUNK // c.vocab_size))
    return tokens * c.vocab_size * 2 * FLOAT + c.vocab_size * c.width * 2 * FLOAT


def capacity(device: str) -> int | None:
    """Bytes of a card; None elsewhere."""
    return torch.cuda.get_device_properties(0).total_memory if device == "cuda" else None


def describe(parts: dict[str, int], total: int | None) -> str:
    """
    >>> describe({"weights": 2 * 10**9, "cache": 5 * 10**8}, 80 * 10**9)
    'needs about 2.5 GB of 80: weights 2.0, cache 0.5'
    """
    giga = {name: f"{size / 1e9:.1f}" for name, size in parts.items()}
    each = ", ".join(f"{name} {size}" for name, size in giga.items())
    of = f" of {total / 1e9:.0f}" if total else ""
    return f"needs about {sum(parts.values()) / 1e9:.1f} GB{of}: {each}"
