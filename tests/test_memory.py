"""Log-probs by chunks and checkpointed blocks against the whole; the plan against tensors."""

import copy
import os
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minir1 import grpo
from minir1.config import ModelConfig, RLConfig
from minir1.fast import accelerate as plugs
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner
from minir1.fast.engine import Engine
from minir1.model import Transformer, token_logp
from minir1.rollout import Batch
from minir1.run import memory as plans
from minir1.run.memory import Load, plan
from minir1.sampler import Sampling, choose
from minir1.variants import memory
from minir1.variants.memory import PLAIN, Rows, Scores, checkpointed, score_by_chunks

CPU = Device("cpu", "CPU", torch.float32, "portable")
QWEN = ModelConfig(
    vocab_size=90, width=32, layers=3, heads=4, attention="gqa", kv_heads=2, head_width=8,
    dense_width=40, experts=0, positions=64, init_std=0.3, qkv_bias=True, tied=True,
)
score_whole = Transformer.score
HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNS_TRITON = bool(find_spec("triton")) and (HOPPER or INTERPRETED)
TRITON_ON = "cpu" if INTERPRETED else "cuda"
SHAPES = pytest.mark.parametrize("config", [QWEN, replace(QWEN, tied=False)], ids=["tied", "two"])
IDS = torch.randint(90, (3, 12), generator=torch.manual_seed(0))


def tiny(config=QWEN, dtype=torch.float64) -> Transformer:
    torch.manual_seed(1)
    return Transformer(config).to(dtype)


def learned(model, score, temperature=0.7, autocast=False):
    """(log-probs, entropies, gradients) of a weighted sum."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logp_BT, entropy_BT = score(model, IDS, temperature)
    weight_BT = torch.linspace(-1, 2, logp_BT.numel(), dtype=logp_BT.dtype).view_as(logp_BT)
    (logp_BT * weight_BT).sum().backward()
    return logp_BT.detach(), entropy_BT.detach(), [p.grad.clone() for p in model.parameters()]


@SHAPES
@pytest.mark.parametrize("chunk", [1, 90 * 5, 90 * 33, 2**26])
def test_scores_by_chunks_are_those_of_the_whole(config, chunk, monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", chunk)
    model = tiny(config)
    for found, expected in zip(learned(model, score_by_chunks), learned(model, score_whole)):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert not score_by_chunks(model, IDS, 1.0)[1].requires_grad


def test_their_gradient_is_the_functions(monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 20)
    hidden, head = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (7, 9))
    ids = torch.tensor([0, 8, 3, 3, 1, 0, 5])
    for temperature in (0.6, 1.0):

        def logp(hidden, head, temperature=temperature):
            return Scores.apply(hidden, head, ids, temperature, PLAIN)[0]

        assert torch.autograd.gradcheck(logp, (hidden, head))


def test_in_half_precision_they_are_as_near_to_the_truth_as_the_whole(monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 90 * 5)
    exact = learned(tiny(), score_whole)

    def off(score):
        found = learned(tiny(dtype=torch.float32), score, autocast=True)
        assert found[0].dtype == torch.float32
        grads = [torch.cat([g.flatten() for g in run[2]]).double() for run in (found, exact)]
        return ((grads[0] - grads[1]).norm() / grads[1].norm()).item()

    assert off(score_by_chunks) < 1.2 * off(score_whole) < 0.1


def test_no_more_than_a_chunk_of_logits_exists(monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 90 * 5)
    monkeypatch.setattr(memory, "wide", lambda x: sizes.append(len(x)) or x)
    sizes = []
    learned(tiny(), score_by_chunks)
    assert sizes == [5] * 6 + [3] + [5] * 6 + [3]


@pytest.mark.parametrize("dtype, tokens", [(torch.bfloat16, 20), (torch.float32, 10)])
def test_a_twin_without_wide_copies_takes_more_at_once_in_as_many_bytes(dtype, tokens, monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 90 * 5)
    sizes, (hidden, head) = [], (torch.randn(n, 4, dtype=dtype) for n in (33, 90))

    def scores(logits_NV, ids_N, temperature):
        sizes.append(len(logits_NV))
        return PLAIN.scores(logits_NV, ids_N, temperature)

    Scores.apply(hidden, head, IDS.flatten()[:33], 1.0, Rows(scores, PLAIN.gradients, chunks=4))
    assert max(sizes) == tokens and sum(sizes) == 33


def test_kernels_score_only_where_they_compute_what_the_plain_functions_compute(monkeypatch):
    """Triton is CUDA's: another module stands in for them here."""
    late = PLAIN._replace(scores=lambda logits, ids, t: PLAIN.scores(logits, ids.roll(1), t))
    tilted = PLAIN._replace(gradients=lambda *given: PLAIN.gradients(*given) * 1.1)
    broken = Rows(lambda *_: {}["no such instruction"], PLAIN.gradients)
    hopper, taken = replace(CPU, kernels="grouped"), []
    twin = PLAIN._replace(chunks=4)
    for rows in (twin, late, tilted, broken):
        fake = SimpleNamespace(LARGE_ROWS=rows)
        monkeypatch.setitem(sys.modules, "minir1.fast.kernels", fake)
        assert plugs.row_functions(CPU) is PLAIN
        taken.append(plugs.row_functions(hopper) is rows)
    assert taken == [True, False, False, False]
    monkeypatch.setitem(sys.modules, "minir1.fast.kernels", None)  # raises ImportError
    assert plugs.row_functions(hopper) is PLAIN
    monkeypatch.setitem(sys.modules, "minir1.fast.kernels", SimpleNamespace(LARGE_ROWS=twin))
    monkeypatch.setattr(plugs, "LARGE", 90)
    model = tiny(dtype=torch.float32)
    with accelerate(model, hopper):
        assert model.score.keywords == {"rows": twin}


