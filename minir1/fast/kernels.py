"""What lies between matrix products, in kernels: of a decoding step, twins of decoder.py's
functions; of a large vocabulary's log-probs, twins of variants/memory.py's.

A step's products are small, and so is everything between them: as PyTorch operations it is a dozen
kernels a block, each of which takes longer to start than to compute. Here a row is read once, and
all that can be known from it is done while it lies on the chip. Attention, too: all heads look at
the same latents, key and value at once, so the heads are the tile of the matrix units and a block
of latents serves both products; each row is read as far as it is filled. Triton comes with CUDA
builds of PyTorch; elsewhere this raises ImportError, and the plain functions are used.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from minir1.config import ModelConfig
from minir1.variants.memory import Rows

up = triton.next_power_of_2  # a block's size; what is beyond the real one is masked

# ---------------------------------------------------------------- kernels: one program a row


@triton.jit
def scale_of(x, row, width: tl.constexpr, eps: tl.constexpr, D: tl.constexpr):
    """What RMSNorm multiplies the row by."""
    d = tl.arange(0, D)
    x_D = tl.load(x + row * width + d, mask=d < width, other=0.0).to(tl.float32)
    return tl.rsqrt(tl.sum(x_D * x_D) / width + eps)


@triton.jit
def enter_row(
    x, projected, turn, kv_norm, position, query, store, store_stride,
    width: tl.constexpr, heads: tl.constexpr, rank: tl.constexpr, rope: tl.constexpr,
    eps: tl.constexpr, D: tl.constexpr, H: tl.constexpr, R: tl.constexpr,
):
    """The row's queries, rotated, and its new cache entry: normed latent and rotated key."""
    row = tl.program_id(0).to(tl.int64)
    scale = scale_of(x, row, width, eps, D)
    cache: tl.constexpr = rank + rope
    turned: tl.constexpr = (heads + 1) * rope
    projected += row * (heads * rank + 2 * turned + rank)
    entry = store + row * store_stride + tl.load(position + row) * cache
    h, r, j = tl.arange(0, H)[:, None], tl.arange(0, R), tl.arange(0, rope)
    dtype = query.dtype.element_ty

    real_HR = (h < heads) & (r[None] < rank)
    query_HR = tl.load(projected + h * rank + r[None], mask=real_HR, other=0.0)
    query += row * heads * cache
    tl.store(query + h * cache + r[None], (query_HR * scale).to(dtype), mask=real_HR)

    plain_at = projected + heads * rank + h * rope + j[None]
    plain_HJ = tl.load(plain_at, mask=h <= heads, other=0.0)
    swapped_HJ = tl.load(plain_at + turned, mask=h <= heads, other=0.0)
    cos_J, sin_J = tl.load(turn + row * 2 * rope + j), tl.load(turn + row * 2 * rope + rope + j)
    rotated_HJ = (plain_HJ * cos_J[None] + swapped_HJ * sin_J[None]) * scale
    tl.store(query + h * cache + rank + j[None], rotated_HJ.to(dtype), mask=h < heads)
    key_at = entry + rank + j[None] + 0 * h  # behind the heads: the key
    tl.store(key_at, rotated_HJ.to(dtype), mask=h == heads)

    latent_R = tl.load(projected + heads * rank + 2 * turned + r, mask=r < rank, other=0.0) * scale
    norm_R = tl.load(kv_norm + r, mask=r < rank, other=0.0)
    latent_R = latent_R * tl.rsqrt(tl.sum(latent_R * latent_R) / rank + eps) * norm_R
    tl.store(entry + r, latent_R.to(dtype), mask=r < rank)


