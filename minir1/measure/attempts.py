"""How a thought is read: its attempts, and the steps, plans and verdicts in them.

Everything is read off the text; nothing is asked of a model. An attempt is one line of the thought
that holds at least one step such as `55 + 36 = 91`, or one of several that share their first step
on a line. A look round before the last step, `72, with 7: 79, 65, yes`, belongs to its attempt.
Where numbers are kept for the end (`keep 7, need 58, 72: `) every look at what the others make is
one.

>>> thought = "3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 8 / 2 = 4, make 8: 3 + 5 = 8, yes"
>>> [(a.hit, a.check, a.subgoal, a.steps) for a in attempts_of(Countdown((3, 5, 2), 4), thought)]
[(False, True, False, 2), (True, True, True, 2)]
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from minir1.corpus.writers.goal_directed import ANY, needed
from minir1.tasks.countdown import Countdown, steps_of
from minir1.transcript import open_thought

# Every repetition is bounded or cannot restart inside itself: reading takes time linear in the
# length of the text.
_N = r"(?:-?[0-9]{1,15}|\(-[0-9]{1,15}\))"
_LIST = r"((?:[0-9]{1,15}, )*[0-9]{1,15})"
_FORM = r"(?<![0-9.])(?<![0-9)] [-+*/] )%s(?: [-+*/] %s){%d,6} = -?[0-9]{1,15}(?![0-9])"
_STEP = re.compile(_FORM % (_N, _N, 1))  # 8 + 4 = 12, 1 + 7 + 6 = 14
_OPENING = re.compile(rf"[^:：]*?(?={_STEP.pattern})")  # a colon could be a plan's
_COLUMN = re.compile(_FORM % (_N, _N, 0))  # a column of one digit too: 4 = 4
_PLAN = re.compile(r"[,，] ?(?:(need|还差)|make|先凑) ?(-?[0-9]{1,15})[:：]")
_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?[0-9]{1,15})|no|不行)\s*$")
_AROUND = re.compile(rf"[,，] ?(?:with|配) ?(?:[0-9]{{1,15}})[:：] ?{_LIST}")  # with 7: 79, 65
KEPT = re.compile(  # keep 7, need 58, 72:
    rf"(?:keep |留)([0-9]{{1,15}})[,，] ?(?:need |还差){_LIST}[:：] ?"
)
_LISTED = re.compile(rf"[:：] ?{_LIST}$")


class Attempt(NamedTuple):
    text: str  # from the first step on, without the verdict
    hit: bool
    check: bool | None  # None: no verdict; else whether it is right
    subgoal: bool
    backward: bool
    steps: int
    wrong_steps: int


def thought_of(response: str) -> str:
    """The text from <think> to </think> or to the end; "" if <think> does not open the response."""
    return open_thought(response) or ""


def attempts_of(problem: Countdown, thought: str) -> list[Attempt]:
    """The attempts of a thought, in order."""
    asked = (problem.numbers, problem.target)
    # many lines differ in their openings alone: without them they are read once
    openings = ((line, _OPENING.match(line)) for line in thought.split("\n"))
    lines = (line[opening.end() :] if opening else line for line, opening in openings)
    return [attempt for line in lines for attempt in _read_line(*asked, line) if attempt]


@lru_cache(1 << 12)  # responses to one question share many lines, and looks
def _read_line(numbers: tuple[int, ...], target: int, line: str) -> list[Attempt | None]:
    if ("keep " in line or "留" in line) and KEPT.search(line):
        opening = _read_opening(numbers, target, line)
        looks = line[opening.end :].split("; ")
        return [_read_look(opening, look, i > 0) for i, look in enumerate(looks)]
    return [_read_attempt(numbers, target, text, i > 0) for i, text in enumerate(spread(line))]


# ---------------------------------------------------------------- steps


class Step(NamedTuple):
    operands: tuple[int, ...]
    operator: str  # the first one
    value: int
    true: bool


@lru_cache(1 << 16)  # small numbers: the same steps come back all the time
def _read_step(text: str) -> Step:
    parts = text.split(" ")  # 1 + 7 + 6 = 14
    operands = tuple(int(part.strip("()")) for part in parts[:-2:2])
    operators, value = parts[1:-2:2], int(parts[-1])
    true = _value(operands, operators) == value
    return Step(operands, operators[0] if operators else "", value, true)


def steps_in(text: str) -> list[Step]:
    """All steps of any text, sums of columns included."""
    return [_read_step(step) for step in _COLUMN.findall(text)]


def _wrong(steps: list[Step]) -> int:
    return [step.true for step in steps].count(False)


def _value(operands: tuple[int, ...], operators: list[str]) -> int | Fraction | None:
    """Products before sums; None for a division by zero."""
    total, product = 0, operands[0]
    for operator, b in zip(operators, operands[1:]):
        if operator == "*":
            product *= b
        elif operator == "/":
            if b == 0:
                return None
            product = Fraction(product, b) if product % b else product // b
        else:
            total += product
            product = b if operator == "+" else -b
    return total + product


def _take(pool: list[int], step: Step) -> bool:
    """Replace the step's operands by its value, if they are there and the step is true."""
    try:
        for n in step.operands:
            pool.remove(n)
    except ValueError:
        return False
    pool.append(step.value)
    return step.true


