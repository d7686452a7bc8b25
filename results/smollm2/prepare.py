"""Once for all seeds: what the fixed order teaches, what is rehearsed, what the base knew before.

    python results/smollm2/prepare.py BASE.pt WORK

Writes lines.jsonl (to distil), facts-before.jsonl and prepare.json into WORK.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import fixed_order
from policy import TASK, Policy, configured, held_out, write
from questions import facts, rehearsal

from minir1.checkpoint import load_checkpoint
from minir1.fast.parallel import parallel_map
from minir1.tasks import draw_problems
from minir1.transcript import END


def drawn(count: int, wanted: int) -> list:
    """Different training puzzles, then some again with their numbers in another order, which is
    another question and another search; `wanted` in all, or twice as many as are different."""
    sizes = [min(1000, count - i) for i in range(0, count, 1000)]
    keys = ((TASK, ("en",), "train", f"smol lines {i}", n) for i, n in enumerate(sizes))
    known = dict.fromkeys(p for part in parallel_map(draw_problems, keys) for p in part)
    rng, problems = Random("smol turned"), list(known)
    for problem in known:
        if len(problems) >= wanted:
            break
        numbers = tuple(rng.sample(problem.numbers, len(problem.numbers)))
        turned = replace(problem, numbers=numbers)
        if turned not in known:
            problems.append(turned)
    return problems


def written(codec, problems: list, slips: float, longest: int, seed: str) -> list[dict]:
    """A line of at most `longest` tokens for each puzzle that has one; a share `slips` of them goes
    on from a search that slipped, where there is room for it."""
    rng, lines = Random(seed), []
    for problem in problems:
        for slip in (True, False) if rng.random() < slips else (False,):
            line = fixed_order.line(problem, rng, slip)
            if line and len(codec.encode(line["response"])) <= longest:
                lines.append(line)
                break
    return lines


def taught(a, codec, wanted: int) -> tuple[list[dict], dict]:
    problems = drawn(a.puzzles, round(1.03 * wanted))
    parts = [
        (problems[i : i + 500], f"smol order {i // 500}") for i in range(0, len(problems), 500)
    ]
    jobs = ((codec, some, a.slips, a.longest, seed) for some, seed in parts)
    lines = [line for part in parallel_map(written, jobs) for line in part]
    figures = {"puzzles": len(problems), "written": len(lines)}
    figures["given"] = sum(line["given"] > 0 for line in lines)
    Random("smol order").shuffle(lines)
    return repeated(lines, wanted), figures


def repeated(lines: list[dict], wanted: int) -> list[dict]:
    return (lines * (1 + wanted // max(1, len(lines))))[:wanted]


def within(codec, problems: list, longest: int) -> dict:
    """How many of the puzzles the teacher itself solves in so many tokens."""
    solved = len(written(codec, problems, 0.0, longest, "smol bound"))
    return {"right": solved / len(problems), "of": len(problems), "tokens": longest}


def own_answers(a, base: Policy) -> tuple[list[dict], dict]:
    """The base's answers to general questions: a greedy one, and sampled ones."""
    asked, found = rehearsal(a.questions), {}
    for temperature in (0.0, 0.75, 0.8, 0.85, 0.9):
        answers = base.answers(base.model, asked, 120, temperature)
        found |= {(q, text): 0 for q, text in zip(asked, answers) if len(text) > len(END)}
    lines = [{"question": q, "response": text, "rehearsed": True} for q, text in found]
    Random("smol rehearsal").shuffle(lines)
    return lines, {"asked": len(asked), "different": len(lines)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("base", type=Path)
    add("work", type=Path)
    add("--puzzles", type=int, default=110_000, help="drawn; fewer are different")
    add("--lines", type=int, default=102_400, help="64 for each step of distillation")
    add("--longest", type=int, default=256, help="of the student's tokens")
    add("--slips", type=float, default=0.05, help="share that goes on from a slip")
    add("--rehearsal", type=float, default=0.15, help="share of lines")
    add("--questions", type=int, help="fewer, for a test")
    add("--problems", type=int, default=512)
    add("--batch", type=int, default=512, help="puzzles asked at once")
    a = parser.parse_args(arguments)
    a.work.mkdir(parents=True, exist_ok=True)
    _, codec = load_checkpoint(a.base)
    rehearsed = round(a.lines * a.rehearsal)
    lines, teacher = taught(a, codec, a.lines - rehearsed)  # before a GPU is in use: it forks
    bound = within(codec, held_out("test", a.problems), a.longest)
    print(f"{teacher}, held-out puzzles solved by the teacher: {bound}")

    flags = {"rl__max_tokens": 256, "rl__group_size": 16, "eval__batch": a.batch}
    base = Policy(a.base, configured(0, **flags))
    own, figures = own_answers(a, base)
    lines += repeated(own, rehearsed)
    Random("smol mixed").shuffle(lines)
    write(a.work / "lines.jsonl", lines)
    known, rows = base.facts(base.model, facts(a.questions))
    write(a.work / "facts-before.jsonl", rows)
    before, _ = base.evaluate(base.model, held_out("test", a.problems), 1)
    result = {"teacher": teacher, "teacher_on_test": bound, "rehearsal": figures}
    result |= {"facts_before": known, "before": before}
    (a.work / "prepare.json").write_text(json.dumps(result, indent=1))
    print("before:", before, "facts:", known)


if __name__ == "__main__":
    main()
