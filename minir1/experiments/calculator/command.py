"""Learning to call the calculator: documents, their fine-tuning, and the measurement on products that no head computes.

    python -m minir1.experiments.calculator.command minir1/data/base-r1-cpu.pt --languages en,zh --out runs/calculator

What must be learned is to say when to call, to put a question into symbols, and to copy digits exactly, both ways. Outputs
are masked out of the loss as they are in reinforcement learning. One document in ten holds a broken call with its error,
masked too, and then the right one: so a model learns to go on after an error without learning to make it.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, PretrainConfig
from minir1.console.errors import guard, parse
from minir1.console.files import write_text
from minir1.experiments.calculator.rollout import CLOSE, ERRORS, OPEN, calls_in, reply, roll_out_with_calculator
from minir1.fast.accelerate import accelerate
from minir1.fast.device import make_learner, pick_device
from minir1.fast.engine import Engine
from minir1.model import Transformer
from minir1.r1.data.curation import render_response, summary_of
from minir1.rollout import Rollouts, Sampler
from minir1.sampler import Sampling, pad, sample
from minir1.supervised import Learner, Step, train_supervised
from minir1.tasks import arithmetic
from minir1.tasks.arithmetic import Arithmetic
from minir1.tokenizer import Tokenizer
from minir1.transcript import THINK, prompt

KINDS = ("5dx", "4dx", "3dx", "chain", "6d+", "6d-", "1dc")
_PRACTICE = (*KINDS, "chain", "1dc")  # the harder ones to copy, twice
_BREAK = (  # ways to break an expression: the calculator knows neither powers, nor equality, nor an operator without a number
    lambda e: e.replace(" ", " * ", 1),
    lambda e: e + " =",
    lambda e: e + " +",
    lambda e: "(" + e,
)


class Document(NamedTuple):
    question: str
    response: str
    forced: list[tuple[int, int]]  # spans of the response, in characters, that are read and not learned


# ---------------------------------------------------------------- documents


def document(rng: Random, lang: str, kinds: tuple[str, ...] = _PRACTICE) -> Document:
    """A training question and its answer with one call or, for sums of several terms, perhaps one a step."""
    kind = rng.choice(kinds)
    problem, parts = arithmetic.sample_with_parts(rng, kind, "train", lang)
    expressions = _steps(parts) if kind == "chain" and rng.random() < 0.15 else [_text(parts, kind != "chain")]
    thought, quiet = "", []
    if rng.random() < 0.1:
        other = _text(arithmetic.sample_with_parts(rng, rng.choice(kinds), "train", lang)[1])
        broken = rng.choice(_BREAK)(rng.choice((expressions[0], other)))  # else the right call is copied from the broken one
        call = f"{OPEN}{broken}{CLOSE}{reply(broken, lang)}\n"
        thought, quiet = call, [(0, len(call))]
    for expression in expressions:
        thought += f"{OPEN}{expression}{CLOSE}"
        output = f"{reply(expression, lang)}\n"
        quiet.append((len(thought) - len("tool>"), len(thought) + len(output)))
        thought += output
    response = render_response(problem.answer, thought, summary_of(problem, problem.answer))
    shift = response.index(thought)
    return Document(problem.question(), response, [(a + shift, b + shift) for a, b in quiet])


def _text(parts, grouped: bool = True) -> str:
    """The expression as the question has it: one digit composites with parentheses, chains without.

    >>> _text([[9, "+", 8], "*", 2]), _text([[9, "+", 8], "-", 2], grouped=False)
    ('(9 + 8) * 2', '9 + 8 - 2')
    """
    if isinstance(parts, int):
        return str(parts)
    a, b = (f"({_text(p)})" if isinstance(p, list) and grouped else _text(p, grouped) for p in (parts[0], parts[2]))
    return f"{a} {parts[1]} {b}"


def _steps(chain) -> list[str]:
    """One expression a step while values stay at 0 or above (the calculator reads no signs); else the whole at once.

    >>> _steps([[[9, "+", 8], "-", 2], "+", 5]), _steps([[2, "-", 9], "+", 8])
    (['9 + 8', '17 - 2', '15 + 5'], ['2 - 9 + 8'])
    """
    parts, steps = chain, []
    while isinstance(parts, list):
        steps.append((arithmetic.value_of(parts[0]), *parts[1:]))
        parts = parts[0]
    if min(value for value, *_ in steps) < 0:
        return [_text(chain, grouped=False)]
    return [f"{value} {operator} {term}" for value, operator, term in reversed(steps)]


def encode(document: Document, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Token ids of the response, piece by piece as a roll-out holds them, and which of them are learned."""
    ids, learned, at = [], [], 0
    for start, end in [*document.forced, (len(document.response),) * 2]:
        for text, mark in ((document.response[at:start], True), (document.response[start:end], False)):
            more = tokenizer.encode(text)
            ids, learned = ids + more, learned + [mark] * len(more)
        at = end
    return ids, learned


def batches(documents: list[Document], tokenizer: Tokenizer, rows: int, seed: int, device) -> Iterator[tuple[Tensor, Tensor]]:
    """Like curation.batches, one epoch: (ids_BT, mask_BT) with forced spans left out. Lines of other kinds have no such span."""
    pairs = [(tokenizer.encode(prompt(d.question)), *encode(d, tokenizer)) for d in documents]
    Random(f"lessons {seed}").shuffle(pairs)
    for i in range(0, len(pairs) - rows + 1, rows):
        chosen = pairs[i : i + rows]
        ids_BT = pad([p + r for p, r, _ in chosen], tokenizer.pad)
        mask_BT = pad([[False] * (len(p) - 1) + learned for p, _, learned in chosen], False)
        yield ids_BT.to(device), mask_BT.to(device)