def _wholes(text: str) -> list[int]:
    return [*map(int, text.split(", "))]


@lru_cache(1 << 12)  # attempts come to the same two numbers in several ways
def _within_reach(*pool: int) -> list[int]:
    """What one more step can make of the last two numbers."""
    return [step.value for step in steps_of(*pool)] if len(pool) == 2 else []


# ---------------------------------------------------------------- an attempt in steps


def spread(line: str) -> list[str]:
    """The attempts of a line. Those that share their first step get it each.

    >>> spread("wait, 3 + 5 = 8: 8 + 2 = 10, no; 8 / 2 = 4, with 1: 5, yes")
    ['wait, 3 + 5 = 8, 8 + 2 = 10, no', 'wait, 3 + 5 = 8, 8 / 2 = 4, with 1: 5, yes']
    """
    first = _STEP.search(line)
    if first is None or not line.startswith(": ", first.end()):
        return [line]
    return [f"{line[: first.end()]}, {rest}" for rest in line[first.end() + 2 :].split("; ")]


def _read_attempt(numbers: tuple, target: int, line: str, shared: bool) -> Attempt | None:
    """`shared`: the first step stands in an earlier attempt already and is not counted again."""
    matches = list(_STEP.finditer(line))
    if not matches:
        return None
    steps = [_read_step(match[0]) for match in matches]
    planning = "make" in line or "need" in line or not line.isascii()  # else no plan can be
    plans = list(_PLAN.finditer(line)) if planning else []
    backward = [plan[1] is not None for plan in plans]
    pool, goal = list(numbers), target
    sound = True
    planned = before = 0  # steps that belong to plans; those before the plan at hand
    for plan, from_goal in zip(plans, backward):
        while before < len(matches) and matches[before].end() <= plan.start():
            before += 1
        subgoal = int(plan[2])
        sound = sound and before == planned + 1
        sound = sound and _set_aside(pool, steps[planned], goal, subgoal, from_goal)
        goal, planned = subgoal, before
    sound = sound and all(_take(pool, step) for step in steps[planned:])
    around = _AROUND.match(line, matches[-1].end())
    looked_at = _wholes(around[1]) if around else []
    reach = _within_reach(*pool)
    verdict = _VERDICT.match(line, (around or matches[-1]).end())
    wrong_looks = sum(value not in reach for value in looked_at) if sound else 0
    last = looked_at[-1] if looked_at else steps[-1].value
    return Attempt(
        text=line[matches[0].start() : verdict.start() if verdict else None].rstrip(),
        hit=sound and (pool == [goal] or (looked_at[-1:] == [goal] and goal in reach)),
        check=_fits(verdict, last, goal, reach if sound else []) if verdict else None,
        subgoal=False in backward,
        backward=True in backward,
        steps=len(steps) - shared + len(looked_at),
        wrong_steps=_wrong(steps[shared:]) + wrong_looks,
    )


