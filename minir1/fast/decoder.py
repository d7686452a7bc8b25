"""One decoding step with fused weights: twin of `Transformer.forward` for one new token a row.

A step of a small model is a chain of tiny kernels, and each costs a launch's time whatever it
computes. So the chain is made shorter: what is linear in a row is multiplied into one matrix
whenever the weights change.

    queries   W^UK W^Q (scaled), their rotated part, and the same with its pairs swapped, so that
              RoPE becomes two products and a sum; the key's latent and rotated part too: one matrix
    output    W^O W^UV: from the mixed latents straight back to the residual (what attention mixes
              of the rotated part, which nobody needs, meets zeros: cheaper than cutting it off)
    experts   gate and up of every expert, the shared one among them: one matrix; down: one more
    norms     their weights belong to the matrix behind; a row's scale is applied to its product
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minir1.config import ModelConfig
from minir1.model import Block, FeedForward, LatentAttention, MixtureOfExperts, Transformer, wide


def can_fuse(model: Transformer) -> bool:
    """Latent attention, queries linear in the residual. Others decode with their own forward."""
    c = model.config
    return type(model) is Transformer and c.attention == "mla" and not c.q_rank


class Layer(NamedTuple):
    """One block, fused. I: all projections of attention; G: all experts' hidden numbers."""

    into_ID: Tensor
    kv_norm: Tensor
    out_DI: Tensor
    gate_up_GD: Tensor  # 2G rows: all gates, then all ups
    down_DG: Tensor
    router_ED: Tensor  # float32; E = 0 in a dense block
    bias_E: Tensor


def swap_pairs(rows: Tensor) -> Tensor:
    """(a, b) -> (-b, a) along the next to last dimension: the sine's part of interleaved RoPE."""
    a, b = rows.unflatten(-2, (-1, 2)).unbind(-2)
    return torch.stack([-b, a], dim=-2).flatten(-3, -2)


def fuse(block: Block, c: ModelConfig) -> Layer:
    """All in float32."""
    into_ID, out_DI = fuse_attention(block.attention, c)
    into_ID = into_ID * block.norm_1.weight
    gate_up_GD, down_DG, router_ED, bias_E = fuse_experts(block.mixer)
    gate_up_GD, router_ED = gate_up_GD * block.norm_2.weight, router_ED * block.norm_2.weight
    norm = block.attention.kv_norm.weight
    return Layer(into_ID, norm, out_DI, gate_up_GD, down_DG, router_ED, bias_E)


def fuse_attention(a: LatentAttention, c: ModelConfig) -> tuple[Tensor, Tensor]:
    """The matrices before and behind it; `turn` takes the rows of the first apart."""
    up = a.kv_up.weight.unflatten(0, (c.heads, -1))
    up_HCR, up_HUR = up.split([c.nope_width, c.value_width], dim=1)
    query = a.q_up.weight.unflatten(0, (c.heads, -1)) * a.scale
    query_HCD, query_HJD = query.split([c.nope_width, c.rope_width], dim=1)
    latent_RD, key_JD = a.kv_down.weight.split([c.kv_rank, c.rope_width])
    absorbed_HRD = torch.einsum("hcr,hcd->hrd", up_HCR, query_HCD)
    rotated_HJD = torch.cat([query_HJD, key_JD[None]])  # behind the heads: the key
    parts = [part.flatten(0, 1) for part in (absorbed_HRD, rotated_HJD, swap_pairs(rotated_HJD))]
    out_DHU = a.out.weight.unflatten(1, (c.heads, -1))
    out_DHR = torch.einsum("dhu,hur->dhr", out_DHU, up_HUR)
    return torch.cat([*parts, latent_RD]), F.pad(out_DHR, (0, c.rope_width)).flatten(1)


def fuse_experts(mixer: FeedForward | MixtureOfExperts) -> tuple[Tensor, ...]:
    """Gates and ups, downs, router, bias; the last two are empty in a dense block."""
    if isinstance(mixer, FeedForward):
        empty = mixer.gate.weight[:0]
        gate_up_GD = torch.cat([mixer.gate.weight, mixer.up.weight])
        return gate_up_GD, mixer.down.weight, empty, empty[:, 0]
    gates, ups = [mixer.gate_EFD.flatten(0, 1)], [mixer.up_EFD.flatten(0, 1)]
    downs = [mixer.down_EDF.transpose(0, 1).flatten(1)]
    if mixer.shared is not None:
        gates.append(mixer.shared.gate.weight)
        ups.append(mixer.shared.up.weight)
        downs.append(mixer.shared.down.weight)
    return torch.cat(gates + ups), torch.cat(downs, dim=1), mixer.router, mixer.bias_E


