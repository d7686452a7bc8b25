"""The sampler against an uncached loop, its frequencies against exact probabilities; the engine and
the experts' twins.

A random test quotes its false-alarm probability: the chance that correct code would fail under
another seed.
"""

import copy
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from imported import small_codec, small_llama
from torch._dynamo.testing import CompileCounter
from torch._inductor import async_compile

from minir1 import fast as fast_twins
from minir1.config import Config, ModelConfig, PretrainConfig, apply
from minir1.corpus.mixture import sample_text
from minir1.fast import decoder, experts
from minir1.fast import engine as engines
from minir1.fast.accelerate import accelerate, beyond, make_sampler
from minir1.fast.cpu_decoder import CoreDecoder
from minir1.fast.decoder import Decoder, attend_plain, can_fuse, mask
from minir1.fast.device import Device
from minir1.fast.engine import Engine
from minir1.fast.experts import (
    batched_experts,
    grouped_experts,
    grouped_experts_compiled,
    pieces,
    set_expert_kernel,
)
from minir1.fast.graphs import Replayed
from minir1.fast.norms import norms_by_hand
from minir1.model import Cache, RMSNorm, Transformer, looped_experts, token_logp
from minir1.presets import PRESETS
from minir1.rollout import sampling
from minir1.run import session as session
from minir1.sampler import Sampling, Stream, choose, pad, prefill, restrict, sample
from minir1.supervised import Learner, language_loss
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt as prompt_of

torch.set_num_threads(1)

V = 40
MLA = ModelConfig(
    vocab_size=V, width=16, layers=2, heads=2, kv_rank=8, nope_width=4, rope_width=4, value_width=4,
    dense_width=24, experts=4, top_k=2, expert_width=8, positions=256, init_std=0.3,
)
GQA = ModelConfig(
    vocab_size=V, width=16, layers=2, heads=4,
    attention="gqa", kv_heads=2, head_width=8, qk_norm=True, dense_width=24,
    experts=0, positions=256, init_std=0.3,
)
MODELS = pytest.mark.parametrize("config", [MLA, GQA], ids=["mla", "gqa"])
PROMPTS = [
    [3, 4, 5, 6, 7, 8, 9],
    [10, 11],
    [12],
    [13, 14, 15, 16],
    [17, 3, 3],
    [9, 8, 7, 6, 5, 4, 3, 2],
    [20, 21],
    [30],
]
BUDGET = 40
NEVER = V - 1  # an id that models with this bias never choose
MUTE = {NEVER: -1e4}
ALARM = 1e-6


class Biased(Transformer):
    """A transformer with a constant added to its logits: makes tokens certain or impossible."""

    bias: dict[int, float] = {}

    def logits(self, hidden_BTD):
        logits = super().logits(hidden_BTD)
        for token, value in self.bias.items():
            logits[..., token] += value
        return logits


def tiny(
    config: ModelConfig = MLA, seed: int = 0, bias: dict[int, float] | None = None
) -> Transformer:
    torch.manual_seed(seed)
    model = (Biased if bias else Transformer)(config).eval()
    if bias:
        model.bias = bias
    return model


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def darts(seed: int, rows: int) -> torch.Tensor:
    return torch.rand(rows, generator=generator(seed))


def tail(statistic: float, freedom: int) -> float:
    """Probability of a chi-square at least this large."""
    return torch.special.gammaincc(
        torch.tensor(freedom / 2).double(), torch.tensor(statistic / 2).double()
    ).item()


def fits(count_V: torch.Tensor, p_V: torch.Tensor) -> float:
    """p-value of counts under exact probabilities; impossible tokens must not occur, rare ones are
    pooled."""
    assert (count_V[p_V == 0] == 0).all()
    expected = p_V.double() * count_V.sum()
    rare = expected < 20
    count, expected = (
        torch.cat([x[~rare].double(), x[rare].sum().double()[None]]) for x in (count_V, expected)
    )
    count, expected = count[expected > 0], expected[expected > 0]
    return tail(((count - expected) ** 2 / expected).sum().item(), len(count) - 1)


def same_source(left: torch.Tensor, right: torch.Tensor) -> float:
    """p-value of two rows of counts being draws from one distribution; rare values are pooled."""
    both = left + right
    rare = both < 40
    table = torch.stack(
        [torch.cat([x[~rare], x[rare].sum()[None]]) for x in (left, right)]
    ).double()
    table = table[:, table.sum(0) > 0]
    expected = table.sum(1, keepdim=True) * table.sum(0) / table.sum()
    return tail(((table - expected) ** 2 / expected).sum().item(), table.shape[1] - 1)


# ------------------------------------------------ greedy against a loop without a cache


@torch.no_grad()
def greedy(model, prompt: list[int], budget: int) -> list[int]:
    """The specification: read everything again for each token."""
    ids = list(prompt)
    for _ in range(budget):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@cache
def greedy_texts(config: ModelConfig) -> list[list[int]]:
    return [greedy(tiny(config), p, BUDGET) for p in PROMPTS]


def cut(text: list[int], stop_ids) -> tuple[list[int], bool]:
    """(the response with its stop token, whether it stopped)"""
    end = next((t + 1 for t, id in enumerate(text) if id in stop_ids), None)
    return text[:end], end is not None


def stops_for(config: ModelConfig) -> tuple[int, ...]:
    """A stop id that ends the greedy responses at many different times, and some not at all."""
    ends = {id: [len(cut(text, (id,))[0]) for text in greedy_texts(config)] for id in range(V)}
    return (max(ends, key=lambda id: (BUDGET in ends[id]) * len(set(ends[id]))),)


def rows(samples) -> list[list[int]]:
    return [row[:n] for row, n in zip(samples.ids_BT.tolist(), samples.length_B.tolist())]


@MODELS
@pytest.mark.parametrize("group", [1, 3])
def test_greedy_equals_the_uncached_loop(config, group, monkeypatch):
    """Prompts of 1 to 8 tokens side by side; rows end at different times, so that finished rows are
    dropped."""
    model, dropped = tiny(config), []
    keep = Cache.keep

    def spy(cache, kept):
        dropped.append(len(kept))
        keep(cache, kept)

    monkeypatch.setattr(Cache, "keep", spy)
    stop_ids = stops_for(config)
    samples = sample(model, PROMPTS, group, Sampling(BUDGET, stop_ids, temperature=0))
    expected = [cut(text, stop_ids) for text in greedy_texts(config) for _ in range(group)]
    assert list(zip(rows(samples), samples.stopped_B.tolist())) == expected
    assert len(set(samples.length_B.tolist())) >= 4 and not samples.stopped_B.all()
    assert (
        len(dropped) >= 2 and dropped[-1] < dropped[0] == len(PROMPTS) * group
    )  # the first call repeats the prompts


@MODELS
def test_a_row_does_not_depend_on_its_neighbours(config):
    model, settings_ = tiny(config, seed=3), Sampling(30, (1,), temperature=0)
    together = sample(model, PROMPTS, 1, settings_)
    for row, prompt in enumerate(PROMPTS):
        alone = sample(model, [prompt], 1, settings_)
        assert rows(alone)[0] == rows(together)[row]