def _set_aside(pool: list[int], step: Step, goal: int, subgoal: int, backward: bool) -> bool:
    """Take the number a plan reserves out of the pool; False if the plan does not lead to the goal.

    Backward: `goal / n = subgoal`. Else `subgoal * n = goal`. Either may stand the other way round.
    """
    if not step.true or len(step.operands) != 2 or step.value != (subgoal if backward else goal):
        return False
    a, b = step.operands
    known = goal if backward else subgoal
    n = b if a == known else a
    if known not in (a, b) or n not in pool or (backward and n == 0 and step.operator in "*/"):
        return False  # a product with 0 cannot be undone
    pool.remove(n)
    return True


def _fits(verdict: re.Match, value: int, goal: int, reach: list[int]) -> bool:
    """Whether a verdict fits an attempt that came to `value`; one more step can make `reach`."""
    if verdict[1]:
        return value == goal
    return value != goal and (int(verdict[2]) == goal if verdict[2] else goal not in reach)


# ---------------------------------------------------------------- an attempt that keeps numbers


class _Opening(NamedTuple):
    """What the looks of a line share that keeps numbers for the end (writers/goal_directed.py)."""

    text: str  # without the word that opens the line
    end: int  # where it ends in the line
    steps: int  # written before a number is kept
    kept: tuple[int, ...]
    left: tuple[int, ...]
    goals: tuple[int, ...]  # what is needed, as written
    target: int
    sound: bool
    wrong: int  # false steps, and needed values that do not lead on


def _read_opening(numbers: tuple[int, ...], target: int, line: str) -> _Opening:
    keeps = list(KEPT.finditer(line))
    matches = list(_STEP.finditer(line, 0, keeps[0].start()))
    steps = [_read_step(match[0]) for match in matches]
    left, kept, goals = list(numbers), [], [target]
    sound = all(_take(left, step) for step in steps)
    wrong = _wrong(steps)
    for keep in keeps:
        number, written = int(keep[1]), _wholes(keep[2])
        wrong += len(set(written) - set(needed(goals, number, ANY)))
        sound = sound and number in left
        if number in left:
            left.remove(number)
        kept.append(number)
        goals = written
    end = keeps[-1].end()
    text = line[(matches or keeps)[0].start() : end]
    lists = (tuple(kept), tuple(left), tuple(goals))
    return _Opening(text, end, len(steps), *lists, target, sound, wrong)


@lru_cache(1 << 12)
def _read_look(opening: _Opening, text: str, shared: bool) -> Attempt | None:
    """`shared`: the opening stands in an earlier attempt already and is not counted again."""
    looked, verdict, ending = text.partition(", yes: " if ", yes: " in text else "，对：")
    steps = [_read_step(match[0]) for match in _STEP.finditer(looked)]
    closing = [_read_step(match[0]) for match in _STEP.finditer(ending)]
    listed = _LISTED.search(looked)
    looked_at = _wholes(listed[1]) if listed else []
    if not (steps or looked_at):
        return None
    left = list(opening.left)
    sound = opening.sound and all(_take(left, step) for step in steps)
    reach = _within_reach(*left) if sound else []
    wrong_looks = sum(value not in reach for value in looked_at) if reach else 0
    right = bool(looked_at) and looked_at[-1] in opening.goals and looked_at[-1] in reach
    pool = left + list(opening.kept)
    closed = sound and all(_take(pool, step) for step in closing)
    return Attempt(
        text=opening.text + looked,
        hit=closed and pool == [opening.target],
        check=right if verdict else None,
        subgoal=False,
        backward=True,
        steps=len(steps) + len(looked_at) + len(closing) + (0 if shared else opening.steps),
        wrong_steps=_wrong(steps + closing) + wrong_looks + (0 if shared else opening.wrong),
    )
