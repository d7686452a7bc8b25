"""The engine's step for grouped-query models from elsewhere, against the plain sampler."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minir1.config import ModelConfig
from minir1.fast import grouped_decoder
from minir1.fast.engine import Engine
from minir1.fast.grouped_decoder import GroupedDecoder, can_group
from minir1.model import Transformer
from minir1.sampler import Sampling, Stream, prefill, sample
from minir1.variants.memory import LARGE

LLAMA = ModelConfig(
    vocab_size=300, width=48, layers=3, heads=6, attention="gqa", kv_heads=2, head_width=16,
    dense_width=64, experts=0, positions=256, init_std=0.1,
)
FAMILIES = {
    "llama": LLAMA,
    "qwen2": replace(LLAMA, qkv_bias=True, tied=True),
    "qwen3": replace(LLAMA, qk_norm=True, head_width=24, kv_heads=3),
}
PROMPTS = [[3 + i % 20, 5 + i % 7, i % 30][: 1 + i % 3] for i in range(64)]
HOW = Sampling(40, (1, 2, 3, 4, 5), temperature=0.7)
MODELS = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Small vocabularies count as large ones: the test says what, not how long."""
    monkeypatch.setattr(grouped_decoder, "LARGE", 0)


def tiny(name: str, dtype=torch.float32) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(FAMILIES[name]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:  # norms and biases that do something
                weight.add_(0.3 * torch.randn_like(weight))
    return model.to(dtype)


def both(model, prompts, group=3, how=HOW, rows=32):
    engine = Engine(model, model.embed.weight.dtype, rows, how.max_tokens)
    assert type(engine.decoder) is GroupedDecoder
    stream = Stream.of("grouped")
    return [s(model, prompts, group, how, stream) for s in (engine.sample, sample)]


@MODELS
@pytest.mark.parametrize("prompts", [1, 7, 64])
def test_in_float64_every_token_is_the_plain_samplers(name, prompts):
    fast, slow = both(tiny(name, torch.float64), PROMPTS[:prompts])
    assert torch.equal(fast.ids_BT, slow.ids_BT) and torch.equal(fast.length_B, slow.length_B)
    torch.testing.assert_close(fast.logp_BT, slow.logp_BT, rtol=0, atol=1e-12)
    assert len(set(slow.length_B.tolist())) > (1 if prompts > 1 else 0)


@MODELS
def test_in_float32_hardly_a_response_differs(name):
    fast, slow = both(tiny(name), PROMPTS, group=4)
    same_B = (fast.ids_BT == slow.ids_BT).all(1)
    assert same_B.float().mean() >= 0.99
    torch.testing.assert_close(fast.logp_BT[same_B], slow.logp_BT[same_B], rtol=1e-4, atol=1e-4)


class Recorder(TorchDispatchMode):
    """Names of the operations that are asked for, with the shapes that they are given."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        shapes = [tuple(a.shape) for a in args if isinstance(a, torch.Tensor)]
        self.asked.append((str(function), shapes))
        return function(*args, **(kwargs or {}))


@MODELS
def test_a_step_looks_at_no_value_and_is_the_same_each_time(name):
    """On tensors without values: whoever asks for one fails, as in the capture of a CUDA graph.
    And neither lengths nor tokens change which operations there are, or their shapes."""
    with torch.device("meta"):
        model = Transformer(FAMILIES[name]).requires_grad_(False)
        engine, records = Engine(model, torch.bfloat16, 64, 100), []
        assert type(engine.decoder) is GroupedDecoder
        for _ in range(2):
            with Recorder() as record:
                engine._step(32, 128, HOW)
            records.append(record.asked)
    assert records[0] == records[1] and len(records[0]) > 100
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal.")
    assert not [asked for asked, _ in records[0] if any(word in asked for word in waits)]


@MODELS
def test_weights_are_held_once_and_followed(name):
    model = tiny(name)
    engine = Engine(model, torch.float32, 16, 40)
    held = {p.untyped_storage().data_ptr() for p in engine.policy.parameters()}
    used = [t for layer in engine.decoder.layers for t in layer if t is not None]
    assert {t.untyped_storage().data_ptr() for t in used} < held
    how = replace(HOW, temperature=0)
    before = engine.sample(model, PROMPTS, 1, how)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.manual_seed(2)))
    after, plain = engine.sample(model, PROMPTS, 1, how), sample(model, PROMPTS, 1, how)
    assert torch.equal(after.ids_BT, plain.ids_BT)
    assert not torch.equal(after.ids_BT, before.ids_BT)


def test_the_cache_holds_the_heads_of_keys_and_values_only():
    engine = Engine(tiny("qwen3"), torch.float32, 16, 40)
    assert engine.store.shape == (3, 16, engine.size, 2 * 3 * 24)


def test_questions_longer_than_expected_make_the_store_grow():
    model = tiny("llama", torch.float64)
    engine = Engine(model, torch.float64, 4, 40)
    long = [[7 * i % 30 for i in range(engine.size)], [3], [5, 6]]
    for prompts in ([[3]], long, [[4], [9, 9]]):
        steps = engine.slot_steps
        fast = engine.sample(model, prompts, 2, HOW)
        assert torch.equal(fast.ids_BT, sample(model, prompts, 2, HOW).ids_BT)
        assert engine.slot_steps > steps
    assert engine.size == 256


def test_which_models_it_serves(monkeypatch):
    monkeypatch.setattr(grouped_decoder, "LARGE", LARGE)

    def serves(**more):
        with torch.device("meta" if more.pop("away", False) else "cpu"):
            return can_group(Transformer(replace(LLAMA, **more)))

    assert serves(vocab_size=LARGE) and not serves(vocab_size=LARGE - 1)
    assert serves(away=True)  # on another device small ones, too
    assert not serves(away=True, experts=4) and not serves(away=True, attention="mla")

    class Odd(Transformer):
        pass

    with torch.device("meta"):
        assert not can_group(Odd(LLAMA))


@MODELS
def test_of_the_prompts_only_the_last_tokens_get_logits(name, monkeypatch):
    model, prompts, sizes = tiny(name), PROMPTS[:9], []
    engine, logits = Engine(model, torch.float32, 16, 40), Transformer.logits

    def spy(self, hidden):
        sizes.append(tuple(hidden.shape[:-1]))
        return logits(self, hidden)

    monkeypatch.setattr(Transformer, "logits", spy)
    cache, found = engine._read(prompts)
    own, expected = prefill(model, prompts, 1, 0)
    assert sizes == [(9,), (9, 3)]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(cache.store_LBSW, own.store_LBSW)


@pytest.mark.slow
def test_compiled_parts_give_the_same():
    model = tiny("qwen2", torch.float64)
    engine = Engine(model, torch.float64, 32, 40, compiled=True)
    fast, slow = (s(model, PROMPTS[:20], 3, HOW) for s in (engine.sample, sample))
    assert torch.equal(fast.ids_BT, slow.ids_BT)
