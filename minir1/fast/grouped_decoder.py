"""One decoding step of a dense model with grouped-query attention: twin of `Transformer.forward`
for one new token a row, for a Llama or a Qwen from elsewhere.

Its own forward repeats the keys and values of a group for each of its heads, which reads and writes
the whole cache several times a step. Here the heads of a group stand where attention expects the
tokens of a query: `[B, kv heads, heads of a group, K]`, and the cache is read as it lies. Products
of the same input are one product; its matrix is made of the policy's own weights, which become
views of it. So weights are held once, and what is copied into the policy is here at once.
"""

from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from minir1.fast.decoder import Decoder, mask
from minir1.model import Block, Cache, FeedForward, Transformer
from minir1.sampler import pad
from minir1.variants.memory import LARGE


def can_group(model: Transformer) -> bool:
    """Grouped-query attention without experts. On a CPU models with small vocabularies, ours, keep
    to their own forward: the same seeds give the same figures as before."""
    c, on_cpu = model.config, model.embed.weight.device.type == "cpu"
    grouped = type(model) is Transformer and c.attention == "gqa"
    dense = all(isinstance(block.mixer, FeedForward) for block in model.blocks)
    return grouped and dense and (c.vocab_size >= LARGE or not on_cpu)


class Layer(NamedTuple):
    """A block's weights; I: queries, keys and values side by side, G: gates, then ups."""

    norm_1: Tensor
    into_ID: Tensor
    bias_I: Tensor | None  # Qwen2
    q_norm: Tensor | None  # Qwen3
    k_norm: Tensor | None
    out_DI: Tensor
    norm_2: Tensor
    gate_up_GD: Tensor
    down_DG: Tensor


def side_by_side(*parameters: torch.nn.Parameter) -> Tensor:
    """One tensor that holds them all; each of them becomes a view of it."""
    whole = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, whole.split([len(p) for p in parameters])):
        parameter.data = part
    return whole


def fuse(block: Block) -> Layer:
    a, mixer = block.attention, block.mixer
    into = (a.q, a.k, a.v)
    bias = side_by_side(*(linear.bias for linear in into)) if a.c.qkv_bias else None
    norms = (a.q_norm.weight, a.k_norm.weight) if a.c.qk_norm else (None, None)
    into_ID = side_by_side(*(linear.weight for linear in into))
    gate_up_GD = side_by_side(mixer.gate.weight, mixer.up.weight)
    front = (block.norm_1.weight, into_ID, bias, *norms, a.out.weight)
    return Layer(*front, block.norm_2.weight, gate_up_GD, mixer.down.weight)


class GroupedDecoder(Decoder):
    """`policy` is the engine's own copy of the model, in the type that it decodes in."""

    kernels = False

    def __init__(self, policy: Transformer, compiled: bool = False):
        self.c, self.policy, self.compiled = policy.config, policy, compiled
        self.layers = [fuse(block) for block in policy.blocks]
        self.enter, self.leave = enter, leave
        if compiled:
            self.enter, self.leave = torch.compile(enter), torch.compile(leave)
        self.how = nullcontext
        if policy.table.is_cuda:  # no plans (cuDNN) while a graph is captured; flash has no masks
            backends = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
            self.how = lambda: sdpa_kernel(backends)

    def refresh(self, model: Transformer) -> None:
        """Nothing: the policy's weights are these."""

    def step(self, token_B: Tensor, store_LBSW: Tensor, position_B: Tensor) -> Tensor:
        """Logits `[B, V]` after `token_B` at `position_B`; the store is read up to its S."""
        c, policy = self.c, self.policy
        x_BD = F.embedding(token_B, policy.embed.weight)
        row_B = torch.arange(len(token_B), device=token_B.device)
        turn_B2K = signed(policy.table[position_B])
        mask_B11S = mask(position_B, store_LBSW.shape[2])[:, None].to(x_BD.dtype)
        with self.how():
            for layer, store_BSW in zip(self.layers, store_LBSW):
                query_BHK, new_BW = self.enter(*self._any_number(x_BD, turn_B2K), layer, c)
                store_BSW[row_B, position_B] = new_BW
                mixed_BI = attend(query_BHK, store_BSW, mask_B11S, c.kv_heads)
                x_BD = self.leave(*self._any_number(x_BD, mixed_BI), layer, c)
        return policy.logits(x_BD)

    def prefill(self, prompts: list[list[int]]) -> tuple[Cache, Tensor]:
        """`sampler.prefill`, but of logits only the last tokens': all would be gigabytes."""
        weight = self.policy.embed.weight
        ids_BT = pad(prompts, 0, weight.device)
        cache = Cache(self.c, *ids_BT.shape, weight.device, weight.dtype)
        hidden_BTD, _ = self.policy.trunk(ids_BT, cache)
        last_B = torch.tensor([len(p) - 1 for p in prompts], device=weight.device)
        row_B = torch.arange(len(prompts), device=weight.device)
        return cache, self.policy.logits(hidden_BTD[row_B, last_B])


