"""Stage 5 in the pipeline's terms: distill.py's students, taught in three ways, each phase done once."""

from collections.abc import Iterator
from random import Random

import numpy as np

from minir1.checkpoint import load_checkpoint
from minir1.model import Transformer
from minir1.r1 import distill, reading
from minir1.r1.presets import R1Config
from minir1.r1.rewarding import rescore
from minir1.tools.lab import Lab
from minir1.tools.measure import draw_problems

SIZES = ("small", "medium", "large")


def lesson(config: R1Config, lines: list[dict]) -> list[dict]:
    """What students are taught: at most config.students.lines of the curated lines, drawn at random."""
    return Random(f"students {config.seed}").sample(lines, min(len(lines), config.students.lines))


def student(lab: Lab, config: R1Config, size: str) -> Transformer:
    """A dense twin of one size that has read the base's corpus with the base's tokenizer."""
    p = lab.config.pretrain
    rows = p.batch_tokens // p.row_tokens

    def source(first: int, count: int) -> Iterator[np.ndarray]:
        return reading.batches(config.corpus, config.reading, lab.tokenizer, config.seed, rows, p.row_tokens, first, count)

    path = lab.run.checkpoints / f"untaught-{size}.pt"
    lab.once(f"untaught-{size}", lambda: distill.pretrain_student(lab, size, path, config.students.scale, source))
    return load_checkpoint(path, lab.device.name)[0]


def by_sft(lab: Lab, config: R1Config, start: Transformer, lines: list[dict], size: str) -> Transformer:
    """The report's way: the curated lines, by SFT alone."""
    phase, s = f"distil-{size}", config.students
    path = lab.run.checkpoints / f"{phase}.pt"
    lab.once(phase, lambda: distill.distil(lab, start, lines, path, s.epochs, min(s.rows, len(lines)), s.lr, phase=phase))
    return load_checkpoint(path, lab.device.name)[0]


def by_rl(lab: Lab, config: R1Config, start: Transformer) -> Transformer:
    """What the report compares with: RL on the small student itself, for as many operations as its SFT has cost."""
    path, flops = lab.run.checkpoints / "direct.pt", lab.run.progress["distil-small"]["result"]["flops"]
    lab.once("direct", lambda: distill.direct_rl(lab, start, path, flops=flops, judge=rescore, phase="direct"))
    return load_checkpoint(path, lab.device.name)[0]


def by_teacher(lab: Lab, config: R1Config, teacher: Transformer, lines: list[dict]) -> Transformer:
    """Beyond the report: after its SFT, the large student's own samples are pulled towards the teacher, token by token."""
    path, rl, steps = lab.run.checkpoints / "on-policy.pt", lab.config.rl, config.students.on_policy_steps
    start = load_checkpoint(lab.run.checkpoints / "distil-large.pt", lab.device.name)[0]

    def draw(step: int) -> list:
        return draw_problems(rl.tasks, config.corpus.languages, "train", f"{config.seed} on-policy {step}", rl.prompts)

    how = {"judge": rescore, "phase": "on-policy"}
    lab.once("on-policy", lambda: distill.on_policy(lab, start, teacher, lines, draw, steps, path, **how))
    return load_checkpoint(path, lab.device.name)[0]
