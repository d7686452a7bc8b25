"""Score a checkpoint on any problem file, or the answers that any other model gave.

    python -m minir1 evaluate CHECKPOINT --problems FILE.jsonl --samples 16 --out results.jsonl
    python -m minir1 evaluate RUN --k 256
    python -m minir1 evaluate --problems FILE.jsonl --answers ANSWERS.jsonl --out results.jsonl

A problem is a line such as {"id": "a", "task": "countdown", "numbers": [19, 36, 55, 7], "target":
65}; "task" may be the path of a task's file. An answer is a line such as {"id": "a", "answer":
"55 + 36 - 19 - 7"}. Results are lines in the problems' order, each with its "reason". A
malformed line is named on stderr and the others are scored all the same; the exit status then is 2.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from minir1.checkpoint import load_checkpoint
from minir1.config import COUNT, TEMPERATURE, Config, UserError, between, from_dict
from minir1.console import errors, files
from minir1.console.flags import Value, count, length, real, seed
from minir1.console.tables import aligned
from minir1.fast.accelerate import beyond, sampler_of
from minir1.fast.device import pick_device
from minir1.measure import statistics
from minir1.measure.evaluator import Evaluator, many_problems
from minir1.measure.statistics import mean, pass_at_k, powers
from minir1.model import Transformer
from minir1.rollout import Rollouts, Sampler, sampling
from minir1.sampler import Sampling, sample
from minir1.tasks import Problem, problem_from_json
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

# ---------------------------------------------------------------- results


def evaluate_model(
    model: Transformer, tokenizer: Tokenizer, problems: list[Problem], samples: int,
    settings: Sampling, *, sampler: Sampler = sample, seed: int = 0, batch: int = 256,
    prefix: str = "", progress: bool = False,
) -> list[dict]:
    """One result per problem, in order: id, task, answer (majority by value of the well-formed),
    correct, reason, pass_at_1, samples.

    Each of `samples` holds answer, correct, reason, tokens, stopped and text. About `batch`
    responses are sampled at once. A prompt too long for the model is not asked: its result has no
    samples, and a "fault".
    """
    room = model.config.positions - settings.max_tokens
    lengths = [len(tokenizer.encode(prompt(p.question()) + prefix)) for p in problems]
    asked = [p for p, size in zip(problems, lengths) if size <= room]
    evaluator = Evaluator(tokenizer, sampler, settings, batch)
    sampled = sampled_results(evaluator.batches(model, asked, samples, seed, prefix=prefix))
    hidden = None if progress else True  # None: only where there is no terminal
    bar = tqdm(problems, "evaluate", unit="problem", dynamic_ncols=True, disable=hidden)
    results = []
    for problem, size in zip(bar, lengths):
        if size <= room:
            results.append(next(sampled))
        else:
            fault = f"a prompt of {size} tokens, more than the {room} that fit"
            refused = {"pass_at_1": 0.0, "samples": [], "fault": fault}
            results.append(score_answer(problem, None) | refused)
    return results


def sampled_results(batches: Iterable[Rollouts]) -> Iterator[dict]:
    """A result for each problem of the rollouts."""
    for rollouts in batches:
        for place, problem in enumerate(rollouts.problems):
            rows = range(place * rollouts.group, (place + 1) * rollouts.group)
            samples = [_sample(rollouts, row) for row in rows]
            answer = statistics.consensus_answer(problem, [s["answer"] for s in samples])
            right = sum(s["correct"] for s in samples)
            more = {"pass_at_1": right / len(samples), "samples": samples}
            if answer is None:
                more["reason"] = statistics.majority([s["reason"] for s in samples])
            yield score_answer(problem, answer) | more


def _sample(rollouts: Rollouts, row: int) -> dict:
    text = rollouts.texts[row]
    _, answer, well_formed = parse(text)
    why = "unreadable" if rollouts.stopped[row] else "cut off"
    return {
        "answer": answer if well_formed else None,
        "correct": bool(rollouts.rewards[row].accuracy),
        "reason": reason(rollouts.problem(row), answer) if well_formed else why,
        "tokens": len(rollouts.response_ids[row]),
        "stopped": rollouts.stopped[row],
        "text": text,
    }


def score_answer(problem: Problem, answer: str | None) -> dict:
    """A result without samples: what an answer is worth. No answer is a wrong answer."""
    why = reason(problem, answer)
    known = {"id": problem.id, "task": problem.task, "answer": answer}
    return known | {"correct": why == "right", "reason": why}


def reason(problem: Problem, answer: str | None) -> str:
    """right, wrong, unreadable (not of the form that was asked for) or unanswered.

    White space around an answer does not count. Of a task without `readable` every answer that is
    not right is wrong.

    >>> [reason(Countdown((3, 5), 8), text) for text in ("5 + 3\\n", "5 - 3", "5 and 3", None)]
    ['right', 'wrong', 'unreadable', 'unanswered']
    """
    if answer is None:
        return "unanswered"
    answer = answer.strip()
    if problem.verify(answer):
        return "right"
    readable = getattr(problem, "readable", lambda text: True)
    return "wrong" if readable(answer) else "unreadable"


# ---------------------------------------------------------------- problems and answers of a file


def read_problems(path: Path) -> tuple[list[Problem], list[str], list[str]]:
    """(problems, messages on malformed lines, on ids used twice). No id: the line's number."""
    rows, faults = files.read_objects(path, lambda row, n: problem_from_json({"id": str(n)} | row))
    first: dict[str, int] = {}
    notes = []
    for number, problem in rows:
        earlier = first.setdefault(problem.id, number)
        if earlier != number:
            same = f"the id {problem.id!r} is that of line {earlier}, too"
            notes.append(f"{path}: line {number}: {same}")
    return [problem for _, problem in rows], faults, notes


