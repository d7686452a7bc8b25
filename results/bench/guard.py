"""What the guard against numbers that are not finite costs on a CPU: updates with and without it
in turn, by the processor's time on one thread, over that of a whole step. Writes guard.json.

    OMP_NUM_THREADS=1 python results/bench/guard.py
"""

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch

from minir1 import grpo, rollout
from minir1 import sampler as sampling
from minir1.checkpoint import load_checkpoint
from minir1.data import find_checkpoint
from minir1.presets import PRESETS
from minir1.sampler import Stream
from minir1.supervised import Learner, train_supervised
from minir1.tasks import draw_problems

CONFIG = PRESETS["cpu"]
BASE, TOKENIZER = load_checkpoint(find_checkpoint("base-cpu.pt"))


class Unguarded(Learner):
    """As it would be without the guard."""

    def backward(self, loss):
        self.scaled(loss).backward()

    def step(self, lr):
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def check(self, step, updates=1):
        pass


def pretraining(model, learner, number: int) -> None:
    c, random = CONFIG.pretrain, torch.Generator().manual_seed(number)
    shape = c.batch_tokens // c.row_tokens, c.row_tokens + 1
    batch = torch.randint(len(TOKENIZER), shape, generator=random), None
    train_supervised(model, learner, [batch], c, 1, lambda step: None)


def reinforcement(model, learner, number: int) -> None:
    """A step of the preset's shape, on an eighth of its prompts."""
    rl = CONFIG.rl
    problems = draw_problems(("countdown:cpu=1",), ("en",), "train", f"guard {number}", 8)
    how = rollout.sampling(TOKENIZER, rl.max_tokens)
    with torch.no_grad():
        found = rollout.roll_out(
            model, TOKENIZER, problems, rl.group_size, how, Stream.of("guard", number))
    batch = rollout.to_batch(found, TOKENIZER.pad, "cpu")
    reward_B = torch.tensor([reward.total(rl) for reward in found.rewards])
    adv_B = grpo.advantages(reward_B.view(-1, rl.group_size)).flatten()
    grpo.update(model, learner, batch, adv_B, rl, 1e-4)
    learner.check(number, rl.minibatches)


def seconds(work, *inputs) -> float:
    """Processor time."""
    began = time.process_time()
    work(*inputs)
    return time.process_time() - began


def one_update(learner: Learner, backwards: int) -> None:
    for _ in range(backwards):
        learner.backward(sum(p.sum() for p in learner.parameters))
    learner.step(1e-9)


def differences(backwards: int, pairs: int = 1000) -> np.ndarray:
    """Seconds that the guard adds to an update, pair by pair; who begins takes turns."""
    learners = [one(copy.deepcopy(BASE).train()) for one in (Learner, Unguarded)]
    found = []
    for number in range(pairs):
        took = {}
        for learner in learners[:: 1 if number % 2 else -1]:
            took[type(learner)] = seconds(one_update, learner, backwards)
        found.append(took[Learner] - took[Unguarded])
    return np.array(found[pairs // 20 :])


def checks(samples: int = 1000) -> float:
    """Seconds of the sampler's look at a step's log-probs."""
    logp_BT = torch.zeros(8 * CONFIG.rl.group_size, CONFIG.rl.max_tokens)
    drawn = sampling.Samples(None, logp_BT, None, None)
    return float(np.median([seconds(sampling.finite, drawn) for _ in range(samples)]))


def cost(work, backwards: int, updates: int, more: float = 0.0) -> dict:
    """Share of the work's time: the median difference, with a 95% interval by the bootstrap."""
    model = copy.deepcopy(BASE).train()
    times = [seconds(work, model, Unguarded(model), number) for number in range(7)]
    whole = float(np.median(times))
    found, random = differences(backwards), np.random.default_rng(0)
    medians = np.median(random.choice(found, (2000, len(found))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    shares = {"median": np.median(found), "low": low, "high": high}
    rounded = {name: round(float(updates * s + more) / whole, 6) for name, s in shares.items()}
    return rounded | {"seconds": round(whole, 3), "pairs": len(found)}


if __name__ == "__main__":
    costs = {
        "pretraining": cost(pretraining, 1, 1),
        "RL": cost(reinforcement, 4, CONFIG.rl.minibatches, checks()),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(costs, indent=1) + "\n")
    print(costs)
