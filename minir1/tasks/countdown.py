"""Countdown: use every number exactly once with + - * / to reach the target.

A problem is data. This module samples problems from named distributions, words the
question, verifies an answer exactly, and writes the traces (chains of thought) from which
the base model learns its habits.

>>> problem = Countdown((19, 36, 55, 7), 65)
>>> problem.verify("55 + 36 - 19 - 7")
True
>>> problem.verify("55 + 36 - 19") or problem.verify("55 ** 1 + 10")
False
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import ClassVar, NamedTuple

# ---------------------------------------------------------------- verifying


class _Reject(Exception):
    pass


def _value(tokens: list[str], depth: int = 0) -> Fraction:
    """Recursive descent over `tokens` (reversed: the next one is tokens[-1]), exact.

    expression = product (("+" | "-") product)*
    product    = atom (("*" | "/") atom)*
    atom       = number | "(" expression ")"
    """
    total, sign = Fraction(0), 1
    while True:
        product, operator = _atom(tokens, depth), None
        while tokens and (operator := tokens[-1]) in "*/":
            tokens.pop()
            factor = _atom(tokens, depth)
            if operator == "/" and factor == 0:
                raise _Reject("division by zero")
            product = product * factor if operator == "*" else product / factor
        total += sign * product
        if not tokens or tokens[-1] not in "+-":
            return total
        sign = 1 if tokens.pop() == "+" else -1


def _atom(tokens: list[str], depth: int) -> Fraction:
    token = tokens.pop() if tokens else ")"
    if token == "(" and depth < 32:
        value = _value(tokens, depth + 1)
        if not tokens or tokens.pop() != ")":
            raise _Reject("unbalanced")
        return value
    if not token.isdigit():
        raise _Reject("number expected")
    return Fraction(int(token))


def evaluate(text: str) -> tuple[Fraction, list[int]] | None:
    """Exact value of an expression and the integers in it, or None if it is not one.

    Admits integers without leading zeros, + - * /, parentheses and spaces, at most 256
    characters and 32 nested parentheses; never raises, never evaluates code.

    >>> evaluate("(3 + 5) / 4")
    (Fraction(2, 1), [3, 5, 4])
    """
    if not isinstance(text, str) or len(text) > 256 or re.fullmatch(r"[0-9+\-*/() ]+", text) is None:
        return None
    tokens = re.findall(r"[0-9]+|[^ ]", text)
    numbers = [t for t in tokens if t.isdigit()]
    if any(n[0] == "0" and n != "0" for n in numbers):
        return None
    tokens.reverse()
    try:
        value = _value(tokens)
    except _Reject:
        return None
    return None if tokens else (value, [int(n) for n in numbers])


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
    "zh": ("用{n}算出{t}。", "请用{n}得到{t}。", "用数字{n}写一个等于{t}的算式。", "{n}怎样算出{t}？"),
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
        result = evaluate(answer)
        return result is not None and result[0] == self.target and Counter(result[1]) == Counter(self.numbers)

    def split(self) -> str:
        """By the sorted numbers alone: no target variant of a held-out puzzle leaks."""
        return split_of("countdown " + " ".join(map(str, sorted(self.numbers))))

    def to_json(self) -> dict:
        return {"id": self.id, "task": self.task, "lang": self.lang, "numbers": list(self.numbers), "target": self.target}

    @classmethod
    def from_json(cls, line: dict) -> "Countdown":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        numbers, target = line.get("numbers"), line.get("target")
        whole = lambda value: isinstance(value, int) and not isinstance(value, bool)  # noqa: E731
        if not isinstance(numbers, list) or not numbers or not all(whole(n) and n >= 0 for n in numbers):
            raise ValueError('"numbers" must be a list of non-negative integers')
        if not whole(target):
            raise ValueError('"target" must be an integer')
        return cls(tuple(numbers), target, line.get("lang", "en"), str(line.get("id", "")))


def sample(rng: Random, name: str = "3to4", split: str = "train", lang: str = "en") -> Countdown:
    """One solvable problem of a named distribution, restricted to a split.

    Raises ValueError for an unknown name. Targets stay uniform: the target is drawn first, then
    numbers are redrawn until it can be reached (except by_expression, which is reasoning-gym's way).
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(f"unknown distribution {name!r}; choose from {', '.join(DISTRIBUTIONS)}")
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
                return Countdown(tuple(rng.sample(numbers, count)), value, lang)  # their order would give it away
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
    found = []
    for i in range(len(numbers)):
        for j in range(i):
            rest = numbers[:j] + numbers[j + 1 : i] + numbers[i + 1 :]
            found += [(step, (*rest, step.value)) for step in steps_of(numbers[i], numbers[j])]
    return found


def solve(numbers: tuple[int, ...], target: int) -> list[Step] | None:
    """A list of steps that reaches the target, or None. Depth-first, complete."""
    if len(numbers) == 2:
        return next(([step] for step in steps_of(*numbers) if step.value == target), None)
    for step, left in moves(numbers):
        found = solve(left, target)
        if found is not None:
            return [step, *found]
    return [] if numbers == (target,) else None


def systematic_attempts(rng: Random | None, numbers: tuple[int, ...], target: int, seen: set, small_first=False) -> Iterator[tuple]:
    """Depth first (the first step in random order or, roughly, by its value, the others in fixed order), each pair of numbers that
    can be left once: (the steps that leave it, the number beside the last value, all last steps up to one that hits). Values
    stay small. Small first steps first: they leave the target in reach more often, so the same tokens solve more."""
    options, useful = moves(numbers), range(1, max(300, 3 * target))
    options = sorted(options, key=lambda move: move[0].value * (0.3 + rng.random())) if small_first else options
    for step, left in rng.sample(options, len(options)) if rng and not small_first else options:
        last = [s for s in steps_of(*left) if s.value in useful] if len(left) == 2 else []
        if step.value not in useful or tuple(sorted(left)) in seen or len(left) == 2 and not last:
            continue
        if len(left) > 2:
            yield from (([step, *more], n, last) for more, n, last in systematic_attempts(None, left, target, seen))
        else:
            seen.add(tuple(sorted(left)))
            yield [step], left[0], last[: next((i for i, s in enumerate(last, 1) if s.value == target), None)]


def random_attempt(rng: Random, numbers: tuple[int, ...], target: int | None = None) -> list[Step]:
    """Combine random pairs by random operators until one number is left (blind search's unit).

    With a target, the last step is aimed: if one operator on the last two numbers hits, it is taken.
    """
    left, steps = list(numbers), []
    while len(left) > 1:
        x = left.pop(int(rng.random() * len(left)))
        y = left.pop(int(rng.random() * len(left)))
        step = None
        if target is not None and not left:
            step = next((s for s in steps_of(x, y) if s.value == target), None)
        step = step or _random_step(rng, x, y)
        steps.append(step)
        left.append(step.value)
    return steps


def _random_step(rng: Random, x: int, y: int) -> Step:
    """Sums and differences twice as often as products and quotients, which seldom lead anywhere."""
    operator = "++--*/"[int(rng.random() * 6)]
    a, b = (x, y) if x >= y else (y, x)
    if (operator == "/" and (b == 0 or a % b)) or (operator == "*" and a * b > 1000):
        operator = "-"
    a, b = (x, y) if operator in "+*" else (a, b)
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // (b or 1)}[operator]
    return Step(a, operator, b, value)


def planned_attempt(rng: Random, count: int, highest: int, target: int) -> tuple[tuple[int, ...], list[Step]] | None:
    """Numbers and steps that reach `target`, grown backwards from it: problems with a known solution.

    None if a thousand tries found none (two numbers up to 30 cannot make 97).
    """
    for _ in range(1000):
        steps: list[Step] = []
        numbers = _grow(rng, count, highest, target, steps)
        if numbers is not None:
            rng.shuffle(numbers)
            return tuple(numbers), steps
    return None


def _grow(rng: Random, count: int, highest: int, value: int, steps: list[Step]) -> list[int] | None:
    if count == 1:
        return [value] if 1 <= value <= highest else None
    if value > 20 * highest:
        return None
    right = 2 if count == 4 and rng.random() < 0.2 else 1
    b, operator = 1 + int(rng.random() * highest), "++--*/"[int(rng.random() * 6)]
    if operator == "*":
        divisors = [d for d in range(2, min(highest, value) + 1) if value % d == 0]
        if not divisors:
            return None
        b = divisors[int(rng.random() * len(divisors))]
    a = {"+": value - b, "-": value + b, "*": value // b, "/": value * b}[operator]
    if a < 0:
        return None
    left_numbers = _grow(rng, count - right, highest, a, steps)
    right_numbers = left_numbers and _grow(rng, right, highest, b, steps)
    if not right_numbers:
        return None
    steps.append(Step(a, operator, b, value))
    return left_numbers + right_numbers


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


# ---------------------------------------------------------------- traces for the corpus

_UNDO = {"+": "-", "-": "+", "*": "/", "/": "*"}

WORDS = {
    "en": {"yes": ", yes", "no": ", not ", "none": ", no", "with": ", with ", "need": ", need ", "make": ", make ", "colon": ": "},
    "zh": {"yes": "，对", "no": "，不是", "none": "，不行", "with": "，配", "need": "，还差", "make": "，先凑", "colon": "："},
}
RETRY = {"en": ("\nwait, ", "\ntry ", "\nbut ", "\nor ", "\n"), "zh": ("\n等等，", "\n再试", "\n但是", "\n或者", "\n")}


class Trace(NamedTuple):
    thought: str
    answer: str
    attempts: int
    solved: bool


def backward_plan(rng: Random, numbers: tuple[int, ...], target: int) -> tuple[Step, Step, tuple[int, ...]] | None:
    """Set one number aside: (the step back from the target, the last step forward, the rest).

    >>> backward_plan(Random(1), (5, 3), 65)
    (Step(a=65, operator='/', b=5, value=13), Step(a=13, operator='*', b=5, value=65), (3,))
    """
    index = int(rng.random() * len(numbers))
    n = numbers[index]
    operators = "+-//" if n > 1 and target % n == 0 else "+-+-+-*"
    operator = operators[int(rng.random() * len(operators))]
    if operator == "-" and n > target:
        return None
    value = {"+": target + n, "-": target - n, "*": target * n, "/": target // (n or 1)}[operator]
    rest = numbers[:index] + numbers[index + 1 :]
    return Step(target, operator, n, value), Step(value, _UNDO[operator], n, target), rest


def write_trace(rng: Random, numbers: tuple[int, ...], target: int, habits, lang: str, plan: list[Step] | None) -> Trace:
    """A chain of thought with habits at the rates of `habits` (config.Habits), and its answer.

    `plan`, when given, is a known solution: it becomes the last attempt (a systematic writer has none). Without it the
    trace ends when an attempt hits by chance, or gives up and answers with its last attempt.
    """
    words, text, attempts = WORDS[lang], [], 0
    persistent = rng.random() < habits.persistence and habits.backtracking
    if rng.random() < habits.systematic and len(numbers) > 2:
        return _systematic_trace(rng, numbers, target, habits, lang, 0.985 if persistent else habits.backtracking)
    go_on = 0.95 if persistent else habits.backtracking
    while True:
        if attempts:
            opener, lang = _opener(rng, habits, lang)
            text.append(opener)
            words = WORDS[lang]
        attempts += 1
        stop = attempts >= habits.most_attempts or rng.random() >= go_on
        line, steps, goal = _attempt(rng, numbers, target, habits, words, plan if stop else None)
        text.append(line)
        hit = steps[-1].value == target
        if rng.random() < habits.verification:
            text.append(words["yes"] if hit else f"{words['no']}{goal}")
        if hit or stop:
            return Trace("".join(text), compose(numbers, steps), attempts, hit)


def _opener(rng: Random, habits, lang: str) -> tuple[str, str]:
    """How a new line begins, and the language it goes on in."""
    opener = RETRY[lang][int(rng.random() * len(RETRY[lang]))]
    return opener, {"en": "zh", "zh": "en"}[lang] if rng.random() < habits.switching else lang


def _systematic_trace(rng: Random, numbers: tuple[int, ...], target: int, habits, lang: str, go_on: float) -> Trace:
    """Goes through the combinations one by one and looks round before the last step: what the two numbers left can make.

    "36 + 55 = 91, with 19: 110, 72, yes". With more than three numbers the attempts after one first step share a line:
    "36 + 55 = 91: 91 + 19 = 110, with 7: 117, 103, no; 91 - 19 = 72, with 7: 79, 65, yes".
    """
    text, attempts, head, small_first = [], 0, None, habits.small_first and rng.random() < habits.small_first
    for steps, other, last in systematic_attempts(rng, numbers, target, set(), small_first):
        hit, attempts, opener = last[-1].value == target, attempts + 1, "; "
        if len(numbers) == 3 or steps[0] != head:
            opener, lang = _opener(rng, habits, lang) if text else ("", lang)
            opener += f"{steps[0]}: " if len(numbers) > 3 else ""
        head, words = steps[0], WORDS[lang]
        made = ", ".join(map(str, steps[len(numbers) > 3 :])) + words["with"] + str(other) + words["colon"]
        verdict = words["yes" if hit else "none"] if habits.verification else ""
        text.append(opener + made + ", ".join(str(s.value) for s in last) + verdict)
        if hit or attempts >= habits.most_attempts or rng.random() >= go_on:
            break
    return Trace("".join(text), compose(numbers, [*steps, last[-1]]), attempts, hit)


def _attempt(rng, numbers, target, habits, words, given: list[Step] | None) -> tuple[str, list[Step], int]:
    """One attempt, `given` or made up: (its text, its steps in forward order, the value that was aimed at)."""
    draw = rng.random()
    if given is None and draw < habits.backward_chaining + habits.subgoals and len(numbers) > 2:
        planned = backward_plan(rng, numbers, target)
        if planned is not None:
            back, last, rest = planned
            inner = random_attempt(rng, rest, back.value if rng.random() < habits.aim else None)
            value = inner[-1].value
            working = ", ".join(map(str, inner))
            if draw < habits.backward_chaining:
                line = f"{back}{words['need']}{back.value}{words['colon']}{working}"
            else:
                line = f"{last}{words['make']}{last.a}{words['colon']}{working}"
            end = last if value == last.a else _replay(value, last)
            return line, [*inner, end], back.value
    steps = given or random_attempt(rng, numbers, target if rng.random() < habits.aim else None)
    return ", ".join(map(str, steps)), steps, target


def _replay(value: int, last: Step) -> Step:
    """What the planned last step gives when the subgoal was missed (so that it never hits)."""
    result = {"+": value + last.b, "-": value - last.b, "*": value * last.b, "/": -1}[last.operator]
    return Step(value, last.operator, last.b, result)
