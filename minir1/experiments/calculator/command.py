"""`minir1 calculator`: teach a checkpoint to call the calculator, and measure it.

    python -m minir1 calculator minir1/data/base-r1-cpu.pt --languages en,zh --out runs/calculator

Measured on products that no head computes, among others. Writes OUT/calculator.json and
OUT/calculator.pt.
"""

import argparse
import copy
import time
from pathlib import Path
from random import Random

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, PretrainConfig, apply
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, write_json
from minir1.console.flags import count, languages, length, seed
from minir1.experiments.calculator import rollout as calculator
from minir1.experiments.calculator.documents import KINDS, batches, document
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import Device, make_learner, pick_device
from minir1.model import Transformer
from minir1.rollout import Rollouts, Sampler, sampling
from minir1.sampler import Stream
from minir1.supervised import Step, train_supervised
from minir1.tasks import arithmetic
from minir1.tasks.arithmetic import Arithmetic
from minir1.tokenizer import Tokenizer
from minir1.transcript import THINK

ROWS = 32  # documents a step


def learn(
    model: Transformer, tokenizer: Tokenizer, count: int, seed: int, languages: tuple[str, ...],
    device: Device,
) -> None:
    """Fine-tune `model` on `count` documents, each read once."""
    rng, start = Random(f"lessons {seed}"), time.time()
    documents = [document(rng, rng.choice(languages)) for _ in range(count)]
    config = PretrainConfig(lr=2e-3, warmup=0.05)

    def on_step(step: Step) -> None:
        if step.step % 50 == 49:
            loss, seconds = float(step.loss), time.time() - start
            print(f"step {step.step + 1}: loss {loss:.4f}, {seconds:.0f} s", flush=True)

    learner = make_learner(model, 0.0, 1.0, device, "muon")
    source = batches(documents, tokenizer, ROWS, seed, device.name)
    with accelerate(model, device):
        train_supervised(model, learner, source, config, count // ROWS, on_step)
    model.eval()


def questions(kind: str, languages: tuple[str, ...], split: str, count: int) -> list[Arithmetic]:
    """Questions of a kind, the same for every seed."""
    rng = Random(f"lessons {split} {kind}")
    langs = [languages[i % len(languages)] for i in range(count)]
    return [arithmetic.sample(rng, kind, split, lang) for lang in langs]


def examine(
    model: Transformer, tokenizer: Tokenizer, problems: list[Arithmetic], max_tokens: int,
    sampler: Sampler, prefix: str = "", batch: int = 256,
) -> dict[str, float]:
    """How a model does with the calculator, at T = 0.6 and top-p 0.95; see `outcome`."""
    roll_out = calculator.roll_out_with_calculator
    settings = sampling(tokenizer, max_tokens, 0.6, 0.95)
    rollouts = []
    for i in range(0, len(problems), batch):
        place = Stream.of("calculator").after(i)
        some = (problems[i : i + batch], 1, settings, place, sampler)
        rollouts.append(roll_out(model, tokenizer, *some, prefix=prefix))
    return outcome(rollouts)


def outcome(pieces: list[Rollouts]) -> dict[str, float]:
    """Figures of all responses.

    accuracy, stderr  share right and its standard error
    calls, errors     calls a response, and the share of them that an error answers
    unclosed          share of responses with a call left open
    length            tokens per response, outputs included
    """
    texts = [text for rollouts in pieces for text in rollouts.texts]
    right = [reward.accuracy for rollouts in pieces for reward in rollouts.rewards]
    lengths = [length for rollouts in pieces for length in rollouts.lengths()]
    outputs = [output for text in texts for _, output in calculator.calls_in(text)]
    errors = [text for by_language in calculator.ERRORS.values() for text in by_language.values()]
    unclosed = [text.count(calculator.OPEN) > text.count(calculator.CLOSE) for text in texts]
    n, share = len(texts), sum(right) / len(texts)
    return {
        "n": n,
        "accuracy": share,
        "stderr": (share * (1 - share) / n) ** 0.5,
        "calls": len(outputs) / n,
        "errors": sum(output in errors for output in outputs) / max(1, len(outputs)),
        "unclosed": sum(unclosed) / n,
        "length": sum(lengths) / n,
    }


def report(
    model: Transformer, tokenizer: Tokenizer, languages: tuple[str, ...], count: int, *how
) -> dict[str, dict[str, float]]:
    """Every kind of question on the test split, and products by language.

    Products again after a malformed call that was forced. `how`: see `examine`.
    """
    figures = {}
    for kind in KINDS:
        asked = questions(kind, languages, "test", count)
        figures[kind] = examine(model, tokenizer, asked, *how)
    for lang in languages:
        asked = questions("5dx", (lang,), "test", count)
        broken = f"{THINK}{calculator.OPEN}1 +{calculator.CLOSE}{calculator.reply('1 +', lang)}\n"
        figures[f"5dx {lang}"] = examine(model, tokenizer, asked, *how)
        figures[f"5dx {lang} after an error"] = examine(model, tokenizer, asked, *how, broken)
    return figures


def build_parser() -> argparse.ArgumentParser:
    parser, add = make_parser("calculator", "Teach a checkpoint to call the calculator.")
    add("checkpoint", help="model to start from")
    add("--out", type=Path, required=True, help="folder for calculator.json and calculator.pt")
    add("--documents", type=count, default=16_000, help="documents read, each once")
    add("--languages", type=languages, default="en", help="en, zh or en,zh")
    add("--problems", type=count, default=1024, help="test questions of each kind")
    add("--max_tokens", type=length, default=160, help="longest response, outputs included")
    add("--seed", type=seed, default=0)
    add("--device", default="auto")
    return parser


def main(arguments: list[str]) -> None:
    given = parse(build_parser(), arguments)
    check_folder(given.out)
    device, start = pick_device(Config(device=given.device)), time.time()
    model, tokenizer = load_checkpoint(given.checkpoint, device.name)
    before = copy.deepcopy(model)
    learn(model, tokenizer, given.documents, given.seed, given.languages, device)
    results = {"command": " ".join(arguments), "device": str(device)}
    results |= {"seconds": time.time() - start, "documents": given.documents}
    config = apply(Config(), {"rl.max_tokens": given.max_tokens})
    how = (given.max_tokens, make_sampler(model, device, config, tokenizer))
    asked = questions("5dx", given.languages, "test", given.problems)
    figures = {"5dx before": examine(before, tokenizer, asked, *how)}
    figures |= report(model, tokenizer, given.languages, given.problems, *how)
    save_checkpoint(given.out / "calculator.pt", model, tokenizer)
    write_json(given.out / "calculator.json", results | figures)
    for name, row in figures.items():
        share = f"{100 * row['accuracy']:6.2f}% ± {100 * row['stderr']:.2f}"
        calls = f"{row['calls']:.2f} calls, {100 * row['errors']:.1f}% of them errors"
        print(f"{name:24} {share}, {calls}, {row['length']:.0f} tokens")