@MODELS
@torch.no_grad()
def test_the_cache_keeps_each_row_apart(config):
    """What a row stored about its prompt is what it stores alone, and decoding other rows never
    changes it."""
    model = tiny(config)
    kept, logits_BV = prefill(model, PROMPTS, 2, 10)
    alone = [prefill(model, [p], 1, 10) for p in PROMPTS]
    before = kept.store_LBSW.clone()
    for row in range(len(PROMPTS) * 2):
        single, logits = alone[row // 2]
        n = len(PROMPTS[row // 2])
        torch.testing.assert_close(
            before[:, row, :n], single.store_LBSW[:, 0, :n], rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(logits_BV[row], logits[0], rtol=1e-5, atol=1e-5)
    token_B = torch.arange(len(PROMPTS) * 2) % V  # the two of a group get different tokens
    for _ in range(3):
        model(token_B[:, None], kept)
    for row in range(len(PROMPTS) * 2):
        n = len(PROMPTS[row // 2])
        assert kept.length_B[row] == n + 3
        assert torch.equal(kept.store_LBSW[:, row, :n], before[:, row, :n])
        ids = torch.tensor([PROMPTS[row // 2] + [int(token_B[row])] * 3])
        fresh, _ = prefill(model, ids.tolist(), 1, 0)
        torch.testing.assert_close(
            kept.store_LBSW[:, row, : n + 3], fresh.store_LBSW[:, 0, : n + 3], rtol=1e-4, atol=1e-5
        )


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize(
    "temperature,top_p", [(1.0, 1.0), (0.6, 1.0), (1.7, 1.0), (1.0, 0.8), (0.6, 0.8)]
)
def test_frequencies_are_the_probabilities(temperature, top_p):
    """200,000 draws, chi-square; false alarm 1e-6."""
    logits_V = torch.tensor([2.0, 1.5, 1.0, 0.3, 0.0, -0.4, -1.0, -2.5])
    p = np.exp(logits_V.double().numpy() / temperature)
    p = p / p.sum()
    tempered = torch.tensor(p).log()
    order = np.argsort(-p)
    kept = order[
        : int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
    ]  # the shortest head that reaches top_p
    truncated = torch.zeros(8).double()
    truncated[kept] = torch.tensor(p[kept] / p[kept].sum())
    settings_ = Sampling(1, (0,), temperature=temperature, top_p=top_p)
    ids_B, logp_B = choose(
        logits_V.expand(200_000, 8), settings_, torch.zeros(200_000) > 0, darts(0, 200_000)
    )
    assert fits(ids_B.bincount(minlength=8), truncated) > ALARM
    torch.testing.assert_close(
        logp_B.double(), tempered[ids_B], rtol=1e-5, atol=1e-5
    )  # before top_p


def test_the_chi_square_notices_a_wrong_temperature():
    """The tests above would not pass if the draws came from T = 0.62 instead of 0.6."""
    logits_V = torch.tensor([2.0, 1.5, 1.0, 0.3, 0.0, -0.4, -1.0, -2.5])
    ids_B, _ = choose(
        logits_V.expand(200_000, 8),
        Sampling(1, (0,), 0.62),
        torch.zeros(200_000) > 0,
        darts(0, 200_000),
    )
    assert fits(ids_B.bincount(minlength=8), (logits_V.double() / 0.6).softmax(-1)) < ALARM


def test_rows_are_drawn_independently_and_from_their_own_logits():
    """Pairs of neighbours in one call fit the product of their distributions; false alarm 1e-6."""
    left, right = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.1, 0.8])
    logits = torch.stack([left.log(), right.log()]).repeat(100_000, 1)
    ids, _ = choose(logits, Sampling(1, (0,)), torch.zeros(200_000) > 0, darts(1, 200_000))
    pair = ids[::2] * 3 + ids[1::2]
    assert fits(pair.bincount(minlength=9), torch.outer(left, right).flatten()) > ALARM


@MODELS
@pytest.mark.parametrize("temperature,top_p", [(1.0, 1.0), (0.7, 1.0), (0.7, 0.8)])
def test_first_and_second_tokens_follow_the_model(config, temperature, top_p):
    """20,000 responses of two tokens against exact probabilities of the pairs; false alarm 1e-6."""
    model, prompt = tiny(config, bias=MUTE), [5, 6, 7]
    samples = sample(
        model, [[9], prompt], 20_000, Sampling(2, (NEVER,), temperature, top_p), Stream.of(2)
    )
    pairs = samples.ids_BT[20_000:]
    with torch.no_grad():
        ids = torch.tensor([[*prompt, token] for token in range(V)])
        logits = model(ids)[:, -2:] / temperature
    p = restrict(logits.double().log_softmax(-1), top_p).softmax(-1)
    joint = p[0, 0][:, None] * p[:, 1]
    assert fits((pairs[:, 0] * V + pairs[:, 1]).bincount(minlength=V * V), joint.flatten()) > ALARM


@pytest.mark.parametrize(
    "config,temperature,top_p", [(MLA, 1.0, 1.0), (MLA, 0.7, 1.0), (GQA, 0.7, 0.9), (GQA, 1.0, 0.5)]
)
def test_returned_log_probs_equal_recomputed_ones(config, temperature, top_p):
    """The update scores what was sampled under the very distribution it came from (before
    top_p)."""
    model = tiny(config)
    samples = sample(model, PROMPTS, 4, Sampling(25, (1, 2), temperature, top_p), Stream.of(0))
    assert len(set(samples.length_B.tolist())) > 3
    for row, ids in enumerate(rows(samples)):
        prompt = PROMPTS[row // 4]
        logp, _ = token_logp(model, torch.tensor([prompt + ids]), temperature)
        torch.testing.assert_close(
            samples.logp_BT[row, : len(ids)], logp[0, len(prompt) - 1 :], rtol=1e-5, atol=1e-5
        )
        assert (samples.logp_BT[row, len(ids) :] == 0).all()


def test_greedy_log_probs_are_those_at_temperature_one():
    model = tiny(bias=MUTE)
    samples = sample(model, [[3, 4]], 1, Sampling(6, (NEVER,), temperature=0))
    logp, _ = token_logp(model, torch.tensor([[3, 4] + rows(samples)[0]]))
    torch.testing.assert_close(samples.logp_BT[0], logp[0, 1:], rtol=1e-5, atol=1e-5)


def test_one_seed_gives_the_same_samples_and_another_seed_others():
    model, s = tiny(), Sampling(20, (1,))
    first, again, other = (sample(model, PROMPTS, 3, s, Stream.of(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.ids_BT, other.ids_BT)
    assert len({tuple(r) for r in rows(first)}) > 20  # and the members of a group differ


# ---------------------------------------------------------------- top_p


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=12), st.floats(0.01, 1.2))
def test_top_p_keeps_the_smallest_set_that_reaches_it(logits, top_p):
    p = np.exp(np.array(logits))
    p /= p.sum()
    head = np.cumsum(np.sort(p)[::-1])
    assume(np.abs(head - top_p).min() > 1e-9)  # not a question of rounding
    size = len(p) if top_p >= 1 else int((head < top_p).sum()) + 1
    logits_BV = torch.tensor([logits, logits], dtype=torch.float64)
    out = restrict(logits_BV, top_p)[1]
    kept = torch.isfinite(out).numpy()
    assert kept.sum() == size
    assert kept.all() or p[kept].min() >= p[~kept].max()
    assert (out[kept] == logits_BV[1, kept]).all() and (out[~kept] == -torch.inf).all()


def test_top_p_by_hand():
    # 0.5 + 0.3 = 0.8 reaches 0.7, 0.5 alone does not; 0.4 is reached by the first
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    assert torch.isfinite(restrict(logits, 0.7)).tolist() == [[False, True, True]]
    assert torch.isfinite(restrict(logits, 0.4)).tolist() == [[False, True, False]]
    assert torch.isfinite(restrict(logits, 0.9)).all()


# ---------------------------------------------------------------- stopping


def check_padding(samples, stop_ids) -> None:
    """Behind its length a row holds the first stop id, with log-prob 0; inside, a stop token stands
    only at the end."""
    for ids, logp, n, stopped in zip(
        samples.ids_BT, samples.logp_BT, samples.length_B.tolist(), samples.stopped_B.tolist()
    ):
        assert (ids[n:] == stop_ids[0]).all() and (logp[n:] == 0).all()
        assert not torch.isin(ids[: n - 1], torch.tensor(stop_ids)).any()
        assert (int(ids[n - 1]) in stop_ids) == stopped
        assert (logp[:n] < 0).all()


def test_the_stop_token_is_an_action_and_stopped_is_not_cut_off():
    """The stop token is in the ids, counts in the length and has a log-prob, unlike in nanochat's
    engine."""
    samples = sample(tiny(), PROMPTS, 8, Sampling(12, (7, 2)), Stream.of(0))
    assert 0.2 < samples.stopped_B.float().mean() < 0.95
    assert (samples.length_B[~samples.stopped_B] == 12).all()
    assert (samples.length_B[samples.stopped_B] < 12).any()
    check_padding(samples, (7, 2))
    assert {
        int(samples.ids_BT[b, samples.length_B[b] - 1]) for b in torch.where(samples.stopped_B)[0]
    } == {7, 2}


def test_a_model_that_always_stops_gives_one_token():
    samples = sample(tiny(bias={2: 1000.0}), PROMPTS, 2, Sampling(9, (2,)), Stream.of(0))
    assert (
        samples.ids_BT[:, 0].eq(2).all()
        and samples.length_B.eq(1).all()
        and samples.stopped_B.all()
    )
    assert samples.ids_BT.shape == samples.logp_BT.shape == (16, 9)


def test_a_model_that_never_stops_is_cut_off():
    samples = sample(tiny(bias={2: -1000.0}), PROMPTS, 2, Sampling(9, (2,)), Stream.of(0))
    assert (
        samples.length_B.eq(9).all()
        and not samples.stopped_B.any()
        and not samples.ids_BT.eq(2).any()
    )


def test_stopping_on_the_very_last_token_is_stopping():
    model = tiny()
    full = greedy(model, [3, 4, 5], 5)
    budget = full.index(full[-1]) + 1
    samples = sample(model, [[3, 4, 5]], 1, Sampling(budget, (full[-1],), temperature=0))
    assert samples.stopped_B.tolist() == [True] and samples.length_B.tolist() == [budget]
    shorter = sample(
        model, [[3, 4, 5]], 1, Sampling(max(1, budget - 1), (full[-1],), temperature=0)
    )
    assert (
        budget > 1
        and shorter.stopped_B.tolist() == [False]
        and shorter.length_B.tolist() == [budget - 1]
    )


# ---------------------------------------------------------------- bans


def check_bans(samples, banned, until) -> None:
    before, after = 0, 0
    for ids in rows(samples):
        free = next((t for t, id in enumerate(ids) if id in until), len(ids))
        assert not set(ids[:free]) & set(banned)
        before, after = before + free, after + sum(id in banned for id in ids[free + 1 :])
    assert before > 100 and after > 20  # both sides were put to the test


def test_banned_ids_appear_only_after_an_until_id():
    banned, until = (2, 5, 9), (3, 4)
    bias = {2: 2.0, 5: 2.0, 9: 2.0, 3: 1.0}  # tempting
    samples = sample(
        tiny(bias=bias),
        PROMPTS,
        16,
        Sampling(30, (2,), ban_ids=banned, until_ids=until),
    )
    check_bans(samples, banned, until)
    assert (
        samples.stopped_B.any() and (samples.length_B > 1).all()
    )  # the stop token itself was banned at first


def test_the_log_prob_under_a_ban_is_that_of_the_remaining_tokens():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(2, 1)
    before = logits.clone()
    free = torch.tensor([False, True])
    for seed in range(20):
        ids, logp = choose(
            logits, Sampling(1, (0,), ban_ids=(3,), until_ids=(1,)), free, darts(seed, 2)
        )
        assert ids[0] != 3
        assert logp[0].exp().item() == pytest.approx([0.1, 0.2, 0.3][int(ids[0])] / 0.6, rel=1e-5)
        assert logp[1].exp().item() == pytest.approx([0.1, 0.2, 0.3, 0.4][int(ids[1])], rel=1e-5)
    assert torch.equal(logits, before)  # nothing writes into its inputs


def test_greedy_obeys_bans_too():
    samples = sample(
        tiny(bias={2: 100.0}), [[3]], 1, Sampling(5, (2,), temperature=0, ban_ids=(2,))
    )
    assert not samples.stopped_B.any() and samples.length_B.tolist() == [5]


# ---------------------------------------------------------------- the fused step, twin of the model


@pytest.mark.parametrize("shared,dense", [(1, 1), (2, 0), (0, 1)])
def test_a_fused_step_is_the_models(shared, dense):
    """Random weights everywhere (norms and router biases too), rows at different positions, in
    float32."""
    config = replace(MLA, shared_experts=shared, dense_layers=dense, routed_scale=1.7)
    model, ids = tiny(config), torch.randint(V, (3, 24), generator=generator(1))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator(len(name))))
        for layer in model.expert_layers():
            layer.bias_E.normal_(0, 0.2, generator=generator(2))
        decoder, start = Decoder(model, torch.float32), torch.tensor([0, 3, 7])
        store = torch.zeros(config.layers, 3, 40, config.cache_width)
        for t in range(17):
            if (
                t < 8
            ):  # rows start late: row b reads its first start[b] tokens beforehand, one by one
                for b in range(3):
                    if t < start[b]:
                        decoder.step(ids[b : b + 1, t], store[:, b : b + 1], torch.tensor([t]))
        for t in range(17):
            logits = decoder.step(ids[torch.arange(3), start + t], store, start + t)
            for b in range(3):
                whole = model(ids[b : b + 1, : start[b] + t + 1])[0, -1]
                torch.testing.assert_close(logits[b], whole, rtol=1e-4, atol=1e-5)


def test_the_fused_step_follows_the_weights_in_place():
    model = tiny()
    decoder = Decoder(model, torch.float32)
    places = [t.data_ptr() for t in decoder.layers[1]] + [decoder.head.data_ptr()]
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    decoder.refresh(model)
    assert [t.data_ptr() for t in decoder.layers[1]] + [
        decoder.head.data_ptr()
    ] == places  # captured graphs stay valid
    store = torch.zeros(MLA.layers, 1, 8, MLA.cache_width)
    with torch.no_grad():
        logits = decoder.step(torch.tensor([3]), store, torch.tensor([0]))
        torch.testing.assert_close(logits, model(torch.tensor([[3]]))[:, -1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"shared_experts": 2, "experts": 5, "heads": 3},
        {"experts": 0},
        {"shared_experts": 0, "top_k": 3},
    ],
)
def test_a_step_on_cores_is_the_plain_one(flags):
    """Logits and what is stored, rows at different positions; behind these the stores hold what an
    earlier batch left: anything."""
    model = tiny(replace(MLA, layers=3, routed_scale=1.7, **flags))
    for name, p in model.named_parameters():
        p.add_(0.1 * torch.randn(p.shape, generator=generator(len(name))))
    for layer in model.expert_layers():
        layer.bias_E.normal_(0, 0.2, generator=generator(2))
    plain, cores, position_B = (
        Decoder(model, torch.float32),
        CoreDecoder(model, torch.float32),
        torch.tensor([0, 3, 7, 12, 19]),
    )
    store = torch.randn(3, 5, 20, MLA.cache_width, generator=generator(3))
    own, keys = store.clone(), store.mT.contiguous().mT
    keys[:, torch.arange(20) > position_B[:, None]] = torch.nan
    for _ in range(2):  # the second time what was stored before is read and overwritten
        expected, logits = (
            plain.step(position_B, store, position_B),
            cores.step(position_B, own, position_B, keys),
        )
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    read = torch.arange(20) <= position_B[:, None]
    for found in (own, keys):
        torch.testing.assert_close(found[:, read], store[:, read], rtol=1e-5, atol=1e-5)


def test_cores_have_a_step_of_their_own_in_float32_only():
    kind = lambda *how: type(Engine(tiny(), *how).decoder)  # noqa: E731
    assert kind(torch.float32, 8, 20) is CoreDecoder and kind(torch.bfloat16, 8, 20) is Decoder
    assert (
        kind(torch.float32, 8, 20, True) is Decoder
    )  # one compilation serves every batch: the plain functions


def test_an_engine_without_keys_is_greedy_like_the_sampler(monkeypatch):
    """What other devices do."""
    monkeypatch.setattr(engines, "CoreDecoder", lambda *_: pytest.fail("made a step for cores"))
    model, stop_ids = tiny(), stops_for(MLA)
    monkeypatch.setattr(engines, "on_cores", lambda *_: False)
    settings_ = Sampling(BUDGET, stop_ids, temperature=0)
    fast, slow = (
        s(model, PROMPTS * 2, 4, settings_)
        for s in (Engine(model, torch.float32, 32, BUDGET).sample, sample)
    )
    assert rows(fast) == rows(slow)


def test_only_linear_queries_over_latents_are_fused():
    assert (
        can_fuse(tiny()) and not can_fuse(tiny(replace(MLA, q_rank=8))) and not can_fuse(tiny(GQA))
    )
    assert not can_fuse(tiny(bias=MUTE))  # a subclass may compute anything


# ---------------------------------------------------------------- the engine, twin of the sampler


@MODELS
@pytest.mark.parametrize(
    "group,engine_rows", [(4, 32), (3, 32), (4, 100)], ids=["full", "ragged", "roomy"]
)
def test_engine_is_greedy_like_the_sampler(config, group, engine_rows, monkeypatch):
    """Responses wait where they exceed the slots; rows end at different times and move to smaller
    buckets."""
    model, stop_ids = tiny(config), stops_for(config)
    engine, moves = Engine(model, torch.float32, engine_rows, BUDGET), []
    compact = Engine._compact

    def spy(self, held, left):
        moves.append((len(held), left))
        return compact(self, held, left)

    monkeypatch.setattr(Engine, "_compact", spy)
    prompts = PROMPTS + PROMPTS[::-1] + PROMPTS[:3]
    settings_ = Sampling(BUDGET, stop_ids, temperature=0)
    fast, slow = (
        engine.sample(model, prompts, group, settings_),
        sample(model, prompts, group, settings_),
    )
    assert rows(fast) == rows(slow)
    assert torch.equal(fast.length_B, slow.length_B) and torch.equal(fast.stopped_B, slow.stopped_B)
    inside = torch.arange(BUDGET) < slow.length_B[:, None]
    torch.testing.assert_close(fast.logp_BT[inside], slow.logp_BT[inside], rtol=1e-4, atol=1e-5)
    assert len(prompts) * group > engine_rows or engine_rows == 100
    assert any(after < before for before, after in moves)


def test_engine_pads_like_the_sampler():
    """Behind a row's length stands the stop token with log-prob 0, not what an earlier batch left
    there."""
    model = tiny(bias=MUTE)
    engine, stop_ids = Engine(model, torch.float32, 32, BUDGET), stops_for(MLA)
    for ids in ((NEVER,), stop_ids):
        check_padding(engine.sample(model, PROMPTS, 4, Sampling(BUDGET, ids, temperature=0)), ids)


@pytest.mark.parametrize(
    "temperature,top_p,bias", [(1.0, 1.0, {2: 0.5}), (0.7, 0.9, {2: 0.5}), (1.0, 1.0, None)]
)
def test_engine_and_sampler_draw_from_one_distribution(temperature, top_p, bias):
    """First tokens, lengths and the 20th token (after rows have moved) of 3,072 responses each to
    two prompts.

    Chi-square; false alarm 6e-6 in all.
    """
    model, settings_, n = tiny(bias=bias), Sampling(25, (2, 7), temperature, top_p), 3072
    engine = Engine(model, torch.float32, n, 25)  # half of the responses wait
    torch.manual_seed(11)
    fast, slow = (
        engine.sample(model, PROMPTS[:2], n, settings_),
        sample(model, PROMPTS[:2], n, settings_, Stream.of(12)),
    )
    for own in (slice(n), slice(n, None)):
        count = [
            (s.ids_BT[own, 0].bincount(minlength=V), s.length_B[own].bincount(minlength=26),
             s.ids_BT[own, 19][s.length_B[own] > 19].bincount(minlength=V)) for s in (fast, slow)
        ]
        assert all(same_source(a, b) > ALARM for a, b in zip(*count))
    assert (
        fast.length_B.float().std() > 3 and count[0][2].sum() > 200
    )  # the comparison says something


@MODELS
def test_log_probs_of_the_engine_are_the_models(config):
    model = tiny(config)
    engine = Engine(model, torch.float32, 64, 40)
    torch.manual_seed(0)
    samples = engine.sample(model, PROMPTS, 8, Sampling(40, (1, 2), temperature=0.7))
    assert len(set(samples.length_B.tolist())) > 5
    for row, ids in enumerate(rows(samples)):
        prompt = PROMPTS[row // 8]
        logp, _ = token_logp(model, torch.tensor([prompt + ids]), 0.7)
        torch.testing.assert_close(
            samples.logp_BT[row, : len(ids)], logp[0, len(prompt) - 1 :], rtol=1e-4, atol=2e-5
        )
        assert (samples.logp_BT[row, len(ids) :] == 0).all()


def test_engine_obeys_bans_and_tells_stopped_from_cut_off():
    banned, until = (2, 5, 9), (3, 4)
    model = tiny(bias={2: 2.0, 5: 2.0, 9: 2.0, 3: 1.0})
    engine = Engine(model, torch.float32, 64, 30)
    torch.manual_seed(0)
    samples = engine.sample(model, PROMPTS, 16, Sampling(30, (2,), ban_ids=banned, until_ids=until))
    check_bans(samples, banned, until)
    assert samples.stopped_B.any() and not samples.stopped_B.all()
    for ids, stopped in zip(rows(samples), samples.stopped_B.tolist()):
        assert (ids[-1] == 2) == stopped and 2 not in ids[:-1] and (stopped or len(ids) == 30)


LONG = [7 * i % 30 for i in range(150)]


@pytest.mark.parametrize(
    "prompts,group,budget",
    [(PROMPTS[:2], 20, 20), ([LONG, [3]], 2, 60), (PROMPTS[:2], 2, 80)],
    ids=[
        "group larger than the slots",
        "prompt larger than the store",
        "budget larger than the room",
    ],
)
def test_engine_serves_what_does_not_fit(prompts, group, budget):
    model = tiny(bias=MUTE)
    settings_ = Sampling(budget, (NEVER,), temperature=0)
    fast = Engine(model, torch.float32, 16, 60).sample(model, prompts, group, settings_)
    assert rows(fast) == rows(sample(model, prompts, group, settings_))


@pytest.mark.parametrize("bias", [{2: 0.6}, None], ids=["its own forward", "fused"])
def test_slots_are_refilled_while_others_run(bias):
    """A queue of 960 responses of very different lengths through 32 slots: greedy like the sampler,
    slots seldom idle."""
    model = tiny(bias=bias)
    engine = Engine(model, torch.float32, 32, 96)
    prompts = [[3 + i % 20, 5 + i % 7, i % 30] for i in range(240)]
    torch.manual_seed(0)
    samples = engine.sample(model, prompts, 4, Sampling(96, (2,), temperature=1.3))
    length = samples.length_B.float()
    assert length.min() < 5 and length.max() > 60 and length.std() > 10
    assert engine.useful == int(length.sum())
    synchronous = sum(32 * length[i : i + 32].max().item() for i in range(0, 960, 32))
    assert (
        engine.useful / engine.slot_steps > 1.5 * engine.useful / synchronous
    )  # batches would wait for their longest
    greedy = Sampling(96, (2,), temperature=0)
    assert rows(engine.sample(model, prompts, 2, greedy)) == rows(sample(model, prompts, 2, greedy))


def test_engine_follows_the_policys_weights_and_biases():
    model = tiny(bias=MUTE)
    engine = Engine(model, torch.float32, 16, 20)
    settings_ = Sampling(20, (NEVER,), temperature=0)
    before = engine.sample(model, PROMPTS, 1, settings_)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator(1)))
        model.expert_layers()[0].bias_E += torch.tensor([1.0, 0.0, -1.0, 0.0])
    after = engine.sample(model, PROMPTS, 1, settings_)
    assert rows(after) == rows(sample(model, PROMPTS, 1, settings_)) != rows(before)
    assert (
        model.expert_layers()[0].compute is looped_experts
    )  # the policy itself keeps its own kernels


def test_engine_in_half_precision_keeps_the_router_in_float32():
    model = tiny()
    engine = Engine(model, torch.bfloat16, 16, 20)
    kinds = {name: p.dtype for name, p in engine.policy.named_parameters()}
    assert all((kind == torch.float32) == name.endswith("router") for name, kind in kinds.items())
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    samples = engine.sample(model, PROMPTS, 2, Sampling(20, (1,)))
    assert samples.logp_BT.dtype == torch.float32 and torch.isfinite(samples.logp_BT).all()


# ---------------------------------------------------------------- norms, twins of PyTorch's


@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 4, 16)])
@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["usual", "so small that epsilon counts"])
def test_norms_by_hand_have_pytorchs_values_and_gradients(shape, size):
    norm, found = RMSNorm(16, 1e-6), []
    norm.weight.data = torch.randn(16, generator=generator(1))
    x, grad = (
        size * torch.randn(shape, generator=generator(2)),
        torch.randn(shape, generator=generator(3)),
    )
    for way in (nullcontext(), norms_by_hand(norm)):
        leaf, norm.weight.grad = x.clone().requires_grad_(), None
        with way:
            y = norm(leaf)
        y.backward(grad)
        found.append((y, leaf.grad, norm.weight.grad))
    for plain, fast in zip(*found):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5 * plain.abs().max().item())


