"""Countdown: use every number exactly once with + - * / to reach the target.

A problem is data. This module samples problems from named distributions, words the question,
verifies an answer exactly, and finds solutions. What a base reads about it: minir1/corpus.

>>> problem = Countdown((19, 36, 55, 7), 65)
>>> problem.verify("55 + 36 - 19 - 7")
True
>>> problem.verify("55 + 36 - 19") or problem.verify("55 ** 1 + 10")
False
"""

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import ClassVar, NamedTuple

from minir1.tasks import Task, check_split

# ---------------------------------------------------------------- verifying


class _Reject(Exception):
    pass


def _value(tokens: list[str], depth: int = 0) -> int | Fraction:
    """Recursive descent over `tokens` (reversed: the next one is tokens[-1]), exact: fractions from
    the first division on.

    expression = product (("+" | "-") product)*
    product    = atom (("*" | "/") atom)*
    atom       = number | "(" expression ")"
    """
    total, sign = 0, 1
    while True:
        product, operator = _atom(tokens, depth), None
        while tokens and (operator := tokens[-1]) in "*/":
            tokens.pop()
            factor = _atom(tokens, depth)
            if operator == "/" and factor == 0:
                raise _Reject("division by zero")
            product = product * factor if operator == "*" else Fraction(product, factor)
        total += sign * product
        if not tokens or tokens[-1] not in "+-":
            return total
        sign = 1 if tokens.pop() == "+" else -1


def _atom(tokens: list[str], depth: int) -> int | Fraction:
    token = tokens.pop() if tokens else ")"
    if token == "(" and depth < 32:
        value = _value(tokens, depth + 1)
        if not tokens or tokens.pop() != ")":
            raise _Reject("unbalanced")
        return value
    if not token.isdigit():
        raise _Reject("number expected")
    return int(token)


def evaluate(text: str) -> tuple[Fraction, list[int]] | None:
    """Exact value of an expression and the integers in it, or None if it is not one.

    Admits integers without leading zeros, + - * /, parentheses and spaces, at most 256
    characters and 32 nested parentheses; never raises, never evaluates code.

    >>> evaluate("(3 + 5) / 4")
    (Fraction(2, 1), [3, 5, 4])
    """
    read = _evaluate(text) if isinstance(text, str) and len(text) <= 256 else None
    return None if read is None else (read[0], [*read[1]])


@lru_cache(1 << 12)  # responses to one question share many answers
def _evaluate(text: str) -> tuple[Fraction, list[int]] | None:
    tokens = re.findall(r"[0-9]+|[^ ]", text)
    numbers = [t for t in tokens if t.isdigit()]
    if not re.fullmatch(r"[0-9+\-*/() ]+", text) or any(n[0] == "0" and n != "0" for n in numbers):
        return None
    tokens.reverse()
    try:
        value = _value(tokens)
    except _Reject:
        return None
    return None if tokens else (Fraction(value), [int(n) for n in numbers])


# ---------------------------------------------------------------- problems


class Distribution(NamedTuple):
    counts: tuple[int, ...]  # how many numbers, drawn uniformly
    highest: int  # numbers are uniform in 1..highest
    targets: tuple[int, int]  # inclusive
    by_expression: bool = False  # the target is a random expression's value (2.5x easier)


DISTRIBUTIONS = {
    "3to4": Distribution((3, 4), 99, (10, 99)),
    "sos4": Distribution((4,), 99, (10, 99)),
    "cpu": Distribution((3,), 30, (10, 99)),
    "cpu-five": Distribution((5,), 30, (10, 99)),
    "cpu-large": Distribution((4,), 30, (100, 999)),  # random attempts hit less often than above
    "rg-easy": Distribution((4, 5, 6), 100, (100, 999), True),
    "rg-hard": Distribution((3, 4, 5, 6, 7, 8, 9), 100, (100, 1000), True),
}


def split_of(key: str) -> str:
    """'train', 'validation' or 'test' (80 : 10 : 10) by a stable hash of the content.

    >>> split_of("countdown 7 19 36 55")
    'train'
    """
    bucket = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % 100
    return "train" if bucket < 80 else "validation" if bucket < 90 else "test"


_LONG = "Using the numbers {n}, make an expression that equals {t}."
QUESTIONS = {
    "en": ("Use {n} to make {t}.", "Make {t} from {n}.", _LONG, "Reach {t} with {n}."),
    "zh": (
        "用{n}算出{t}。", "请用{n}得到{t}。", "用数字{n}写一个等于{t}的算式。",
        "{n}怎样算出{t}？",
    ),
}


