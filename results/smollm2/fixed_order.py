"""The teacher: a search that tries all pairs in a fixed order, and nothing twice.

    5 + 20 = 25, with 12: 37, 13, no

A try is a pair, an operation, and all that its value and the third number give: at most 99, for no
target is larger. Sums come first where the target is small, else products do. A line may begin with
a search that has slipped at its hit (a value is wrong or left out) and goes on from the beginning:
that part is given, what follows is learned.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from minir1.tasks.countdown import Countdown, Step, compose, steps_of
from minir1.transcript import prompt, render

PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
LARGEST = 99
PATIENCE = 40  # tries; two rounds are over before


class Try(NamedTuple):
    text: str
    missed: str  # the same with "no" and all values
    steps: list[Step] | None  # to the target, if it hits


def first_step(x: int, y: int, operator: str) -> Step | None:
    """None where no positive integer comes out, or nothing new."""
    a, b = (x, y) if x >= y else (y, x)
    if operator == "+":
        return Step(x, "+", y, x + y)
    if operator == "*":
        return Step(x, "*", y, x * y)
    if operator == "-":
        return Step(a, "-", b, a - b) if a > b else None
    return Step(a, "/", b, a // b) if b > 1 and a % b == 0 else None


def last_steps(value: int, third: int) -> list[Step]:
    """What the third number makes of it; of steps with the same result the first."""
    found = {}
    for step in steps_of(value, third):
        if 0 < step.value <= LARGEST:
            found.setdefault(step.value, step)
    return list(found.values())


def tries(problem: Countdown) -> Iterator[Try]:
    """Endless, round by round."""
    order = "*-+/" if problem.target > sum(problem.numbers) else "+-/*"
    while True:
        seen = set()
        for operator in order:
            for i, j, k in PAIRS:
                third = problem.numbers[k]
                step = first_step(problem.numbers[i], problem.numbers[j], operator)
                left = step and tuple(sorted((step.value, third)))
                if step and left not in seen:
                    seen.add(left)
                    yield attempt(problem.target, step, third)


def attempt(target: int, step: Step, third: int) -> Try:
    def listed(steps: list[Step]) -> str:
        values = ", ".join(str(s.value) for s in steps)
        return f"{step}, with {third}: {values}" if steps else f"{step}"

    last = last_steps(step.value, third)
    missed = listed(last) + ", no"
    hit = next((n for n, s in enumerate(last) if s.value == target), None)
    if hit is None:
        return Try(missed, missed, None)
    return Try(listed(last[: hit + 1]) + ", yes", missed, [step, last[hit]])


def slipped(target: int, found: Try, rng: Random) -> str:
    """The try that hits, but the target is another number there, or is not listed."""
    wrong = str(max(1, target + rng.choice((-10, -2, -1, 1, 2, 10, 20))))
    head, _, listed = found.missed.rpartition(": ")
    values = listed.removesuffix(", no").split(", ")
    if rng.random() < 0.3 and len(values) > 1:
        values.remove(str(target))
    else:
        values = [wrong if value == str(target) else value for value in values]
    return f"{head}: {', '.join(values)}, no"


def line(problem: Countdown, rng: Random, slip: bool = False) -> dict | None:
    """question, response, and `given`: characters that are not learned. None: unsolved."""
    texts, given = [], 0
    for one in tries(problem):
        if one.steps and slip:
            slip = False
            texts.append(slipped(problem.target, one, rng))
            given = len("<think>" + "\n".join(texts) + "\n")
            continue
        texts.append(one.text)
        if one.steps:
            break
        if len(texts) > PATIENCE:
            return None
    question, answer = problem.question(), compose(problem.numbers, one.steps)
    response = render(question, answer, "\n".join(texts)).removeprefix(prompt(question))
    return {"question": question, "response": response, "given": given}