@MODELS
def test_a_model_with_norms_by_hand_has_the_plain_models_gradients(config):
    model, ids = (
        tiny(replace(config, mtp=config is MLA)),
        torch.randint(V, (3, 20), generator=generator(4)),
    )
    plain, again = [], []
    for grads, way in ((plain, nullcontext()), (again, norms_by_hand(model))):
        with way:
            language_loss(model, ids, None, PretrainConfig())[0].backward()
        grads += [p.grad for p in model.parameters()]
        model.zero_grad(set_to_none=True)
    for a, b in zip(plain, again):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5 * a.abs().max().item())


def test_a_copy_made_while_norms_are_by_hand_has_weights_of_its_own():
    """And other number formats and autocast go the plain way."""
    model, x = tiny(), torch.randn(2, 16)
    with norms_by_hand(model):
        twin = copy.deepcopy(model)
        twin.norm.weight.data.fill_(2.0)
        torch.testing.assert_close(twin.norm(x), 2 * model.norm(x))
        assert model.norm(x.bfloat16()).dtype == torch.bfloat16 and model.norm(
            x
        ).grad_fn.name().startswith("Normal")
        with torch.autocast("cpu", torch.bfloat16):
            assert not model.norm(x).grad_fn.name().startswith("Normal")


# ---------------------------------------------------------------- experts, twins of the loop


