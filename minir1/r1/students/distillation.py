"""Distillation (R1 report, section 2.4 and Table 16): dense students of three sizes, taught in
three ways.

    by_sft       the curated lines of a larger model, by SFT alone: the report's way
    direct_rl    GRPO on the student itself, for as many operations: what the report compares with
    on_policy    beyond the report: the student writes, the teacher grades every token; half of what
                 it learns from are curated lines, graded alike (GKD, arXiv 2306.13649)

Students are dense twins (grouped-query attention, no experts) that have read the same corpus as the
base, so that direct RL has a chance.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random

import torch
from torch import Tensor

from minir1.config import ModelConfig
from minir1.fast.accelerate import accelerate
from minir1.grpo import own_batches
from minir1.model import Transformer
from minir1.r1.data import curation
from minir1.r1.data.fine_tuning import fine_tune
from minir1.r1.data.metrics import describe_stage
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import R1Config
from minir1.rollout import Batch
from minir1.run.costs import costs_of, operations
from minir1.run.phases import Judge, Parts, RLPhase, by_rule
from minir1.run.session import Session
from minir1.supervised import cosine
from train_zero import reinforce

SIZES = ("small", "medium", "large")
_SHAPES = {  # scale: width, layers, width of a head (four heads, two of them for keys and values)
    # about 0.3, 0.8 and 2.0 M parameters; 1.3, 2.9 and 8.3 M
    "cpu": {"small": (64, 4, 16), "medium": (96, 6, 24), "large": (160, 6, 40)},
    "gpu": {"small": (128, 6, 32), "medium": (192, 6, 48), "large": (256, 10, 64)},
}


def student_config(
    size: str, vocab_size: int, scale: str = "cpu", positions: int = 1024
) -> ModelConfig:
    """A dense twin. `vocab_size` is that of the teacher's tokenizer. Raises ValueError.

    >>> student_config("small", 512).width, student_config("large", 512).attention
    (64, 'gqa')
    """
    if scale not in _SHAPES or size not in SIZES:
        known = f"sizes are {', '.join(SIZES)}, scales {', '.join(_SHAPES)}"
        raise ValueError(f"no student {size!r} at scale {scale!r}; {known}")
    width, layers, head = _SHAPES[scale][size]
    return ModelConfig(
        vocab_size=vocab_size, positions=positions, attention="gqa", qk_norm=True, experts=0,
        width=width, layers=layers, heads=4, kv_heads=2, head_width=head, dense_width=3 * width,
    )


def lesson(config: R1Config, lines: list[dict]) -> list[dict]:
    """What students are taught: at most config.students.lines of the lines, drawn at random."""
    return Random(f"students {config.seed}").sample(lines, min(len(lines), config.students.lines))


def taught(session: Session, phase: str, work: Callable[[], Transformer]) -> Transformer:
    """The student that a phase makes, made once; what it has cost is recorded beside it."""
    return session.load_or_make(phase, work, result=lambda: costs_of(session, phase))


# ---------------------------------------------------------------- three ways to teach


def by_sft(
    session: Session, config: R1Config, start: Transformer, lines: list[dict], size: str
) -> Transformer:
    """The report's way: the curated lines, by SFT alone."""
    phase, s = f"distil-{size}", config.students
    how = {"epochs": s.epochs, "rows": s.rows, "lr": s.lr}
    return taught(session, phase, lambda: fine_tune(session, start, lines, phase, **how))


def by_rl(session: Session, start: Transformer) -> Transformer:
    """What the report compares with: RL on the small student for as many operations as its SFT."""
    budget = session.run.progress["distil-small"]["result"]["flops"]
    rl = session.config.rl
    return taught(session, "direct", lambda: direct_rl(session, start, rl, budget, rescore))


def by_teacher(
    session: Session, config: R1Config, start: Transformer, teacher: Transformer, lines: list[dict]
) -> Transformer:
    """Beyond the report: after SFT, the large student's samples are pulled towards the teacher."""
    rl = replace(session.config.rl, steps=config.students.on_policy_steps)
    return taught(session, "on-policy", lambda: on_policy(session, start, teacher, lines, rl))


def direct_rl(
    session: Session, start: Transformer, rl, budget: float, judge: Judge = by_rule
) -> Transformer:
    """GRPO on a copy of `start` until it has cost `budget` operations (to within half a step).

    The number of steps is not known beforehand, so the learning rate stays constant after its
    warm-up.
    """
    rl = replace(rl, lr_end=1.0, early_tokens=0)
    parts = Parts(judge=judge, describe=describe_stage)
    return reinforce(RLPhase(session, start, "direct", rl, parts=parts, budget=budget))