@triton.jit
def attend_row(
    query, store, position, out, store_stride,
    heads: tl.constexpr, width: tl.constexpr, H: tl.constexpr, W: tl.constexpr, S: tl.constexpr,
):
    """softmax(q k^T) k with a running maximum and sum, S positions at once (FlashAttention, arXiv
    2205.14135, Algorithm 1)."""
    row = tl.program_id(0).to(tl.int64)
    last = tl.load(position + row)
    h, w, s = tl.arange(0, H), tl.arange(0, W), tl.arange(0, S)
    place_HW = row * heads * width + h[:, None] * width + w[None]
    real_HW = (h[:, None] < heads) & (w[None] < width)
    query_HW = tl.load(query + place_HW, mask=real_HW, other=0.0)
    most_H = tl.full([H], float("-inf"), tl.float32)
    sum_H, mixed_HW = tl.zeros([H], tl.float32), tl.zeros([H, W], tl.float32)
    for start in range(0, last + 1, S):
        filled_S = start + s <= last
        place_SW = row * store_stride + (start + s)[:, None] * width + w[None]
        real_SW = filled_S[:, None] & (w[None] < width)
        latent_SW = tl.load(store + place_SW, mask=real_SW, other=0.0)
        score_HS = tl.dot(query_HW, tl.trans(latent_SW))
        score_HS = tl.where(filled_S[None], score_HS, float("-inf"))
        new_H = tl.maximum(most_H, tl.max(score_HS, 1))
        weight_HS, fade_H = tl.exp(score_HS - new_H[:, None]), tl.exp(most_H - new_H)
        sum_H = sum_H * fade_H + tl.sum(weight_HS, 1)
        mixed_HW = mixed_HW * fade_H[:, None] + tl.dot(weight_HS.to(latent_SW.dtype), latent_SW)
        most_H = new_H
    tl.store(out + place_HW, (mixed_HW / sum_H[:, None]).to(out.dtype.element_ty), mask=real_HW)


@triton.jit
def gate_row(
    x, gate_up, router, bias, hidden, routed_scale,
    width: tl.constexpr, experts: tl.constexpr, top_k: tl.constexpr, parts: tl.constexpr,
    part: tl.constexpr, eps: tl.constexpr, D: tl.constexpr, E: tl.constexpr, F: tl.constexpr,
):
    """The row's experts chosen, and SwiGLU of all of them side by side, each weighted. `parts` of
    `part` numbers, the last ones (all in a dense block) shared: weight 1. Of equals the first wins.
    """
    row = tl.program_id(0).to(tl.int64)
    scale = scale_of(x, row, width, eps, D)
    e, d, f = tl.arange(0, E), tl.arange(0, D), tl.arange(0, F)
    weight_E = tl.zeros([E], tl.float32)
    if experts:
        x_D = tl.load(x + row * width + d, mask=d < width, other=0.0).to(tl.float32)
        real_ED = (e[:, None] < experts) & (d[None] < width)
        router_ED = tl.load(router + e[:, None] * width + d[None], mask=real_ED, other=0.0)
        score_E = tl.sigmoid(tl.sum(router_ED * x_D[None], 1) * scale)
        bias_E = tl.load(bias + e, mask=e < experts, other=0.0)
        rank_E = tl.where(e < experts, score_E + bias_E, float("-inf"))
        mine, other = rank_E[:, None], rank_E[None]
        before_EE = (other > mine) | ((other == mine) & (e[None] < e[:, None]))
        chosen_E = (tl.sum(before_EE.to(tl.int32), 1) < top_k) & (e < experts)
        weight_E = tl.where(chosen_E, score_E, 0.0)
        weight_E = weight_E / (tl.sum(weight_E) + 1e-20) * routed_scale
    for i in tl.static_range(parts):
        weight = tl.sum(tl.where(e == i, weight_E, 0.0)) if i < experts else 1.0
        gate_at = gate_up + row * 2 * parts * part + i * part + f
        up_at = gate_at + parts * part
        gate_F = tl.load(gate_at, mask=f < part, other=0.0).to(tl.float32) * scale
        up_F = tl.load(up_at, mask=f < part, other=0.0).to(tl.float32) * scale
        hidden_F = gate_F * tl.sigmoid(gate_F) * up_F * weight
        hidden_at = hidden + row * parts * part + i * part + f
        tl.store(hidden_at, hidden_F.to(hidden.dtype.element_ty), mask=f < part)


@triton.jit
def score_row(logits, ids, logp, entropy, total, size, temperature, BLOCK: tl.constexpr):
    """Log-prob, entropy and log-sum-exp of a row that is read once: running maximum, and running
    sums of exp and of exp times the logit, both counted from the maximum."""
    row, v = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    logits += row * size
    most = tl.full([], -1e30, tl.float32)  # finite: 0 times it is 0
    sum_V, mixed_V = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        real_V = start + v < size
        x_V = tl.load(logits + start + v, mask=real_V, other=0.0).to(tl.float32) / temperature
        x_V = tl.where(real_V, x_V, -1e30)
        new = tl.maximum(most, tl.max(x_V))
        below_V, fade = x_V - new, tl.exp(most - new)
        weight_V = tl.exp(below_V)
        mixed_V = (mixed_V + sum_V * (most - new)) * fade + weight_V * below_V
        sum_V = sum_V * fade + weight_V
        most = new
    whole = tl.sum(sum_V)
    chosen = tl.load(logits + tl.load(ids + row)).to(tl.float32) / temperature
    tl.store(logp + row, chosen - most - tl.log(whole))
    tl.store(entropy + row, tl.log(whole) - tl.sum(mixed_V) / whole)
    tl.store(total + row, most + tl.log(whole))