def expert_case(
    seed: int = 0,
    N: int = 37,
    D: int = 16,
    E: int = 6,
    K: int = 3,
    hidden: int = 24,
    skip: int | None = None,
):
    """Inputs of an expert layer; expert `skip` is chosen by nobody."""
    g = generator(seed)
    score = torch.rand(N, E, generator=g)
    if skip is not None:
        score[:, skip] = -1
    expert_NK = score.topk(K).indices
    weight_NK = torch.rand(N, K, generator=g)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    gate, up, down = 0.3 * draw(E, hidden, D), 0.3 * draw(E, hidden, D), 0.3 * draw(E, D, hidden)
    return draw(N, D), expert_NK, weight_NK, gate, up, down


def run_experts(compute, case, device: str = "cpu"):
    """Output and the gradients of x, weight, gate, up and down."""
    x, expert, *rest = (t.to(device) for t in case)
    leaves = [t.clone().requires_grad_() for t in (x, *rest)]
    out = compute(leaves[0], expert, *leaves[1:])
    out.backward(torch.randn(out.shape, generator=generator(99)).to(device))
    return [out.detach().cpu()] + [leaf.grad.cpu() for leaf in leaves]


@pytest.mark.parametrize("skip", [None, 2], ids=["all chosen", "one idle"])
def test_looped_experts_equal_the_sum_over_choices(skip):
    x, expert, weight, gate, up, down = case = expert_case(skip=skip)
    got = looped_experts(*case)
    for n in range(len(x)):
        y = sum(
            weight[n, k] * down[e] @ (F.silu(gate[e] @ x[n]) * (up[e] @ x[n]))
            for k, e in enumerate(expert[n].tolist())
        )
        torch.testing.assert_close(got[n], y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("skip", [None, 2], ids=["all chosen", "one idle"])
@pytest.mark.parametrize("seed", range(3))
def test_batched_experts_equal_the_loop_in_value_and_gradients(seed, skip):
    case = expert_case(seed, skip=skip)
    for fast, slow in zip(run_experts(batched_experts, case), run_experts(looped_experts, case)):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def assert_close_in_bfloat16(fast, slow):
    """Errors of bfloat16 (8 bits) in relation to the tensor's size; a token with a wrong expert is
    off by all of it."""
    for a, b in zip(fast, slow):
        assert ((a - b).norm() / b.norm()).item() < 0.02
        assert (a - b).abs().max() < 0.06 * b.abs().max()


def grouped_by_loop(a, b, offs):
    """What torch._grouped_mm promises: rows up to each offset times that group's matrix, or columns
    up to each offset times
    those rows of b. The rest is left undefined, and so is a product over nothing: NaN."""
    nothing = lambda *shape: torch.full(shape, torch.nan, dtype=a.dtype)  # noqa: E731
    spans = list(zip([0, *offs.tolist()], offs.tolist()))
    assert all(start % 8 == 0 <= end - start for start, end in spans)
    if b.ndim == 2:
        return torch.stack(
            [a[:, i:j] @ b[i:j] if j > i else nothing(len(a), b.shape[1]) for i, j in spans]
        )
    parts = [a[i:j] @ w for (i, j), w in zip(spans, b)]
    return torch.cat([*parts, nothing(len(a) - spans[-1][1], b.shape[2])])


GROUPED = pytest.mark.parametrize(
    "compute", [grouped_experts, grouped_experts_compiled], ids=["eager", "to be compiled"]
)


@GROUPED
@pytest.mark.parametrize(
    "skip", [None, 0, 2, 5], ids=["all chosen", "first idle", "one idle", "last idle"]
)
def test_grouped_experts_put_each_token_where_it_belongs(compute, skip, monkeypatch):
    """The index arithmetic, with a loop in place of the kernel; undefined rows must not reach any
    gradient."""
    monkeypatch.setattr(torch, "_grouped_mm", grouped_by_loop)
    monkeypatch.setattr(experts, "fast", lambda function: function)
    for seed, N in ((0, 37), (1, 1), (2, 8), (3, 400)):
        case = expert_case(seed, N=N, skip=skip)
        assert_close_in_bfloat16(run_experts(compute, case), run_experts(looped_experts, case))


@GROUPED
def test_grouped_experts_equal_the_loop_with_torchs_own_product(compute, monkeypatch):
    monkeypatch.setattr(experts, "fast", lambda function: function)
    case = expert_case()
    try:
        fast = run_experts(compute, case)
    except (RuntimeError, NotImplementedError) as fault:
        pytest.skip(f"no grouped product on this CPU: {fault}")
    assert_close_in_bfloat16(fast, run_experts(looped_experts, case))


HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9


@pytest.mark.skipif(not HOPPER, reason="needs CUDA with capability 9 or more")
@GROUPED
@pytest.mark.parametrize("skip", [None, 2], ids=["all chosen", "one idle"])
def test_grouped_experts_equal_the_loop_on_hopper(compute, skip):
    case = expert_case(N=300, D=64, hidden=96, skip=skip)
    assert_close_in_bfloat16(run_experts(compute, case, "cuda"), run_experts(looped_experts, case))


def test_the_gradient_by_hand_of_swiglu_is_autograds():
    both = torch.randn(5, 12, generator=generator(0)).requires_grad_()
    gate, up = both.chunk(2, dim=-1)
    grad = torch.randn(5, 6, generator=generator(1))
    (F.silu(gate) * up).backward(grad)
    hidden, grads = experts.swiglu_gradient(both.detach(), grad)
    torch.testing.assert_close(hidden, experts.swiglu(both).detach())
    torch.testing.assert_close(
        grads.float(), both.grad, rtol=2**-8, atol=1e-6
    )  # one rounding to bfloat16


@pytest.mark.slow
def test_what_is_compiled_between_the_products_computes_the_same():
    """Inside a compiled block too, where the compiler must stop at the experts and take up its work
    behind them."""
    closed = torch.compiler.disable(grouped_experts_compiled)  # as `use` leaves it
    around = torch.compile(lambda x, *rest: 2 * closed(x + 1, *rest) - x)
    plain = lambda x, *rest: 2 * looped_experts(x + 1, *rest) - x  # noqa: E731
    torch._dynamo.reset()
    for seed in range(3):
        case = expert_case(seed, N=400, skip=2)
        assert_close_in_bfloat16(
            run_experts(grouped_experts_compiled, case), run_experts(looped_experts, case)
        )
        assert_close_in_bfloat16(run_experts(around, case), run_experts(plain, case))


def test_an_experts_rows_are_cut_into_pieces_of_eight():
    end_E = torch.tensor([8, 8, 40, 168], dtype=torch.int32)  # 8 rows, none, 32, 128
    part_EP, rows_EP = pieces(end_E)
    assert (
        part_EP.dtype == torch.int32
        and (part_EP % 8 == 0).all()
        and (part_EP[:, -1] == end_E).all()
    )
    assert rows_EP[0].tolist() == [8] + 7 * [0] and rows_EP[1].sum() == 0
    assert rows_EP[2].tolist() == 4 * [8] + 4 * [0] and rows_EP[3].tolist() == 8 * [16]


def test_a_model_computes_the_same_with_either_twin():
    model, ids = tiny(), torch.randint(0, V, (3, 20), generator=generator(0))
    slow = model(ids)
    set_expert_kernel(model, batched_experts)
    assert all(layer.compute is batched_experts for layer in model.expert_layers())
    torch.testing.assert_close(model(ids), slow, rtol=1e-4, atol=1e-4)


def test_norms_by_hand_are_for_cpu_cores_in_float32_and_go_after_a_fault():
    model = tiny()
    norms = [module for module in model.modules() if isinstance(module, RMSNorm)]
    by_hand, cpu = (
        lambda: {"forward" in vars(norm) for norm in norms},
        Device("cpu", "CPU", torch.float32, "portable"),
    )  # noqa: E731
    with pytest.raises(KeyboardInterrupt), accelerate(model, cpu):
        x = torch.randn(5, model.config.width, generator=generator(0)).bfloat16()
        assert torch.equal(norms[0](x), RMSNorm.forward(norms[0], x)) and by_hand() == {True}
        raise KeyboardInterrupt
    assert by_hand() == {False}
    with accelerate(model, Device("mps", "Apple MPS", torch.float32, "portable")):
        assert by_hand() == {False}


def test_on_a_cpu_the_slots_are_as_many_as_memory_allows(monkeypatch):
    """A preset for a large card must not take all of a laptop's memory: the others wait."""
    model, settings_ = tiny(), Sampling(12, (NEVER,), temperature=0)
    c, size = model.config, Engine(model, torch.float32, 8, 12).size
    monkeypatch.setattr(
        "minir1.fast.engine.CPU_BYTES", 10 * 2 * c.layers * size * c.cache_width * 4
    )
    engine = Engine(model, torch.float32, 5000, 12)
    assert engine.rows == 10 and engine.store.shape[1] == 10
    assert rows(engine.sample(model, PROMPTS, 7, settings_)) == rows(
        sample(model, PROMPTS, 7, settings_)
    )
    monkeypatch.setattr("minir1.fast.engine.CPU_BYTES", 1)
    assert (
        Engine(model, torch.float32, 5000, 12).rows == 8
        and Engine(model, torch.float32, 5, 12).rows == 5
    )


def test_on_a_cpu_the_engine_follows_the_weights():
    """Each call takes over the policy as it then is, and no weight before: an engine serves a whole
    training."""
    model, settings_ = tiny(), Sampling(12, (NEVER,), temperature=0)
    engine = Engine(model, torch.float32, 8, 12)
    first = rows(engine.sample(model, PROMPTS, 2, settings_))
    store, keys = (whole[:, :1, : engine.stores[1].shape[2]] for whole in engine.stores)

    def step():
        return engine.decoder.step(torch.tensor([3]), store, torch.tensor([2]), keys)

    before = step()
    with torch.no_grad():
        for tensor in (*model.parameters(), *(layer.bias_E for layer in model.expert_layers())):
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator(7)))
    assert torch.equal(step(), before), "until it is asked for responses"
    second = rows(engine.sample(model, PROMPTS, 2, settings_))
    assert second == rows(sample(model, PROMPTS, 2, settings_)) != first


