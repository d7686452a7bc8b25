"""The transformer: DeepSeek-V3 in miniature (arXiv 2412.19437), and a dense twin.

Three ideas carry it. Latent attention (section 2.1.1) caches one small vector a token instead of
keys and values of every head. Experts (2.1.2) spend parameters without spending operations. A bias
on the router (Eq. 16) keeps the experts evenly used without a loss that fights the language loss.

Uncached, attention is computed in its expanded form; with a cache, in the absorbed form, where the
up-projections move to the query and output side and the latent itself plays keys and values. Both
are the same function: tests compare them, and both with transformers' DeepseekV3.

Deviations from V3: (1) one routing group; (2) no YaRN; (3) initial output projections are scaled by
1/sqrt(2 * layers), as in GPT-2.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.config import ModelConfig

# ---------------------------------------------------------------- positions


def rotary_table(width: int, positions: int, base: float) -> Tensor:
    """cos and sin of every position's angles: [positions, 2, width / 2]."""
    frequency = 1 / base ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def rotate(x_BTHC: Tensor, table_BT2C: Tensor, interleaved: bool) -> Tensor:
    """RoPE. Pairs are neighbours (0,1),(2,3).. when interleaved (DeepSeek), halves otherwise (Llama)."""
    cos, sin = table_BT2C[:, :, None].unbind(3)
    if interleaved:
        a, b = x_BTHC.float().unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2).to(x_BTHC.dtype)
    a, b = x_BTHC.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x_BTHC.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


# ---------------------------------------------------------------- the cache


class Cache:
    """What attention keeps of the past: per layer `[B, S, cache_width]`, and each row's own length.

    Rows may have prompts of different lengths: they are padded on the right, `length_B` is then set to
    the true lengths, and decoding overwrites the padding. `span` bounds all lengths without asking the device.
    """

    def __init__(self, config: ModelConfig, rows: int, size: int, device, dtype):
        self.store_LBSW = torch.zeros(config.layers, rows, size, config.cache_width, device=device, dtype=dtype)
        self.length_B = torch.zeros(rows, dtype=torch.long, device=device)
        self.span = 0

    def positions(self, tokens: int) -> Tensor:
        return self.length_B[:, None] + torch.arange(tokens, device=self.length_B.device)

    def write(self, layer: int, new_BTW: Tensor, position_BT: Tensor) -> Tensor:
        """Store new entries and return all entries up to the span, `[B, S, W]`."""
        store_BSW = self.store_LBSW[layer]
        rows = torch.arange(len(store_BSW), device=store_BSW.device)[:, None]
        store_BSW[rows, position_BT] = new_BTW.to(store_BSW.dtype)
        return store_BSW[:, : self.span]

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.store_LBSW, self.length_B = self.store_LBSW[:, rows], self.length_B[rows]


class Context(NamedTuple):
    """What a block needs to know beside its input."""

    table_BT2C: Tensor
    position_BT: Tensor
    cache: Cache | None
    future_BTS: Tensor | None  # with a cache: keys behind a query's own position, which it must not see


# ---------------------------------------------------------------- attention


