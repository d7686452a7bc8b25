"""One decoding step with fused weights: twin of `Transformer.forward` for one new token a row, tested equal to it.

A step of a small model is a chain of tiny kernels, and each costs a launch's time whatever it computes. So the
chain is made shorter: what is linear in a row is multiplied into one matrix whenever the weights change.

    queries     W^UK W^Q (scaled), their rotated part, and the same part with its pairs swapped, so that RoPE
                becomes two products and a sum; the key's latent and rotated part too: one matrix
    output      W^O W^UV: from the mixed latents straight back to the residual (what attention mixes of the rotated part, which
                nobody needs, meets zeros: cheaper than cutting it off)
    experts     gate and up of every expert, the shared one among them: one matrix; down of all: one more
    norms       their weights belong to the matrix behind them; the row's scale is applied to what the matrix gives
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minir1.config import ModelConfig
from minir1.model import Block, MixtureOfExperts, Transformer


def can_fuse(model: Transformer) -> bool:
    """Latent attention whose queries are linear in the residual; other models (and subclasses) decode with their own forward."""
    return type(model) is Transformer and model.config.attention == "mla" and not model.config.q_rank


class Layer(NamedTuple):
    """One block, fused. I: all projections of attention, U: gate and up of all experts. Norm weights are in the matrices behind."""

    into_ID: Tensor
    kv_norm: Tensor
    out_DI: Tensor
    gate_up_UD: Tensor
    down_DU: Tensor
    router_ED: Tensor  # float32; empty in a dense block
    bias_E: Tensor


def swap_pairs(rows: Tensor) -> Tensor:
    """(a, b) -> (-b, a) along the next to last dimension: the sine's part of interleaved RoPE."""
    a, b = rows.unflatten(-2, (-1, 2)).unbind(-2)
    return torch.stack([-b, a], dim=-2).flatten(-3, -2)


def fuse(block: Block, c: ModelConfig) -> Layer:
    """All in float32; the order of rows in into_ID is that which `turn` takes apart."""
    a, empty = block.attention, torch.empty(0, device=block.norm_1.weight.device)
    norm_1, norm_2 = block.norm_1.weight, block.norm_2.weight
    up_HCR = a.kv_up.weight.unflatten(0, (c.heads, -1))
    query_HCD = a.q_up.weight.unflatten(0, (c.heads, -1)) * a.scale
    latent_RD, key_CD = a.kv_down.weight.split([c.kv_rank, c.rope_width])
    absorbed_HRD = torch.einsum("hcr,hcd->hrd", up_HCR[:, : c.nope_width], query_HCD[:, : c.nope_width])
    rotated_HCD = torch.cat([query_HCD[:, c.nope_width :], key_CD[None]])
    parts = [absorbed_HRD.flatten(0, 1), rotated_HCD.flatten(0, 1), swap_pairs(rotated_HCD).flatten(0, 1), latent_RD]
    out_DHC = a.out.weight.unflatten(1, (c.heads, -1))
    out_DHR = torch.einsum("dhc,hcr->dhr", out_DHC, up_HCR[:, c.nope_width :])
    out_DI = F.pad(out_DHR, (0, c.rope_width)).flatten(1)
    m = block.mixer
    if not isinstance(m, MixtureOfExperts):
        gate_up, down, router, bias = torch.cat([m.gate.weight, m.up.weight]), m.down.weight, empty, empty
    else:
        gates, ups, downs = [m.gate_EFD.flatten(0, 1)], [m.up_EFD.flatten(0, 1)], [m.down_EDF.transpose(0, 1).flatten(1)]
        if m.shared:
            gates, ups, downs = gates + [m.shared.gate.weight], ups + [m.shared.up.weight], downs + [m.shared.down.weight]
        gate_up, down, router, bias = torch.cat(gates + ups), torch.cat(downs, dim=1), m.router, m.bias_E
    router = router * norm_2 if len(router) else router
    return Layer(torch.cat(parts) * norm_1, a.kv_norm.weight, out_DI, gate_up * norm_2, down, router, bias)