def test_fast_twins_are_taken_out_again():
    """Sampling and training with other kernels gives the same responses and leaves the model as it
    was."""
    model, device = tiny(bias=MUTE), Device("cpu", "CPU", torch.float32, "portable")
    settings_ = Sampling(12, (NEVER,), temperature=0)
    slow = sample(model, PROMPTS, 1, settings_)
    codec = small_codec()
    fast = make_sampler(model, device, Config(), codec)(model, PROMPTS, 1, settings_)
    assert rows(fast) == rows(slow)
    assert model.expert_layers()[0].compute is looped_experts

    def by_hand():
        norms = (module for module in model.modules() if isinstance(module, RMSNorm))
        return {"forward" in vars(norm) for norm in norms}

    for kernels, compute in (
        ("portable", looped_experts),
        ("grouped", grouped_experts),
        ("plain", looped_experts),
    ):
        with accelerate(model, Device("cpu", "CPU", torch.float32, kernels)):
            used = model.expert_layers()[0].compute
            assert getattr(used, "__wrapped__", used) is compute and hasattr(
                used, "_torchdynamo_disable"
            ) == (kernels == "grouped")
            assert by_hand() == {kernels != "plain"}
    assert model.expert_layers()[0].compute is looped_experts and by_hand() == {False}
    plain = Device("cpu", "CPU", torch.float32, "plain")
    assert make_sampler(model, plain, Config(), codec) is sample