@triton.jit
def gradient_block(logits, ids, total, grad, size, temperature, BLOCK: tl.constexpr):
    """Of a row's log-prob by a block of its logits, in their place."""
    row = tl.program_id(0).to(tl.int64)
    v = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    logits += row * size
    x_V = tl.load(logits + v, mask=v < size, other=0.0).to(tl.float32) / temperature
    chosen_V = tl.where(v == tl.load(ids + row), 1.0, 0.0)
    share_V = chosen_V - tl.exp(x_V - tl.load(total + row))
    grad_V = share_V * (tl.load(grad + row) / temperature)
    tl.store(logits + v, grad_V.to(logits.dtype.element_ty), mask=v < size)


# ---------------------------------------------------------------- their callers


def enter(x_BD, store_BSW, position_B, turn_B2J, layer, c: ModelConfig) -> Tensor:
    """`decoder.enter`: the queries `[B, H, W]`; the new latents go into the store."""
    query_BHW = x_BD.new_empty(len(x_BD), c.heads, c.cache_width)
    projected_BI = F.linear(x_BD, layer.into_ID)
    inputs = (x_BD, projected_BI, turn_B2J, layer.kv_norm, position_B)
    outputs = (query_BHW, store_BSW, store_BSW.stride(0))
    widths = (c.width, c.heads, c.kv_rank, c.rope_width, c.norm_eps)
    blocks = (up(c.width), up(c.heads + 1), up(c.kv_rank))
    enter_row[(len(x_BD),)](*inputs, *outputs, *widths, *blocks)
    return query_BHW


def attend(query_BHW: Tensor, store_BSW: Tensor, position_B: Tensor) -> Tensor:
    """What each query mixes of its row's latents up to its position: `[B, H, W]`."""
    (B, heads, width), out_BHW = query_BHW.shape, torch.empty_like(query_BHW)
    few = B <= 256  # rows: more hands each (measured, H200)
    block, warps, stages = (128, 4, 2) if few else (32, 1, 3)
    stride = store_BSW.stride(0)  # rows of the store may lie apart
    tensors = (query_BHW, store_BSW, position_B, out_BHW, stride)
    shape = (heads, width, max(16, up(heads)), max(16, up(width)), block)
    attend_row[(B,)](*tensors, *shape, num_warps=warps, num_stages=stages)
    return out_BHW


def leave(x_BD, mixed_BHW, layer, c: ModelConfig) -> Tensor:
    """`decoder.leave`: from what attention has mixed to the block's end, `[B, D]`."""
    x_BD = torch.addmm(x_BD, mixed_BHW.flatten(1), layer.out_DI.T)
    gate_up_B2G, experts = F.linear(x_BD, layer.gate_up_GD), len(layer.router_ED)
    G = layer.down_DG.shape[1]
    parts = experts + c.shared_experts if experts else 1
    hidden_BG = x_BD.new_empty(len(x_BD), G)
    tensors = (x_BD, gate_up_B2G, layer.router_ED, layer.bias_E, hidden_BG, c.routed_scale)
    widths = (c.width, experts, c.top_k, parts, G // parts, c.norm_eps)
    blocks = (up(c.width), max(2, up(experts)), up(G // parts))
    gate_row[(len(x_BD),)](*tensors, *widths, *blocks)
    return torch.addmm(x_BD, hidden_BG, layer.down_DG.T)


def scores(logits_NV: Tensor, ids_N: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """`memory.scores` in float32."""
    logits_NV, (N, V) = logits_NV.contiguous(), logits_NV.shape
    found = tuple(logits_NV.new_empty(N, dtype=torch.float32) for _ in range(3))
    tensors = (logits_NV, ids_N.contiguous(), *found)
    score_row[(N,)](*tensors, V, float(temperature), 4096, num_warps=8)
    return found


def gradients(logits_NV, ids_N, total_N, grad_N, temperature: float) -> Tensor:
    """`memory.gradients` in float32."""
    logits_NV, (N, V) = logits_NV.contiguous(), logits_NV.shape
    tensors = (logits_NV, *(each.contiguous() for each in (ids_N, total_N, grad_N)))
    grid = (N, triton.cdiv(V, 4096))
    gradient_block[grid](*tensors, V, float(temperature), 4096, num_warps=8)
    return logits_NV


LARGE_ROWS = Rows(scores, gradients, chunks=4)  # in 16 bits 2 bytes a logit, where the plain take 8
