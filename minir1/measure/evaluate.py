"""Score a checkpoint on any problem file, or the answers that any other model gave.

    python -m minir1 evaluate CHECKPOINT --problems FILE.jsonl --samples 16 --out results.jsonl
    python -m minir1 evaluate --problems FILE.jsonl --answers ANSWERS.jsonl --out results.jsonl

A problem is a line such as {"id": "a", "task": "countdown", "numbers": [19, 36, 55, 7], "target":
65}, an answer {"id": "a", "answer": "55 + 36 - 19 - 7"}. Results are lines in the problems' order.
A malformed line is named on stderr and the others are scored all the same; the exit status then is
2.

>>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
(0.5, 1.0)
"""

import argparse
import sys
from collections import Counter
from math import comb
from pathlib import Path

import torch
from tqdm import tqdm

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, EvalConfig, RLConfig, UserError
from minir1.console import errors as cli
from minir1.console.files import check_writable, read_objects, write_lines
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import pick_device
from minir1.model import Transformer
from minir1.rollout import Sampler, roll_out
from minir1.sampler import Sampling, sample
from minir1.tasks import Problem, problem_from_json
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

# ---------------------------------------------------------------- statistics


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k of the n samples is right when c are: 1 - C(n-c, k) / C(n, k),
    unbiased.
    """
    return 1 - comb(n - c, k) / comb(n, k)


def powers(k: int) -> list[int]:
    """
    >>> powers(12)
    [1, 2, 4, 8, 12]
    """
    return [*(2**i for i in range(k.bit_length()) if 2**i < k), k]


def interval(shares: list[float]) -> tuple[float, float]:
    """95% interval of the mean of per-problem shares: Wilson's, which holds its ground near 0 and
    1.

    Several samples a problem scatter less than single ones do: they count as correspondingly more
    problems.

    >>> [round(x, 3) for x in interval([1.0] * 10)]
    [0.722, 1.0]
    """
    n = len(shares)
    p = sum(shares) / n
    variance = sum((s - p) ** 2 for s in shares) / n
    n = n * p * (1 - p) / variance if variance > 1e-12 else n
    z = 1.96**2 / n
    middle, reach = (p + z / 2) / (1 + z), (z * p * (1 - p) + z * z / 4) ** 0.5 / (1 + z)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def majority(answers: list[str | None]) -> str | None:
    """The answer written most often, spaces aside; of several such the one written first.

    >>> majority(["1 + 2", None, "2 + 1", "2+1"])
    '2 + 1'
    """
    written = [a for a in answers if a is not None]
    votes = Counter(a.replace(" ", "") for a in written)
    most = max(votes.values(), default=0)
    return next((a for a in written if votes[a.replace(" ", "")] == most), None)


# ---------------------------------------------------------------- a model's answers


def evaluate_model(
    model: Transformer, tokenizer: Tokenizer, problems: list[Problem], samples: int,
    settings: Sampling, *, sampler: Sampler = sample, seed: int = 0, batch: int = 256,
    prefix: str = "", progress: bool = False,
) -> list[dict]:
    """One result per problem, in order: id, task, answer (the majority of the well-formed ones),
    correct, pass_at_1, samples.

    Each of `samples` holds answer, correct, tokens, stopped and text. About `batch` responses are
    sampled at once. A prompt too long for the model is not asked: its result has no samples, and a
    "fault".
    """
    device = model.embed.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    room = model.config.positions - settings.max_tokens
    length = [len(tokenizer.encode(prompt(p.question()) + prefix)) for p in problems]
    results = [
        _refused(p, f"a prompt of {n} tokens, more than the {room} that fit")
        for p, n in zip(problems, length)
    ]
    asked = [i for i, n in enumerate(length) if n <= room]
    step = max(1, batch // samples)
    bar = tqdm(
        total=len(asked), desc="evaluate", unit="problem", dynamic_ncols=True,
        disable=None if progress else True,
    )
    with bar:
        for first in range(0, len(asked), step):
            rows = asked[first : first + step]
            rollouts = roll_out(
                model, tokenizer, [problems[i] for i in rows], samples, settings, generator,
                sampler, prefix,
            )
            for place, i in enumerate(rows):
                part = range(place * samples, (place + 1) * samples)
                results[i] = _result(problems[i], [_sample(rollouts, row) for row in part])
            bar.update(len(rows))
    return results


def _sample(rollouts, row: int) -> dict:
    text = rollouts.texts[row]
    _, answer, well_formed = parse(text)
    return {
        "answer": answer if well_formed else None, "correct": bool(rollouts.rewards[row].accuracy),
        "tokens": len(rollouts.response_ids[row]), "stopped": rollouts.stopped[row], "text": text,
    }


def _result(problem: Problem, samples: list[dict]) -> dict:
    answer = majority([s["answer"] for s in samples])
    right = sum(s["correct"] for s in samples)
    return score_answer(problem, answer) | {"pass_at_1": right / len(samples), "samples": samples}


def _refused(problem: Problem, fault: str) -> dict:
    return score_answer(problem, None) | {"pass_at_1": 0.0, "samples": [], "fault": fault}


def score_answer(problem: Problem, answer: str | None) -> dict:
    """A result without samples: what a given answer is worth. No answer is a wrong answer."""
    return {
        "id": problem.id, "task": problem.task, "answer": answer,
        "correct": answer is not None and problem.verify(answer),
    }


# ---------------------------------------------------------------- reading and writing


def read_problems(path: Path) -> tuple[list[Problem], list[str], list[str]]:
    """(problems, messages on malformed lines, messages on ids used twice).

    A problem without an id has its line's number.
    """
    found, faults = read_objects(
        path, lambda value, number: problem_from_json({"id": str(number)} | value)
    )
    first: dict[str, int] = {}
    notes = []
    for number, problem in found:
        if first.setdefault(problem.id, number) != number:
            notes.append(
                f"{path}: line {number}: the id {problem.id!r} is that of line {first[problem.id]}, too"
            )
    return [problem for _, problem in found], faults, notes


def _answer(value: dict, number: int) -> tuple[str, str | None]:
    if "id" not in value or "answer" not in value:
        raise ValueError(f'"{"answer" if "id" in value else "id"}" is missing')
    answer = value["answer"]
    if isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str | None):
        raise ValueError('"answer" must be a text')
    return str(value["id"]), answer


def read_answers(
    path: Path, problems: list[Problem]
) -> tuple[dict[str, str | None], list[str], list[str]]:
    """(answers by id, messages on malformed lines, messages on ids unknown, answered twice or not
    at all).
    """
    found, faults = read_objects(path, _answer)
    known, answers, notes = {p.id for p in problems}, {}, []
    for number, (id, answer) in found:
        if id not in known:
            notes.append(f"{path}: line {number}: there is no problem {id!r}")
        elif id in answers:
            notes.append(f"{path}: line {number}: a second answer to {id!r}; the first one counts")
        else:
            answers[id] = answer
    missing = [repr(id) for id in dict.fromkeys(p.id for p in problems) if answers.get(id) is None]
    if missing:
        more = f" and {len(missing) - 10} others" if len(missing) > 10 else ""
        notes.append(f"{path}: no answer to {', '.join(missing[:10])}{more}: counted as wrong")
    return answers, faults, notes


# ---------------------------------------------------------------- the table


def groups(problems: list[Problem]) -> list[tuple[str, list[int]]]:
    """(label, indices): all problems, each task, each count of numbers; a group equal to the one
    before is left out.
    """
    found = [("all", list(range(len(problems))))]
    for task in sorted({p.task for p in problems}, reverse=True):
        rows = [i for i, p in enumerate(problems) if p.task == task]
        found.append((task, rows))
        if task == Countdown.task:
            for count in sorted({len(problems[i].numbers) for i in rows}):
                found.append(
                    (f"  {count} numbers", [i for i in rows if len(problems[i].numbers) == count])
                )
    return found


def table(problems: list[Problem], results: list[dict], samples: int = 0) -> str:
    """Results by task and by count of numbers. `samples` is 0 for answers from elsewhere."""
    columns = ["problems", "pass@1  (95% interval)"]
    if samples > 1:
        columns += [f"cons@{samples}", *(f"pass@{k}" for k in powers(samples)[1:])]
    columns += ["tokens", "cut off"] if samples else ["unanswered"]
    lines = [["", *columns]]
    for label, rows in groups(problems):
        lines.append([label, *_cells([results[i] for i in rows], samples)])
    width = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(width[0]), *(c.rjust(w) for c, w in zip(line[1:], width[1:]))])
        for line in lines
    )


def _cells(results: list[dict], samples: int) -> list[str]:
    shares = [r.get("pass_at_1", float(r["correct"])) for r in results]
    low, high = interval(shares)
    mean = lambda values: sum(values) / max(1, len(values))  # noqa: E731
    cells = [f"{len(results):,}", f"{mean(shares):.1%}  ({low:.1%} to {high:.1%})"]
    if not samples:
        return [*cells, f"{mean([r['answer'] is None for r in results]):.1%}"]
    if samples > 1:
        right = [sum(s["correct"] for s in r["samples"]) for r in results]
        cells.append(f"{mean([r['correct'] for r in results]):.1%}")
        cells += [
            f"{mean([pass_at_k(samples, c, k) for c in right]):.1%}" for k in powers(samples)[1:]
        ]
    drawn = [s for r in results for s in r["samples"]]
    return [
        *cells,
        f"{mean([s['tokens'] for s in drawn]):.1f}",
        f"{mean([not s['stopped'] for s in drawn]):.1%}",
    ]


# ---------------------------------------------------------------- the command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "minir1 evaluate",
        description="Score a checkpoint, or answers from elsewhere, on a problem file.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "checkpoint", metavar="CHECKPOINT", nargs="?", type=Path,
        help="a file such as runs/cpu-0/checkpoints/zero.pt",
    )
    add(
        "--problems", metavar="FILE.jsonl", type=Path, required=True,
        help="problems, one JSON object a line",
    )
    add(
        "--answers", metavar="FILE.jsonl", type=Path,
        help='score these instead: {"id": ..., "answer": "..."} a line',
    )
    add(
        "--out", metavar="FILE.jsonl", type=Path,
        help="where to write the results, one line a problem",
    )
    add("--samples", type=int, default=1, help="responses to each problem (default: 1)")
    add("--temperature", type=float, default=0.6, help="0 is greedy (default: 0.6)")
    add("--top-p", type=float, default=0.95, help="nucleus (default: 0.95)")
    add(
        "--max-tokens", type=int,
        help="longest response (default: 1024, or what the model has room for)",
    )
    add("--seed", type=int, default=0)
    add("--batch", type=int, help="responses sampled at once (default: 256; 2048 on a GPU)")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def check(given: argparse.Namespace) -> None:
    rules = [
        (bool(given.checkpoint) != bool(given.answers), "give either a CHECKPOINT or --answers"),
        (given.samples >= 1, "--samples must be at least 1"),
        (0 <= given.temperature < float("inf"), "--temperature cannot be negative"),
        (0 < given.top_p <= 1, "--top-p lies between 0 and 1"),
        (given.max_tokens is None or given.max_tokens >= 1, "--max-tokens must be at least 1"),
        (given.batch is None or given.batch >= 1, "--batch must be at least 1"),
    ]
    for holds, message in rules:
        if not holds:
            raise UserError(message)


def ask(given: argparse.Namespace, problems: list[Problem]) -> list[dict]:
    """Load the checkpoint and evaluate it as the command line says."""
    device = pick_device(Config(device=given.device))
    model, tokenizer = load_checkpoint(given.checkpoint, device.name)
    longest = max(len(tokenizer.encode(prompt(p.question()))) for p in problems)
    positions, tokens = model.config.positions, given.max_tokens
    if tokens is None:
        tokens = max(1, min(1024, positions - min(longest, 128)))
    if tokens >= positions:
        raise UserError(
            f"--max-tokens {tokens} leaves no room for a prompt: the model has {positions} positions"
        )
    batch = max(given.samples, given.batch or (2048 if device.name == "cuda" else 256))
    # the engine makes room for prompts of 128
    room = tokens + max(0, min(longest, positions - tokens) - 128)
    config = Config(
        rl=RLConfig(max_tokens=room, prompts=1, group_size=batch), eval=EvalConfig(batch=batch)
    )
    settings = Sampling(tokens, tokenizer.end_ids, given.temperature, given.top_p)
    sampler = make_sampler(model, device, config)
    return evaluate_model(
        model, tokenizer, problems, given.samples, settings, sampler=sampler, seed=given.seed,
        batch=batch, progress=True,
    )


def main(arguments: list[str]) -> int:
    """`CHECKPOINT --problems FILE` or `--problems FILE --answers FILE`.

    Returns 2 if a line was malformed, else 0.
    """
    given = cli.parse(build_parser(), arguments)
    check(given)
    if given.out:
        check_writable(given.out)
    problems, faults, notes = read_problems(given.problems)
    answers: dict[str, str | None] = {}
    if given.answers:
        answers, more_faults, more_notes = read_answers(given.answers, problems)
        faults, notes = faults + more_faults, notes + more_notes
    for message in faults + notes:
        print(f"minir1: {message}", file=sys.stderr)
    if not problems:
        raise UserError(f"{given.problems} holds no problem")
    results = (
        [score_answer(p, answers.get(p.id)) for p in problems]
        if given.answers
        else ask(given, problems)
    )
    for result in results:
        if "fault" in result:
            print(f"minir1: {result['id']!r} was not asked: {result['fault']}", file=sys.stderr)
    if given.out:
        write_lines(given.out, results)
    print(table(problems, results, 0 if given.answers else given.samples))
    return 2 if faults else 0