def test_every_fast_sampler_has_room_for_the_template():
    """A prompt of 128 tokens of which 28 are template is held anyway."""
    device, config = Device("cpu", "CPU", torch.float32, "portable"), PRESETS["smoke"]
    for words, more in (("", 0), ("Be brief. " * 20, 1)):
        codec = small_codec(f"{words}{{question}}\n")
        template = len(codec.encode(prompt_of("")))
        assert (template > 28) == bool(more) == (beyond(codec) > 0)
        room = {limit: limit + (template - 28) * more for limit in (40, config.rl.max_tokens)}
        asked = session.Session.unsaved(config, device, codec)
        assert asked.sampler(small_llama()).__self__.room == room[config.rl.max_tokens]
        rl = replace(config.rl, max_tokens=40)
        assert asked.sampler(small_llama(), rl).__self__.room == room[40]


def test_rows_of_ids_or_marks_are_padded_on_the_right():
    assert pad([[1], [2, 3], []], 7).tolist() == [[1, 7], [2, 3], [7, 7]]
    marks = pad([[True], [False, True]], False)
    assert marks.dtype == torch.bool and marks.tolist() == [[True, False], [False, True]]


def test_what_is_compiled_on_cuda_is_taken_out_again(monkeypatch):
    """Blocks compiled, gradients replayed, cuDNN's attention; afterwards, even after a fault,
    nothing of it is left."""
    monkeypatch.setattr(torch, "compile", lambda f, options: ("compiled", f))
    monkeypatch.setattr(torch.cuda, "Stream", object)
    model, device = tiny(), Device("cuda", "card", torch.bfloat16, "grouped")
    learner, state, started = Learner(model), {"on": False}, []  # as Session leaves it
    monkeypatch.setattr(async_compile, "maybe_warm_pool", lambda: started.append("compiler"))
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: state["on"])
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", lambda on: state.update(on=on))
    for taught in (learner, None):
        with pytest.raises(KeyboardInterrupt), accelerate(model, device, True, taught):
            assert all(
                block.forward == ("compiled", type(block).forward.__get__(block))
                for block in model.blocks
            )
            assert isinstance(learner.gradients, Replayed) == (taught is not None) and state["on"]
            assert model.expert_layers()[0].compute.__wrapped__ is grouped_experts_compiled
            raise KeyboardInterrupt
        assert not any(
            "forward" in vars(block) for block in model.blocks
        ) and "gradients" not in vars(learner)
        assert not state["on"]
    assert started == ["compiler"] * 2
    with accelerate(model, device, False, learner):
        assert "gradients" not in vars(learner) and not any(
            "forward" in vars(block) for block in model.blocks
        )
    assert len(started) == 2  # the compiler's processes are for who compiles