def _answer(row: dict, number: int) -> tuple[str, str | None]:
    for name in ("id", "answer"):
        if name not in row:
            raise ValueError(f'"{name}" is missing')
    answer = row["answer"]
    if isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str | None):
        raise ValueError('"answer" must be a text')
    return str(row["id"]), answer


def read_answers(
    path: Path, problems: list[Problem]
) -> tuple[dict[str, str | None], list[str], list[str]]:
    """(answers by id, messages on malformed lines, on ids unknown, answered twice or never)."""
    rows, faults = files.read_objects(path, _answer)
    ids = dict.fromkeys(problem.id for problem in problems)
    answers: dict[str, str | None] = {}
    notes = []
    for number, (id, answer) in rows:
        if id not in ids:
            notes.append(f"{path}: line {number}: there is no problem {id!r}")
        elif id in answers:
            notes.append(f"{path}: line {number}: a second answer to {id!r}; the first one counts")
        else:
            answers[id] = answer
    missing = [repr(id) for id in ids if answers.get(id) is None]
    if missing:
        more = f" and {len(missing) - 10} others" if len(missing) > 10 else ""
        notes.append(f"{path}: no answer to {', '.join(missing[:10])}{more}: counted as wrong")
    return answers, faults, notes


# ---------------------------------------------------------------- the table


def groups(problems: list[Problem]) -> list[tuple[str, list[int]]]:
    """(label, indices): all problems, each task, each count of numbers of Countdown."""
    labelled = [("all", list(range(len(problems))))]
    for task in sorted({p.task for p in problems}, reverse=True):
        rows = [i for i, p in enumerate(problems) if p.task == task]
        labelled.append((task, rows))
        if task == Countdown.task:
            for count in sorted({len(problems[i].numbers) for i in rows}):
                some = [i for i in rows if len(problems[i].numbers) == count]
                labelled.append((f"  {count} numbers", some))
    return labelled


def table(problems: list[Problem], results: list[dict], samples: int = 0) -> str:
    """Results by task and by count of numbers. `samples` is 0 for answers from elsewhere."""
    columns = ["", "problems", "pass@1  (95% interval)"]
    if samples > 1:
        columns += [f"cons@{samples}", *(f"pass@{k}" for k in powers(samples)[1:])]
    columns += ["unreadable", "tokens", "cut off"] if samples else ["unreadable", "unanswered"]
    lines = [columns]
    for label, rows in groups(problems):
        lines.append([label, *_cells([results[i] for i in rows], samples)])
    return aligned(lines)


