"""One decoding step on CPU cores, in the weights' type: a twin of `Decoder.step` that is cheaper.

No kernel is launched here, but an operation on so few numbers costs microseconds of Python and
dispatch before it computes. So everything stands where the next operation wants it: queries, new
keys and latents are views of one product and are turned in place; rows are normalised before their
products; the router is a part of the experts' product. And latents are kept twice: as values token
after token, as keys number after number (`Engine.keys`), which makes attention's first product two
to four times as fast.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minir1.config import ModelConfig
from minir1.fast.decoder import Decoder, Layer, can_fuse, fuse
from minir1.fast.norms import scale_of
from minir1.model import Transformer


def on_cores(model: Transformer, dtype: torch.dtype, compiled: bool) -> bool:
    """Where this step serves; what is compiled is fused by the compiler."""
    on_cpu = model.embed.weight.device.type == "cpu"
    return can_fuse(model) and on_cpu and dtype == model.embed.weight.dtype and not compiled


class Plan(NamedTuple):
    """A `Layer` as `mm` likes it. I: (heads + 1) times a latent and a rotated part, then the
    rotated parts with pairs swapped."""

    into_DI: Tensor
    kv_norm: Tensor
    out_ID: Tensor
    gate_up_DG: Tensor  # and the router behind it
    down_GD: Tensor
    bias_E: Tensor
    blank_1E: Tensor  # weights before routing: 0 of the routed experts, 1 of the shared ones


def plan(layer: Layer, c: ModelConfig) -> Plan:
    turned = (c.heads + 1) * c.rope_width
    widths = [c.heads * c.kv_rank, turned, turned, c.kv_rank]
    query, plain, swapped, latent = layer.into_ID.split(widths)
    parts = [part.unflatten(0, (c.heads + 1, -1)) for part in (torch.cat([query, latent]), plain)]
    into_ID = torch.cat([torch.cat(parts, dim=1).flatten(0, 1), swapped])
    gate_up_GD = torch.cat([layer.gate_up_GD, layer.router_ED])
    blank_E = torch.cat([torch.zeros_like(layer.bias_E), layer.bias_E.new_ones(c.shared_experts)])
    matrices = (into_ID, layer.out_DI, gate_up_GD, layer.down_DG)
    into, out, gate_up, down = (matrix.T.contiguous() for matrix in matrices)
    norm, bias_E = layer.kv_norm.clone(), layer.bias_E.clone()
    return Plan(into, norm, out, gate_up, down, bias_E, blank_E[None])


class CoreDecoder(Decoder):
    """A decoder whose step also wants the keys."""

    def __init__(self, model: Transformer, dtype: torch.dtype):
        self.eps = torch.tensor(model.config.norm_eps)
        self.place_S = torch.arange(model.config.positions)
        super().__init__(model, dtype)

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        self.plans = [plan(fuse(block, self.c), self.c) for block in model.blocks]
        self.embed = model.embed.weight.detach().clone()
        self.head = (model.head.weight * model.norm.weight).T.contiguous()

    def step(self, token_B, store_LBSW, position_B, keys_LBSW) -> Tensor:
        """As `Decoder.step`; the keys hold what the store holds."""
        x_BD, row_B = F.embedding(token_B, self.embed), torch.arange(len(token_B))
        cos_B1J, sin_B1J = self.table_S2J[position_B][:, None].unbind(2)
        future_B1S = self.place_S[: store_LBSW.shape[2]] > position_B[:, None, None]
        for p, store_BSW, keys_BSW in zip(self.plans, store_LBSW.unbind(), keys_LBSW.unbind()):
            entries_BHW = self.entries(x_BD, p, cos_B1J, sin_B1J)
            new_BW = entries_BHW[:, -1]
            store_BSW[row_B, position_B] = keys_BSW[row_B, position_B] = new_BW
            score_BHS = torch.bmm(entries_BHW[:, :-1], keys_BSW.mT)
            weight_BHS = score_BHS.masked_fill_(future_B1S, -torch.inf).softmax(-1)
            mixed_BI = torch.bmm(weight_BHS, store_BSW).flatten(1)
            x_BD = torch.addmm(x_BD, mixed_BI, p.out_ID)
            x_BD = torch.addmm(x_BD, self.experts(normal(x_BD, self.eps), p), p.down_GD)
        return normal(x_BD, self.eps) @ self.head

    def entries(self, x_BD: Tensor, p: Plan, cos_B1J: Tensor, sin_B1J: Tensor) -> Tensor:
        """The queries and, behind them, the new entry of the store: `[B, heads + 1, W]`."""
        c = self.c
        whole = (c.heads + 1) * c.cache_width
        projected = normal(x_BD, self.eps) @ p.into_DI
        entries, swapped = projected.split([whole, p.into_DI.shape[1] - whole], dim=1)
        entries_BHW, swapped_BHJ = (x.unflatten(1, (c.heads + 1, -1)) for x in (entries, swapped))
        entries_BHW[..., c.kv_rank :].mul_(cos_B1J).addcmul_(swapped_BHJ, sin_B1J)
        latent_BR = entries_BHW[:, -1, : c.kv_rank]
        torch.mul(normal(latent_BR, self.eps), p.kv_norm, out=latent_BR)
        return entries_BHW

    def experts(self, x_BD: Tensor, p: Plan) -> Tensor:
        """SwiGLU of all experts side by side, each weighted by the router: `[B, G]`."""
        G, E = len(p.down_GD), len(p.bias_E)
        gate_BG, up_BG, score_BE = (x_BD @ p.gate_up_DG).split([G, G, E], dim=1)
        hidden_BG = F.silu(gate_BG).mul_(up_BG)
        if E:
            score_BE = score_BE.sigmoid()
            chosen_BK = (score_BE + p.bias_E).topk(self.c.top_k, sorted=False).indices
            weight_BK = score_BE.gather(1, chosen_BK)
            share_B1 = self.c.routed_scale / (weight_BK.sum(1, keepdim=True) + 1e-20)
            blank_BE = p.blank_1E.expand(len(x_BD), -1)
            weight_BE = blank_BE.scatter(1, chosen_BK, weight_BK.mul_(share_B1))
            hidden_BG.unflatten(1, (weight_BE.shape[1], -1)).mul_(weight_BE[..., None])
        return hidden_BG


def normal(x: Tensor, eps: Tensor) -> Tensor:
    """Rows divided by their root mean square."""
    return x * scale_of(x, eps)
