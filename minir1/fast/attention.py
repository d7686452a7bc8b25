"""Attention of one decoding step in one kernel, which reads each row's latents once and only as far as they are filled.

All heads look at the same latents, key and value at once. Kernels made for training fill tiles of 128 query positions and read
keys and values apart; here the heads are the tile, and a block of latents serves both products while it lies on the chip. Written
in Triton, which comes with PyTorch's CUDA builds (elsewhere importing this module raises ImportError); `decoder.attend_plain`
says the same in three products.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # cached positions read at once


@triton.jit
def mix(
    query, store, position, out, store_stride,
    heads: tl.constexpr, width: tl.constexpr, H: tl.constexpr, W: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    """One row: softmax(q k^T) k with a running maximum and sum (FlashAttention, arXiv 2205.14135, Algorithm 1).

    H and W are heads and width rounded up to powers of two; S positions are read at once.
    """
    row = tl.program_id(0).to(tl.int64)
    last = tl.load(position + row)
    h, w, s = tl.arange(0, H), tl.arange(0, W), tl.arange(0, S)
    place_HW, real_HW = row * heads * width + h[:, None] * width + w[None], (h[:, None] < heads) & (w[None] < width)
    query_HW = tl.load(query + place_HW, mask=real_HW, other=0.0)
    most_H = tl.full([H], float("-inf"), tl.float32)
    sum_H, mixed_HW = tl.zeros([H], tl.float32), tl.zeros([H, W], tl.float32)
    for start in range(0, last + 1, S):
        filled_S = start + s <= last
        place_SW = row * store_stride + (start + s)[:, None] * width + w[None]
        latent_SW = tl.load(store + place_SW, mask=filled_S[:, None] & (w[None] < width), other=0.0)
        score_HS = tl.where(filled_S[None], tl.dot(query_HW, tl.trans(latent_SW)), float("-inf"))
        new_H = tl.maximum(most_H, tl.max(score_HS, 1))
        weight_HS, fade_H = tl.exp(score_HS - new_H[:, None]), tl.exp(most_H - new_H)
        sum_H = sum_H * fade_H + tl.sum(weight_HS, 1)
        mixed_HW = mixed_HW * fade_H[:, None] + tl.dot(weight_HS.to(latent_SW.dtype), latent_SW)
        most_H = new_H
    tl.store(out + place_HW, (mixed_HW / sum_H[:, None]).to(out.dtype.element_ty), mask=real_HW)


def attend_fused(query_BHW: Tensor, store_BSW: Tensor, position_B: Tensor) -> Tensor:
    """What each query mixes of its row's latents up to its position: `[B, H, W]`. Rows of the store may lie apart."""
    (B, heads, width), out_BHW, up = query_BHW.shape, torch.empty_like(query_BHW), triton.next_power_of_2
    shape = heads, width, max(16, up(heads)), max(16, up(width)), BLOCK
    mix[(B,)](query_BHW.contiguous(), store_BSW, position_B, out_BHW, store_BSW.stride(0), *shape, num_warps=4, num_stages=3)
    return out_BHW
