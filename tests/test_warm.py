"""Pretraining that begins before the compiler has ended: the same training, whatever becomes of the child that compiles."""

import json
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from minir1.config import ModelConfig, PretrainConfig
from minir1.fast import accelerate as setup
from minir1.fast import experts, warm
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner
from minir1.fast.experts import grouped_experts, grouped_experts_compiled
from minir1.fast.graphs import WARM, Replayed
from minir1.model import Transformer, looped_experts
from minir1.supervised import train_supervised

torch.set_num_threads(1)

V = 40
TINY = ModelConfig(
    vocab_size=V, width=16, layers=3, heads=2, kv_rank=8, nope_width=8, rope_width=8, value_width=8,
    dense_width=24, experts=4, top_k=2, expert_width=8, positions=64,
)  # fmt: skip
CPU = Device("cpu", "CPU", torch.bfloat16, "grouped")
SETTINGS = PretrainConfig(lr=1e-2, balance_rate=0.01)


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
    made = []
    monkeypatch.setattr(setup, "COMPILES", ("cpu",))
    monkeypatch.setattr(torch, "compile", lambda f: made.append(f) or f)
    monkeypatch.setattr(experts, "fast", lambda function: function)
    monkeypatch.setattr(warm, "has_room", lambda: True)
    return made


def train(model, taught, steps: int, **how) -> list[str]:
    """What stands for `learner.gradients` after each step."""
    seen, losses = [], []
    with accelerate(model, CPU, **how):
        train_supervised(model, taught, batches(steps), SETTINGS, steps,
            lambda step: (seen.append(type(vars(taught).get("gradients")).__name__), losses.append(step.loss)))  # fmt: skip
    assert all(loss.isfinite() for loss in losses)
    return seen


@pytest.mark.parametrize("code", [0, 1, -9], ids=["well", "with an error", "killed"])
def test_the_changeover_waits_for_the_child(code, compiles, monkeypatch):
    """Asked at steps 3, 4 and 5, ended at step 5: from there on compiled blocks, and warm steps before a graph."""
    (model, learner), (plain, teacher), child = tiny(), tiny(), Child(3, code)
    monkeypatch.setattr(warm, "start", lambda *how: child)
    steps = 4 + WARM  # one more would capture a graph
    assert train(model, learner, steps, compiled=True, learner=learner, early=True) == 4 * ["Waiting"] + WARM * ["Replayed"]
    assert compiles == [type(block).forward.__get__(block) for block in model.blocks] and child.killed
    train(plain, teacher, steps)
    for a, b in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b, rtol=0.1, atol=2e-3)


def test_without_room_for_a_second_process_the_second_step_compiles(compiles, monkeypatch):
    model, learner = tiny()
    monkeypatch.setattr(warm, "has_room", lambda: False)
    monkeypatch.setattr(warm, "start", lambda *how: pytest.fail("a process was started"))
    assert train(model, learner, 4, compiled=True, learner=learner, early=True) == ["Waiting"] + 3 * ["Replayed"]


def test_there_is_room_for_what_this_process_needs_and_a_quarter_more(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 100)
    for free, room in ((124, False), (126, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 1000))  # noqa: B023
        assert warm.has_room() == room


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_an_interruption_ends_the_child_and_leaves_nothing(steps, compiles, monkeypatch):
    (model, learner), child = tiny(), Child(3, 0)
    monkeypatch.setattr(warm, "start", lambda *how: child)
    with pytest.raises(KeyboardInterrupt), accelerate(model, CPU, True, learner, early=True):
        for _ in range(min(steps, 6)):
            learner.gradients(warm.language_loss, model, batches(1)[0][0], None, SETTINGS)
        late = steps == 9
        assert isinstance(learner.gradients, Replayed if late else warm.Waiting)
        assert model.expert_layers()[0].compute.__wrapped__ is (grouped_experts_compiled if late else grouped_experts)
        raise KeyboardInterrupt
    assert child.killed == (steps > 1)
    assert "gradients" not in vars(learner) and not any("forward" in vars(block) for block in model.blocks)
    assert model.expert_layers()[0].compute is looped_experts


@pytest.mark.parametrize("how", [{"compiled": False, "early": True}, {"compiled": True, "early": False}], ids=["eager", "at once"])
def test_nobody_waits_who_did_not_ask(how, compiles, monkeypatch):
    model, learner = tiny()
    monkeypatch.setattr(warm, "start", lambda *how: pytest.fail("a process was started"))
    seen = train(model, learner, 3, learner=learner, **how)
    assert seen == 3 * ["Replayed" if how["compiled"] else "NoneType"]


def test_the_child_takes_the_parents_steps(compiles, monkeypatch):
    """Whatever the compiler's key depends on must arrive: its failure would only be seen on the clock."""
    (model, _), tasks, taken = tiny(), [], []
    monkeypatch.setattr(warm.subprocess, "Popen", lambda command, **how: tasks.append((command, how)))
    warm.start(model, SETTINGS, batches(1)[0][0].shape, CPU)
    (command, how), _ = tasks[0], monkeypatch.undo()
    assert command[:3] == [sys.executable, "-m", "minir1.fast.warm"] and sys.path[-1] in how["env"]["PYTHONPATH"]
    assert json.loads(command[3])["cudnn"] == torch.backends.cuda.cudnn_sdp_enabled()

    def recorded(model, weight_decay, clip, device):
        learner = SimpleNamespace(gradients=lambda *given: taken.append((device, *given)))
        assert (weight_decay, clip) == (SETTINGS.weight_decay, SETTINGS.clip)
        return learner

    monkeypatch.setattr(setup, "COMPILES", ())
    monkeypatch.setattr(warm, "make_learner", recorded)
    warm.main(command[3])
    device, compute, copy, ids_BT, mask_BT, config = taken[0]
    assert (device, compute, copy.config, mask_BT, config) == (CPU, warm.language_loss, TINY, None, SETTINGS)
    assert ids_BT.shape == (3, 17) and len(taken) == 2 and torch.get_num_threads() == 1
    assert [p.shape for p in copy.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.slow
def test_the_parents_compiler_finds_all_that_the_child_made(monkeypatch, tmp_path):
    """With the real compiler, in real processes, on the CPU; gradients in another thread, where CUDA computes them."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(setup, "COMPILES", ("cpu",))
    monkeypatch.setattr(warm, "has_room", lambda: True)
    code = "import sys; from minir1.fast import accelerate as setup, warm; setup.COMPILES = ('cpu',); warm.main(sys.argv[1])"
    monkeypatch.setattr(warm, "COMMAND", (sys.executable, "-c", code))
    (model, learner), counters = tiny(), torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    with accelerate(model, CPU, True, learner, early=True):
        waiting = learner.gradients
        train_supervised(model, learner, batches(2), SETTINGS, 2, lambda step: None)
        assert waiting.child.wait(300) == 0 and not counters["inductor"]
        worker = threading.Thread(target=train_supervised, args=(model, learner, batches(WARM), SETTINGS, WARM, lambda step: None))
        worker.start()
        worker.join()
        assert learner.gradients.calls == WARM
    found = {name: count for name, count in counters["inductor"].items() if name.startswith("fxgraph_cache")}
    assert found.keys() == {"fxgraph_cache_hit"} and found["fxgraph_cache_hit"] > 10, found
