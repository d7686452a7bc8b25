"""The plain writer of Countdown thoughts: --corpus.writer plain.

Random attempts, some of them aimed or planned backwards from the target, and a systematic writer
who goes through the combinations. How often each habit shows is `config.Habits`.
"""

from collections.abc import Container, Iterable, Iterator
from random import Random
from typing import NamedTuple

from minir1.config import Habits
from minir1.tasks.countdown import Step, compose, moves, steps_of

# ---------------------------------------------------------------- attempts


def up_to(steps: list[Step], goals: Container[int]) -> list[Step]:
    """The steps up to the first whose value is in `goals`; all of them if there is none."""
    for count, step in enumerate(steps, 1):
        if step.value in goals:
            return steps[:count]
    return steps


def systematic_attempts(
    rng: Random | None, numbers: tuple[int, ...], target: int, seen: set, small_first=False
) -> Iterator[tuple[list[Step], int, list[Step]]]:
    """Depth first, each pair of numbers that can be left once.

    Yields (the steps that leave it, the number beside the last value, all last steps up to one
    that hits). Values stay small. The first step comes in random order or, roughly, by its value,
    the others in fixed order. Small first steps leave the target in reach more often, so the same
    tokens solve more.
    """
    options, useful = moves(numbers), range(1, max(300, 3 * target))
    if small_first:
        options.sort(key=lambda move: move[0].value * (0.3 + rng.random()))
    elif rng:
        options = rng.sample(options, len(options))
    for step, left in options:
        pair = tuple(sorted(left))
        if step.value not in useful or pair in seen:
            continue
        if len(left) > 2:
            for more, other, last in systematic_attempts(None, left, target, seen):
                yield [step, *more], other, last
            continue
        last = [s for s in steps_of(*left) if s.value in useful]
        if last:
            seen.add(pair)
            yield [step], left[0], up_to(last, (target,))


def random_attempt(rng: Random, numbers: tuple[int, ...], target: int | None = None) -> list[Step]:
    """Combine random pairs by random operators until one number is left (blind search's unit).

    With a target, the last step is aimed: if one operator on the last two numbers hits, it is
    taken.
    """
    left, steps = random_pair(rng, numbers)
    if len(left) < 2:
        return steps
    x, y = _two(rng, left)
    step = None
    if target is not None:
        step = next((s for s in steps_of(x, y) if s.value == target), None)
    return [*steps, step or _random_step(rng, x, y)]


def random_pair(rng: Random, numbers: tuple[int, ...]) -> tuple[list[int], list[Step]]:
    """The two numbers that random steps leave (fewer, if there were fewer), and these steps."""
    left, steps = list(numbers), []
    while len(left) > 2:
        steps.append(_random_step(rng, *_two(rng, left)))
        left.append(steps[-1].value)
    return left, steps


def _two(rng: Random, left: list[int]) -> tuple[int, int]:
    """Two of the numbers, taken out."""
    return tuple(left.pop(int(rng.random() * len(left))) for _ in range(2))


def _random_step(rng: Random, x: int, y: int) -> Step:
    return step_by(OPERATORS[int(rng.random() * len(OPERATORS))], x, y)


# sums and differences twice as often as products and quotients, which seldom lead anywhere
OPERATORS = "++--*/"


def step_by(operator: str, x: int, y: int) -> Step:
    """The larger number stands first; what does not divide, or is too large, is a difference."""
    a, b = (x, y) if x >= y else (y, x)
    if (operator == "/" and (b == 0 or a % b)) or (operator == "*" and a * b > 1000):
        operator = "-"
    a, b = (x, y) if operator in "+*" else (a, b)
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // (b or 1)}[operator]
    return Step(a, operator, b, value)


