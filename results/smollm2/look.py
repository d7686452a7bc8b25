"""What the stored responses list and pass over: python results/smollm2/look.py WORK OUT.json
With --alone: the shapes of the answers of RL without distillation.

WORK/seed-*/transcripts-*.jsonl are seed.py's: the first response to 64 puzzles a seed and stage.
`due` and `listed` go by the operator of the last step: a try owes every value up to 99 that its
two numbers give, each under the first operator that gives it. "Behind large" is what follows a
first step above 99. `passed` counts tries that end in "no" although they could reach the target,
`solved` puzzles by the teacher's last operator.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fixed_order import LARGEST, last_steps, tries

from minir1.measure.behaviours import observe
from minir1.r1.data.fine_tuning import read_lines
from minir1.tasks.countdown import Countdown, steps_of
from minir1.transcript import parse

TRY = re.compile(r"^(\d+) [-+*/] (\d+) = (\d+)(?:, with \d+: ([\d, ]+?))?, (no|yes)$")
STAGES = ("distilled", "middle", "validation-distilled", "validation-middle", "validation-end")


def read(problem: Countdown, text: str) -> Iterator[tuple[int, int, list[int], str]]:
    """(value, third number, values listed, verdict) of each try that uses the puzzle's numbers."""
    thought = text.removeprefix("<think>").partition("</think>")[0]
    for written in thought.split("\n"):
        if match := TRY.match(written):
            a, b, value, listed, verdict = match.groups()
            left = list(problem.numbers)
            if int(a) in left:
                left.remove(int(a))
            if len(left) == 2 and int(b) in left:
                left.remove(int(b))
                values = [int(v) for v in listed.split(", ")] if listed else []
                yield int(value), left[0], values, verdict


def teachers_last(problem: Countdown) -> str:
    """The operator of the step with which the teacher reaches the target."""
    return next(one.steps[1].operator for one in tries(problem) if one.steps)


def counted(row: dict) -> Counter:
    problem = Countdown(tuple(row["numbers"]), row["target"])
    seen, found = observe(problem, row["text"]), Counter({"responses": 1, row["reason"]: 1})
    found["with a false step"] = seen.wrong_steps > 0
    found["with a repeated try"] = seen.repeated > 0
    found["attempts"], found["tokens"] = seen.attempts, row["tokens"]
    passed = False
    for value, third, values, verdict in read(problem, row["text"]):
        if value > LARGEST:
            true = {step.value for step in steps_of(value, third)}
            found["values behind large"] += len(values)
            found["false behind large"] += sum(v not in true for v in values)
        for step in last_steps(value, third):
            if step.operator == "/" and verdict == "no":
                size = "large" if value > LARGEST else "small"
                found[f"due / behind {size}"] += 1
                found[f"listed / behind {size}"] += step.value in values
            if step.value in values or verdict == "no":
                found[f"due {step.operator}"] += 1
                found[f"listed {step.operator}"] += step.value in values
            if step.value == problem.target and verdict == "no":
                passed = True
                found[f"passed {step.operator}"] += 1
    found["passing"] = passed
    if not row["correct"]:
        found["not right, passing"] = passed
    last = teachers_last(problem)
    last = "by a quotient" if last == "/" else "by others"
    found[f"puzzles {last}"], found[f"solved {last}"] = 1, row["correct"]
    return found


def counts(work: Path, stage: str) -> dict[str, int]:
    found = Counter()
    for path in sorted(work.glob(f"seed-*/transcripts-{stage}.jsonl")):
        for row in read_lines(path):
            found.update(counted(row))
    return dict(sorted(found.items()))


def shapes(work: Path) -> dict[str, dict[str, int]]:
    """By the shape of the answer: responses, right ones, those whose thought ends in the target."""
    found = {}
    for row in read_lines(work / "alone-0" / "transcripts-validation-end.jsonl"):
        thought, answer = parse(row["text"])[:2]
        shape = found.setdefault(re.sub(r"\d+", "n", answer or "none"), Counter())
        said = (thought or "").endswith(f"= {row['target']}")
        shape.update(responses=1, right=row["correct"], target=said)
    return found


if __name__ == "__main__":
    work, out, *alone = sys.argv[1:]
    stages = shapes(Path(work)) if alone else {s: counts(Path(work), s) for s in STAGES}
    Path(out).write_text(json.dumps(stages, indent=1) + "\n", encoding="utf-8")