@dataclass(frozen=True)
class Countdown:
    numbers: tuple[int, ...]
    target: int
    lang: str = "en"
    id: str = ""
    task: ClassVar[str] = "countdown"

    def question(self) -> str:
        """The wording is chosen by the content, so the same problem always reads the same."""
        forms = QUESTIONS[self.lang]
        form = forms[(sum(self.numbers) + self.target) % len(forms)]
        comma = "、" if self.lang == "zh" else ", "
        return form.format(n=comma.join(map(str, self.numbers)), t=self.target)

    def verify(self, answer: str) -> bool:
        """True if `answer` is one expression that uses each number once and equals the target."""
        value, numbers = evaluate(answer) or (None, [])
        return value == self.target and sorted(numbers) == sorted(self.numbers)

    def readable(self, answer: str) -> bool:
        """Whether `answer` is an expression that has a value, be it a wrong one."""
        return evaluate(answer) is not None

    def split(self) -> str:
        """By the sorted numbers alone: no target variant of a held-out puzzle leaks."""
        return split_of("countdown " + " ".join(map(str, sorted(self.numbers))))

    def to_json(self) -> dict:
        line = {"id": self.id, "task": self.task, "lang": self.lang}
        return line | {"numbers": list(self.numbers), "target": self.target}

    @classmethod
    def from_json(cls, line: dict) -> "Countdown":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        numbers, target = line.get("numbers"), line.get("target")
        if not isinstance(numbers, list) or not numbers or not all(map(_is_count, numbers)):
            raise ValueError('"numbers" must be a list of non-negative integers')
        if type(target) is not int:  # True is an int, too
            raise ValueError('"target" must be an integer')
        return cls(tuple(numbers), target, line.get("lang", "en"), str(line.get("id", "")))


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def sample(rng: Random, name: str = "3to4", split: str = "train", lang: str = "en") -> Countdown:
    """One solvable problem of a named distribution, restricted to a split.

    Raises ValueError for an unknown name or split. Targets stay uniform: the target is drawn first,
    then numbers are redrawn until it can be reached (except by_expression: reasoning-gym's way).
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(f"unknown distribution {name!r}; choose from {', '.join(DISTRIBUTIONS)}")
    check_split(split)
    kind = DISTRIBUTIONS[name]
    count, draws = rng.choice(kind.counts), 0
    while True:
        if draws % 5000 == 0:  # a small split may hold no numbers at all that reach some target
            target = rng.randint(*kind.targets)
        draws += 1
        numbers = tuple(rng.randint(1, kind.highest) for _ in range(count))
        problem = Countdown(numbers, target, lang)
        if problem.split() != split:
            continue
        if kind.by_expression:
            value = _left_to_right(rng, numbers)
            if value is not None and kind.targets[0] <= value <= kind.targets[1]:
                # their order would give it away
                return Countdown(tuple(rng.sample(numbers, count)), value, lang)
        elif solve(numbers, target) is not None:
            return problem


def _left_to_right(rng: Random, numbers: tuple[int, ...]) -> int | None:
    value = numbers[0]
    for n in numbers[1:]:
        operator = rng.choice("+-*/")
        operator = rng.choice("+-*") if operator == "/" and value % n else operator
        value = {"+": value + n, "-": value - n, "*": value * n, "/": value // n}[operator]
    return value


# ---------------------------------------------------------------- solving and searching


class Step(NamedTuple):
    """`a operator b = value`; every value is a non-negative integer."""

    a: int
    operator: str
    b: int
    value: int

    def __str__(self):
        return f"{self.a} {self.operator} {self.b} = {self.value}"


def steps_of(x: int, y: int) -> list[Step]:
    """All steps on two numbers whose result is a non-negative integer."""
    a, b = (x, y) if x >= y else (y, x)
    steps = [Step(x, "+", y, x + y), Step(a, "-", b, a - b), Step(x, "*", y, x * y)]
    if b and a % b == 0:
        steps.append(Step(a, "/", b, a // b))
    return steps


def moves(numbers: tuple[int, ...]) -> list[tuple[Step, tuple[int, ...]]]:
    """Every step on two of the numbers, with the numbers that it leaves."""
    moves = []
    for i in range(len(numbers)):
        for j in range(i):
            rest = numbers[:j] + numbers[j + 1 : i] + numbers[i + 1 :]
            moves += [(step, (*rest, step.value)) for step in steps_of(numbers[i], numbers[j])]
    return moves


def solve(numbers: tuple[int, ...], target: int) -> list[Step] | None:
    """A list of steps that reaches the target, or None. Depth-first, complete."""
    if len(numbers) == 2:
        return next(([step] for step in steps_of(*numbers) if step.value == target), None)
    for step, left in moves(numbers):
        rest = solve(left, target)
        if rest is not None:
            return [step, *rest]
    return [] if numbers == (target,) else None


def compose(numbers: tuple[int, ...], steps: list[Step]) -> str:
    """The steps as one expression: each result stands in for its working.

    >>> compose((3, 5, 4), [Step(3, "+", 5, 8), Step(8, "/", 4, 2)])
    '(3 + 5) / 4'
    """
    pool = [(n, str(n)) for n in numbers]
    for step in steps:
        parts = []
        for operand in (step.a, step.b):
            # a computed value is taken before a given number: "(3 + 5) / 4" continues the last step
            index = next(i for i in range(len(pool) - 1, -1, -1) if pool[i][0] == operand)
            parts.append(pool.pop(index)[1])
        wrapped = [f"({p})" if " " in p else p for p in parts]
        pool.append((step.value, f"{wrapped[0]} {step.operator} {wrapped[1]}"))
    return pool[-1][1]


TASKS = (Task("countdown", tuple(DISTRIBUTIONS), sample, Countdown.from_json),)
