"""The transformer against its equations: slow loops, hand-worked numbers, and what may depend on
what."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from minir1.config import ModelConfig
from minir1.model import (
    Cache,
    MixtureOfExperts,
    RMSNorm,
    Routing,
    Transformer,
    balance_loss,
    expert_load,
    move_router_bias,
    rotary_table,
    rotate,
    token_logp,
)
from minir1.presets import PRESETS
from minir1.run.costs import parameter_counts

SMALL = ModelConfig(
    vocab_size=80, width=32, layers=3, heads=4,
    kv_rank=16, nope_width=12, rope_width=8, value_width=10, kv_heads=2, head_width=12,
    dense_width=48, experts=6, top_k=2, expert_width=24, positions=64,
)
KINDS = {
    "mla": {},
    "mla with query latent": {"q_rank": 20},
    "gqa": {"attention": "gqa", "experts": 0},
    "gqa with qk_norm": {"attention": "gqa", "experts": 0, "qk_norm": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices on a shared machine: more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def random_model(config: ModelConfig) -> Transformer:
    """Weights at which every part matters: norms in 0.5 .. 1.5, router biases, logits of std about
    1."""
    torch.manual_seed(0)
    model = Transformer(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.normal_(std=weight.shape[-1] ** -0.5)
        else:
            weight.uniform_(0.5, 1.5)
    for layer in model.expert_layers():
        layer.bias_E.normal_(std=0.3)
    return model


def random_ids(rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(
        SMALL.vocab_size, (rows, tokens), generator=torch.Generator().manual_seed(1)
    )


# ---------------------------------------------------------------- positions and norms


def test_rotation_by_hand():
    """Width 4 has frequencies 1 and 1/100 at base 10,000. At position 3 the pairs turn by 3 and by
    0.03 radians."""
    turns_BT2A = rotary_table(4, 8, 10000.0)[torch.tensor([[3]])]
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)

    def turn(a, b, angle):
        return a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)

    (a, b), (c, d) = turn(1, 2, 3), turn(3, 4, 0.03)  # neighbours
    assert_close(
        rotate(x, turns_BT2A, interleaved=True).flatten(),
        torch.tensor([a, b, c, d]),
        rtol=1e-5,
        atol=1e-6,
    )
    (a, c), (b, d) = turn(1, 3, 3), turn(2, 4, 0.03)  # halves
    assert_close(
        rotate(x, turns_BT2A, interleaved=False).flatten(),
        torch.tensor([a, b, c, d]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_norm_by_hand():
    """(3, 4) has a root mean square of sqrt(12.5); epsilon stands under the root."""
    norm = RMSNorm(2, 0.5)
    norm.weight.data = torch.tensor([1.0, 2.0])
    assert_close(
        norm(torch.tensor([3.0, 4.0])), torch.tensor([3 / 13**0.5, 8 / 13**0.5]), rtol=1e-6, atol=0
    )


# ---------------------------------------------------------------- attention


@pytest.mark.parametrize("q_rank", [0, 20])
@torch.no_grad()
def test_latent_attention_follows_the_paper(q_rank):
    """V3 Eq. 1-11, one head and one pair of positions at a time. Rotation comes from its own
    test."""
    c = replace(SMALL, q_rank=q_rank)
    model, (rows, tokens) = random_model(c), (2, 6)
    part = model.blocks[1].attention
    h = torch.randn(rows, tokens, c.width)
    position_BT = torch.arange(tokens).expand(rows, tokens)
    context = model._context(position_BT, None)
    query = h if not q_rank else part.q_norm(h @ part.q_down.weight.T)
    q = (query @ part.q_up.weight.T).view(rows, tokens, c.heads, c.nope_width + c.rope_width)
    down = h @ part.kv_down.weight.T
    latent = part.kv_norm(down[..., : c.kv_rank])
    k_rope = rotate(down[:, :, None, c.kv_rank :], context.turns_BT2A, interleaved=True)[:, :, 0]
    q_rope = rotate(q[..., c.nope_width :], context.turns_BT2A, interleaved=True)
    up = part.kv_up.weight.view(c.heads, c.nope_width + c.value_width, c.kv_rank)
    mixed = torch.zeros(rows, tokens, c.heads, c.value_width)
    for b in range(rows):
        for n in range(c.heads):
            keys, values = latent[b] @ up[n, : c.nope_width].T, latent[b] @ up[n, c.nope_width :].T
            for t in range(tokens):
                score = [
                    q[b, t, n, : c.nope_width] @ keys[s] + q_rope[b, t, n] @ k_rope[b, s]
                    for s in range(t + 1)
                ]
                weight = (torch.stack(score) / math.sqrt(c.nope_width + c.rope_width)).softmax(0)
                mixed[b, t, n] = weight @ values[: t + 1]
    expected = mixed.flatten(-2) @ part.out.weight.T
    assert expected.std() > 0.1
    assert_close(part(h, context, 1), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_grouped_attention_shares_keys_within_a_group():
    """4 query heads on 2 key heads: queries 0 and 1 read key head 0, queries 2 and 3 read key head
    1."""
    c = replace(SMALL, **KINDS["gqa with qk_norm"])
    model, h = random_model(c), torch.randn(1, 6, c.width)
    part, context = model.blocks[0].attention, model._context(torch.arange(6)[None], None)
    heads = [linear(h).view(1, 6, -1, c.head_width) for linear in (part.q, part.k, part.v)]
    q = rotate(part.q_norm(heads[0]), context.turns_BT2A, interleaved=False)[0]
    k, v = rotate(part.k_norm(heads[1]), context.turns_BT2A, interleaved=False)[0], heads[2][0]
    mixed = torch.zeros(6, c.heads, c.head_width)
    for n, shared in enumerate([0, 0, 1, 1]):
        for t in range(6):
            mixed[t, n] = (k[: t + 1, shared] @ q[t, n] / math.sqrt(12)).softmax(0) @ v[
                : t + 1, shared
            ]
    assert_close(
        part(h, context, 0)[0], mixed.flatten(-2) @ part.out.weight.T, rtol=1e-5, atol=1e-5
    )


# ---------------------------------------------------------------- the cache


@torch.no_grad()
def decode(
    model: Transformer, ids_BT: torch.Tensor, prompts: list[int], chunk: int, keep=None
) -> torch.Tensor:
    """Logits `[B, T, V]` through a cache: prompts padded on the right with garbage, then `chunk`
    tokens at a time.

    Rows move at their own positions; NaN where a logit was not computed. `keep` rows go on after
    the prefill.
    """
    rows, longest = torch.arange(len(prompts)), max(prompts)
    padded = ids_BT[:, :longest].clone()
    for row, length in enumerate(prompts):
        padded[row, length:] = 7
    cache = Cache(model.config, len(prompts), ids_BT.shape[1], "cpu", torch.float32)
    logits = torch.full((*ids_BT.shape, model.config.vocab_size), torch.nan)
    prefill = model(padded, cache)
    for row, length in enumerate(prompts):
        logits[row, :length] = prefill[row, :length]
    cache.length_B = torch.tensor(prompts)
    if keep is not None:
        cache.keep(keep)
        rows, ids_BT = rows[keep], ids_BT[keep]
        logits = logits[keep]
    for _ in range((ids_BT.shape[1] - longest) // chunk):
        position_BT = cache.positions(chunk)
        logits[torch.arange(len(rows))[:, None], position_BT] = model(
            ids_BT.gather(1, position_BT), cache
        )
    return logits


@every_kind
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_uncached(kind, chunk):
    """Absorbed and expanded attention are one function, whatever the rows' lengths."""
    model, ids, prompts = random_model(replace(SMALL, **KINDS[kind])), random_ids(3, 21), [5, 9, 2]
    with torch.no_grad():
        expected = model(ids)
    logits = decode(model, ids, prompts, chunk)
    for row, length in enumerate(prompts):
        done = length + 12  # 21 - 9 steps for every row
        assert logits[row, :done].isfinite().all()
        assert_close(logits[row, :done], expected[row, :done], rtol=0, atol=1e-5)
        assert logits[row, done:].isnan().all()
    assert expected.std() > 0.5


