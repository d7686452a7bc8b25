"""Stage 5 in the pipeline's terms: distill.py's students, taught in three ways, each phase done once."""

from collections.abc import Iterator
from random import Random

import numpy as np

from minir1.checkpoint import load_checkpoint
from minir1.measure.evaluator import draw_problems
from minir1.model import Transformer
from minir1.r1.data import bilingual_corpus as reading
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import R1Config
from minir1.r1.students import distill
from minir1.run.session import Session

SIZES = ("small", "medium", "large")


def lesson(config: R1Config, lines: list[dict]) -> list[dict]:
    """What students are taught: at most config.students.lines of the curated lines, drawn at random."""
    return Random(f"students {config.seed}").sample(lines, min(len(lines), config.students.lines))


def student(session: Session, config: R1Config, size: str) -> Transformer:
    """A dense twin of one size that has read the base's corpus with the base's tokenizer."""
    p = session.config.pretrain
    rows = p.batch_tokens // p.row_tokens

    def source(first: int, count: int) -> Iterator[np.ndarray]:
        return reading.batches(config.corpus, config.reading, session.tokenizer, config.seed, rows, p.row_tokens, first, count)

    path = session.run.checkpoints / f"untaught-{size}.pt"
    session.once(f"untaught-{size}", lambda: distill.pretrain_student(session, size, path, config.students.scale, source))
    return load_checkpoint(path, session.device.name)[0]


def by_sft(session: Session, config: R1Config, start: Transformer, lines: list[dict], size: str) -> Transformer:
    """The report's way: the curated lines, by SFT alone."""
    phase, s = f"distil-{size}", config.students
    path = session.run.checkpoints / f"{phase}.pt"
    session.once(phase, lambda: distill.distil(session, start, lines, path, s.epochs, min(s.rows, len(lines)), s.lr, phase=phase))
    return load_checkpoint(path, session.device.name)[0]


def by_rl(session: Session, config: R1Config, start: Transformer) -> Transformer:
    """What the report compares with: RL on the small student itself, for as many operations as its SFT has cost."""
    path, flops = session.run.checkpoints / "direct.pt", session.run.progress["distil-small"]["result"]["flops"]
    session.once("direct", lambda: distill.direct_rl(session, start, path, flops=flops, judge=rescore, phase="direct"))
    return load_checkpoint(path, session.device.name)[0]


def by_teacher(session: Session, config: R1Config, teacher: Transformer, lines: list[dict]) -> Transformer:
    """Beyond the report: after its SFT, the large student's own samples are pulled towards the teacher, token by token."""
    path, rl, steps = session.run.checkpoints / "on-policy.pt", session.config.rl, config.students.on_policy_steps
    start = load_checkpoint(session.run.checkpoints / "distil-large.pt", session.device.name)[0]

    def draw(step: int) -> list:
        return draw_problems(rl.tasks, config.corpus.languages, "train", f"{config.seed} on-policy {step}", rl.prompts)

    how = {"judge": rescore, "phase": "on-policy"}
    session.once("on-policy", lambda: distill.on_policy(session, start, teacher, lines, draw, steps, path, **how))
    return load_checkpoint(path, session.device.name)[0]
