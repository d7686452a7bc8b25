"""The transformer: DeepSeek-V3 in miniature (arXiv 2412.19437), and a dense twin.

Three ideas carry it. Latent attention (section 2.1.1) caches one small vector per token instead of
keys and values of every head. Experts (2.1.2) spend parameters without spending operations. A bias
on the router (Eq. 16) keeps the experts evenly used without a loss that fights the language loss.

Uncached, attention is computed in its expanded form; with a cache, in the absorbed form, where the
up-projections move to the query and output side and the latent itself plays keys and values. Both
are the same function: tests compare them, and both with transformers' DeepseekV3.

Deviations from V3: (1) one routing group; (2) no YaRN; (3) initial output projections are scaled by
1/sqrt(2 * layers), as in GPT-2.
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.config import ModelConfig

linear = partial(nn.Linear, bias=False)

def wide(x: Tensor) -> Tensor:
    """In float32, where half precision is not enough; float64 stays as it is."""
    return x if x.dtype == torch.float64 else x.float()


# ---------------------------------------------------------------- positions


def rotary_table(width: int, positions: int, base: float, c: ModelConfig | None = None) -> Tensor:
    """cos and sin of each position's angles in radians: `[positions, 2, A]`, A = width / 2."""
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies(width, base, c)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def frequencies(width: int, base: float, c: ModelConfig | None = None) -> Tensor:
    """`[A]`, radians a position. As in Llama 3, what turns less often than rope_slow within
    rope_original is slowed by rope_factor, what turns more often than rope_fast is not."""
    frequency_A = 1 / base ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    if c is None or c.rope_factor == 1:
        return frequency_A
    turns_A = c.rope_original * frequency_A / (2 * torch.pi)
    kept_A = ((turns_A - c.rope_slow) / (c.rope_fast - c.rope_slow)).clamp(0, 1)
    return (1 - kept_A) * frequency_A / c.rope_factor + kept_A * frequency_A


def rotate(x_BTHJ: Tensor, turns_BT2A: Tensor, interleaved: bool) -> Tensor:
    """RoPE (arXiv 2104.09864): turn pair i of the J numbers by its position's angle i, in float32.
    Pairs are neighbours (0,1), (2,3).. when interleaved (DeepSeek), else halves (Llama)."""
    cos_BT1A, sin_BT1A = turns_BT2A[:, :, None].unbind(3)
    x = wide(x_BTHJ)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1) if interleaved else x.chunk(2, dim=-1)
    turned = [a * cos_BT1A - b * sin_BT1A, b * cos_BT1A + a * sin_BT1A]
    x = torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)
    return x.to(x_BTHJ.dtype)


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x ** 2) + eps) * weight over the last dimension, in the type of x."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


# ---------------------------------------------------------------- the cache