@every_kind
def test_keep_drops_and_repeats_rows(kind):
    """As the sampler uses it: finished rows go, prompts are repeated for their group."""
    model, ids, prompts = random_model(replace(SMALL, **KINDS[kind])), random_ids(3, 15), [5, 9, 2]
    with torch.no_grad():
        expected = model(ids)
    for keep in ([2], [2, 0], [1, 1, 2]):
        logits = decode(model, ids, prompts, 1, torch.tensor(keep))
        for row, origin in enumerate(keep):
            done = prompts[origin] + 6
            assert_close(logits[row, :done], expected[origin, :done], rtol=0, atol=1e-5)


def test_cache_holds_a_latent_and_one_rotated_key():
    """Numbers per token and layer: R + J for latent attention (16 + 8), 2 C per key head for
    grouped attention (2 * 2 * 12)."""
    for kind, width in (("mla", 24), ("gqa", 48)):
        cache = Cache(replace(SMALL, **KINDS[kind]), 2, 10, "cpu", torch.bfloat16)
        assert (
            cache.store_LBSW.shape == (3, 2, 10, width) and cache.store_LBSW.dtype == torch.bfloat16
        )


def test_cache_keeps_count_of_its_rows():
    model, ids = random_model(SMALL), random_ids(2, 7)
    cache = Cache(model.config, 2, 12, "cpu", torch.float32)
    with torch.no_grad():
        model(ids[:, :4], cache)
        assert cache.length_B.tolist() == [4, 4] and cache.span == 4
        cache.length_B = torch.tensor([4, 2])
        assert cache.positions(2).tolist() == [[4, 5], [2, 3]]
        model(ids[:, 4:], cache)
    assert cache.length_B.tolist() == [7, 5] and cache.span == 7
    assert not cache.store_LBSW[:, 0, 7:].any() and not cache.store_LBSW[:, 1, 5:].any()