def _cells(results: list[dict], samples: int) -> list[str]:
    shares = [r.get("pass_at_1", float(r["correct"])) for r in results]
    low, high = statistics.interval(shares)
    cells = [f"{len(results):,}", f"{mean(shares):.1%}  ({low:.1%} to {high:.1%})"]
    if not samples:
        return [*cells, share_of(results, "unreadable"), share_of(results, "unanswered")]
    if samples > 1:
        right = [sum(s["correct"] for s in r["samples"]) for r in results]
        cells.append(f"{mean(r['correct'] for r in results):.1%}")
        for k in powers(samples)[1:]:
            cells.append(f"{mean(pass_at_k(samples, c, k) for c in right):.1%}")
    drawn = [s for r in results for s in r["samples"]]
    tokens = f"{mean(s['tokens'] for s in drawn):.1f}"
    return [*cells, share_of(drawn, "unreadable"), tokens, share_of(drawn, "cut off")]


def share_of(answers: list[dict], why: str) -> str:
    """Of the answers (or samples) with this reason, for the table."""
    return f"{mean(a['reason'] == why for a in answers):.1%}"


def pass_table(sides: dict[str, list[dict]], ks: list[int]) -> str:
    """pass@k of each side's results at every k, unbiased, ± one standard error over problems."""
    columns = [["k", *map(str, ks)]]
    for name, results in sides.items():
        drawn = [r["samples"] for r in results if r["samples"]]  # none: it was not asked
        right = [sum(s["correct"] for s in samples) for samples in drawn]
        cells = [f"{name} pass@k"]
        for k in ks:
            shares = [pass_at_k(len(drawn[0]), c, k) for c in right]
            middle, error = statistics.mean_and_error(shares)
            cells.append(f"{middle:.1%} ± {100 * error:.1f}")
        columns.append(cells)
    return aligned(list(zip(*columns)))


# ---------------------------------------------------------------- the command


def several(text: str) -> list[int]:
    """
    >>> several("8"), several("1,5")
    ([1, 2, 4, 8], [1, 5])
    """
    numbers = sorted({int(part) for part in text.split(",")})
    if numbers[0] < 1 or numbers[-1] > COUNT.high:
        raise ValueError(text)
    return numbers if "," in text else powers(numbers[0])


def build_parser() -> argparse.ArgumentParser:
    about = "Score a checkpoint, or answers from elsewhere, on a problem file."
    parser, add = errors.make_parser("evaluate", about, allow_abbrev=False)
    checkpoint = "a file such as runs/cpu-0/checkpoints/zero.pt, or a run folder with --k"
    answers = 'score these instead: {"id": ..., "answer": "..."} a line'
    longest = "longest response (default: 1024, or what the model has room for)"
    file = {"metavar": "FILE.jsonl", "type": Path}
    add("checkpoint", metavar="CHECKPOINT", nargs="?", type=Path, help=checkpoint)
    add("--problems", **file, help="problems, one JSON object a line (of a run: its test set)")
    add("--answers", **file, help=answers)
    add("--out", **file, help="where to write the results, one line a problem")
    add("--samples", type=count, default=1, help="responses to each problem (default: 1)")
    side_by_side = "of a run: pass@k of base and R1-Zero at each k, such as 1,8,64; 256: all powers"
    add("--k", type=several, help=side_by_side)
    add("--count", type=count, default=512, help="test problems of a run for --k (default: 512)")
    greedy = "0 is greedy (default: 0.6)"
    add("--temperature", type=Value(real, between(0, TEMPERATURE.high)), default=0.6, help=greedy)
    add("--top-p", type=Value(real, between(1e-6, 1)), default=0.95, help="nucleus (default: 0.95)")
    add("--max-tokens", type=length, help=longest)
    add("--seed", type=seed, default=0)
    add("--batch", type=count, help="responses sampled at once (default: 256; 2048 on a GPU)")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def ask(arguments: argparse.Namespace, problems: list[Problem]) -> list[dict]:
    """Load the checkpoint and evaluate it as the command line says."""
    device = pick_device(Config(device=arguments.device))
    model, tokenizer = load_checkpoint(arguments.checkpoint, device.name)
    longest = max(len(tokenizer.encode(prompt(p.question()))) for p in problems)
    positions = model.config.positions
    tokens = arguments.max_tokens
    if tokens is None:
        tokens = max(1, min(1024, positions - min(longest, 128)))
    if tokens >= positions:
        text = f"--max-tokens {tokens} leaves no room for a prompt: the model has {positions}"
        raise UserError(f"{text} positions")
    samples = arguments.samples
    batch = max(samples, arguments.batch or (2048 if device.name == "cuda" else 256))
    room = tokens + max(0, min(longest, positions - tokens) - beyond(tokenizer) - 128)
    sampler = sampler_of(model, device, tokenizer, batch, room)
    settings = sampling(tokenizer, tokens, arguments.temperature, arguments.top_p)
    how = {"sampler": sampler, "seed": arguments.seed, "batch": batch, "progress": True}
    return evaluate_model(model, tokenizer, problems, samples, settings, **how)