# ---------------------------------------------------------------- learning and measuring


def learn(
    model: Transformer, tokenizer: Tokenizer, learner: Learner, count: int, seed: int, languages: tuple[str, ...], device: str,
    others: Iterable[tuple[str, str]] = (), rows: int = 32, lr: float = 2e-3, on_step: Callable = lambda step: None
) -> None:
    """Fine-tune `model` on `count` documents and, mixed with them, `others`: (question, response) pairs to remember."""
    rng = Random(f"lessons {seed}")
    documents = [document(rng, rng.choice(languages)) for _ in range(count)]
    documents += [Document(question, response, []) for question, response in others]
    config, steps = PretrainConfig(lr=lr, warmup=0.05), len(documents) // rows
    train_supervised(model, learner, batches(documents, tokenizer, rows, seed, device), config, steps, on_step)
    model.eval()


def questions(kind: str, languages: tuple[str, ...], split: str, count: int) -> list[Arithmetic]:
    """Held-out questions of a kind, the same for every seed."""
    rng = Random(f"lessons {split} {kind}")
    return [arithmetic.sample(rng, kind, split, languages[i % len(languages)]) for i in range(count)]


def examine(
    model: Transformer, tokenizer: Tokenizer, problems: list[Arithmetic], max_tokens: int, sampler: Sampler = sample,
    batch: int = 256, prefix: str = "", seed: int = 0
) -> dict[str, float]:
    """How a model does with the calculator at hand, at T = 0.6 and top-p 0.95; see `outcome`."""
    generator = torch.Generator(model.embed.weight.device).manual_seed(seed)
    settings, parts = Sampling(max_tokens, tokenizer.end_ids, 0.6, 0.95), []
    for i in range(0, len(problems), batch):
        some = problems[i : i + batch]
        parts.append(roll_out_with_calculator(model, tokenizer, some, 1, settings, generator, sampler, prefix=prefix))
    return outcome(parts)


def outcome(parts: list[Rollouts]) -> dict[str, float]:
    """Share right, its standard error; calls a response; calls answered by an error; responses with a call left open; tokens."""
    texts, right = [t for part in parts for t in part.texts], [r.accuracy for part in parts for r in part.rewards]
    outputs, n = [output for text in texts for _, output in calls_in(text)], len(texts)
    errors = {text for by_language in ERRORS.values() for text in by_language.values()}
    share = sum(right) / n
    return {
        "n": n,
        "accuracy": share,
        "stderr": (share * (1 - share) / n) ** 0.5,
        "calls": len(outputs) / n,
        "errors": sum(output in errors for output in outputs) / max(1, len(outputs)),
        "unclosed": sum(text.count(OPEN) > text.count(CLOSE) for text in texts) / n,
        "length": sum(length for part in parts for length in part.lengths()) / n,
    }


def report(
    model: Transformer, tokenizer: Tokenizer, languages: tuple[str, ...], count: int, max_tokens: int, sampler: Sampler
) -> dict[str, dict[str, float]]:
    """Every kind of question on the test split; products by language; and what follows a malformed call that was forced."""
    found = {kind: examine(model, tokenizer, questions(kind, languages, "test", count), max_tokens, sampler) for kind in KINDS}
    for lang in languages:
        asked = questions("5dx", (lang,), "test", count)
        found[f"5dx {lang}"] = examine(model, tokenizer, asked, max_tokens, sampler)
        broken = f"{THINK}{OPEN}1 +{CLOSE}{reply('1 +', lang)}\n"
        found[f"5dx {lang} after an error"] = examine(model, tokenizer, asked, max_tokens, sampler, prefix=broken)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("minir1 calculator", description="Teach a checkpoint to call the calculator.")
    parser.add_argument("checkpoint", help="model to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for calculator.json and calculator.pt")
    parser.add_argument("--documents", type=int, default=16_000, help="documents read, each once")
    parser.add_argument("--languages", default="en", help="en, zh or en,zh")
    parser.add_argument("--problems", type=int, default=1024, help="test questions of each kind")
    parser.add_argument("--max_tokens", type=int, default=160, help="longest response, outputs included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = parse(parser, arguments)
    device, languages = pick_device(Config(device=given.device)), tuple(given.languages.split(","))
    model, tokenizer = load_checkpoint(given.checkpoint, device.name)
    before = copy.deepcopy(model)
    learner, start = make_learner(model, 0.0, 1.0, device, "muon"), time.time()

    def on_step(step: Step) -> None:
        if step.step % 50 == 49:
            print(f"step {step.step + 1}: loss {float(step.loss):.4f}, {time.time() - start:.0f} s", flush=True)

    with accelerate(model, device):
        learn(model, tokenizer, learner, given.documents, given.seed, languages, device.name, on_step=on_step)
    seconds = time.time() - start
    sampler = Engine(model, device.dtype, 256, given.max_tokens).sample
    asked = questions("5dx", languages, "test", given.problems)
    found = {"command": " ".join(arguments), "device": str(device), "seconds": seconds, "documents": given.documents}
    found["5dx before"] = examine(before, tokenizer, asked, given.max_tokens, sampler)
    found |= report(model, tokenizer, languages, given.problems, given.max_tokens, sampler)
    save_checkpoint(given.out / "calculator.pt", model, tokenizer)
    write_text(given.out / "calculator.json", json.dumps(found, indent=1))
    for name, row in found.items():
        if isinstance(row, dict):
            said = f"{100 * row['accuracy']:6.2f}% ± {100 * row['stderr']:.2f}, {row['calls']:.2f} calls"
            print(f"{name:24} {said}, {100 * row['errors']:.1f}% of them errors, {row['length']:.0f} tokens")


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "minir1.experiments.calculator.command"))