# ---------------------------------------------------------------- what may depend on what


@every_kind
def test_later_tokens_never_change_earlier_logits(kind):
    model, ids = random_model(replace(SMALL, **KINDS[kind])), random_ids(1, 12)
    with torch.no_grad():
        before = model(ids)
        for t in range(12):
            changed = ids.clone()
            changed[0, t] = (ids[0, t] + 1) % SMALL.vocab_size
            after = model(changed)
            assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-5)
            moved = (after - before)[0, t:].abs().amax(-1)
            assert (moved > 1e-3).all(), (
                "a token is seen at its own position and at every later one"
            )


def test_mtp_sees_one_token_more_and_no_further():
    """Position t of the multi-token prediction may depend on tokens 0 .. t+1, and does depend on
    t+1."""
    model, ids = random_model(replace(SMALL, mtp=True)), random_ids(2, 13)

    def predict(ids_BT):
        hidden_BTD, _ = model.trunk(ids_BT[:, :-1])
        return model.mtp_logits(hidden_BTD, ids_BT[:, 1:])[0]

    with torch.no_grad():
        before = predict(ids)
        assert before.shape == (2, 12, SMALL.vocab_size) and before.dtype == torch.float32
        for k in range(1, 13):
            changed = ids.clone()
            changed[:, k] = (ids[:, k] + 1) % SMALL.vocab_size
            after = predict(changed)
            assert_close(after[:, : k - 1], before[:, : k - 1], rtol=0, atol=1e-5)
            assert ((after - before)[:, k - 1].abs().amax(-1) > 1e-3).all()


def test_mtp_follows_the_paper():
    """V3 Eq. 21-23: h' = M [RMSNorm(h_i); RMSNorm(Emb(t_{i+1}))], one block, a norm, the shared
    head."""
    model, ids = random_model(replace(SMALL, mtp=True, experts=0)), random_ids(2, 9)
    with torch.no_grad():
        hidden, _ = model.trunk(ids[:, :-1])
        h, e, last = model.mtp_norms
        x = (
            torch.cat([h(hidden), e(model.embed.weight[ids[:, 1:]])], dim=-1)
            @ model.mtp_merge.weight.T
        )
        block = Transformer(
            replace(SMALL, layers=1, experts=0)
        ).eval()  # a model whose only block is the MTP block
        block.blocks[0].load_state_dict(model.mtp_block.state_dict())
        block.embed.weight = torch.nn.Parameter(x.flatten(0, 1))
        y, _ = block.trunk(torch.arange(16).view(2, 8))
        assert_close(
            model.mtp_logits(hidden, ids[:, 1:])[0],
            last(y) @ model.head.weight.T,
            rtol=1e-5,
            atol=1e-5,
        )


# ---------------------------------------------------------------- experts


def expert_module(**settings) -> MixtureOfExperts:
    torch.manual_seed(3)
    layer = MixtureOfExperts(replace(SMALL, **settings))
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(std=weight.shape[-1] ** -0.5)
        layer.bias_E.normal_(std=0.3)
    return layer


def swiglu(x_D, gate_FD, up_FD, down_DF):
    gated = gate_FD @ x_D
    return down_DF @ (gated * torch.sigmoid(gated) * (up_FD @ x_D))


