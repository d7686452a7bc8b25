"""Pretraining that begins before the compiler has ended: the same training, whatever becomes of the
child process that compiles."""

import json
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from minir1.config import ModelConfig, PretrainConfig
from minir1.fast import experts, warm
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner
from minir1.fast.experts import grouped_experts, grouped_experts_compiled
from minir1.fast.graphs import WARM, Replayed
from minir1.fast.warm import Waiting
from minir1.model import Transformer, looped_experts
from minir1.supervised import train_supervised

torch.set_num_threads(1)

V = 40
TINY = ModelConfig(
    vocab_size=V, width=16, layers=3, heads=2, kv_rank=8, nope_width=8, rope_width=8, value_width=8,
    dense_width=24, experts=4, top_k=2, expert_width=8, positions=64,
)
CPU = Device("cpu", "CPU", torch.bfloat16, "grouped")
SETTINGS = PretrainConfig(lr=1e-2, balance_rate=0.01)
COMPILES = "minir1.fast.accelerate.COMPILES"


class Child:
    """Ends with `code` when it is asked for the `asks`-th time."""

    def __init__(self, asks: int, code: int):
        self.asks, self.code, self.killed = asks, code, False

    def poll(self):
        self.asks -= 1
        return self.code if self.asks <= 0 else None

    def kill(self):
        self.killed = True

    def wait(self):
        assert self.killed


def tiny():
    torch.manual_seed(0)
    model = Transformer(TINY)
    return model, make_learner(model, 0.1, 1.0, CPU)


def batches(count: int):
    g = torch.Generator().manual_seed(1)
    return [(torch.randint(V, (3, 17), generator=g), None) for _ in range(count)]


@pytest.fixture
def compiles(monkeypatch):
    """As on a card, but for the compiler, which gives a block's forward back as it is."""
    compiled = []
    monkeypatch.setattr(COMPILES, ("cpu",))
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or f)
    monkeypatch.setattr(experts, "fast", lambda function: function)
    monkeypatch.setattr(warm, "has_room", lambda: True)
    return compiled


def train(model, learner, steps: int, **how) -> list[str]:
    """What stands for `learner.gradients` after each step; `how`: see accelerate."""
    seen, losses = [], []

    def on_step(step) -> None:
        seen.append(type(vars(learner).get("gradients")).__name__)
        losses.append(step.loss)

    with accelerate(model, CPU, learner=learner, **how):
        train_supervised(model, learner, batches(steps), SETTINGS, steps, on_step)
    assert all(loss.isfinite() for loss in losses)
    return seen


def train_early(model, learner, steps: int) -> list[str]:
    return train(model, learner, steps, compiled=True, early=Waiting)


@pytest.mark.parametrize("code", [0, 1, -9], ids=["well", "with an error", "killed"])
def test_the_changeover_waits_for_the_child(code, compiles, monkeypatch):
    """Asked at steps 3, 4 and 5, ended at step 5: from there on compiled blocks, and warm steps
    before a graph."""
    (model, learner), (plain, plain_learner), child = tiny(), tiny(), Child(3, code)
    monkeypatch.setattr(warm, "start", lambda *how: child)
    steps = 4 + WARM  # one more would capture a graph
    seen = train_early(model, learner, steps)
    assert seen == 4 * ["Waiting"] + WARM * ["Replayed"]
    assert compiles == [type(block).forward.__get__(block) for block in model.blocks]
    assert child.killed
    train(plain, plain_learner, steps)
    for a, b in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b, rtol=0.1, atol=2e-3)


def test_without_room_for_a_second_process_the_second_step_compiles(compiles, monkeypatch):
    model, learner = tiny()
    monkeypatch.setattr(warm, "has_room", lambda: False)
    monkeypatch.setattr(warm, "start", lambda *how: pytest.fail("a process was started"))
    assert train_early(model, learner, 4) == ["Waiting"] + 3 * ["Replayed"]