def test_what_compiles_ahead_samples_as_reinforcement_learning_will(monkeypatch):
    """It runs in a process whose failure nobody would see: only the time would be lost."""
    asked = []

    def make(model, device, config, codec):  # as RL makes it: with room for the codec's template
        assert codec.to_text() == tokenizer.to_text()
        return lambda *how: asked.append((how, make_sampler(model, device, config, codec)(*how)))

    monkeypatch.setattr(session, "make_sampler", make)
    config = apply(PRESETS["smoke"], {"rl.max_tokens": 40, "eval.batch": 8})
    tokenizer = Tokenizer.train(sample_text(config.corpus, 0, 300), config.corpus.vocab_size)
    shape = replace(config.model, vocab_size=-(-len(tokenizer) // 64) * 64)
    session.compile_sampler(
        shape, tokenizer.to_text(), Device("cpu", "CPU", torch.float32, "portable"), config
    )
    ((model, prompts, group, settings_), samples) = asked[0]
    assert (len(prompts), group) == (
        config.rl.prompts,
        config.rl.group_size,
    ) and model.config == shape
    assert replace(settings_, max_tokens=0) == replace(
        sampling(tokenizer, 9, config.rl.temperature), max_tokens=0
    )
    assert samples.length_B.min() > 0


def test_the_sampler_is_compiled_ahead_once(monkeypatch):
    started = []
    monkeypatch.setattr(
        session,
        "get_context",
        lambda kind: SimpleNamespace(Process=lambda **how: started.append(how) or Mock()),
    )
    run, device = (
        SimpleNamespace(config=replace(Config(), compile=True), silent=False),
        Device("cpu", "CPU", torch.float32, "grouped"),
    )
    where = session.Session(run, device, SimpleNamespace(to_text=lambda: "{}"))
    for _ in range(3):
        where.warm_sampler(tiny())
    assert [how["target"] for how in started] == [session.compile_sampler]


def test_nothing_is_compiled_ahead_where_nothing_is_compiled(monkeypatch):
    started = []
    monkeypatch.setattr(session, "get_context", started.append)
    for compiled, kernels in ((False, "grouped"), (True, "portable")):
        run = SimpleNamespace(config=replace(Config(), compile=compiled), silent=False)
        session.Session(run, Device("cpu", "CPU", torch.float32, kernels), None).warm_sampler(
            tiny()
        )
    assert not started


def test_the_drawing_function_is_compiled_once_for_any_number_of_rows():
    model, compilations = tiny(), CompileCounter()
    engine = Engine(model, torch.float32, 64, 40)
    engine.compiled, engine.draw = True, torch.compile(engine.draw, backend=compilations)
    for group in (1, 3, 8):  # other numbers of rows, and fewer towards the end
        for budget in (9, 20):
            engine.sample(model, PROMPTS, group, Sampling(budget, (1,)))
    assert compilations.frame_count == 1


@pytest.mark.slow
def test_a_compiled_decoder_equals_the_loop_and_serves_every_budget():
    model = tiny(replace(MLA, layers=3))
    engine, compiled = (
        Engine(model, torch.float32, 32, 40, compiled=True),
        torch._dynamo.utils.counters["stats"],
    )
    compiled.clear()
    for budget in (12, 20):
        settings_ = Sampling(budget, (1,), temperature=0)
        assert rows(engine.sample(model, PROMPTS, 2, settings_)) == rows(
            sample(model, PROMPTS, 2, settings_)
        )
        assert compiled["unique_graphs"] <= 5


def test_kernels_are_used_only_where_they_compute_what_the_plain_functions_compute(monkeypatch):
    """Triton is CUDA's: another module stands in for them here."""
    plain = SimpleNamespace(enter=decoder.enter, leave=decoder.leave)
    plain.attend = lambda query, store, position: attend_plain(
        query, store, mask(position, store.shape[1])
    )
    late, broken = (SimpleNamespace(**vars(plain)) for _ in range(2))
    late.attend = lambda query, store, position: plain.attend(query, store, position + 1)
    broken.leave = lambda *_: {}["no such instruction"]
    parts, state = Decoder(tiny(MLA), torch.float32), []
    for fake in (plain, late, broken):
        monkeypatch.setitem(sys.modules, "minir1.fast.kernels", fake)
        monkeypatch.setattr(fast_twins, "kernels", fake, raising=False)
        parts.use_kernels()
        state.append((parts.kernels, parts.leave is plain.leave, parts.attend is fake.attend))
    assert state == [(True, True, True), (False, True, False), (False, True, False)]


@pytest.mark.skipif(not HOPPER, reason="needs CUDA with capability 9 or more")
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"shared_experts": 2, "experts": 5, "heads": 3},
        {"experts": 0},
        {"shared_experts": 0, "width": 80},
    ],
)
def test_a_step_by_kernels_equals_the_plain_one_on_hopper(flags):
    torch.manual_seed(0)
    model = Transformer(replace(PRESETS["gpu"].model, init_std=0.1, vocab_size=64, **flags)).cuda()
    for layer in model.expert_layers():
        layer.bias_E.normal_(0, 0.3)
    parts, exact = Decoder(model, torch.bfloat16), Decoder(model, torch.float32)
    assert parts.kernels

    def off(rows):
        """Of a middle row: rounding sends a few rows to another expert, with kernels or without."""
        logits_BV, exact_BV = parts.trial(rows), exact.trial(rows)
        return ((logits_BV - exact_BV).norm(dim=1) / exact_BV.norm(dim=1)).median().item()

    by_kernels = {rows: off(rows) for rows in (8, 300)}
    parts.use_plain()
    for rows, found in by_kernels.items():
        assert found < 1.3 * off(rows) + 0.01


