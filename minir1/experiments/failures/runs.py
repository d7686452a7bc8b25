"""Runs one arm of a failure: the one RL loop, with at most one of its parts exchanged.

An arm says what differs from the `cpu` recipe: settings, how the base is prepared, the sampler, or
what happens to the rollouts between sampling and update. Both arms of a failure are examined alike:
held-out puzzles, the core's verifier, temperature 1, the fixed arm's settings.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, apply
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.measure.evaluator import Evaluator, outcome
from minir1.model import Transformer
from minir1.presets import check
from minir1.rollout import Rollouts, sampling
from minir1.run.phases import Parts, RLPhase, training_problems
from minir1.run.session import Session
from minir1.tasks import draw_problems
from minir1.tokenizer import Tokenizer
from train_zero import reinforce

TAIL = 5  # the last steps, over which a figure of the update is averaged
EXAM, LAST_EXAM = 128, 512  # held-out puzzles during and after a run


@dataclass(frozen=True)
class Arm:
    """One side of a comparison. A piece that is None is the core's."""

    settings: dict[str, object] = field(default_factory=dict)  # dotted names: {"rl.kl": 1.0}
    # changes the base before RL
    base: Callable[[Transformer, Tokenizer, Config], None] | None = None
    # (sample, model, prompts, group, settings, stream) -> Samples
    sampler: Callable | None = None
    # what the update is given
    feed: Callable[[Transformer, Tokenizer, Rollouts], Rollouts] | None = None


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
        size = {"rl.steps": self.steps, "rl.prompts": self.prompts}
        fixed = {"seed": self.seed, "device": "cpu"}
        return check(apply(Config(), fixed | size | self.settings | changes))


def shipped_base() -> tuple[Transformer, Tokenizer]:
    return load_checkpoint(find_checkpoint("base-cpu.pt"))


def run_arm(job: Job) -> dict:
    """Train one arm in one thread: `rows` (one per step), `exams` (held-out puzzles over steps),
    `last` (the figures that decide), `logged` (as metrics.jsonl has it) and `seconds`."""
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    start, arm = time.time(), job.arm
    config, exam_config = job.config(arm.settings), job.config(job.exam)
    model, tokenizer = shipped_base()
    if arm.base is not None:
        arm.base(model, tokenizer, config)
    session = Session.unsaved(config, pick_device(config), tokenizer)
    examine = examination(job, exam_config, session)
    rows, exams = [], [{"step": 0, **examine(model, EXAM)}]

    def sampler(model: Transformer) -> Callable:
        return partial(arm.sampler, session.sampler(model))

    def revise(model: Transformer, rollouts: Rollouts) -> Rollouts:
        # as the core's verifier sees them
        rows.append({"step": len(rows) + 1, **outcome(rollouts)})
        return rollouts if arm.feed is None else arm.feed(model, tokenizer, rollouts)

    def after(step: int, phase: RLPhase, rollouts: Rollouts, stats: dict[str, float]) -> None:
        paid = sum(reward.accuracy for reward in rollouts.rewards) / len(rollouts.rewards)
        counted = sum(rollouts.lengths()) / len(rollouts.texts)
        rows[-1] |= stats | {"paid": paid, "padding": 1 - rows[-1]["length"] / counted}
        if (step + 1) % 10 == 0 and step + 1 < config.rl.steps:
            exams.append({"step": step + 1, **examine(phase.model, EXAM)})
        if (step + 1) % 10 == 0:
            say(job, step + 1, rows[-1], time.time() - start)

    parts = Parts(sampler=arm.sampler and sampler, revise=revise, after=after)
    draw = training_problems(config, config.rl, "rl")
    model = reinforce(RLPhase(session, model, job.label, config.rl, draw, parts))
    exams.append({"step": config.rl.steps, **examine(model, LAST_EXAM)})
    result = {"rows": rows, "exams": exams, "last": last_figures(rows, exams)}
    return result | {"logged": session.run.rows, "seconds": time.time() - start}


def say(job: Job, step: int, row: dict, seconds: float) -> None:
    figures = f"right {100 * row['accuracy']:.0f}%, {row['length']:.0f} tokens"
    print(f"  {job.label} step {step}/{job.steps}: {figures}, {seconds:.0f} s", flush=True)


def examination(job: Job, config: Config, session: Session) -> Callable:
    """Measures a policy on held-out puzzles, the same for both arms and all seeds."""
    rl, tokenizer = config.rl, session.tokenizer
    settings, languages = sampling(tokenizer, rl.max_tokens), config.corpus.languages
    puzzles = draw_problems(rl.tasks, languages, "validation", "validation", LAST_EXAM)

    def examine(model: Transformer, count: int) -> dict[str, float]:
        sampler = session.sampler(model, rl)
        evaluator = Evaluator(tokenizer, sampler, settings, config.eval.batch)
        rollouts = evaluator.roll(model, puzzles[:count], seed=job.seed)
        pairs = zip(rollouts.lengths(), rollouts.rewards)
        wrong = [length for length, reward in pairs if not reward.accuracy]
        stopped = sum(rollouts.stopped) / count
        figures = {"stopped": stopped, "length_wrong": sum(wrong) / max(1, len(wrong))}
        return outcome(rollouts) | figures

    return examine


def last_figures(rows: list[dict], exams: list[dict]) -> dict[str, float]:
    """The last examination; of update and practice (`practice_...`) means over the last steps."""
    tail, figures = rows[-TAIL:], dict(exams[-1])
    for name in {name for row in tail for name in row} - {"step", "n"}:
        values = [row[name] for row in tail if name in row]
        key = name if name not in figures else f"practice_{name}"
        figures[key] = sum(values) / len(values)
    figures["before"] = exams[0]["accuracy"]
    # reward that the core's verifier would not have given
    figures["overpaid"] = figures["paid"] - figures["practice_accuracy"]
    figures["behind_practice"] = figures["practice_accuracy"] - figures["accuracy"]
    return figures