def token_by_token(layer: MixtureOfExperts, x_BTD: torch.Tensor) -> torch.Tensor:
    """V3 Eq. 12-16, one token at a time: s = sigmoid(u.e); the K largest s + b; weights s / sum(s)
    * scale."""
    c, rows = layer.c, []
    for x_D in x_BTD.flatten(0, 1):
        s = [1 / (1 + torch.exp(-(layer.router[e] @ x_D))) for e in range(c.experts)]
        ranked = sorted(
            range(c.experts), key=lambda e: (s[e] + layer.bias_E[e]).item(), reverse=True
        )  # noqa: B023
        chosen = ranked[: c.top_k]
        total = sum(s[e] for e in chosen) + 1e-20
        y_D = torch.zeros_like(x_D)
        for e in chosen:
            y_D = y_D + c.routed_scale * s[e] / total * swiglu(
                x_D, layer.gate_EFD[e], layer.up_EFD[e], layer.down_EDF[e]
            )
        if layer.shared is not None:
            y_D = y_D + swiglu(
                x_D, layer.shared.gate.weight, layer.shared.up.weight, layer.shared.down.weight
            )
        rows.append(y_D)
    return torch.stack(rows).view_as(x_BTD)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"top_k": 1},
        {"top_k": 3, "routed_scale": 2.5},
        {"shared_experts": 0},
        {"shared_experts": 2},
    ],
    ids=str,
)
def test_experts_equal_the_loop_and_so_do_gradients(settings):
    layer = expert_module(**settings)
    x = torch.randn(2, 9, SMALL.width, requires_grad=True)
    direction, names = (
        torch.randn(2, 9, SMALL.width),
        [name for name, _ in layer.named_parameters()],
    )
    results = []
    for compute in (lambda u: layer(u)[0], lambda u: token_by_token(layer, u)):
        y = compute(x)
        results.append((y, torch.autograd.grad((y * direction).sum(), [x, *layer.parameters()])))
    (ours, our_gradients), (expected, gradients) = results
    assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1
    for name, a, b in zip(["x", *names], our_gradients, gradients):
        # with one expert its weight is s / s: the router gets no gradient at all
        assert b.abs().max() > 1e-2 or (name == "router" and settings.get("top_k") == 1), name
        named = f"gradient of {name}: ".__add__
        assert_close(a, b, rtol=1e-5, atol=2e-5, msg=named)


def test_routing_is_what_was_computed():
    layer, x = expert_module(), torch.randn(2, 9, SMALL.width)
    _, (expert_BTK, score_BTE) = layer(x)
    assert expert_BTK.shape == (2, 9, 2) and score_BTE.shape == (2, 9, 6)
    assert_close(score_BTE, 1 / (1 + torch.exp(-x @ layer.router.T)), rtol=1e-5, atol=1e-6)
    biased = score_BTE + layer.bias_E
    left_out = biased.scatter(-1, expert_BTK, -torch.inf).amax(-1)
    assert (biased.gather(-1, expert_BTK).amin(-1) >= left_out).all()


@torch.no_grad()
def test_bias_selects_but_never_weighs():
    layer, x = expert_module(), torch.randn(2, 9, SMALL.width)
    layer.bias_E.zero_()
    free, routing = layer(x)
    layer.bias_E += 0.7  # the same for all: no choice changes, so no output may
    assert torch.equal(layer(x)[0], free)
    layer.bias_E[[2, 5]] += 10.0  # experts 2 and 5 are forced on every token
    forced, (expert_BTK, score_BTE) = layer(x)
    assert expert_BTK.sort().values.unique(dim=1).tolist() == [[[2, 5]], [[2, 5]]]
    assert_close(score_BTE, routing.score_BTE, rtol=0, atol=0)
    s_2, s_5 = score_BTE[..., 2, None], score_BTE[..., 5, None]

    def one(e):
        return (F.silu(x @ layer.gate_EFD[e].T) * (x @ layer.up_EFD[e].T)) @ layer.down_EDF[e].T

    assert_close(
        forced, (s_2 * one(2) + s_5 * one(5)) / (s_2 + s_5) + layer.shared(x), rtol=1e-5, atol=1e-5
    )
    assert (forced - free).abs().max() > 0.1


def test_bias_is_no_parameter():
    model = random_model(SMALL)
    assert not any("bias" in name for name, _ in model.named_parameters())
    assert {name for name, _ in model.named_buffers() if "bias_E" in name} <= set(
        model.state_dict()
    )