class Decoder:
    """`step` gives the next logits of each row and writes the row's latent into the store.

    On a card what lies between a block's matrix products is a few kernels: those of kernels.py,
    which read each row as far as it is filled, where they work (`kernels`), else what the compiler
    makes of the functions below (`compiled`: one compilation for all blocks of a kind, any rows).
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, compiled: bool = False):
        self.c, self.dtype, self.compiled = model.config, dtype, compiled
        self.weights: list[Tensor] = []
        self.use_plain()
        self.table_S2J = model.table.repeat_interleave(2, dim=-1)  # cos and sin, twice each
        self.refresh(model)
        if model.table.is_cuda and dtype != torch.float32:
            self.use_kernels()

    def use_plain(self) -> None:
        self.attend, self.kernels = attend_plain, False
        self.enter, self.leave = enter, leave
        if self.compiled:
            self.enter, self.leave = torch.compile(enter), torch.compile(leave)

    def use_kernels(self) -> None:
        """Take kernels.py's functions if they run here and give what the plain ones give in a
        small case: few rows, and many, which are shared out in another way."""
        try:
            from minir1.fast import kernels

            self.enter, self.leave = enter, leave  # not compiled: for one comparison
            plain = [self.trial(rows) for rows in (8, 300)]
            self.enter, self.attend, self.leave = kernels.enter, kernels.attend, kernels.leave
            self.kernels = True
            if all(alike(self.trial(len(logits_BV)), logits_BV) for logits_BV in plain):
                return
        except Exception:  # noqa: BLE001, S110 - no Triton, or a card that it does not know
            pass
        self.use_plain()

    @torch.no_grad()
    def trial(self, rows: int) -> Tensor:
        """Logits of some rows with random latents; every other row is short: there a slip shows."""
        device, span = self.table_S2J.device, min(300, self.c.positions)
        draw = torch.Generator(device).manual_seed(0)
        shape = (self.c.layers, rows, span, self.c.cache_width)
        store_LBSW = torch.randn(shape, generator=draw, device=device).to(self.dtype)
        row_B = torch.arange(rows, device=device)
        position_B = torch.where(row_B % 2 == 0, row_B % 8, row_B * 97 % span)
        return self.step(row_B % len(self.embed), store_LBSW, position_B)

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        """Take over the model's weights, in place: captured graphs keep their addresses."""
        weights = []
        for block in model.blocks:
            *matrices, router_ED, bias_E = fuse(block, self.c)
            weights += [matrix.to(self.dtype) for matrix in matrices] + [router_ED, bias_E]
        for end in (model.embed, model.norm, model.head):
            weights.append(end.weight.to(self.dtype))
        if self.weights:
            torch._foreach_copy_(self.weights, weights)
            return
        self.weights = [weight.clone() for weight in weights]
        *rest, self.embed, self.norm, self.head = self.weights
        size = len(Layer._fields)
        self.layers = [Layer(*rest[i : i + size]) for i in range(0, len(rest), size)]

    def step(self, token_B: Tensor, store_LBSW: Tensor, position_B: Tensor) -> Tensor:
        """Logits `[B, V]` after `token_B` at `position_B`; the store is read up to its S."""
        turn_B2J, x_BD = self.table_S2J[position_B], F.embedding(token_B, self.embed)
        seen = position_B if self.kernels else mask(position_B, store_LBSW.shape[2])
        for layer, store_BSW in zip(self.layers, store_LBSW):
            rows = self._any_number(x_BD, store_BSW, position_B, turn_B2J)
            query_BHW = self.enter(*rows, layer, self.c)
            mixed_BHW = self.attend(query_BHW, store_BSW, seen)
            x_BD = self.leave(*self._any_number(x_BD, mixed_BHW), layer, self.c)
        x_BD = F.rms_norm(x_BD, (self.c.width,), self.norm, self.c.norm_eps)
        return wide(F.linear(x_BD, self.head))

    def _any_number(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return any_rows(*tensors) if self.compiled and not self.kernels else tensors


def any_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors that what is compiled takes with any number of rows, without another compilation."""
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    return tensors


def enter(x_BD, store_BSW, position_B, turn_B2J, layer: Layer, c: ModelConfig) -> Tensor:
    """The queries `[B, H, W]` of one token a row; its latent goes into the store."""
    projected_BI = F.linear(x_BD, layer.into_ID) * row_scale(x_BD, c.norm_eps)
    query_BHW, new_BW = turn(projected_BI.to(x_BD.dtype), turn_B2J, layer.kv_norm, c)
    store_BSW[torch.arange(len(x_BD), device=x_BD.device), position_B] = new_BW
    return query_BHW


def leave(x_BD, mixed_BHW, layer: Layer, c: ModelConfig) -> Tensor:
    """From what attention has mixed to the block's end: `[B, D]`."""
    x_BD = x_BD + F.linear(mixed_BHW.flatten(1), layer.out_DI)
    scale_B1, weight_BE = row_scale(x_BD, c.norm_eps), None
    if len(layer.router_ED):
        weight_BE = route(x_BD, scale_B1, layer.router_ED, layer.bias_E, c)
    hidden_BG = gated(F.linear(x_BD, layer.gate_up_GD), scale_B1, weight_BE)
    return torch.addmm(x_BD, hidden_BG, layer.down_DG.T)


def alike(logits_BV: Tensor, other_BV: Tensor) -> bool:
    """Within 5% in three rows of four: in some, rounding chooses another expert."""
    difference_B = (logits_BV - other_BV).norm(dim=1) / other_BV.norm(dim=1)
    return bool(difference_B.quantile(0.75) < 0.05)


def mask(position_B: Tensor, span: int) -> Tensor:
    """What is added to the scores of one query a row: `[B, 1, S]`, -inf behind its position."""
    future_BS = torch.arange(span, device=position_B.device) > position_B[:, None]
    return torch.where(future_BS, -torch.inf, 0.0)[:, None]


def attend_plain(query_BHW: Tensor, store_BSW: Tensor, mask_B1S: Tensor) -> Tensor:
    """Heads share the latents, key and value at once: two products and a softmax, `[B, H, W]`."""
    score_BHS = torch.baddbmm(mask_B1S.to(query_BHW.dtype), query_BHW, store_BSW.mT)
    return score_BHS.softmax(-1) @ store_BSW


# ---------------------------------------------------------------- between the matrix products


def row_scale(x_BD: Tensor, eps: float) -> Tensor:
    """What RMSNorm multiplies a row by, in float32: `[B, 1]`."""
    return (wide(x_BD).square().mean(-1, keepdim=True) + eps).rsqrt()


def turn(projected_BI, turn_B2J, kv_norm, c: ModelConfig) -> tuple[Tensor, Tensor]:
    """The queries `[B, H, W]` (heads in the place of query positions: all read the same latents)
    and the new cache entry `[B, W]`."""
    turned = (c.heads + 1) * c.rope_width
    widths = [c.heads * c.kv_rank, turned, turned, c.kv_rank]
    query, plain, swapped, latent_BR = projected_BI.split(widths, dim=-1)
    plain_BHJ = plain.unflatten(-1, (c.heads + 1, -1))
    swapped_BHJ = swapped.unflatten(-1, (c.heads + 1, -1))
    cos_B1J, sin_B1J = turn_B2J[:, None].unbind(2)
    rotated_BHJ = (plain_BHJ * cos_B1J + swapped_BHJ * sin_B1J).to(projected_BI.dtype)
    latent_BR = F.rms_norm(latent_BR, (c.kv_rank,), kv_norm, c.norm_eps)
    query_BHW = torch.cat([query.unflatten(-1, (c.heads, -1)), rotated_BHJ[:, :-1]], dim=-1)
    return query_BHW, torch.cat([latent_BR, rotated_BHJ[:, -1]], dim=-1)


def route(x_BD, scale_B1, router_ED, bias_E, c: ModelConfig) -> Tensor:
    """Each expert's weight, 0 if it was not chosen, 1 for the shared ones: `[B, E + shared]`.

    An expert is chosen if fewer than K others stand before it: to compare all pairs fuses, a top-k
    would not. When compiled, so few outputs are cheaper as sums within the neighbouring kernel.
    """
    x_BD = wide(x_BD)
    narrow = torch.compiler.is_compiling()
    score_BE = (x_BD[:, None] * router_ED).sum(-1) if narrow else F.linear(x_BD, router_ED)
    score_BE = (score_BE * scale_B1).sigmoid()
    rank_BE, E = score_BE + bias_E, len(bias_E)
    earlier_EE = torch.ones(E, E, dtype=torch.bool, device=x_BD.device).tril(-1)
    mine_BE1, other_B1E = rank_BE[..., None], rank_BE[:, None]
    before_BEE = (other_B1E > mine_BE1) | ((other_B1E == mine_BE1) & earlier_EE)
    weight_BE = score_BE * (before_BEE.sum(-1) < c.top_k)
    weight_BE = weight_BE / (weight_BE.sum(-1, keepdim=True) + 1e-20) * c.routed_scale
    return F.pad(weight_BE, (0, c.shared_experts), value=1.0)


def gated(gate_up_BG: Tensor, scale_B1: Tensor, weight_BE: Tensor | None) -> Tensor:
    """SwiGLU of all experts side by side, each weighted."""
    gate_BG, up_BG = (gate_up_BG * scale_B1).chunk(2, dim=-1)
    hidden_BG = F.silu(gate_BG) * up_BG
    if weight_BE is not None:
        hidden_BEF = hidden_BG.unflatten(-1, (weight_BE.shape[-1], -1))
        hidden_BG = (hidden_BEF * weight_BE[..., None]).flatten(1)
    return hidden_BG.to(gate_up_BG.dtype)