def problems_of(arguments: argparse.Namespace) -> tuple[list[Problem], list[str], list[str]]:
    """As read_problems gives them; of a run without --problems those of its test set."""
    path = (arguments.checkpoint or Path()) / "config.json"
    if arguments.k and not path.is_file():
        raise UserError(f"{arguments.checkpoint} holds no run")
    if arguments.problems:
        return read_problems(arguments.problems)
    with files.checked_read(path):
        config = from_dict(Config, files.read_settings(path))
    how = (config.rl.tasks[:1], config.corpus.languages)
    return many_problems(*how, "test", "test", arguments.count), [], []


def evaluate_run(arguments: argparse.Namespace, problems: list[Problem]) -> None:
    """`RUN --k N`: pass@k of the base and of R1-Zero side by side, on the same problems."""
    sides = {}
    for name, file in (("base", "base.pt"), ("R1-Zero", "zero.pt")):
        path = arguments.checkpoint / "checkpoints" / file
        changes = {"checkpoint": path, "samples": arguments.k[-1]}
        sides[name] = ask(argparse.Namespace(**vars(arguments) | changes), problems)
    if arguments.out:
        rows = [{"model": name} | row for name, results in sides.items() for row in results]
        files.write_lines(arguments.out, rows)
    print(pass_table(sides, arguments.k))


def check(arguments: argparse.Namespace) -> None:
    """Raises UserError for arguments that do not go together."""
    if 0 < arguments.temperature < TEMPERATURE.low:
        raise UserError(f"--temperature is 0 (greedy) or {TEMPERATURE}: below, logits overflow")
    folder = arguments.checkpoint is not None and (arguments.checkpoint / "checkpoints").is_dir()
    if folder != bool(arguments.k):
        raise UserError("a run folder and --k go together, such as RUN --k 256")
    if not folder and not arguments.problems:
        raise UserError("--problems FILE.jsonl is missing")
    if bool(arguments.checkpoint) == bool(arguments.answers):
        raise UserError("give either a CHECKPOINT or --answers")
    if arguments.out:
        files.check_writable(arguments.out)


def main(arguments: list[str]) -> int:
    """See the top of this file. Returns 2 if a line was malformed, else 0."""
    arguments = errors.parse(build_parser(), arguments)
    check(arguments)
    problems, faults, notes = problems_of(arguments)
    answers: dict[str, str | None] = {}
    if arguments.answers:
        answers, more_faults, more_notes = read_answers(arguments.answers, problems)
        faults += more_faults
        notes += more_notes
    for message in faults + notes:
        print(f"minir1: {message}", file=sys.stderr)
    if not problems:
        raise UserError(f"{arguments.problems} holds no problem")
    status = 2 if faults else 0
    if arguments.k:
        evaluate_run(arguments, problems)
        return status
    if arguments.answers:
        results = [score_answer(p, answers.get(p.id)) for p in problems]
    else:
        results = ask(arguments, problems)
    for result in results:
        if "fault" in result:
            print(f"minir1: {result['id']!r} was not asked: {result['fault']}", file=sys.stderr)
    if arguments.out:
        files.write_lines(arguments.out, results)
    print(table(problems, results, 0 if arguments.answers else arguments.samples))
    return status