# ---------------------------------------------------------------- balance


def test_expert_load_by_hand():
    """Two tokens choose {0, 1} and {2, 0}: four choices, of which expert 0 has two."""
    routing = Routing(torch.tensor([[[0, 1], [2, 0]]]), torch.rand(1, 2, 3))
    assert_close(expert_load([routing, routing], 3), torch.tensor([[0.5, 0.25, 0.25]] * 2))


def test_balance_loss_by_hand():
    """V3 Eq. 17-20 with 3 experts, top-2, two tokens a row; alpha is left to the caller.

    Row 1. Token 0 has scores .5 .3 .2 (sum 1) and chooses {0, 1}; token 1 has .2 .2 .4 (sum .8:
    .25 .25 .5) and chooses {2, 0}.
        P = mean over tokens = (.375, .275, .35)
        counts = (2, 1, 1); f = 3 / (2 * 2) * counts = (1.5, .75, .75)
        sum f P = .5625 + .20625 + .2625 = 1.03125
    Row 2. All scores .5, choices {0, 1} and {1, 2}.
        P = (1/3, 1/3, 1/3); f = (.75, 1.5, .75); sum f P = 1
    Loss of a layer = mean of the rows = 1.015625.
    """
    score = torch.tensor(
        [[[0.5, 0.3, 0.2], [0.2, 0.2, 0.4]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]], requires_grad=True
    )
    routing = Routing(torch.tensor([[[0, 1], [2, 0]], [[0, 1], [1, 2]]]), score)
    loss = balance_loss([routing])
    assert_close(loss, torch.tensor(1.015625), rtol=1e-6, atol=0)
    assert_close(
        balance_loss([routing] * 3), torch.tensor(3.046875), rtol=1e-6, atol=0
    )  # layers are summed
    # Row 1, token 0, sum S = 1: d loss / d s_e = 1/2 (rows) * 1/2 (tokens) * (f_e - sum f p) / S,
    # sum f p = 1.125
    loss.backward()
    assert_close(
        score.grad[0, 0],
        torch.tensor([1.5 - 1.125, 0.75 - 1.125, 0.75 - 1.125]) / 4,
        rtol=1e-5,
        atol=1e-7,
    )


