"""One decoding step on CPU cores, in float32: twin of `Decoder.step` with fewer and cheaper operations, tested equal to it.

No kernel is launched here, but an operation on so few numbers costs microseconds of Python and dispatch before it computes. So
everything stands where the next operation wants it: queries, new keys and latents are views of what one product gives and are
turned in place; rows are normalised before their products; the router is a part of the experts' product. And the latents are kept
twice. Attention reads them once as keys, token after token (`Engine.keys`: in memory each number of all tokens lies together,
which makes the product two to four times as fast), and once as values.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minir1.config import ModelConfig
from minir1.fast.decoder import Decoder, Layer, mask


class Plan(NamedTuple):
    """A `Layer` for `CoreDecoder`: matrices as `mm` likes them. I: (heads + 1) x (latent, rotated part), then the swapped parts."""

    into_DI: Tensor
    kv_norm: Tensor
    out_ID: Tensor
    gate_up_DU: Tensor  # and the router behind it
    down_UD: Tensor
    bias_E: Tensor
    blank_1E: Tensor  # weights before routing: 0 of the routed experts, 1 of the shared ones


def plan(layer: Layer, c: ModelConfig) -> Plan:
    turned = (c.heads + 1) * c.rope_width
    query, plain, swapped, latent = layer.into_ID.split([c.heads * c.kv_rank, turned, turned, c.kv_rank])
    latents = torch.cat([query, latent]).unflatten(0, (c.heads + 1, -1))
    whole = torch.cat([latents, plain.unflatten(0, (c.heads + 1, -1))], dim=1).flatten(0, 1)
    blank_E = torch.cat([torch.zeros_like(layer.bias_E), torch.ones(c.shared_experts)])
    into_DI, out_ID = torch.cat([whole, swapped]).T.contiguous(), layer.out_DI.T.contiguous()
    gate_up = torch.cat([layer.gate_up_UD, layer.router_ED]) if len(layer.router_ED) else layer.gate_up_UD
    return Plan(into_DI, layer.kv_norm, out_ID, gate_up.T.contiguous(), layer.down_DU.T.contiguous(), layer.bias_E, blank_E[None])


class CoreDecoder(Decoder):
    @torch.no_grad()
    def refresh(self, model) -> None:
        super().refresh(model)
        self.plans, self.head_DV = [plan(layer, self.c) for layer in self.layers], (self.head * self.norm).T.contiguous()

    def step(self, token_B: Tensor, store_LBSW: Tensor, position_B: Tensor, keys_LBSW: Tensor) -> Tensor:
        """As `Decoder.step`; the keys hold what the store holds."""
        c, eps, x_BD, row_B = self.c, torch.tensor(self.c.norm_eps), F.embedding(token_B, self.embed), torch.arange(len(token_B))
        cos_B1C, sin_B1C = self.table_S2C[position_B][:, None].unbind(2)
        hidden_B1S = mask(position_B, store_LBSW.shape[2])
        for p, store_BSW, keys_BSW in zip(self.plans, store_LBSW.unbind(), keys_LBSW.unbind()):
            entries_BHW = project(x_BD, p, cos_B1C, sin_B1C, c, eps)
            store_BSW[row_B, position_B] = keys_BSW[row_B, position_B] = entries_BHW[:, -1]
            score_BHS = torch.bmm(entries_BHW[:, :-1], keys_BSW.mT).add_(hidden_B1S)
            mixed_BHW = torch.bmm(score_BHS.softmax(-1), store_BSW)
            x_BD = torch.addmm(x_BD, mixed_BHW.flatten(1), p.out_ID)
            x_BD = torch.addmm(x_BD, experts(normal(x_BD, eps), p, c), p.down_UD)
        return normal(x_BD, eps) @ self.head_DV


def normal(x: Tensor, eps: Tensor) -> Tensor:
    """Rows of a mean square of 1."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


def project(x_BD: Tensor, p: Plan, cos_B1C: Tensor, sin_B1C: Tensor, c: ModelConfig, eps: Tensor) -> Tensor:
    """The queries and, behind them, the new entry of the store: `[B, heads + 1, W]`."""
    whole = (c.heads + 1) * c.cache_width
    entries, swapped = (normal(x_BD, eps) @ p.into_DI).split([whole, p.into_DI.shape[1] - whole], dim=1)
    entries_BHW = entries.unflatten(1, (c.heads + 1, -1))
    entries_BHW[..., c.kv_rank :].mul_(cos_B1C).addcmul_(swapped.unflatten(1, (c.heads + 1, -1)), sin_B1C)
    latent_BR = entries_BHW[:, -1, : c.kv_rank]
    torch.mul(normal(latent_BR, eps), p.kv_norm, out=latent_BR)
    return entries_BHW


def experts(x_BD: Tensor, p: Plan, c: ModelConfig) -> Tensor:
    """SwiGLU of all experts side by side, each weighted by the router: `[B, U]`."""
    U, E = len(p.down_UD), len(p.bias_E)
    gate_BU, up_BU, score_BE = (x_BD @ p.gate_up_DU).split([U, U, E], dim=1)
    hidden_BU = F.silu(gate_BU).mul_(up_BU)
    if E:
        score_BE = score_BE.sigmoid()
        chosen_BK = (score_BE + p.bias_E).topk(c.top_k, sorted=False).indices
        weight_BK = score_BE.gather(1, chosen_BK)
        weight_BK = weight_BK / (weight_BK.sum(1, keepdim=True) + 1e-20) * c.routed_scale
        weight_BE = p.blank_1E.expand(len(x_BD), -1).scatter(1, chosen_BK, weight_BK)
        hidden_BU.unflatten(1, (weight_BE.shape[1], -1)).mul_(weight_BE[..., None])
    return hidden_BU