def signed(turn_B2A: Tensor) -> Tensor:
    """cos, cos and -sin, sin: what a row and the same with its halves swapped are multiplied by."""
    cos_BA, sin_BA = turn_B2A.unbind(1)
    return torch.stack([torch.cat([cos_BA, cos_BA], -1), torch.cat([-sin_BA, sin_BA], -1)], 1)


def enter(x_BD: Tensor, turn_B2K: Tensor, layer: Layer, c) -> tuple[Tensor, Tensor]:
    """The queries `[B, H, K]` of one token a row, and its cache entry: keys, then values."""
    x_BD = F.rms_norm(x_BD, (c.width,), layer.norm_1, c.norm_eps)
    all_BHK = F.linear(x_BD, layer.into_ID, layer.bias_I).unflatten(-1, (-1, c.head_width))
    q_BHK, k_BHK, v_BHK = all_BHK.split([c.heads, c.kv_heads, c.kv_heads], dim=1)
    if c.qk_norm:
        q_BHK = F.rms_norm(q_BHK, (c.head_width,), layer.q_norm, c.norm_eps)
        k_BHK = F.rms_norm(k_BHK, (c.head_width,), layer.k_norm, c.norm_eps)
    qk_BHK = torch.cat([q_BHK, k_BHK], dim=1) if c.qk_norm else all_BHK[:, : -c.kv_heads]
    cos_B1K, sin_B1K = turn_B2K[:, None].unbind(2)
    swapped_BHK = qk_BHK.roll(c.head_width // 2, dims=-1)
    turned_BHK = (qk_BHK * cos_B1K + swapped_BHK * sin_B1K).to(x_BD.dtype)
    q_BHK, k_BHK = turned_BHK.split([c.heads, c.kv_heads], dim=1)
    return q_BHK, torch.cat([k_BHK, v_BHK], dim=1).flatten(1)


def attend(query_BHK: Tensor, store_BSW: Tensor, mask_B11S: Tensor, kv_heads: int) -> Tensor:
    """What the heads mix of the values of their group, side by side: `[B, H * K]`."""
    query = query_BHK.unflatten(1, (kv_heads, -1))
    entries = store_BSW.unflatten(-1, (2 * kv_heads, -1)).transpose(1, 2)
    key, value = entries.chunk(2, dim=1)  # [B, kv heads, S, K]
    return F.scaled_dot_product_attention(query, key, value, mask_B11S).flatten(1)


def leave(x_BD: Tensor, mixed_BI: Tensor, layer: Layer, c) -> Tensor:
    """From what attention has mixed to the block's end: `[B, D]`."""
    x_BD = torch.addmm(x_BD, mixed_BI, layer.out_DI.T)
    normed_BD = F.rms_norm(x_BD, (c.width,), layer.norm_2, c.norm_eps)
    gate_BG, up_BG = F.linear(normed_BD, layer.gate_up_GD).chunk(2, dim=-1)
    return torch.addmm(x_BD, F.silu(gate_BG) * up_BG, layer.down_DG.T)
