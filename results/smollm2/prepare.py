"""Once for all seeds: what R1-Zero teaches, what is rehearsed, what the base knew before.

    python results/smollm2/prepare.py BASE.pt WORK

Writes lines.jsonl (to distil), facts-before.jsonl and prepare.json into WORK.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from random import Random

from policy import TASK, Policy, configured, held_out, write
from questions import facts, rehearsal

from minir1.data import find_checkpoint
from minir1.fast.parallel import parallel_map
from minir1.r1.data.curation import emphasise, reason_to_drop
from minir1.rollout import sampling
from minir1.tasks import draw_problems
from minir1.transcript import END


def judge(problem, texts: list[str]) -> list[str]:
    return [reason_to_drop(problem, text) for text in texts]


def right_responses(a, codec) -> tuple[list[list[dict]], dict]:
    """Of each puzzle that the teacher solves without a fault its responses of at most a.longest of
    the student's tokens, the shortest first; and figures."""
    sizes = [min(1000, a.puzzles - i) for i in range(0, a.puzzles, 1000)]
    keys = ((TASK, ("en",), "train", f"smol lines {i}", n) for i, n in enumerate(sizes))
    drawn = (p for part in parallel_map(draw_problems, keys) for p in part)
    problems = list(dict.fromkeys(drawn))
    flags = {"rl__max_tokens": 256, "rl__group_size": max(2, a.samples), "eval__batch": a.batch}
    teacher = Policy(find_checkpoint(a.teacher) or a.teacher, configured(0, **flags))
    asked, how = [p.question() for p in problems], sampling(teacher.codec, 256)
    texts = teacher.texts(teacher.model, asked, a.samples, how, "smol teacher")
    judged, found = Counter(), []
    for question, some, whys in zip(asked, texts, parallel_map(judge, zip(problems, texts))):
        judged.update(why or "right" for why in whys)
        good = {text: len(codec.encode(text)) for text, why in zip(some, whys) if not why}
        short = sorted((n, text) for text, n in good.items() if n <= a.longest)
        found.append([{"question": question, "response": text} for _, text in short])
    return found, {"puzzles": len(problems), "judged": dict(judged)}


def chosen(found: list[list[dict]], wanted: int) -> list[dict]:
    """The shortest response to each puzzle, twice if it is a long search; then other right ones,
    then the same again."""
    first = [responses[0] for responses in found if responses]
    rest = [line for responses in found for line in responses[1:]]
    rng = Random("smol lines")
    rng.shuffle(first)
    rng.shuffle(rest)
    own = emphasise(first, 2)
    pool = own + rest[: max(0, wanted - len(own))]
    rng.shuffle(pool)
    return repeated(pool, wanted)


def repeated(lines: list[dict], wanted: int) -> list[dict]:
    return (lines * (1 + wanted // max(1, len(lines))))[:wanted]


def own_answers(a, base: Policy) -> list[dict]:
    """The base's answers to general questions, those that end by themselves."""
    asked = rehearsal(a.questions)
    answers = base.greedy(base.model, asked, 160)
    pairs = [(q, text) for q, text in zip(asked, answers) if text.endswith(END) and text != END]
    return [{"question": q, "response": text} for q, text in pairs]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("base", type=Path)
    add("work", type=Path)
    add("--teacher", default="zero-cpu.pt")
    add("--puzzles", type=int, default=100_000, help="drawn; fewer are different")
    add("--samples", type=int, default=4)
    add("--lines", type=int, default=76_800, help="64 for each step of distillation")
    add("--longest", type=int, default=200, help="of the student's tokens")
    add("--rehearsal", type=float, default=0.05, help="share of lines")
    add("--questions", type=int, help="fewer, for a test")
    add("--problems", type=int, default=512)
    add("--batch", type=int, default=4096, help="puzzles asked at once")
    a = parser.parse_args(arguments)
    a.work.mkdir(parents=True, exist_ok=True)
    flags = {"rl__max_tokens": 256, "rl__group_size": 16, "eval__batch": min(512, a.batch)}
    base = Policy(a.base, configured(0, **flags))
    found, teacher = right_responses(a, base.codec)
    solved = sum(1 for responses in found if responses)
    print(f"{solved:,} of {len(found):,} puzzles have a line")
    own = own_answers(a, base)
    rehearsed = round(a.lines * a.rehearsal) if own else 0
    lines = chosen(found, a.lines - rehearsed) + repeated(own, rehearsed)
    Random("smol mixed").shuffle(lines)
    write(a.work / "lines.jsonl", lines)
    known, rows = base.facts(base.model, facts(a.questions))
    write(a.work / "facts-before.jsonl", rows)
    before, _ = base.evaluate(base.model, held_out(a.problems), 1)
    result = {"teacher": teacher | {"solved": solved}, "rehearsal": {"ended": len(own)}}
    result |= {"facts_before": known, "before": before}
    (a.work / "prepare.json").write_text(json.dumps(result, indent=1))
    print("before:", before, "facts:", known)


if __name__ == "__main__":
    main()
