"""Everything around the two loops: models, samplers, prompts, progress, checkpoints.

    RLPhase            what the loop of train_zero.reinforce needs at each step
    supervised_phase   the loop of minir1.supervised with progress and checkpoints: fine-tuning
    pretrain           the same on a corpus, from random weights

Each phase goes on from where a stopped run left it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import call

import numpy as np
import torch
from torch import Tensor

from minir1 import grpo
from minir1.config import Config, ModelConfig, PretrainConfig, RLConfig, replace
from minir1.corpus import mixture
from minir1.fast.accelerate import accelerate, slots
from minir1.fast.device import make_learner
from minir1.fast.engine import row_tokens
from minir1.fast.parallel import parallel_map
from minir1.fast.ranks import Ranks, roll_out
from minir1.model import Transformer
from minir1.rollout import Rollouts, sampling
from minir1.run.memory import Load, capacity, plan
from minir1.run.memory import describe as describe_plan
from minir1.run.progress import (
    Describe,
    RLProgress,
    SupervisedProgress,
    Validation,
    describe,
    left_out,
)
from minir1.run.session import Session
from minir1.sampler import Stream
from minir1.supervised import Step, train_supervised
from minir1.tasks import draw_problems
from minir1.tokenizer import Tokenizer
from minir1.variants.losses import LOSSES
from minir1.variants.memory import LARGE
from minir1.variants.reference import Reference

# ---------------------------------------------------------------- supervised learning

Batches = Iterable[tuple[Tensor, Tensor | None]]  # (ids_BT, mask_BT or None)


def supervised_phase(
    session: Session, model: Transformer, phase: str, config: PretrainConfig, steps: int,
    batches: Callable[[int], Batches], every: int = 1, compiled: bool = False,
    after: Callable[[Step, Transformer], None] | None = None,
) -> Transformer:
    """Cross entropy on `batches(first)` for `steps`; trains `model` itself and returns it.

    `every`: steps between two rows of metrics. `compiled`: see fast/accelerate.py. `after`
    is called when a step is done.
    """
    device, pad = session.device, session.tokenizer.pad
    learner = make_learner(model, config.weight_decay, config.clip, device, config.optimizer)
    first = session.restore(phase, model, learner)
    progress = SupervisedProgress(session, phase, model, steps, first, every)
    tokens = 0

    source = batches(first)  # other processes begin to write while the compiler is loaded

    def counted() -> Iterator[tuple[Tensor, Tensor | None]]:
        nonlocal tokens
        for ids_BT, mask_BT in source:
            real_BT = ids_BT != pad
            tokens = ids_BT[:, 1:].numel() if mask_BT is None else int(real_BT.sum())
            progress.begin()
            yield ids_BT, mask_BT

    def on_step(step: Step) -> None:
        progress.step(step, tokens, learner.skipped)
        done = step.step + 1
        if progress.checkpoint_due(done, config.checkpoint_every) and done < steps:
            session.keep(phase, done, model, learner)
        if after is not None:
            after(step, model)

    with progress, accelerate(model, device, compiled, learner if compiled else None):
        train_supervised(model, learner, counted(), config, steps, on_step, first)
    return model.eval()


class MiniWeb:
    """The core's corpus as a base reads it. Experiments give other writers of it."""

    def __init__(self, config: Config, sample=mixture.sample_text, shard=mixture.shard):
        self.corpus, self.seed = config.corpus, config.seed
        self.sample, self.shard = sample, shard

    def train_tokenizer(self) -> Tokenizer:
        texts = self.sample(self.corpus, self.seed, 5000)
        return Tokenizer.train(texts, self.corpus.vocab_size)

    def batches(
        self, tokenizer, rows: int, row_tokens: int, first: int, count: int
    ) -> Iterator[np.ndarray]:
        """`count` id arrays `[rows, row_tokens + 1]` from batch `first` on, written ahead."""
        run = partial(Ranks.current().map, workers=self.corpus.workers)
        size = (rows, row_tokens, first, count)
        return mixture.batches(self.corpus, tokenizer, self.seed, *size, run, self.shard)