class LatentAttention(nn.Module):
    """MLA, V3 Eq. 1-11. Names follow the paper: kv_down is W^DKV and W^KR, kv_up is W^UK and W^UV."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c, self.scale = c, (c.nope_width + c.rope_width) ** -0.5
        query_width = c.heads * (c.nope_width + c.rope_width)
        if c.q_rank:
            self.q_down, self.q_norm = nn.Linear(c.width, c.q_rank, bias=False), RMSNorm(c.q_rank, c.norm_eps)
        self.q_up = nn.Linear(c.q_rank or c.width, query_width, bias=False)
        self.kv_down = nn.Linear(c.width, c.kv_rank + c.rope_width, bias=False)
        self.kv_norm = RMSNorm(c.kv_rank, c.norm_eps)
        self.kv_up = nn.Linear(c.kv_rank, c.heads * (c.nope_width + c.value_width), bias=False)
        self.out = nn.Linear(c.heads * c.value_width, c.width, bias=False)

    def forward(self, x_BTD: Tensor, context: Context, layer: int) -> Tensor:
        c = self.c
        query = self.q_up(self.q_norm(self.q_down(x_BTD)) if c.q_rank else x_BTD)
        q_BTHC, qr_BTHC = query.unflatten(-1, (c.heads, -1)).split([c.nope_width, c.rope_width], dim=-1)
        latent_BTR, kr_BTC = self.kv_down(x_BTD).split([c.kv_rank, c.rope_width], dim=-1)
        latent_BTR = self.kv_norm(latent_BTR)
        rotated = rotate(torch.cat([qr_BTHC, kr_BTC[:, :, None]], dim=2), context.table_BT2C, interleaved=True)
        qr_BTHC, kr_BTC = rotated[:, :, :-1], rotated[:, :, -1]
        attend = self._expanded if context.cache is None else self._absorbed
        return self.out(attend(q_BTHC, qr_BTHC, latent_BTR, kr_BTC, context, layer).flatten(-2))

    def _expanded(self, q_BTHC, qr_BTHC, latent_BTR, kr_BTC, context, layer) -> Tensor:
        """Keys and values of every head, as in the paper: for training."""
        c = self.c
        k_BTHC, v_BTHC = self.kv_up(latent_BTR).unflatten(-1, (c.heads, -1)).split([c.nope_width, c.value_width], dim=-1)
        key = torch.cat([k_BTHC, kr_BTC[:, :, None].expand(-1, -1, c.heads, -1)], dim=-1)
        query = torch.cat([q_BTHC, qr_BTHC], dim=-1)
        q, k, v = (t.transpose(1, 2) for t in (query, key, v_BTHC))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale).transpose(1, 2)

    def _absorbed(self, q_BTHC, qr_BTHC, latent_BTR, kr_BTC, context, layer) -> Tensor:
        """The latent is key and value at once; W^UK moves to the query, W^UV to the output: for decoding."""
        c = self.c
        stored_BSW = context.cache.write(layer, torch.cat([latent_BTR, kr_BTC], dim=-1), context.position_BT)
        up_HCR = self.kv_up.weight.to(q_BTHC.dtype).unflatten(0, (c.heads, -1))
        query = torch.cat([torch.einsum("bthc,hcr->bthr", q_BTHC, up_HCR[:, : c.nope_width]), qr_BTHC], dim=-1)
        B, T = query.shape[:2]
        score = (query.flatten(1, 2) @ stored_BSW.mT).unflatten(1, (T, c.heads)).float() * self.scale
        score = score.masked_fill(context.future_BTS[:, :, None], -torch.inf)
        weight = score.softmax(-1).to(query.dtype).flatten(1, 2)
        mixed_BTHR = (weight @ stored_BSW[..., : c.kv_rank]).unflatten(1, (T, c.heads))
        return torch.einsum("bthr,hcr->bthc", mixed_BTHR, up_HCR[:, c.nope_width :])


class GroupedAttention(nn.Module):
    """Grouped-query attention with half-split RoPE: the dense twin (Llama; Qwen3 with qk_norm)."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        self.q = nn.Linear(c.width, c.heads * c.head_width, bias=False)
        self.k = nn.Linear(c.width, c.kv_heads * c.head_width, bias=False)
        self.v = nn.Linear(c.width, c.kv_heads * c.head_width, bias=False)
        self.out = nn.Linear(c.heads * c.head_width, c.width, bias=False)
        if c.qk_norm:
            self.q_norm, self.k_norm = RMSNorm(c.head_width, c.norm_eps), RMSNorm(c.head_width, c.norm_eps)

    def forward(self, x_BTD: Tensor, context: Context, layer: int) -> Tensor:
        c = self.c
        q, k, v = (part(x_BTD).unflatten(-1, (-1, c.head_width)) for part in (self.q, self.k, self.v))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = (rotate(t, context.table_BT2C, interleaved=False) for t in (q, k))
        mask = None
        if context.cache is not None:
            stored = context.cache.write(layer, torch.cat([k, v], dim=2).flatten(-2), context.position_BT)
            k, v = stored.unflatten(-1, (2 * c.kv_heads, -1)).to(q.dtype).chunk(2, dim=2)
            mask = ~context.future_BTS[:, None]
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, dim=2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None).transpose(1, 2).flatten(-2))


