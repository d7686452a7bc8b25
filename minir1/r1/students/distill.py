"""Distillation (R1 report, section 2.4 and Table 16): dense students of three sizes, taught in three ways.

    distil      the curated lines of a larger model, by supervised fine-tuning alone: the report's way
    direct_rl   GRPO on the student itself, until it has cost as many operations: what the report compares with
    on_policy   beyond the report: the student writes, the teacher grades every token; half of what it learns from are curated
                lines, graded alike (GKD, arXiv 2306.13649)

Students are dense twins (grouped-query attention, no experts) that have read the same corpus as the base, so that direct RL has
a chance. Operations are counted as 2 N a token read or sampled and 6 N a token trained, N the parameters that a token uses;
attention's own products are left out on all sides alike. Each of these goes on after a stop, its costs included.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from minir1.checkpoint import save_checkpoint
from minir1.config import ModelConfig, PretrainConfig
from minir1.corpus.mixture import batches as corpus_batches
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import make_learner
from minir1.grpo import micro_batches, train
from minir1.measure.evaluator import draw_problems, sampling
from minir1.model import Transformer
from minir1.r1.data import curate
from minir1.rollout import Batch, Rollouts, roll_out, to_batch
from minir1.run.progress import Watch
from minir1.run.session import Session
from minir1.run.summary import parameter_counts
from minir1.supervised import Learner, Step, cosine, train_supervised
from minir1.transcript import Problem
from minir1.variants.losses import LOSSES

SIZES = ("small", "medium", "large")
_SHAPES = {  # scale: width, layers, width of a head (four heads, two of them for keys and values)
    "cpu": {"small": (64, 4, 16), "medium": (96, 6, 24), "large": (160, 6, 40)},  # about 0.3, 0.8 and 2.0 M parameters
    "gpu": {"small": (128, 6, 32), "medium": (192, 6, 48), "large": (256, 10, 64)},  # about 1.3, 2.9 and 8.3 M
}


def student_config(size: str, vocab_size: int, scale: str = "cpu", positions: int = 1024) -> ModelConfig:
    """A dense twin. `vocab_size` is that of the teacher's tokenizer. Raises ValueError for an unknown size or scale.

    >>> student_config("small", 512).width, student_config("large", 512).attention, student_config("large", 512).experts
    (64, 'gqa', 0)
    """
    if scale not in _SHAPES or size not in SIZES:
        raise ValueError(f"no student {size!r} at scale {scale!r}; sizes are {', '.join(SIZES)}, scales {', '.join(_SHAPES)}")
    width, layers, head = _SHAPES[scale][size]
    shape = {"width": width, "layers": layers, "heads": 4, "kv_heads": 2, "head_width": head, "dense_width": 3 * width}
    return ModelConfig(vocab_size=vocab_size, attention="gqa", experts=0, qk_norm=True, positions=positions, **shape)


def operations(model: Transformer, read: int = 0, trained: int = 0) -> int:
    """Floating-point operations of so many tokens read (or sampled) and trained on."""
    return parameter_counts(model)[1] * (2 * read + 6 * trained)


# ---------------------------------------------------------------- reading the corpus


def pretrain_student(
    session: Session, size: str, path: Path, scale: str = "cpu", source: Callable[[int, int], Iterable] | None = None
) -> dict[str, float]:
    """A student that has read the session's corpus with the session's tokenizer, saved at `path`; goes on after a stop.

    `source(first, count)` gives id arrays [rows, row_tokens + 1] from batch `first` on; the core's mini-web if not given.
    """
    config, p, phase = session.config, session.config.pretrain, f"pretrain_{size}"
    torch.manual_seed(config.seed)
    vocabulary = -(-len(session.tokenizer) // 64) * 64
    student = Transformer(student_config(size, vocabulary, scale, config.model.positions)).to(session.device.name)
    learner, steps = make_learner(student, p.weight_decay, p.clip, session.device, p.optimizer), p.tokens // p.batch_tokens
    cost, rows = _Cost(session, phase, student, learner, steps), p.batch_tokens // p.row_tokens
    first = cost.steps
    if source is None:
        source = lambda a, n: corpus_batches(config.corpus, session.tokenizer, config.seed, rows, p.row_tokens, a, n)  # noqa: E731
    ids = ((torch.from_numpy(block).to(session.device.name, non_blocking=True), None) for block in source(first, steps - first))

    def on_step(step: Step) -> None:
        cost.row(trained=p.batch_tokens, loss=step.loss, lr=step.lr)
        if cost.steps % p.checkpoint_every == 0 and cost.steps < steps:
            cost.keep()

    with cost.watch, accelerate(student, session.device, config.compile, learner):
        train_supervised(student, learner, ids, p, steps, on_step, first)
    save_checkpoint(path, student, session.tokenizer)
    return cost.figures()


class _Cost:
    """What a phase has cost so far, kept over a stop; each row goes to metrics.jsonl with the names that the pipeline adds up.
    `budget`: operations after which the phase ends, where its steps are not known. `with cost.watch` shows how far it is."""

    def __init__(self, session: Session, phase: str, student: Transformer, learner: Learner, steps: int, budget: float | None = None):
        self.session, self.phase, self.student, self.learner = session, phase, student, learner
        self.last, self.seconds = time.time(), 0.0
        self.sampled = self.trained = self.steps = self.flops = 0
        if state := session.run.load_state(phase):
            session.restore(phase, student, learner)
            self.steps, self.sampled, self.trained, self.flops, self.seconds = state["spent"]
        self.budget, self.watch = budget, Watch(session.run, phase, None if budget else steps, self.steps)

    def keep(self) -> None:
        """Save what it takes to go on from here."""
        spent = [self.steps, self.sampled, self.trained, self.flops, self.seconds]
        self.session.keep(self.phase, self.steps, self.student, self.learner, spent=spent)

    def row(self, sampled: int = 0, trained: int = 0, more: int = 0, **figures) -> None:
        """A step's tokens. `more`: operations beside the student's own, such as the teacher's."""
        now, self.steps = time.time(), self.steps + 1
        self.sampled, self.trained, self.seconds = self.sampled + sampled, self.trained + trained, self.seconds + now - self.last
        self.flops += operations(self.student, sampled, trained) + more
        cost = {"tokens_sampled": sampled, "tokens_trained": trained, "seconds_step": now - self.last, "flops": self.flops}
        self.session.run.log(self.phase, step=self.steps, **cost, **figures)
        self.last = now
        if self.budget:
            self.watch.bar.total = max(self.steps, round(self.steps * self.budget / self.flops))
        told = {"loss": "loss {:.3f}", "accuracy": "right {:.0%}", "reverse_kl": "KL {:.3f}"}
        shown = [say.format(float(figures[k])) for k, say in told.items() if k in figures]
        self.watch.bar.set_postfix_str(", ".join(shown), refresh=False)
        self.watch.bar.update()

    def figures(self) -> dict[str, float]:
        tokens = {"tokens_sampled": self.sampled, "tokens_trained": self.trained}
        return {"steps": self.steps, "seconds": self.seconds, **tokens, "flops": self.flops}


