"""Random numbers by place: batch size, slots, order and processes change no draw."""

import pytest
import torch

from minir1.config import ModelConfig
from minir1.fast.engine import Engine
from minir1.fast.experts import batched_experts, set_expert_kernel
from minir1.measure.evaluator import Evaluator
from minir1.model import Transformer
from minir1.sampler import Samples, Sampling, Stream, mix, sample, uniform

TINY = ModelConfig(
    vocab_size=40, width=32, layers=2, heads=2, kv_rank=12, nope_width=8, rope_width=8,
    value_width=8, dense_width=48, experts=4, top_k=2, expert_width=16, positions=96, init_std=0.2,
)
PROMPTS = [[3 + i % 7, 5, 1 + i % 11, *range(8, 8 + i % 5)] for i in range(16)]
HOW = Sampling(40, (2,), vocabulary=37)
MASK = 2**64 - 1


def model_of(dtype: torch.dtype) -> Transformer:
    torch.manual_seed(0)
    return Transformer(TINY).to(dtype).eval()


def rows(samples: Samples) -> list[list[int]]:
    return [ids[:n] for ids, n in zip(samples.ids_BT.tolist(), samples.length_B.tolist())]


def splitmix(x: int) -> int:
    """Vigna's splitmix64.c, in integers without limit."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def test_mixing_is_splitmix64_and_a_number_its_24_upper_bits():
    places = [0, 1, -1, 12345, 2**62, -(2**63), 2**63 - 1]
    assert [int(x) & MASK for x in mix(torch.tensor(places))] == [splitmix(p) for p in places]
    key = Stream.of("test", 7).key
    expected = (splitmix(splitmix((key + 5) & MASK) + 9 & MASK) >> 40) / 2**24
    assert uniform(key, torch.tensor([5]), torch.tensor([9])).item() == expected


def test_numbers_are_even_and_neighbours_independent():
    key = Stream.of("test").key
    u = uniform(key, torch.arange(1000)[:, None], torch.arange(1000))
    assert u.min() >= 0 and u.max() < 1
    counts = torch.histc(u, 100, 0, 1)
    assert ((counts - 1e4) ** 2 / 1e4).sum() < 160  # chi-square, 99 degrees of freedom
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[1:, 1:], u[:-1, :-1])):
        pair = torch.stack([a.flatten(), b.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 0.005
    other = uniform(Stream.of("test", 1).key, torch.arange(1000)[:, None], torch.arange(1000))
    assert abs(torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1]) < 0.005


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_every_device_has_the_same_numbers():
    key, place = Stream.of("test").key, torch.arange(100_000)
    on_card = uniform(torch.tensor(key, device="cuda"), place.cuda(), place.cuda() % 77)
    assert torch.equal(on_card.cpu(), uniform(key, place, place % 77))


@pytest.mark.parametrize("slots", [1, 7, 64, 512])
def test_engine_and_plain_sampler_give_the_same_tokens(slots):
    """In float64, token for token, whatever the number of slots."""
    model = model_of(torch.float64)
    stream = Stream.of("rl", 0, 3)
    expected = rows(sample(model, PROMPTS, 4, HOW, stream))
    engine = Engine(model, torch.float64, slots, 40)
    assert rows(engine.sample(model, PROMPTS, 4, HOW, stream)) == expected
    assert len({tuple(row) for row in expected}) > 60 and max(map(max, expected)) < 37


def test_each_response_is_the_same_alone():
    model, stream = model_of(torch.float64), Stream.of("rl", 0, 3)
    together = rows(sample(model, PROMPTS, 4, HOW, stream))
    parts = []
    for i in range(0, 16, 5):
        parts += rows(sample(model, PROMPTS[i : i + 5], 4, HOW, stream.after(4 * i)))
    assert parts == together


def test_in_float32_few_responses_part_and_only_at_a_boundary():
    model, stream = model_of(torch.float32), Stream.of("rl", 1)
    set_expert_kernel(model, batched_experts)
    prompts = PROMPTS * 8
    plain = rows(sample(model, prompts, 8, HOW, stream))
    fast = rows(Engine(model, torch.float32, 64, 40).sample(model, prompts, 8, HOW, stream))
    parted = [b for b in range(len(plain)) if plain[b] != fast[b]]
    assert len(parted) <= 0.01 * len(plain)
    for b in parted:
        t = next(t for t, (x, y) in enumerate(zip(plain[b], fast[b])) if x != y)
        ids = torch.tensor([prompts[b // 8] + plain[b][:t]])
        p_V = model(ids)[0, -1, :37].softmax(-1)
        u = uniform(stream.key, torch.tensor([b]), t).item()
        assert (p_V.cumsum(-1) - u).abs().min() < 1e-5


def test_the_batch_of_an_evaluation_changes_nothing(monkeypatch):
    class Codec:
        end_ids, pad = (2,), 0

        def encode(self, text: str) -> list[int]:
            return [3 + ord(c) % 30 for c in text[-6:]]

        def decode_batch(self, rows: list[list[int]]) -> list[str]:
            return [" ".join(map(str, row)) for row in rows]

    from minir1.tasks.countdown import Countdown

    model = model_of(torch.float64)
    problems = [Countdown((3, n), 3 + n) for n in range(5, 18)]

    def texts(batch: int) -> list[str]:
        return Evaluator(Codec(), sample, HOW, batch).roll(model, problems, 4, 9).texts

    assert texts(4) == texts(12) == texts(1000)
    assert texts(4) != Evaluator(Codec(), sample, HOW, 64).roll(model, problems, 4, 8).texts