# ---------------------------------------------------------------- feed-forward


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def looped_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """The specification: each expert in turn computes the tokens that chose it, weighted and summed."""
    out_ND = torch.zeros_like(x_ND)
    for e in range(len(gate_EFD)):
        token, choice = torch.where(expert_NK == e)
        x = x_ND[token]
        hidden = F.silu(F.linear(x, gate_EFD[e])) * F.linear(x, up_EFD[e])
        y = F.linear(hidden, down_EDF[e]) * weight_NK[token, choice, None]
        out_ND = out_ND.index_add(0, token, y.to(out_ND.dtype))
    return out_ND


class Routing(NamedTuple):
    expert_BTK: Tensor
    score_BTE: Tensor  # sigmoid affinities


class MixtureOfExperts(nn.Module):
    """Shared experts + top-k of E routed ones, V3 Eq. 12-16. The bias decides who is chosen, never the weight."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        self.router = nn.Parameter(torch.empty(c.experts, c.width))
        self.register_buffer("bias_E", torch.zeros(c.experts))
        self.gate_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.up_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.down_EDF = nn.Parameter(torch.empty(c.experts, c.width, c.expert_width))
        self.shared = FeedForward(c.width, c.shared_experts * c.expert_width) if c.shared_experts else None
        self.compute = looped_experts

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        c = self.c
        with torch.autocast(x_BTD.device.type, enabled=False):  # routing in float32
            score_BTE = (x_BTD.float() @ self.router.float().T).sigmoid()
        expert_BTK = (score_BTE + self.bias_E).topk(c.top_k, dim=-1).indices
        weight_BTK = score_BTE.gather(-1, expert_BTK)
        weight_BTK = weight_BTK / (weight_BTK.sum(-1, keepdim=True) + 1e-20) * c.routed_scale
        routed = self.compute(
            x_BTD.flatten(0, 1), expert_BTK.flatten(0, 1), weight_BTK.flatten(0, 1), self.gate_EFD, self.up_EFD, self.down_EDF
        ).view_as(x_BTD)
        return routed + self.shared(x_BTD) if self.shared else routed, Routing(expert_BTK, score_BTE)


def expert_load(routing: list[Routing], experts: int) -> Tensor:
    """Share of the choices that fell on each expert, `[L, E]`; 1/E everywhere when balanced."""
    return torch.stack([F.one_hot(r.expert_BTK, experts).float().mean((0, 1, 2)) for r in routing])


def balance_loss(routing: list[Routing]) -> Tensor:
    """Sequence-wise balance loss, V3 Eq. 17-20: sum over experts of f_i P_i, averaged over rows, summed over layers."""
    total = 0.0
    for expert_BTK, score_BTE in routing:
        experts = score_BTE.shape[-1]
        f_BE = F.one_hot(expert_BTK, experts).float().mean((1, 2)) * experts  # E / (K T) times the count
        p_BE = (score_BTE / score_BTE.sum(-1, keepdim=True)).mean(1)
        total = total + (f_BE * p_BE).sum(-1).mean()
    return total


# ---------------------------------------------------------------- the whole


class Block(nn.Module):
    def __init__(self, c: ModelConfig, layer: int):
        super().__init__()
        self.layer = layer
        self.norm_1, self.norm_2 = RMSNorm(c.width, c.norm_eps), RMSNorm(c.width, c.norm_eps)
        self.attention = LatentAttention(c) if c.attention == "mla" else GroupedAttention(c)
        sparse = c.experts and layer >= c.dense_layers
        self.mixer = MixtureOfExperts(c) if sparse else FeedForward(c.width, c.dense_width)

    def forward(self, x_BTD: Tensor, context: Context) -> tuple[Tensor, Routing | None]:
        x_BTD = x_BTD + self.attention(self.norm_1(x_BTD), context, self.layer)
        mixed, routing = self.mixer(self.norm_2(x_BTD)), None
        if isinstance(self.mixer, MixtureOfExperts):
            mixed, routing = mixed
        return x_BTD + mixed, routing


class Transformer(nn.Module):
    """`model(ids_BT) -> logits_BTV`; with a Cache, ids continue each row's past."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        c = self.config = config
        self.embed = nn.Embedding(c.vocab_size, c.width)
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.layers))
        self.norm = RMSNorm(c.width, c.norm_eps)
        self.head = nn.Linear(c.width, c.vocab_size, bias=False)
        if c.mtp:
            self.mtp_norms = nn.ModuleList(RMSNorm(c.width, c.norm_eps) for _ in range(3))
            self.mtp_merge, self.mtp_block = nn.Linear(2 * c.width, c.width, bias=False), Block(c, c.layers - 1)
        rotated = c.rope_width if c.attention == "mla" else c.head_width
        self.register_buffer("table", rotary_table(rotated, c.positions, c.rope_base), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                last = ".out." in name or "down_EDF" in name or ".down." in name
                nn.init.normal_(weight, std=self.config.init_std * ((2 * self.config.layers) ** -0.5 if last else 1))

    def forward(self, ids_BT: Tensor, cache: Cache | None = None) -> Tensor:
        hidden_BTD, _ = self.trunk(ids_BT, cache)
        return self.logits(hidden_BTD)

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        return self.head(self.norm(hidden_BTD)).float()

    def trunk(self, ids_BT: Tensor, cache: Cache | None = None) -> tuple[Tensor, list[Routing]]:
        """Hidden states before the last norm, and the routing of each expert layer."""
        context = self._context(ids_BT, cache)
        x_BTD, routing = self.embed(ids_BT), []
        for block in self.blocks:
            x_BTD, chosen = block(x_BTD, context)
            routing += [chosen] if chosen is not None else []
        if cache is not None:
            cache.length_B = cache.length_B + ids_BT.shape[1]
        return x_BTD, routing

    def _context(self, ids_BT: Tensor, cache: Cache | None) -> Context:
        T = ids_BT.shape[1]
        if cache is None:
            position_BT = torch.arange(T, device=ids_BT.device)[None]
            return Context(self.table[position_BT], position_BT, None, None)
        position_BT = cache.positions(T)
        cache.span += T
        future_BTS = torch.arange(cache.span, device=ids_BT.device) > position_BT[:, :, None]
        return Context(self.table[position_BT], position_BT, cache, future_BTS)

    def mtp_logits(self, hidden_BTD: Tensor, next_ids_BT: Tensor) -> Tensor:
        """Predict the token after the next (V3 Eq. 21-23): position t sees hidden t and token t+1."""
        left, right = self.mtp_norms[0](hidden_BTD), self.mtp_norms[1](self.embed(next_ids_BT))
        x_BTD, _ = self.mtp_block(self.mtp_merge(torch.cat([left, right], dim=-1)), self._context(next_ids_BT, None))
        return self.head(self.mtp_norms[2](x_BTD)).float()

    def expert_layers(self) -> list[MixtureOfExperts]:
        return [block.mixer for block in self.blocks if isinstance(block.mixer, MixtureOfExperts)]


@torch.no_grad()
def move_router_bias(model: Transformer, load_LE: Tensor, rate: float) -> None:
    """V3 section 2.1.2: overloaded experts become less likely to be chosen, by a fixed step."""
    for layer, load_E in zip(model.expert_layers(), load_LE):
        layer.bias_E += rate * torch.sign(load_E.mean() - load_E)


def token_logp(model: Transformer, ids_BT: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each next token and the policy's entropy there: `[B, T-1]` each, at the sampler's temperature."""
    logp_BTV = (model(ids_BT[:, :-1]) / temperature).log_softmax(-1)
    chosen_BT = logp_BTV.gather(-1, ids_BT[:, 1:, None])[..., 0]
    return chosen_BT, -(logp_BTV.detach().exp() * logp_BTV.detach()).sum(-1)