def pretrain(
    session: Session, shape: ModelConfig, reader, phase: str = "pretrain", every: int = 20,
    compile_sampler: bool = False,
) -> Transformer:
    """A model of `shape` from random weights that has read what `reader` gives (such as MiniWeb).

    The first one of a session trains the tokenizer, too.
    """
    config = session.config.pretrain
    if session.tokenizer is None:
        session.tokenizer = reader.train_tokenizer()
    torch.manual_seed(session.config.seed)
    vocabulary = -(-len(session.tokenizer) // 64) * 64
    model = Transformer(replace(shape, vocab_size=vocabulary)).to(session.device.name)
    session.announce_pretraining(model)
    steps, rows = config.tokens // config.batch_tokens, config.batch_tokens // config.row_tokens

    def batches(first: int) -> Batches:
        size = (rows, config.row_tokens, first, steps - first)
        blocks = map(torch.from_numpy, reader.batches(session.tokenizer, *size))
        return ((ids.to(session.device.name, non_blocking=True), None) for ids in blocks)

    def after(step: Step, model: Transformer) -> None:
        if compile_sampler:
            session.warm_sampler(model)  # once a first step is done, which it would delay

    how = (every, session.config.compile, after)
    return supervised_phase(session, model, phase, config, steps, batches, *how)


# ---------------------------------------------------------------- reinforcement learning

# step -> (function, arguments) that give its problems
Draw = Callable[[int], tuple[Callable, tuple]]
Judge = Callable[[int, Rollouts], list]  # step, rollouts -> one reward a response


def training_problems(config: Config, rl: RLConfig, key: str) -> Draw:
    """Problems of the training split from the mixture of `rl.tasks`, in the corpus's languages."""

    def draw(step: int) -> tuple:
        seed = f"{config.seed} {key} {step}"
        return draw_problems, (rl.tasks, config.corpus.languages, "train", seed, rl.prompts)

    return draw


def by_rule(step: int, rollouts: Rollouts) -> list:
    """The rewards that roll_out gave: accuracy and format, judged by rule."""
    return rollouts.rewards


def as_sampled(model: Transformer, rollouts: Rollouts) -> Rollouts:
    """The update learns from what was sampled, as it was sampled."""
    return rollouts


@dataclass(frozen=True)
class Parts:
    """The exchangeable parts of the RL loop; the defaults are R1-Zero's.

    judge        step, rollouts -> rewards
    advantages   rewards `[P, G]` and rl.scale -> advantages `[P, G]`
    loss         None: the one that rl.loss names
    update       the signature of grpo.update
    rate         step -> learning rate; None: grpo.learning_rate
    prefix       a forced beginning of every response
    sampler      model -> sampler; None: the fast one for this device
    revise       model, rollouts -> rollouts that the update is given
    after        step, phase, rollouts, statistics: called when a step is done
    describe     rollouts, rl -> metrics of a step
    """

    judge: Judge = by_rule
    advantages: Callable[[Tensor, str], Tensor] = grpo.advantages
    loss: grpo.Loss | None = None
    update: Callable[..., dict[str, float]] = grpo.update
    rate: Callable[[int], float] | None = None
    prefix: str = ""
    sampler: Callable | None = None
    revise: Callable[[Transformer, Rollouts], Rollouts] = as_sampled
    after: Callable | None = None
    describe: Describe = describe


R1_ZERO = Parts()


class RLPhase:
    """One phase of reinforcement learning from `start`, which stays as it is.

    `validate`: measure on held-out problems as it goes on. `budget`: operations after which the
    phase ends, whatever rl.steps says. `with phase:` shows its progress.
    """

    def __init__(
        self, session: Session, start: Transformer, name: str, rl: RLConfig,
        draw: Draw | None = None, parts: Parts = R1_ZERO, validate: bool = False,
        budget: float | None = None,
    ):
        self.session, self.name, self.rl = session, name, rl
        self.parts, self.budget = parts, budget
        self.model = copy.deepcopy(start).to(session.device.name)
        if self._large(start) and not session.run.silent:
            self._announce(start)
        self.learner = make_learner(self.model, 0.0, rl.clip, session.device)
        self.first = session.restore(name, self.model, self.learner)
        self.loss = parts.loss or LOSSES[rl.loss]
        self.held = self._reference(start) if validate or rl.kl > 0 else None
        sampler = parts.sampler or partial(session.sampler, rl=rl)
        self.sampler = sampler(self.model)
        self.settings = sampling(session.tokenizer, rl.max_tokens, rl.temperature)
        steps = rl.steps if budget is None else None
        self.progress = RLProgress(session, name, rl, steps, self.first, parts.describe)
        self.validation = None
        if validate:
            how = (start, self.sampler, parts.prefix)
            self.validation = Validation(session, self.progress, *how)
        self.problems = self._drawn_ahead(draw or training_problems(session.config, rl, name))
        self.stack = ExitStack()

    def _large(self, model: Transformer) -> bool:
        """Whether memory counts: then a base that is not changed serves as its own reference."""
        c = model.config
        return c.vocab_size >= LARGE and c.attention == "gqa" and not c.experts

    def _announce(self, start: Transformer) -> None:
        """The memory that this takes."""
        device, c, rl = self.session.device, start.config, self.rl
        copies = 2 if rl.kl > 0 else 1
        here = start.embed.weight.device == self.model.embed.weight.device
        rows, room = slots(replace(self.session.config, rl=rl), self.session.tokenizer)
        size, half = row_tokens(c, room), device.dtype.itemsize
        load = Load(rows, size, copies + here, half, fused=device.name == "cuda" or half == 4)
        print(f"memory: {describe_plan(plan(c, rl, load), capacity(device.name))}", flush=True)

    def _reference(self, start: Transformer) -> Reference:
        held = start if self._large(start) and self.rl.kl == 0 else copy.deepcopy(start)
        reference = Reference(held, self.model, self.rl)
        if self.first and self.rl.kl > 0:
            state = self.session.run.load_state(self.name)
            reference.held.load_state_dict(state["held"])
        return reference

    def _drawn_ahead(self, draw: Draw) -> Iterator[list]:
        numbers = range(self.first, self.rl.steps) if self.budget is None else count(self.first)
        calls = ((function, *arguments) for function, arguments in map(draw, numbers))
        return parallel_map(call, calls, 1 if self.session.device.name == "cpu" else 4)

    def __enter__(self) -> "RLPhase":
        self.stack.enter_context(self.progress)
        if self.validation and self.first == 0:
            self.validation(0, self.model)
        for model in (self.model, self.held.held) if self.held else (self.model,):
            how = {"save_memory": self.rl.save_memory}
            self.stack.enter_context(accelerate(model, self.session.device, **how))
        return self

    def __exit__(self, *fault) -> None:
        self.stack.__exit__(*fault)

    def steps(self) -> Iterator[int]:
        """The steps still to be done. With a budget: until the next one, costing what the last one
        did, would take the total further from the budget than it is."""
        if self.budget is None:
            yield from range(self.first, self.rl.steps)
            return
        step, progress = self.first, self.progress
        last = progress.flops / max(1, step)
        while progress.flops + last / 2 <= self.budget:
            before = progress.flops
            yield step
            last, step = progress.flops - before, step + 1
            progress.bar.total = max(step, round(step * self.budget / progress.flops))

    def roll_out(self, step: int) -> Rollouts:
        """rl.group_size judged responses to each of the step's problems."""
        rl = self.rl
        self.progress.begin()
        early = rl.early_tokens and step < rl.steps // 2
        settings = self.settings
        if early:
            settings = replace(settings, max_tokens=rl.early_tokens)
        rollouts = roll_out(
            self.model, self.session.tokenizer, next(self.problems), rl.group_size, settings,
            Stream.of(self.name, self.session.config.seed, step), self.sampler, self.parts.prefix,
            judge=partial(self.parts.judge, step),
        )
        self.progress.rolled_out()
        return rollouts

    def learning_rate(self, step: int) -> float:
        rate = self.parts.rate
        return rate(step) if rate is not None else grpo.learning_rate(step, self.rl)

    def reference(self, step: int) -> Transformer | None:
        """The policy that the KL term holds on to, where it is needed."""
        return self.held(step) if self.held else None

    def finish_step(self, step: int, rollouts: Rollouts, stats: dict[str, float | Tensor]) -> None:
        """Metrics, validation, checkpoint."""
        rl, done = self.rl, step + 1
        last = self.budget is None and done == rl.steps
        seen = self.progress.describe(rollouts, rl)  # while a device may still be learning
        stats = {k: v.item() if isinstance(v, Tensor) else v for k, v in stats.items()}
        stats |= {"lr": self.learning_rate(step)} | left_out(self.learner.skipped)
        self.progress.step(step, self.model, rollouts, seen, stats)
        self.learner.check(step, rl.minibatches)
        if self.parts.after is not None:
            self.parts.after(step, self, rollouts, stats)
        if self.validation and (done % rl.evaluate_every == 0 or last):
            self.validation(done, self.model)
        if self.progress.checkpoint_due(done, rl.checkpoint_every) and not last:
            more = {"held": self.held.held.state_dict()} if rl.kl > 0 else {}
            self.session.keep(self.name, done, self.model, self.learner, **more)