@pytest.mark.skipif(not RUNS_TRITON, reason="needs Triton and Hopper, or TRITON_INTERPRET=1")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1000, 4099, 151936])
@pytest.mark.parametrize("temperature", [1, 0.6, 1.7])
def test_kernels_score_rows_as_the_plain_functions_do(size, temperature, dtype):
    from minir1.fast.kernels import LARGE_ROWS

    torch.manual_seed(0)
    logits_NV = (4 * torch.randn(5, size)).to(dtype).to(TRITON_ON)
    logits_NV[1, 7] = 200  # all the probability
    logits_NV[2] -= 300
    ids_N = torch.tensor([0, size - 1, 3, 3, size // 2], device=TRITON_ON)
    grad_N = torch.linspace(-1, 2, 5, device=TRITON_ON)
    exact = PLAIN.scores(logits_NV.double(), ids_N, temperature)
    exact_NV = PLAIN.gradients(logits_NV.double(), ids_N, exact[2], grad_N, temperature)
    given = (logits_NV, ids_N, exact[2].float(), grad_N)
    found = LARGE_ROWS.scores(*given[:2], temperature)
    found_NV = LARGE_ROWS.gradients(*given, temperature)
    assert found_NV.dtype == dtype and found_NV.data_ptr() == logits_NV.data_ptr()
    assert [each.dtype for each in found] == [torch.float32] * 3
    for mine, expected in zip(found, exact):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-5)
    rtol = max(1e-4, torch.finfo(dtype).eps)  # the interpreter rounds towards 0
    torch.testing.assert_close(found_NV.double(), exact_NV, rtol=rtol, atol=1e-7)


@pytest.mark.skipif(not RUNS_TRITON, reason="needs Triton and Hopper, or TRITON_INTERPRET=1")
@pytest.mark.parametrize("autocast", [False, True])
def test_a_model_learns_the_same_by_kernels(autocast, monkeypatch):
    from minir1.fast.kernels import LARGE_ROWS

    monkeypatch.setattr(memory, "CHUNK", 90 * 2)
    assert memory.agree(LARGE_ROWS, TRITON_ON)
    torch.manual_seed(1)
    hidden = torch.randn(33, 32, device=TRITON_ON).to(torch.bfloat16 if autocast else torch.float32)
    head, results = torch.randn(90, 32, device=TRITON_ON), []
    for rows in (PLAIN, LARGE_ROWS):
        leaves = [each.clone().requires_grad_() for each in (hidden, head)]
        with torch.autocast(TRITON_ON, torch.bfloat16, enabled=autocast):
            logp_N, entropy_N = Scores.apply(*leaves, IDS.flatten()[:33].to(TRITON_ON), 0.7, rows)
        logp_N.sum().backward()  # a gradient without memory of its own: one number for all
        results.append((logp_N, entropy_N, *(leaf.grad.float() for leaf in leaves)))
    for found, expected in zip(results[1], results[0]):
        limit = 0.01 if autocast else 1e-5
        assert (found - expected).norm() < limit * expected.norm()


@pytest.mark.parametrize("autocast", [False, True])
def test_checkpointed_blocks_give_the_same_and_keep_less(autocast):
    model, sizes = tiny(dtype=torch.float32), []
    for around in (nullcontext, lambda: checkpointed(model)):
        kept = {}

        def pack(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with around(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            before = learned(model, score_whole, autocast=autocast)
        sizes.append((before, sum(kept.values())))
    (plain, whole), (twin, less) = sizes
    for found, expected in zip(twin, plain):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert less < 0.6 * whole


def test_large_vocabularies_are_scored_by_chunks_while_training(monkeypatch):
    model = tiny(dtype=torch.float32)
    with accelerate(model, CPU):
        assert "score" not in vars(model)
    monkeypatch.setattr(plugs, "LARGE", 90)
    with pytest.raises(KeyboardInterrupt), accelerate(model, CPU, save_memory=True):
        assert model.score.func is score_by_chunks and "forward" in vars(model.blocks[0])
        twin = copy.deepcopy(model)  # computes with its own weights
        token_logp(twin, IDS)[0].sum().backward()
        assert twin.blocks[0].attention.q.weight.grad is not None
        assert all(weight.grad is None for weight in model.parameters())
        raise KeyboardInterrupt
    assert "score" not in vars(model) and "forward" not in vars(model.blocks[0])


# ---------------------------------------------------------------- the plan


class Watch(TorchDispatchMode):
    """Bytes of all tensors alive, and their peak."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known = set()

    def add(self, tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.drop, key, size)

    def drop(self, key, size) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out


LLAMA = ModelConfig(
    vocab_size=9000, width=128, layers=6, heads=4, attention="gqa", kv_heads=2, head_width=32,
    dense_width=512, experts=0, positions=512,
)
VARIANTS = {
    "llama": LLAMA, "qwen2": replace(LLAMA, qkv_bias=True, tied=True),
    "qwen3": replace(LLAMA, qk_norm=True, kv_heads=1, tied=True),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("save_memory", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_plan_is_what_two_updates_take(name, save_memory, dtype, monkeypatch):
    """Peak of all tensors on the CPU. Without the sampler's logits, which are gone by then."""
    for module in (memory, plans):
        monkeypatch.setattr(module, "CHUNK", 9000 * 128)
    monkeypatch.setattr(plugs, "LARGE", 9000)
    c, device = VARIANTS[name], Device("cpu", "CPU", dtype, "portable")
    rl = RLConfig(train_tokens=1024, save_memory=save_memory, minibatches=1, group_size=4)
    rows, T = 32, 127
    with Watch() as watch:
        model = Transformer(c)
        learner, engine = make_learner(model, 0.0, 1.0, device), Engine(model, dtype, rows, 128)
        ids_BT = torch.randint(9000, (rows, T + 1))
        mask_BT = torch.arange(T).expand(rows, -1) >= 40
        batch = Batch(ids_BT, mask_BT, torch.full((rows, T), -9.0), torch.full((rows,), T + 1))
        with accelerate(model, device, save_memory=save_memory):
            for _ in range(2):  # the second time moments are there
                grpo.update(model, learner, batch, torch.randn(rows), rl, 1e-4)
    parts = plan(c, rl, Load(rows, engine.size, 1, dtype.itemsize, dtype == torch.float32))
    parts.pop("drawing")
    assert sum(parts.values()) == pytest.approx(watch.peak, rel=0.08)
    states = (s for state in learner.optimizer.state.values() for s in state.values())
    moments = sum(state.nbytes for state in states if state.ndim)
    assert moments == parts["moments"]
    weights = sum(p.nbytes for p in model.parameters())
    assert weights == parts["weights"] == parts["gradients"]
    assert engine.store.nbytes == parts["cache"]
    assert sum(p.nbytes for p in engine.policy.parameters()) == parts["sampler"]


def test_the_plan_knows_what_drawing_takes():
    logits_BV = torch.randn(32, 9000)
    with Watch() as watch:
        watch.add(logits_BV)
        choose(logits_BV, Sampling(9, (1,)), torch.ones(32, dtype=torch.bool), torch.rand(32))
    parts = plan(LLAMA, RLConfig(), Load(32, 128))
    assert parts["drawing"] == pytest.approx(watch.peak, rel=0.05)


def test_more_copies_and_rows_take_more():
    one, more = (plan(LLAMA, RLConfig(), Load(*how)) for how in ((8, 64, 1), (16, 128, 3)))
    assert more["weights"] == 3 * one["weights"] and more["cache"] == 4 * one["cache"]
    assert {k for k in one if more[k] != one[k]} == {"weights", "cache", "drawing"}