@pytest.mark.skipif(not HOPPER, reason="needs CUDA with capability 9 or more")
def test_attention_reads_each_row_as_far_as_it_is_filled():
    from minir1.fast.kernels import attend

    draw = torch.Generator("cuda").manual_seed(0)
    for rows_, heads, width, span in ((32, 8, 112, 300), (400, 4, 48, 64), (32, 20, 200, 130)):
        whole = torch.randn(rows_ + 1, span + 7, width, generator=draw, device="cuda").bfloat16()
        position_B = torch.randint(span, (rows_,), generator=draw, device="cuda")
        whole[:rows_][torch.arange(span + 7, device="cuda") > position_B[:, None]] = (
            torch.nan
        )  # never written, never read
        query_BHW = torch.randn(rows_, heads, width, generator=draw, device="cuda").bfloat16() * 0.1
        store_BSW = whole[:rows_, :span]
        expected = attend_plain(
            query_BHW.float(), store_BSW.float().nan_to_num(), mask(position_B, span)
        )
        assert (
            (attend(query_BHW, store_BSW, position_B).float() - expected).norm() / expected.norm()
        ).item() < 0.01


def test_a_slot_that_came_free_is_filled_before_the_next_look():
    """Six responses of four tokens through two slots that are looked at every four steps."""
    engine = Engine(tiny(MLA), torch.float32, 2, 16)
    engine.sample(tiny(MLA), PROMPTS[:6], 1, Sampling(4, (NEVER,), ban_ids=(NEVER,)))
    assert engine.slot_steps == 3 * 4 * 2 and engine.useful == 24