def planned_attempt(
    rng: Random, count: int, highest: int, target: int
) -> tuple[tuple[int, ...], list[Step]] | None:
    """Numbers and steps that reach `target`, grown backwards from it.

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


# ---------------------------------------------------------------- thoughts

_UNDO = {"+": "-", "-": "+", "*": "/", "/": "*"}

WORDS = {
    "en": {
        "yes": ", yes", "no": ", not ", "none": ", no", "with": ", with ", "need": ", need ",
        "make": ", make ", "colon": ": ",
    },
    "zh": {
        "yes": "，对", "no": "，不是", "none": "，不行", "with": "，配", "need": "，还差",
        "make": "，先凑", "colon": "：",
    },
}
RETRY = {
    "en": ("\nwait, ", "\ntry ", "\nbut ", "\nor ", "\n"),
    "zh": ("\n等等，", "\n再试", "\n但是", "\n或者", "\n"),
}


class Trace(NamedTuple):
    thought: str
    answer: str
    attempts: int
    solved: bool


def backward_plan(
    rng: Random, numbers: tuple[int, ...], target: int
) -> tuple[Step, Step, tuple[int, ...]] | None:
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


def write_trace(
    rng: Random, numbers: tuple[int, ...], target: int, habits: Habits, lang: str,
    plan: list[Step] | None,
) -> Trace:
    """A chain of thought with habits at the rates of `habits`, and its answer.

    `plan` is a known solution, if there is one. It becomes the last attempt (a systematic writer
    needs none). Without it the trace ends when an attempt hits by chance, or gives up and answers
    with its last attempt.
    """
    persistent = rng.random() < habits.persistence and habits.backtracking
    if rng.random() < habits.systematic and len(numbers) > 2:
        go_on = 0.985 if persistent else habits.backtracking
        return _systematic_trace(rng, numbers, target, habits, lang, go_on)
    go_on = 0.95 if persistent else habits.backtracking
    text, attempts = [], 0
    while True:
        if attempts:
            opener, lang = open_line(rng, habits, lang)
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


def open_line(rng: Random, habits: Habits, lang: str) -> tuple[str, str]:
    """How a new line begins, and the language it goes on in."""
    opener = RETRY[lang][int(rng.random() * len(RETRY[lang]))]
    if rng.random() < habits.switching:
        lang = "zh" if lang == "en" else "en"
    return opener, lang


def _systematic_trace(
    rng: Random, numbers: tuple[int, ...], target: int, habits: Habits, lang: str, go_on: float
) -> Trace:
    """Goes through the combinations one by one. Before the last step it looks round: what can the
    two numbers left make?

    "36 + 55 = 91, with 19: 110, 72, yes". With more than three numbers the attempts after one first
    step share a line: "36 + 55 = 91: 91 + 19 = 110, with 7: 117, 103, no; 91 - 19 = 72, with 7: 79,
    65, yes".
    """
    text, attempts, first = [], 0, None
    shared = len(numbers) > 3
    small_first = habits.small_first and rng.random() < habits.small_first
    for steps, other, last in systematic_attempts(rng, numbers, target, set(), small_first):
        attempts += 1
        if shared and steps[0] == first:
            text.append("; ")
        else:
            if text:
                opener, lang = open_line(rng, habits, lang)
                text.append(opener)
            text.append(f"{steps[0]}: " if shared else "")
        first, words = steps[0], WORDS[lang]
        text.append(listed(steps[1:] if shared else steps))
        text.append(f"{words['with']}{other}{words['colon']}{values_of(last)}")
        hit = last[-1].value == target
        if habits.verification:
            text.append(words["yes" if hit else "none"])
        if hit or attempts >= habits.most_attempts or rng.random() >= go_on:
            break
    return Trace("".join(text), compose(numbers, [*steps, last[-1]]), attempts, hit)


def listed(steps: Iterable[Step]) -> str:
    return ", ".join(map(str, steps))


def values_of(steps: Iterable[Step]) -> str:
    return ", ".join(str(step.value) for step in steps)


def _attempt(
    rng: Random, numbers: tuple[int, ...], target: int, habits: Habits, words: dict[str, str],
    plan: list[Step] | None,
) -> tuple[str, list[Step], int]:
    """One attempt, `plan` or made up: (its text, its steps in order, the value aimed at)."""
    draw = rng.random()
    if plan is None and draw < habits.backward_chaining + habits.subgoals and len(numbers) > 2:
        backward = backward_plan(rng, numbers, target)
        if backward is not None:
            back, last, rest = backward
            steps = random_attempt(rng, rest, back.value if rng.random() < habits.aim else None)
            if draw < habits.backward_chaining:
                line = f"{back}{words['need']}{back.value}"
            else:
                line = f"{last}{words['make']}{last.a}"
            line += f"{words['colon']}{listed(steps)}"
            return line, [*steps, _replay(steps[-1].value, last)], back.value
    steps = plan or random_attempt(rng, numbers, target if rng.random() < habits.aim else None)
    return listed(steps), steps, target


def _replay(value: int, last: Step) -> Step:
    """What the planned last step gives with `value`: a hit only where the subgoal was met."""
    if value == last.a:
        return last
    result = {"+": value + last.b, "-": value - last.b, "*": value * last.b, "/": -1}[last.operator]
    return Step(value, last.operator, last.b, result)
