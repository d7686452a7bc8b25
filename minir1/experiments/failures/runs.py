"""Runs one arm of a failure: the core's loop, with at most one of its pieces wrapped.

An arm says what differs from the `cpu` recipe: settings, how the base is prepared, the sampler, or what happens to
the rollouts between sampling and update. Everything else is the core's own code, called as `train_zero.py` calls it.
Both arms of a failure are examined alike: held-out puzzles, the core's verifier, temperature 1, the fixed arm's settings.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, apply
from minir1.data import __path__ as SHIPPED
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import make_learner, pick_device
from minir1.grpo import train
from minir1.measure.evaluator import Evaluator, draw_problems, outcome, sampling
from minir1.model import Transformer
from minir1.presets import check
from minir1.rollout import Rollouts, roll_out
from minir1.tokenizer import Tokenizer
from minir1.variants.losses import LOSSES
from minir1.variants.reference import Reference

TAIL = 5  # the last steps, over which a figure of the update is averaged
EXAM, LAST_EXAM = 128, 512  # held-out puzzles during and after a run


@dataclass(frozen=True)
class Arm:
    """One side of a comparison. A piece that is None is the core's."""

    settings: dict[str, object] = field(default_factory=dict)  # dotted names: {"rl.kl": 1.0}
    base: Callable[[Transformer, Tokenizer, Config], None] | None = None  # changes the base before RL
    sampler: Callable | None = None  # (sample, model, prompts, group, settings, generator) -> Samples
    feed: Callable[[Transformer, Tokenizer, Rollouts], Rollouts] | None = None  # what the update is given


@dataclass(frozen=True)
class Job:
    """An arm with its seed and size. `exam` holds the settings that both arms are examined with."""

    arm: Arm
    settings: dict[str, object]  # of the failure, both arms alike
    exam: dict[str, object]
    seed: int
    steps: int
    prompts: int
    label: str = ""

    def config(self, changes: dict[str, object]) -> Config:
        size = {"seed": self.seed, "rl.steps": self.steps, "rl.prompts": self.prompts, "device": "cpu"}
        return check(apply(Config(), size | self.settings | changes))


def shipped_base() -> tuple[Transformer, Tokenizer]:
    return load_checkpoint(f"{SHIPPED[0]}/base-cpu.pt")


def run_arm(job: Job) -> dict:
    """Train one arm in one thread: `rows` (one a step), `exams` (held-out puzzles over steps), `last` (the verdict's figures)."""
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    start, config, exam_config = time.time(), job.config(job.arm.settings), job.config(job.exam)
    rl, device = config.rl, pick_device(config)
    model, tokenizer = shipped_base()
    if job.arm.base is not None:
        job.arm.base(model, tokenizer, config)
    plain = make_sampler(model, device, exam_config if exam_config.rl.max_tokens > rl.max_tokens else config)
    sampler = plain if job.arm.sampler is None else lambda *given: job.arm.sampler(plain, *given)
    examine = evaluator(job, exam_config, tokenizer, plain)
    reference = Reference(copy.deepcopy(model).requires_grad_(False), model, rl) if rl.kl > 0 else lambda step: None
    rows, exams = [], [{"step": 0, **examine(model, EXAM)}]

    def generate(step: int) -> Rollouts:
        problems = draw_problems(rl.tasks, config.corpus.languages, "train", f"{job.seed} rl {step}", rl.prompts)
        generator = torch.Generator().manual_seed(job.seed * 1_000_003 + step)
        settings = sampling(tokenizer, rl.max_tokens, rl.temperature)
        rollouts = roll_out(model, tokenizer, problems, rl.group_size, settings, generator, sampler)
        rows.append({"step": step + 1, **outcome(rollouts)})  # as the core's verifier sees them
        return rollouts if job.arm.feed is None else job.arm.feed(model, tokenizer, rollouts)

    def on_step(step: int, rollouts: Rollouts, adv_B, stats: dict[str, float]) -> None:
        paid = sum(reward.accuracy for reward in rollouts.rewards) / len(rollouts.rewards)
        counted = sum(rollouts.lengths()) / len(rollouts.texts)
        rows[-1] |= stats | {"paid": paid, "padding": 1 - rows[-1]["length"] / counted}
        if (step + 1) % 10 == 0:
            if step + 1 < rl.steps:
                exams.append({"step": step + 1, **examine(model, EXAM)})
            say = f"{job.label} step {step + 1}/{rl.steps}: right {100 * rows[-1]['accuracy']:.0f}%"
            print(f"  {say}, {rows[-1]['length']:.0f} tokens, {time.time() - start:.0f} s", flush=True)

    with accelerate(model, device):
        train(model, make_learner(model, 0.0, rl.clip, device), range(rl.steps), rl, tokenizer.pad, generate, on_step,
              LOSSES[rl.loss], reference)  # fmt: skip
    exams.append({"step": rl.steps, **examine(model, LAST_EXAM)})
    return {"rows": rows, "exams": exams, "last": last_figures(rows, exams), "seconds": time.time() - start}


def evaluator(job: Job, config: Config, tokenizer: Tokenizer, sampler) -> Callable[[Transformer, int], dict[str, float]]:
    """A function that measures a policy on held-out puzzles, the same ones for both arms and every seed."""
    settings = sampling(tokenizer, config.rl.max_tokens)
    judge = Evaluator(tokenizer, sampler, settings, config.eval.batch, "cpu")
    puzzles = draw_problems(config.rl.tasks, config.corpus.languages, "validation", "validation", LAST_EXAM)

    def examine(model: Transformer, count: int) -> dict[str, float]:
        rollouts = judge.roll(model, puzzles[:count], seed=job.seed)
        wrong = [n for n, reward in zip(rollouts.lengths(), rollouts.rewards) if not reward.accuracy]
        return outcome(rollouts) | {"stopped": sum(rollouts.stopped) / count, "length_wrong": sum(wrong) / max(1, len(wrong))}

    return examine


def last_figures(rows: list[dict], exams: list[dict]) -> dict[str, float]:
    """The last examination; figures of the update and of practice (`practice_...`) as means over the last steps."""
    tail, found = rows[-TAIL:], dict(exams[-1])
    for name in {name for row in tail for name in row} - {"step", "n"}:
        values = [row[name] for row in tail if name in row]
        found[name if name not in found else f"practice_{name}"] = sum(values) / len(values)
    found["before"] = exams[0]["accuracy"]
    found["overpaid"] = found["paid"] - found["practice_accuracy"]  # reward that the core's verifier would not have given
    found["behind_practice"] = found["practice_accuracy"] - found["accuracy"]
    return found
