"""`python -m minir1 teach`: a base reads on about a new task.

    python -m minir1 teach --base base-cpu.pt --tasks mine.py:easy --tokens 1_500_000
    python train_zero.py --base taught.pt --rl.tasks mine.py:easy=1

It reads the task's own documents (Task.document) mixed with the corpus that it knows, so that it
does not forget it. What a base must learn here is to try now and then, not to be good:
reinforcement learning does the rest, and it can only amplify what is there.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import RATE, Config, CorpusConfig, PretrainConfig, UserError, between
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_writable
from minir1.console.flags import Value, parts, real, seed, whole
from minir1.corpus.mixture import document, fill_rows, read_tokenizer
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.fast.parallel import parallel_map
from minir1.presets import PRESETS
from minir1.run.phases import supervised_phase
from minir1.run.session import Session
from minir1.tasks import find_task, parse_tasks

ROWS, ROW_TOKENS = 32, 384  # of a step


@dataclass(frozen=True)
class Lessons:
    """Documents of new tasks among those of the old corpus. `share`: of the new ones."""

    corpus: CorpusConfig
    tasks: tuple[str, ...]
    share: float
    seed: int

    def write(self, rng: Random) -> str:
        """One document."""
        if rng.random() >= self.share:
            return document(rng, self.corpus)
        parsed = parse_tasks(self.tasks)
        task, _, _ = rng.choices(parsed, [share for _, _, share in parsed])[0]
        return find_task(task).document(rng, rng.choice(self.corpus.languages))

    def batches(self, tokenizer, first: int, count: int) -> Iterator[np.ndarray]:
        """`count` id arrays `[ROWS, ROW_TOKENS + 1]` from batch `first` on."""
        keys = ((self, tokenizer.to_text(), index) for index in range(first, first + count))
        return parallel_map(lesson_rows, keys, self.corpus.workers)


def lesson_rows(lessons: Lessons, tokenizer: str, index: int) -> np.ndarray:
    rng = Random(f"teach {lessons.seed} {index}")
    encode = read_tokenizer(tokenizer).encode
    return fill_rows(lambda: lessons.write(rng), encode, ROWS, ROW_TOKENS)


def build_parser() -> argparse.ArgumentParser:
    about = "Let a base read on about a new task, mixed with its old corpus."
    parser, add = make_parser("teach", about, allow_abbrev=False)
    add("--base", required=True, help="checkpoint to start from, by path or shipped name")
    add("--tasks", required=True, help="what is new: mine.py:easy, or several =shares, by commas")
    tokens = Value(whole, between(ROWS * ROW_TOKENS, 10**12))
    add("--tokens", type=tokens, default=1_500_000, help="tokens read in all (1_500_000)")
    share = "share of documents about the new task (0.5)"
    add("--share", type=Value(real, between(1e-6, 1)), default=0.5, help=share)
    add("--lr", type=Value(real, RATE), default=2e-3, help="peak learning rate (2e-3)")
    add("--preset", choices=list(PRESETS), default="cpu", help="whose corpus it has read (cpu)")
    add("--out", type=Path, default=Path("taught.pt"), help="where the checkpoint goes (taught.pt)")
    add("--seed", type=seed, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def check(arguments: argparse.Namespace, tasks: tuple[str, ...]) -> None:
    """Raises UserError for what could not end well."""
    for task, _, _ in parse_tasks(tasks, "--tasks"):
        if find_task(task).document is None:
            raise UserError(f"{task} has no document(rng, lang): there is nothing to read about it")
    check_writable(arguments.out, device=False)


def main(arguments: list[str]) -> None:
    arguments = parse(build_parser(), arguments)
    tasks = parts(arguments.tasks)
    check(arguments, tasks)
    config = Config(seed=arguments.seed, device=arguments.device)
    device = pick_device(config)
    path = find_checkpoint(arguments.base) or arguments.base
    model, tokenizer = load_checkpoint(path, device.name)
    old = PRESETS[arguments.preset].corpus
    lessons = Lessons(old, tasks, arguments.share, arguments.seed)
    steps = arguments.tokens // (ROWS * ROW_TOKENS)

    def batches(first: int) -> Iterator[tuple[torch.Tensor, None]]:
        for rows in lessons.batches(tokenizer, first, steps - first):
            yield torch.from_numpy(rows).to(device.name), None

    session = Session.unsaved(config, device, tokenizer, silent=False)
    how = PretrainConfig(lr=arguments.lr, warmup=0.05, weight_decay=0.0)
    model = supervised_phase(session, model, "teach", how, steps, batches, every=20)
    save_checkpoint(arguments.out, model, tokenizer)
    command = f"python train_zero.py --base {arguments.out} --rl.tasks {arguments.tasks}"
    print(f"wrote {arguments.out}; now: {command}")