# ---------------------------------------------------------------- three ways to teach


def distil(
    session: Session, student: Transformer, lines: list[dict], path: Path, epochs: int = 3, rows: int = 32, lr: float = 1e-3,
    optimizer: str = "muon", phase: str = "distil"
) -> dict[str, float]:
    """Supervised fine-tuning of a copy of `student` on curated lines ({"question", "response"}), saved at `path`."""
    student = copy.deepcopy(student)
    pairs, rows = curate.pairs_of(lines), min(rows, len(lines))
    config, steps = PretrainConfig(lr=lr, optimizer=optimizer), epochs * (len(pairs) // rows)
    learner = make_learner(student, 0.0, config.clip, session.device, optimizer)
    cost, seen = _Cost(session, phase, student, learner, steps), 0
    first = cost.steps

    def source() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal seen
        batches = curate.batches(pairs, session.tokenizer, rows, epochs, session.config.seed, session.device.name)
        for step, (ids_BT, mask_BT) in enumerate(batches):
            if step >= first:
                seen = int((ids_BT != session.tokenizer.pad).sum())
                yield ids_BT, mask_BT

    def on_step(step: Step) -> None:
        cost.row(trained=seen, loss=step.loss, lr=step.lr)
        if cost.steps % 200 == 0 and cost.steps < steps:
            cost.keep()

    with cost.watch, accelerate(student, session.device):
        train_supervised(student, learner, source(), config, steps, on_step, first)
    save_checkpoint(path, student, session.tokenizer)
    return cost.figures()


def direct_rl(
    session: Session, student: Transformer, path: Path, steps: int | None = None, flops: float | None = None, draw: Callable[[int],
    list[Problem]] | None = None, judge: Callable[[int, Rollouts], list] | None = None, phase: str = "direct_rl"
) -> dict[str, float]:
    """GRPO on a copy of `student` for `steps`, or until it has cost `flops` (to within half a step), saved at `path`.

    Prompts, groups and rewards are the session's (config.rl) unless `draw(step)` or `judge(step, rollouts)` give others. With a budget
    of operations the number of steps is not known beforehand, so the learning rate stays constant after its warm-up.
    """
    config, student = session.config, copy.deepcopy(student)
    rl = replace(config.rl, steps=steps or config.rl.steps, lr_end=config.rl.lr_end if flops is None else 1.0)
    key, languages = f"{config.seed} {phase}", config.corpus.languages
    draw = draw or (lambda step: draw_problems(rl.tasks, languages, "train", f"{key} {step}", rl.prompts))
    learner, sampler = make_learner(student, 0.0, rl.clip, session.device), make_sampler(student, session.device, config)
    settings = sampling(session.tokenizer, rl.max_tokens, rl.temperature)
    cost = _Cost(session, phase, student, learner, rl.steps, flops)

    def generate(step: int) -> Rollouts:
        rollouts = roll_out(student, session.tokenizer, draw(step), rl.group_size, settings, _generator(session, step), sampler)
        return replace(rollouts, rewards=judge(step, rollouts)) if judge else rollouts

    def on_step(step: int, rollouts: Rollouts, adv_B, stats) -> None:
        sampled = sum(rollouts.lengths())
        prompts = rollouts.group * sum(map(len, rollouts.prompt_ids))
        reward = sum(r.total(rl) for r in rollouts.rewards) / len(rollouts.rewards)
        accuracy = sum(r.accuracy for r in rollouts.rewards) / len(rollouts.rewards)
        cost.row(sampled, sampled + prompts, reward=reward, accuracy=accuracy, length=sampled / len(rollouts.rewards))
        if cost.steps % rl.checkpoint_every == 0:
            cost.keep()

    counted = range(cost.steps, rl.steps) if flops is None else _until(cost, flops)
    with cost.watch, accelerate(student, session.device):
        train(student, learner, counted, rl, session.tokenizer.pad, generate, on_step, LOSSES[rl.loss])
    save_checkpoint(path, student, session.tokenizer)
    return cost.figures()


def _generator(session: Session, step: int) -> torch.Generator:
    return torch.Generator(session.device.name).manual_seed(session.config.seed * 1_000_003 + step)


def _until(cost: _Cost, flops: float) -> Iterator[int]:
    """Steps until the next one, costing what the last one did, would take the total further from the budget than it is."""
    last = cost.flops / max(1, cost.steps)
    while cost.flops + last / 2 <= flops:
        before = cost.flops
        yield cost.steps
        last = cost.flops - before


def reverse_kl(student_BTV: Tensor, teacher_BTV: Tensor) -> Tensor:
    """KL(student | teacher) of the next token at each position, `[B, T]`, from logits; over the whole vocabulary.

    >>> logits = torch.tensor([[[2.0, 1.0, 0.0]]])
    >>> reverse_kl(logits, logits).item(), round(reverse_kl(logits, -logits).item(), 4)
    (0.0, 1.1504)
    """
    student_BTV, teacher_BTV = student_BTV.log_softmax(-1), teacher_BTV.log_softmax(-1)
    return (student_BTV.exp() * (student_BTV - teacher_BTV)).sum(-1)


def on_policy(
    session: Session, student: Transformer, teacher: Transformer, lines: list[dict], draw: Callable[[int], list[Problem]], steps: int,
    path: Path, lr: float = 3e-4, judge: Callable[[int, Rollouts], list] | None = None, phase: str = "on_policy"
) -> dict[str, float]:
    """The student answers, and every token of its own answer is pulled towards the teacher's distribution there; so is every
    token of as many curated lines.

    Reverse KL, because the student should write what the teacher thinks likely, not cover all that the teacher might write; on the
    student's own samples, because these are the places it gets to. Over the whole vocabulary and not only at the sampled token: the
    teacher's logits are there anyhow, 512 tokens are few, and the expectation over the next token is then exact. What is left
    out, as in GKD, is the gradient through where the samples lead. Without the lines a weak student unlearns to end: few of its
    attempts hit, and to each of the others the teacher says "no" (results/LOG.md). Teacher and student share the tokenizer.
    """
    student, rl = copy.deepcopy(student), session.config.rl
    learner, sampler = make_learner(student, 0.0, 1.0, session.device), make_sampler(student, session.device, session.config)
    settings, cost = sampling(session.tokenizer, rl.max_tokens), _Cost(session, phase, student, learner, steps)
    curated = _curated(session, lines, rl.prompts, steps)
    with cost.watch, accelerate(student, session.device), accelerate(teacher, session.device):
        for step in range(cost.steps, steps):
            rollouts = roll_out(student, session.tokenizer, draw(step), 1, settings, _generator(session, step), sampler)
            batch, taught = to_batch(rollouts, session.tokenizer.pad, session.device.name), curated[step]
            kl, kl_curated = (_pull(student, teacher, learner, part, rl.train_tokens) for part in (batch, taught))
            learner.step(cosine(step, steps, lr, 0.1, 0.05))
            sampled, read = sum(rollouts.lengths()), int(batch.length_B.sum() + taught.length_B.sum())
            rewards = judge(step, rollouts) if judge else rollouts.rewards
            accuracy = sum(r.accuracy for r in rewards) / len(rewards)
            cost.row(sampled, read, operations(teacher, read), reverse_kl=kl, reverse_kl_curated=kl_curated, accuracy=accuracy)
            if cost.steps % rl.checkpoint_every == 0:
                cost.keep()
    save_checkpoint(path, student, session.tokenizer)
    return cost.figures()


def _curated(session: Session, lines: list[dict], rows: int, steps: int) -> list[Batch]:
    """A batch of curated lines for each step."""
    pairs, rows = curate.pairs_of(lines), min(rows, len(lines))
    epochs = -(-steps * rows // (len(pairs) // rows * rows))
    drawn = curate.batches(pairs, session.tokenizer, rows, epochs, session.config.seed, session.device.name)
    length = lambda ids_BT: (ids_BT != session.tokenizer.pad).sum(1)  # noqa: E731
    return [Batch(ids_BT, mask_BT, mask_BT.float(), length(ids_BT)) for ids_BT, mask_BT in islice(drawn, steps)]


def _pull(student: Transformer, teacher: Transformer, learner, batch: Batch, tokens: int) -> float:
    """Adds the gradients of half the mean reverse KL over the batch's response tokens; returns that mean, in nats."""
    student.train()
    total, count = 0.0, int(batch.mask_BT.sum())
    for index in micro_batches(batch.length_B, tokens):
        part = batch.rows(index)
        with learner.autocast():
            with torch.no_grad():
                teacher_BTV = teacher(part.ids_BT[:, :-1])
            student_BTV = student(part.ids_BT[:, :-1])
        loss = (reverse_kl(student_BTV, teacher_BTV) * part.mask_BT).sum() / count
        learner.backward(loss / 2)
        total += loss.item()
    return total