class Cache:
    """What attention keeps of the past: `[B, S, W]` per layer, and each row's own length.

    Prompts of different lengths are padded on the right. `length_B` is then set to the true lengths
    and decoding overwrites the padding. `span` bounds all lengths without asking the device.
    """

    def __init__(self, config: ModelConfig, rows: int, size: int, device, dtype):
        shape = (config.layers, rows, size, config.cache_width)
        self.store_LBSW = torch.zeros(shape, device=device, dtype=dtype)
        self.length_B = torch.zeros(rows, dtype=torch.long, device=device)
        self.span = 0

    def positions(self, tokens: int) -> Tensor:
        """Where each row's next tokens stand: `[B, tokens]`."""
        return self.length_B[:, None] + torch.arange(tokens, device=self.length_B.device)

    def write(self, layer: int, new_BTW: Tensor, position_BT: Tensor) -> Tensor:
        """Store new entries and return all entries up to the span, `[B, S, W]`."""
        store_BSW = self.store_LBSW[layer]
        rows = torch.arange(len(store_BSW), device=store_BSW.device)[:, None]
        store_BSW[rows, position_BT] = new_BTW.to(store_BSW.dtype)
        return store_BSW[:, : self.span]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (indices, repeats allowed) and drop all others."""
        self.store_LBSW, self.length_B = self.store_LBSW[:, rows], self.length_B[rows]


class Context(NamedTuple):
    """What a block needs to know beside its input."""

    turns_BT2A: Tensor  # rows of rotary_table
    position_BT: Tensor
    cache: Cache | None
    future_BTS: Tensor | None  # with a cache: True for keys behind a query's own position


# ---------------------------------------------------------------- attention


class LatentAttention(nn.Module):
    """MLA, V3 Eq. 1-11: kv_down is W^DKV and W^KR, kv_up W^UK and W^UV, q_up W^UQ and W^QR."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        self.scale = (c.nope_width + c.rope_width) ** -0.5
        if c.q_rank:
            self.q_down = linear(c.width, c.q_rank)
            self.q_norm = RMSNorm(c.q_rank, c.norm_eps)
        self.q_up = linear(c.q_rank or c.width, c.heads * (c.nope_width + c.rope_width))
        self.kv_down = linear(c.width, c.kv_rank + c.rope_width)
        self.kv_norm = RMSNorm(c.kv_rank, c.norm_eps)
        self.kv_up = linear(c.kv_rank, c.heads * (c.nope_width + c.value_width))
        self.out = linear(c.heads * c.value_width, c.width)

    def forward(self, x_BTD: Tensor, context: Context, layer: int) -> Tensor:
        c = self.c
        query = self.q_up(self.q_norm(self.q_down(x_BTD)) if c.q_rank else x_BTD)
        widths = [c.nope_width, c.rope_width]
        q_BTHC, qr_BTHJ = query.unflatten(-1, (c.heads, -1)).split(widths, dim=-1)
        latent_BTR, kr_BTJ = self.kv_down(x_BTD).split([c.kv_rank, c.rope_width], dim=-1)
        latent_BTR = self.kv_norm(latent_BTR)
        heads_and_key = torch.cat([qr_BTHJ, kr_BTJ[:, :, None]], dim=2)
        heads_and_key = rotate(heads_and_key, context.turns_BT2A, interleaved=True)
        qr_BTHJ, kr_BTJ = heads_and_key[:, :, :-1], heads_and_key[:, :, -1]
        attend = self._expanded if context.cache is None else self._absorbed
        mixed_BTHU = attend(q_BTHC, qr_BTHJ, latent_BTR, kr_BTJ, context, layer)
        return self.out(mixed_BTHU.flatten(-2))

    def _expanded(self, q_BTHC, qr_BTHJ, latent_BTR, kr_BTJ, context, layer) -> Tensor:
        """Keys and values of every head, as in the paper: for training. Returns `[B, T, H, U]`."""
        c = self.c
        expanded = self.kv_up(latent_BTR).unflatten(-1, (c.heads, -1))
        k_BTHC, v_BTHU = expanded.split([c.nope_width, c.value_width], dim=-1)
        kr_BTHJ = kr_BTJ[:, :, None].expand(-1, -1, c.heads, -1)
        query = torch.cat([q_BTHC, qr_BTHJ], dim=-1)
        key = torch.cat([k_BTHC, kr_BTHJ], dim=-1)
        q, k, v = (x.transpose(1, 2) for x in (query, key, v_BTHU))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return mixed.transpose(1, 2)

    def _absorbed(self, q_BTHC, qr_BTHJ, latent_BTR, kr_BTJ, context, layer) -> Tensor:
        """The latent is key and value at once, W^UK moves to the query, W^UV to the output: for
        decoding (DeepSeek-V2, section 2.1.2). Returns `[B, T, H, U]`."""
        c, T = self.c, q_BTHC.shape[1]
        new_BTW = torch.cat([latent_BTR, kr_BTJ], dim=-1)
        stored_BSW = context.cache.write(layer, new_BTW, context.position_BT)
        up = self.kv_up.weight.to(q_BTHC.dtype).unflatten(0, (c.heads, -1))
        up_HCR, up_HUR = up.split([c.nope_width, c.value_width], dim=1)
        query_BTHR = torch.einsum("bthc,hcr->bthr", q_BTHC, up_HCR)
        query_BTHW = torch.cat([query_BTHR, qr_BTHJ], dim=-1)
        score = wide(query_BTHW.flatten(1, 2) @ stored_BSW.mT).unflatten(1, (T, c.heads))
        score = (score * self.scale).masked_fill(context.future_BTS[:, :, None], -torch.inf)
        weight = score.softmax(-1).to(query_BTHW.dtype).flatten(1, 2)
        mixed_BTHR = (weight @ stored_BSW[..., : c.kv_rank]).unflatten(1, (T, c.heads))
        return torch.einsum("bthr,hur->bthu", mixed_BTHR, up_HUR)