def on_policy(
    session: Session, start: Transformer, teacher: Transformer, lines: list[dict], rl,
    judge: Judge = rescore, lr: float = 3e-4, draw=None, phase: str = "on-policy",
) -> Transformer:
    """The student answers, and every token of its own answer is pulled towards the teacher's
    distribution there; so is every token of as many curated lines.

    Reverse KL, because the student should write what the teacher thinks likely, not cover all that
    the teacher might write; on the student's own samples, because these are the places it gets to.
    Over the whole vocabulary and not only at the sampled token: the teacher's logits are there
    anyhow, and the expectation over the next token is then exact. What is left out, as in GKD, is
    the gradient through where the samples lead. Without the lines a weak student unlearns to end:
    few of its attempts hit, and to each of the others the teacher says "no" (results/LOG.md).
    Teacher and student share the tokenizer.
    """
    first = (session.run.load_state(phase) or {"step": 0})["step"]
    curated = islice(curated_batches(session, lines, rl.prompts, rl.steps), first, None)

    def update(student, learner, batch, adv_B, rl, lr, loss, reference) -> dict[str, float]:
        line_batch = next(curated)
        kl = pull(student, teacher, learner, batch, rl.train_tokens)
        kl_curated = pull(student, teacher, learner, line_batch, rl.train_tokens)
        learner.step(lr)
        read = int(batch.length_B.sum() + line_batch.length_B.sum())
        figures = {"reverse_kl": kl, "reverse_kl_curated": kl_curated}
        return figures | {"tokens_trained": read, "flops_more": operations(teacher, read)}

    parts = Parts(
        judge=judge,
        describe=describe_stage,
        advantages=lambda reward_PG, scale: torch.zeros_like(reward_PG),  # a group of one has none
        update=update,
        rate=lambda step: cosine(step, rl.steps, lr, 0.1, 0.05),
    )
    alone = replace(rl, group_size=1, clip=1.0, early_tokens=0, kl=0.0)
    with accelerate(teacher, session.device):
        return reinforce(RLPhase(session, start, phase, alone, draw, parts))


def reverse_kl(student_BTV: Tensor, teacher_BTV: Tensor) -> Tensor:
    """KL(student | teacher) of the next token, `[B, T]` in nats, from logits; over the vocabulary.

    >>> logits = torch.tensor([[[2.0, 1.0, 0.0]]])
    >>> reverse_kl(logits, logits).item(), round(reverse_kl(logits, -logits).item(), 4)
    (0.0, 1.1504)
    """
    student_BTV, teacher_BTV = student_BTV.log_softmax(-1), teacher_BTV.log_softmax(-1)
    return (student_BTV.exp() * (student_BTV - teacher_BTV)).sum(-1)


def curated_batches(session: Session, lines: list[dict], rows: int, steps: int) -> Iterator[Batch]:
    """A batch of curated lines for each step."""
    pairs, pad = curation.pairs_of(lines), session.tokenizer.pad
    rows = min(rows, len(lines))
    epochs = -(-steps * rows // (len(pairs) // rows * rows))
    how = (rows, epochs, session.config.seed, session.device.name)
    for ids_BT, mask_BT in curation.batches(pairs, session.tokenizer, *how):
        yield Batch(ids_BT, mask_BT, mask_BT.float(), (ids_BT != pad).sum(1).cpu())


def pull(student: Transformer, teacher: Transformer, learner, batch: Batch, tokens: int) -> float:
    """Adds the gradients of half the mean reverse KL over the batch's response tokens.

    Returns that mean, in nats. `tokens`: of one forward pass.
    """
    student.train()
    total, count = Counter(), int(batch.mask_BT.sum())
    for index in own_batches(learner, batch.length_B, tokens):
        part = batch.rows(index)
        with learner.autocast():
            with torch.no_grad():
                teacher_BTV = teacher(part.ids_BT[:, :-1])
            student_BTV = student(part.ids_BT[:, :-1])
        loss = (reverse_kl(student_BTV, teacher_BTV) * part.mask_BT).sum() / count
        learner.backward(loss / 2)
        total["kl"] += loss.item()
    return learner.ranks.total(total)["kl"]