def test_there_is_room_for_what_this_process_needs_and_a_quarter_more(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 100)
    for free, room in ((124, False), (126, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 1000))  # noqa: B023
        assert warm.has_room() == room


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_an_interruption_ends_the_child_and_leaves_nothing(steps, compiles, monkeypatch):
    (model, learner), child = tiny(), Child(3, 0)
    monkeypatch.setattr(warm, "start", lambda *how: child)
    late = steps == 9
    with pytest.raises(KeyboardInterrupt), accelerate(model, CPU, True, learner, early=Waiting):
        for _ in range(min(steps, 6)):
            learner.gradients(warm.language_loss, model, batches(1)[0][0], None, SETTINGS)
        assert isinstance(learner.gradients, Replayed if late else Waiting)
        expected = grouped_experts_compiled if late else grouped_experts
        assert model.expert_layers()[0].compute.__wrapped__ is expected
        raise KeyboardInterrupt
    assert child.killed == (steps > 1)
    assert "gradients" not in vars(learner)
    assert not any("forward" in vars(block) for block in model.blocks)
    assert model.expert_layers()[0].compute is looped_experts


@pytest.mark.parametrize(
    ("compiled", "early", "seen"),
    [(False, Waiting, "NoneType"), (True, None, "Replayed")],
    ids=["eager", "at once"],
)
def test_nobody_waits_who_did_not_ask(compiled, early, seen, compiles, monkeypatch):
    model, learner = tiny()
    monkeypatch.setattr(warm, "start", lambda *how: pytest.fail("a process was started"))
    assert train(model, learner, 3, compiled=compiled, early=early) == 3 * [seen]


def test_the_child_takes_the_parents_steps(compiles, monkeypatch):
    """Whatever the compiler's key depends on must arrive: a failure would show on the clock only."""
    model, _ = tiny()
    tasks, taken = [], []
    with monkeypatch.context() as patch:
        patch.setattr(warm.subprocess, "Popen", lambda *task, **how: tasks.append((task, how)))
        warm.start(model, SETTINGS, batches(1)[0][0].shape, CPU)
    (command,), how = tasks[0]
    assert command[:3] == [sys.executable, "-m", "minir1.fast.warm"]
    assert sys.path[-1] in how["env"]["PYTHONPATH"]
    assert json.loads(command[3])["cudnn"] == torch.backends.cuda.cudnn_sdp_enabled()

    def recorded(model, weight_decay, clip, device):
        learner = SimpleNamespace(gradients=lambda *inputs: taken.append((device, *inputs)))
        assert (weight_decay, clip) == (SETTINGS.weight_decay, SETTINGS.clip)
        return learner

    monkeypatch.setattr(COMPILES, ())
    monkeypatch.setattr(warm, "make_learner", recorded)
    warm.main(command[3])
    device, compute, copy, ids_BT, mask_BT, config = taken[0]
    assert (device, compute, mask_BT) == (CPU, warm.language_loss, None)
    assert (copy.config, config) == (TINY, SETTINGS)
    assert ids_BT.shape == (3, 17) and len(taken) == 2 and torch.get_num_threads() == 1
    assert [p.shape for p in copy.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.slow
def test_the_parents_compiler_finds_all_that_the_child_made(monkeypatch, tmp_path):
    """With the real compiler, in real processes, on the CPU; gradients in another thread, where
    CUDA computes them."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(COMPILES, ("cpu",))
    monkeypatch.setattr(warm, "has_room", lambda: True)
    code = """
import sys
from minir1.fast import accelerate, warm
accelerate.COMPILES = ("cpu",)
warm.main(sys.argv[1])
"""
    monkeypatch.setattr(warm, "COMMAND", (sys.executable, "-c", code))
    (model, learner), counters = tiny(), torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    with accelerate(model, CPU, True, learner, early=Waiting):
        waiting = learner.gradients
        train_supervised(model, learner, batches(2), SETTINGS, 2, lambda step: None)
        assert waiting.child.wait(300) == 0 and not counters["inductor"]
        task = (model, learner, batches(WARM), SETTINGS, WARM, lambda step: None)
        worker = threading.Thread(target=train_supervised, args=task)
        worker.start()
        worker.join()
        assert learner.gradients.calls == WARM
    counts = counters["inductor"]
    caching = {name: count for name, count in counts.items() if name.startswith("fxgraph_cache")}
    assert caching.keys() == {"fxgraph_cache_hit"}, caching
    assert caching["fxgraph_cache_hit"] > 10