def test_balance_loss_is_least_when_even():
    """1 a layer when scores or choices are even; more when the often chosen experts also score
    high."""
    even = torch.full((2, 12, 6), 0.3)
    turns = torch.arange(12)[:, None] * 2 % 6 + torch.arange(2)
    routing = Routing(turns.expand(2, 12, 2), even)
    assert_close(balance_loss([routing]), torch.tensor(1.0))
    assert_close(balance_loss([routing, routing]), torch.tensor(2.0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        score = (
            torch.randn(2, 12, 6, generator=generator) + torch.randn(6, generator=generator)
        ).sigmoid()
        assert balance_loss([Routing(score.topk(2).indices, score)]) > 1.0
    lopsided = Routing(
        torch.tensor([0, 1]).expand(2, 12, 2), torch.tensor([0.9, 0.9, 0, 0, 0, 0]).expand(2, 12, 6)
    )
    assert_close(balance_loss([lopsided]), torch.tensor(3.0))  # the worst case: E / K


@torch.no_grad()
def skewed_model() -> tuple[Transformer, torch.Tensor]:
    """All tokens share a direction that the first experts' router rows like."""
    model = random_model(SMALL)
    model.embed.weight += 1.0
    for layer in model.expert_layers():
        layer.bias_E.zero_()
        layer.router += torch.linspace(0.06, -0.06, SMALL.experts)[:, None]
    return model, random_ids(6, 50)


def test_one_step_of_the_bias():
    """Expert 0 is overloaded, expert 2 exactly at the mean, the others below: -rate, 0, +rate.
    Layers are apart."""
    model = random_model(replace(SMALL, experts=4))
    for layer in model.expert_layers():
        layer.bias_E.zero_()
    move_router_bias(
        model, torch.tensor([[0.5, 0.125, 0.25, 0.125], [0.125, 0.25, 0.125, 0.5]]), 0.01
    )
    first, second = (layer.bias_E for layer in model.expert_layers())
    assert_close(first, torch.tensor([-0.01, 0.01, 0.0, 0.01]))
    assert_close(second, torch.tensor([0.01, 0.0, 0.01, -0.01]))
    move_router_bias(model, torch.tensor([[0.1, 0.3, 0.3, 0.3]] * 2), 0.01)
    assert_close(first, torch.tensor([0.0, 0.0, -0.01, 0.0]))


@torch.no_grad()
def test_bias_balances_a_skewed_router():
    """Imbalance: the most loaded expert's share, times E (1 is even; E / K = 3 is everything on two
    experts)."""
    model, ids = skewed_model()

    def imbalance():
        return expert_load(model.trunk(ids)[1], SMALL.experts).amax(-1) * SMALL.experts

    before = imbalance()
    for rate in [0.02] * 40 + [0.002] * 20:
        move_router_bias(model, expert_load(model.trunk(ids)[1], SMALL.experts), rate)
    after = imbalance()
    assert (before > 2.5).all() and (after < 1.25).all(), (before, after)


# ---------------------------------------------------------------- probabilities


def test_token_logp_at_a_temperature():
    """The sampler's temperature divides the logits before the softmax; entropy is that of the same
    distribution."""
    model, ids = random_model(SMALL), random_ids(2, 10)
    logp, entropy = token_logp(model, ids, 0.7)
    assert logp.shape == entropy.shape == (2, 9)
    expected = F.log_softmax(model(ids).double() / 0.7, dim=-1)
    for b in range(2):
        for t in range(9):
            p = expected[b, t].exp()
            assert_close(logp[b, t].double(), expected[b, t, ids[b, t + 1]], rtol=1e-5, atol=1e-5)
            assert_close(entropy[b, t].double(), -(p * p.log()).sum(), rtol=1e-5, atol=1e-5)
    assert ((entropy > 0) & (entropy < math.log(SMALL.vocab_size))).all()
    assert (token_logp(model, ids)[0] - logp).abs().max() > 0.1, (
        "temperature 1 is another distribution"
    )
    assert logp.requires_grad and not entropy.requires_grad


# ---------------------------------------------------------------- size and start


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_parameter_counts_by_hand(preset):
    """Every matrix of the paper, written out; a token uses K of the E routed experts."""
    c = PRESETS[preset].model
    attention = (
        c.width * c.heads * (c.nope_width + c.rope_width)  # W^Q
        + c.width * (c.kv_rank + c.rope_width)  # W^DKV, W^KR
        + c.kv_rank  # its norm
        + c.kv_rank * c.heads * (c.nope_width + c.value_width)  # W^UK, W^UV
        + c.heads * c.value_width * c.width  # W^O
    )
    swiglu_of_expert, router = 3 * c.width * c.expert_width, c.experts * c.width
    shell = 2 * c.vocab_size * c.width + c.width + c.layers * (attention + 2 * c.width)
    dense, sparse = c.dense_layers * 3 * c.width * c.dense_width, c.layers - c.dense_layers
    everything = (
        shell + dense + sparse * (router + (c.shared_experts + c.experts) * swiglu_of_expert)
    )
    used = shell + dense + sparse * (router + (c.shared_experts + c.top_k) * swiglu_of_expert)
    assert parameter_counts(Transformer(c)) == (everything, used)
    assert used < everything


def test_gpu_preset_is_as_large_as_promised():
    c = PRESETS["gpu"].model
    assert c.layers >= 6 and c.experts == 8 and c.top_k == 2 and c.attention == "mla"
    assert parameter_counts(Transformer(c))[0] >= 8_000_000


def test_dense_models_use_every_parameter():
    everything, used = parameter_counts(Transformer(replace(SMALL, **KINDS["gqa"])))
    assert everything == used


def test_initial_weights():
    """0.02 everywhere; what is added to the residual stream starts smaller by 1 / sqrt(2
    layers)."""
    torch.manual_seed(0)
    c = replace(PRESETS["cpu"].model, q_rank=32, mtp=True)
    for name, weight in Transformer(c).named_parameters():
        if weight.ndim == 1:
            assert (weight == 1).all(), name
            continue
        adds = name.endswith(
            ("attention.out.weight", "mixer.down.weight", "shared.down.weight", "down_EDF")
        )
        expected = c.init_std * ((2 * c.layers) ** -0.5 if adds else 1.0)
        # a sample std of n numbers strays by 1 / sqrt(2n) of itself; six of these: one false alarm
        # in 10^8 weights
        assert abs(weight.std().item() / expected - 1) < 6 * (2 * weight.numel()) ** -0.5, name