class GroupedAttention(nn.Module):
    """Grouped-query attention with half-split RoPE: the dense twin (Llama; Qwen2 with qkv_bias,
    Qwen3 with qk_norm)."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        self.q = linear(c.width, c.heads * c.head_width, bias=c.qkv_bias)
        self.k = linear(c.width, c.kv_heads * c.head_width, bias=c.qkv_bias)
        self.v = linear(c.width, c.kv_heads * c.head_width, bias=c.qkv_bias)
        self.out = linear(c.heads * c.head_width, c.width)
        if c.qk_norm:
            self.q_norm, self.k_norm = (RMSNorm(c.head_width, c.norm_eps) for _ in "qk")

    def forward(self, x_BTD: Tensor, context: Context, layer: int) -> Tensor:
        c = self.c
        q, k, v = (f(x_BTD).unflatten(-1, (-1, c.head_width)) for f in (self.q, self.k, self.v))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = (rotate(x, context.turns_BT2A, interleaved=False) for x in (q, k))
        mask = None
        if context.cache is not None:
            new_BTW = torch.cat([k, v], dim=2).flatten(-2)
            stored_BSW = context.cache.write(layer, new_BTW, context.position_BT)
            k, v = stored_BSW.unflatten(-1, (2 * c.kv_heads, -1)).to(q.dtype).chunk(2, dim=2)
            mask = ~context.future_BTS[:, None]
        k, v = (x.repeat_interleave(c.heads // c.kv_heads, dim=2) for x in (k, v))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
        return self.out(mixed.transpose(1, 2).flatten(-2))


# ---------------------------------------------------------------- feed-forward


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate, self.up = linear(width, hidden), linear(width, hidden)
        self.down = linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def looped_experts(x_ND, expert_NK, weight_NK, gate_EFD, up_EFD, down_EDF) -> Tensor:
    """The specification: each expert in turn computes the tokens that chose it. `[N, D]`."""
    out_ND = torch.zeros_like(x_ND)
    for e in range(len(gate_EFD)):
        token, choice = torch.where(expert_NK == e)
        x = x_ND[token]
        hidden = F.silu(F.linear(x, gate_EFD[e])) * F.linear(x, up_EFD[e])
        y = F.linear(hidden, down_EDF[e]) * weight_NK[token, choice, None]
        out_ND = out_ND.index_add(0, token, y.to(out_ND.dtype))
    return out_ND


class Routing(NamedTuple):
    """What the router of one layer decided."""

    expert_BTK: Tensor  # indices of the chosen experts
    score_BTE: Tensor  # sigmoid affinities, 0 to 1


class MixtureOfExperts(nn.Module):
    """Shared experts and the top K of E routed ones, V3 Eq. 12-16. The bias decides who is chosen,
    never the weight. `compute` is looped_experts or a faster twin."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        self.router = nn.Parameter(torch.empty(c.experts, c.width))
        self.register_buffer("bias_E", torch.zeros(c.experts))
        self.gate_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.up_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.down_EDF = nn.Parameter(torch.empty(c.experts, c.width, c.expert_width))
        shared = c.shared_experts * c.expert_width
        self.shared = FeedForward(c.width, shared) if shared else None
        self.compute = looped_experts

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        c = self.c
        with torch.autocast(x_BTD.device.type, enabled=False):  # routing in float32
            score_BTE = (wide(x_BTD) @ wide(self.router).T).sigmoid()
        expert_BTK = (score_BTE + self.bias_E).topk(c.top_k, dim=-1).indices
        weight_BTK = score_BTE.gather(-1, expert_BTK)
        weight_BTK = weight_BTK / (weight_BTK.sum(-1, keepdim=True) + 1e-20) * c.routed_scale
        tokens = (x.flatten(0, 1) for x in (x_BTD, expert_BTK, weight_BTK))
        out_BTD = self.compute(*tokens, self.gate_EFD, self.up_EFD, self.down_EDF).view_as(x_BTD)
        if self.shared:
            out_BTD = out_BTD + self.shared(x_BTD)
        return out_BTD, Routing(expert_BTK, score_BTE)


def without_padding(routing: list[Routing], real_BT: Tensor) -> list[Routing]:
    """What the router decided for real tokens, as one long row."""
    return [Routing(*(part[real_BT][None] for part in layer)) for layer in routing]


def expert_load(routing: list[Routing], experts: int) -> Tensor:
    """Share of the choices that fell on each expert, `[L, E]`; 1/E everywhere when balanced."""
    chosen = [F.one_hot(layer.expert_BTK, experts) for layer in routing]
    return torch.stack([choice_BTKE.float().mean((0, 1, 2)) for choice_BTKE in chosen])


def expert_counts(routing: list[Routing], experts: int) -> Tensor:
    """How often each expert was chosen in each row, `[L, B, E]`."""
    return torch.stack([F.one_hot(layer.expert_BTK, experts).sum((1, 2)) for layer in routing])