class Decoder:
    """`step` gives the next logits of each row and writes the row's latent into the store.

    On a card what lies between a block's matrix products is a few kernels: those of kernels.py, which read each row as far as it
    is filled, where they work (`kernels`), else what the compiler makes of the functions below (`compiled`: one compilation serves
    all blocks of a kind and all numbers of rows).
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, compiled: bool = False):
        self.c, self.dtype, self.layers, self.compiled = model.config, dtype, [], compiled
        self.use_plain()
        self.table_S2C = model.table.repeat_interleave(2, dim=-1)  # each pair's cos and sin, for both of the pair
        self.refresh(model)
        if model.table.is_cuda and dtype != torch.float32:
            self.use_kernels()

    def use_plain(self) -> None:
        self.attend, self.kernels = attend_plain, False
        self.enter, self.leave = (torch.compile(enter), torch.compile(leave)) if self.compiled else (enter, leave)

    def use_kernels(self) -> None:
        """Take kernels.py's functions if they run here and give what the plain ones give: they are tried on a small case."""
        try:
            from minir1.fast import kernels

            self.enter, self.leave = enter, leave  # not compiled: for one comparison
            plain = [self.trial(rows) for rows in (8, 300)]  # few rows and many are shared out in two ways
            self.enter, self.attend, self.leave, self.kernels = kernels.enter, kernels.attend, kernels.leave, True
            if all(alike(self.trial(len(kept)), kept) for kept in plain):
                return
        except Exception:  # noqa: BLE001, S110 - no Triton, or a card that it does not know: it has many ways to say so
            pass
        self.use_plain()

    @torch.no_grad()
    def trial(self, rows: int) -> Tensor:
        """The logits of a step of some rows with random latents, every other row a short one: there a slip shows."""
        device, span = self.table_S2C.device, min(300, self.c.positions)
        draw, shape = torch.Generator(device).manual_seed(0), (self.c.layers, rows, span, self.c.cache_width)
        store_LBSW, row_B = torch.randn(shape, generator=draw, device=device).to(self.dtype), torch.arange(rows, device=device)
        return self.step(row_B % len(self.embed), store_LBSW, torch.where(row_B % 2 == 0, row_B % 8, row_B * 97 % span))

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        """Take over the model's present weights, in place: captured graphs keep their addresses."""
        half = lambda t: t.to(self.dtype)  # noqa: E731
        fresh = [Layer(*map(half, layer[:5]), *map(torch.clone, layer[5:])) for layer in (fuse(b, self.c) for b in model.blocks)]
        ends = [half(w).clone() for w in (model.embed.weight, model.norm.weight, model.head.weight)]
        if not self.layers:
            self.layers, (self.embed, self.norm, self.head) = [Layer(*map(torch.clone, layer)) for layer in fresh], ends
            return
        old = [t for layer in self.layers for t in layer] + [self.embed, self.norm, self.head]
        torch._foreach_copy_(old, [t for layer in fresh for t in layer] + ends)

    def step(self, token_B: Tensor, store_LBSW: Tensor, position_B: Tensor) -> Tensor:
        """Logits `[B, V]` after `token_B`, which stands at `position_B`; the store `[L, B, S, W]` is read up to its S."""
        turn_B2C, x_BD = self.table_S2C[position_B], F.embedding(token_B, self.embed)
        seen = position_B if self.kernels else mask(position_B, store_LBSW.shape[2])
        for layer, store_BSW in zip(self.layers, store_LBSW):
            query_BHW = self.enter(*self._free(x_BD, store_BSW, position_B, turn_B2C), layer, self.c)
            mixed_BHW = self.attend(query_BHW, store_BSW, seen)
            x_BD = self.leave(*self._free(x_BD, mixed_BHW), layer, self.c)
        return F.linear(F.rms_norm(x_BD, (self.c.width,), self.norm, self.c.norm_eps), self.head).float()

    def _free(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Before compiled functions: the number of rows may be anything, without a compilation for each."""
        if self.compiled and not self.kernels:
            for tensor in tensors:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return tensors


def enter(x_BD: Tensor, store_BSW: Tensor, position_B: Tensor, turn_B2C: Tensor, layer: Layer, c: ModelConfig) -> Tensor:
    """The queries `[B, H, W]` of one token a row; its latent goes into the store."""
    projected_BI = F.linear(x_BD, layer.into_ID) * row_scale(x_BD, c.norm_eps)
    query_BHW, new_BW = turn(projected_BI.to(x_BD.dtype), turn_B2C, layer.kv_norm, c)
    store_BSW[torch.arange(len(x_BD), device=x_BD.device), position_B] = new_BW
    return query_BHW


def leave(x_BD: Tensor, mixed_BHW: Tensor, layer: Layer, c: ModelConfig) -> Tensor:
    """From what attention has mixed to the block's end: `[B, D]`."""
    x_BD = x_BD + F.linear(mixed_BHW.flatten(1), layer.out_DI)
    scale_B1 = row_scale(x_BD, c.norm_eps)
    weight_BE = route(x_BD, scale_B1, layer.router_ED, layer.bias_E, c) if len(layer.router_ED) else None
    hidden_BU = gated(F.linear(x_BD, layer.gate_up_UD), scale_B1, weight_BE)
    return torch.addmm(x_BD, hidden_BU, layer.down_DU.T)


def alike(logits_BV: Tensor, other_BV: Tensor) -> bool:
    """Within 5% in three rows of four: in some, rounding chooses another expert."""
    return bool(((logits_BV - other_BV).norm(dim=1) / other_BV.norm(dim=1)).quantile(0.75) < 0.05)


def mask(position_B: Tensor, span: int) -> Tensor:
    """What is added to the scores of one query a row: `[B, 1, S]`, -inf behind its position."""
    hidden_BS = torch.arange(span, device=position_B.device) > position_B[:, None]
    return torch.zeros_like(hidden_BS, dtype=torch.float32).masked_fill(hidden_BS, -torch.inf)[:, None]


def attend_plain(query_BHW: Tensor, store_BSW: Tensor, mask_B1S: Tensor) -> Tensor:
    """One query a head; heads share the latents, key and value at once: two batched products and a softmax, `[B, H, W]`."""
    return torch.baddbmm(mask_B1S.to(query_BHW.dtype), query_BHW, store_BSW.mT).softmax(-1) @ store_BSW


# ---------------------------------------------------------------- between the matrix products


def row_scale(x_BD: Tensor, eps: float) -> Tensor:
    """What RMSNorm multiplies a row by, in float32: `[B, 1]`."""
    return (x_BD.float().square().mean(-1, keepdim=True) + eps).rsqrt()


def turn(projected_BI: Tensor, turn_B2C: Tensor, kv_norm: Tensor, c: ModelConfig) -> tuple[Tensor, Tensor]:
    """The queries `[B, H, W]` (heads in the place of query positions: they all read the same latents) and the new cache entry."""
    turned = (c.heads + 1) * c.rope_width
    query, plain, swapped, latent = projected_BI.split([c.heads * c.kv_rank, turned, turned, c.kv_rank], dim=-1)
    plain, swapped = plain.unflatten(-1, (c.heads + 1, -1)), swapped.unflatten(-1, (c.heads + 1, -1))
    cos_B1C, sin_B1C = turn_B2C[:, None].unbind(2)
    rotated_BHC = (plain * cos_B1C + swapped * sin_B1C).to(projected_BI.dtype)
    latent = F.rms_norm(latent, (c.kv_rank,), kv_norm, c.norm_eps)
    query_BHW = torch.cat([query.unflatten(-1, (c.heads, -1)), rotated_BHC[:, :-1]], dim=-1)
    return query_BHW, torch.cat([latent, rotated_BHC[:, -1]], dim=-1)


def route(x_BD: Tensor, scale_B1: Tensor, router_ED: Tensor, bias_E: Tensor, c: ModelConfig) -> Tensor:
    """Each expert's weight, 0 if it was not chosen, 1 for the shared ones: `[B, E + shared]`.

    An expert is chosen if fewer than K others stand before it: comparing all pairs fuses where a top-k would not.
    """
    x_BD = x_BD.float()
    narrow = torch.compiler.is_compiling()  # so few outputs are cheaper as sums within the neighbouring kernel
    score_BE = (x_BD[:, None] * router_ED).sum(-1) if narrow else F.linear(x_BD, router_ED)
    score_BE = (score_BE * scale_B1).sigmoid()
    rank_BE, E = score_BE + bias_E, len(bias_E)
    earlier_EE = torch.ones(E, E, dtype=torch.bool, device=x_BD.device).tril(-1)  # of equals, the first wins
    before_BEE = (rank_BE[:, None] > rank_BE[..., None]) | ((rank_BE[:, None] == rank_BE[..., None]) & earlier_EE)
    weight_BE = score_BE * (before_BEE.sum(-1) < c.top_k)
    weight_BE = weight_BE / (weight_BE.sum(-1, keepdim=True) + 1e-20) * c.routed_scale
    return F.pad(weight_BE, (0, c.shared_experts), value=1.0)


def gated(gate_up_BU: Tensor, scale_B1: Tensor, weight_BE: Tensor | None) -> Tensor:
    """SwiGLU of all experts side by side, each weighted."""
    gate_BU, up_BU = (gate_up_BU * scale_B1).chunk(2, dim=-1)
    hidden_BU = F.silu(gate_BU) * up_BU
    if weight_BE is not None:
        hidden_BU = (hidden_BU.unflatten(-1, (weight_BE.shape[-1], -1)) * weight_BE[..., None]).flatten(1)
    return hidden_BU.to(gate_up_BU.dtype)