def balance_loss(routing: list[Routing], count_LBE: Tensor | None = None) -> Tensor:
    """Sequence-wise balance loss, V3 Eq. 17-20, without alpha: f P summed over experts, averaged
    over rows, summed over layers. 1 per layer when even. `count_LBE` is expert_counts, of whole
    rows where `routing` has but a part of their tokens: parts then add up."""
    total = 0.0
    if count_LBE is None:
        count_LBE = expert_counts(routing, routing[0].score_BTE.shape[-1])
    for (expert_BTK, score_BTE), count_BE in zip(routing, count_LBE):
        experts, K = score_BTE.shape[-1], expert_BTK.shape[-1]
        chosen_B1 = count_BE.sum(-1, keepdim=True)  # K T
        f_BE = count_BE / chosen_B1 * experts
        p_BE = (score_BTE / score_BTE.sum(-1, keepdim=True)).sum(1) / (chosen_B1 / K)
        total = total + (f_BE * p_BE).sum(-1).mean()
    return total


# ---------------------------------------------------------------- the whole


class Block(nn.Module):
    """Attention and a feed-forward layer or experts, each added to the residual stream."""

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
    """`model(ids_BT) -> logits_BTV`, float32; with a Cache, ids continue each row's past."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        c = self.config = config
        self.embed = nn.Embedding(c.vocab_size, c.width)
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.layers))
        self.norm = RMSNorm(c.width, c.norm_eps)
        self.head = linear(c.width, c.vocab_size)
        if c.tied:
            self.head.weight = self.embed.weight
        if c.mtp:
            self.mtp_norms = nn.ModuleList(RMSNorm(c.width, c.norm_eps) for _ in range(3))
            self.mtp_merge = linear(2 * c.width, c.width)
            self.mtp_block = Block(c, c.layers - 1)
            self.mtp_block.layer = c.layers  # its place in a cache
        rotated = c.rope_width if c.attention == "mla" else c.head_width
        table_P2A = rotary_table(rotated, c.positions, c.rope_base, c)
        self.register_buffer("table", table_P2A, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        smaller = (2 * self.config.layers) ** -0.5  # of what is added to the residual stream
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                adds = ".out." in name or "down_EDF" in name or ".down." in name
                nn.init.normal_(weight, std=self.config.init_std * (smaller if adds else 1))
            elif name.endswith(".bias"):
                nn.init.zeros_(weight)

    def forward(self, ids_BT: Tensor, cache: Cache | None = None) -> Tensor:
        hidden_BTD, _ = self.trunk(ids_BT, cache)
        return self.logits(hidden_BTD)

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """`[B, T, V]`, float32."""
        return wide(self.head(self.norm(hidden_BTD)))

    def score(self, ids_BT: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """See token_logp."""
        logp_BTV = (self(ids_BT[:, :-1]) / temperature).log_softmax(-1)
        chosen_BT = logp_BTV.gather(-1, ids_BT[:, 1:, None])[..., 0]
        fixed_BTV = logp_BTV.detach()
        return chosen_BT, -(fixed_BTV.exp() * fixed_BTV).sum(-1)

    def trunk(self, ids_BT: Tensor, cache: Cache | None = None) -> tuple[Tensor, list[Routing]]:
        """Hidden states `[B, T, D]` before the last norm, and the routing of each expert layer."""
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

    def mtp_logits(
        self, hidden_BTD: Tensor, next_ids_BT: Tensor, cache: Cache | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Logits `[B, T, V]` of the token after the next (V3 Eq. 21-23), and the block's routing;
        only with config.mtp. Position t sees the trunk's hidden state t and token t+1. A cache has
        one more layer, and keeps its lengths."""
        left = self.mtp_norms[0](hidden_BTD)
        right = self.mtp_norms[1](self.embed(next_ids_BT))
        merged_BTD = self.mtp_merge(torch.cat([left, right], dim=-1))
        x_BTD, chosen = self.mtp_block(merged_BTD, self._context(next_ids_BT, cache))
        logits_BTV = wide(self.head(self.mtp_norms[2](x_BTD)))
        return logits_BTV, [chosen] if chosen is not None else []

    def expert_layers(self) -> list[MixtureOfExperts]:
        """The layers that have experts, in order, that of multi-token prediction last."""
        blocks = [*self.blocks, self.mtp_block] if self.config.mtp else self.blocks
        return [block.mixer for block in blocks if isinstance(block.mixer, MixtureOfExperts)]


@torch.no_grad()
def move_router_bias(model: Transformer, load_LE: Tensor, rate: float) -> None:
    """V3 section 2.1.2: overloaded experts become less likely to be chosen, by a fixed step."""
    for layer, load_E in zip(model.expert_layers(), load_LE):
        layer.bias_E += rate * torch.sign(load_E.mean() - load_E)


def token_logp(model: Transformer, ids_BT: Tensor, temperature=1.0) -> tuple[Tensor, Tensor]:
    """Log-prob of each next token and the policy's entropy there, at the sampler's temperature:
    `[B, T-1]` each, in nats. The entropy carries no gradient."""
    return model.score(ids_BT, temperature)
