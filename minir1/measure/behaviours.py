"""What a response does, counted by rule: attempts, checks, backtracks, subgoals, reflections.

Everything is read off the text; nothing is asked of a model. An attempt is one line of the thought
that holds at least one step such as `55 + 36 = 91`, or one of several that share their first step
on a line. A look round before the last step, `72, with 7: 79, 65, yes`, belongs to its attempt.
Where numbers are kept for the end (`keep 7, need 58, 72: `) every look at what the others make is
one.

>>> text = "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 8 / 2 = 4, make 8: 3 + 5 = 8, yes</think>"
>>> seen = observe(Countdown((3, 5, 2), 4), text)
>>> seen.attempts, seen.hits, seen.checks, seen.backtracks, seen.subgoals, seen.reflections
(2, 1, 2, 1, 1, 1)
"""

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from minir1.corpus.writers.goal_directed import ANY, needed
from minir1.rewards import count_words
from minir1.rollout import Rollouts
from minir1.tasks import Problem, find_task
from minir1.tasks.countdown import Countdown, steps_of
from minir1.transcript import END, THINK, THINK_END

# The R1 report's list of reflection words, and the "try" that our corpus opens attempts with;
# Chinese likewise.
REFLECTION_WORDS = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check",
    "try", "等等", "但是", "再试",
)

# Every repetition is bounded or cannot restart inside itself: reading takes time linear in the
# length of the text.
_N = r"(?:-?[0-9]{1,15}|\(-[0-9]{1,15}\))"
_LIST = r"((?:[0-9]{1,15}, )*[0-9]{1,15})"
_FORM = r"(?<![0-9.])(?<![0-9)] [-+*/] )%s(?: [-+*/] %s){%d,6} = -?[0-9]{1,15}(?![0-9])"
_STEP = re.compile(_FORM % (_N, _N, 1))  # 8 + 4 = 12, 1 + 7 + 6 = 14
_COLUMN = re.compile(_FORM % (_N, _N, 0))  # a column of one digit too: 4 = 4
_PLAN = re.compile(r"[,，] ?(?:(need|还差)|make|先凑) ?(-?[0-9]{1,15})[:：]")
_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?[0-9]{1,15})|no|不行)\s*$")
_AROUND = re.compile(rf"[,，] ?(?:with|配) ?(?:[0-9]{{1,15}})[:：] ?{_LIST}")  # with 7: 79, 65
KEPT = re.compile(  # keep 7, need 58, 72:
    rf"(?:keep |留)([0-9]{{1,15}})[,，] ?(?:need |还差){_LIST}[:：] ?"
)
_LISTED = re.compile(rf"[:：] ?{_LIST}$")
_WORD = re.compile(r"[A-Za-z']+")


class Behaviour(NamedTuple):
    """Counts for one response.

    Those from `attempts` to `backward`, and `repeated`, are 0 for all tasks but Countdown.
    """

    attempts: int = 0
    hits: int = 0  # attempts that reach the target with every number once and true arithmetic
    checks: int = 0  # attempts closed by ", yes", ", not 65", or ", no" (no last step hits)
    checks_right: int = 0  # verdicts that fit what the attempt has reached
    backtracks: int = 0  # attempts that follow one that failed
    subgoals: int = 0  # attempts that plan forward: "13 * 5 = 65, make 13: ..."
    backward: int = 0  # attempts that start from the target: "65 / 5 = 13, need 13: ..."
    reflections: int = 0  # words of REFLECTION_WORDS
    repeated: int = 0  # attempts like an earlier one, their verdict and opening word aside
    wrong_steps: int = 0  # written steps that are false as arithmetic
    steps: int = 0
    switched: int = 0  # 1 if the thought mixes English and Chinese words
    words: int = 0  # in the thought; a Chinese character counts as a word


class Attempt(NamedTuple):
    text: str  # from the first step on, without the verdict
    hit: bool
    check: bool | None  # None: no verdict; else whether it is right
    subgoal: bool
    backward: bool
    steps: int
    wrong_steps: int


# ---------------------------------------------------------------- one response


def thought_of(response: str) -> str:
    """The text from <think> to </think> or to the end; "" if <think> does not open the response."""
    if not response.startswith(THINK):
        return ""
    return response[len(THINK) :].partition(THINK_END)[0].removesuffix(END)


def reflections_in(text: str) -> Counter:
    """How often each of REFLECTION_WORDS stands in a text; English ones as whole words."""
    words = Counter(word.lower() for word in _WORD.findall(text))
    counts = {w: words[w] if w.isascii() else text.count(w) for w in REFLECTION_WORDS}
    return Counter(counts)


def observe(problem: Problem, text: str) -> Behaviour:
    """Count the behaviours of one response, its forced prefix included. Total: never raises."""
    thought = thought_of(text)
    english, chinese = count_words(thought)
    shared = {
        "reflections": reflections_in(thought).total(),
        "switched": int(english > 0 and chinese > 0),
        "words": english + chinese,
    }
    if not isinstance(problem, Countdown):
        steps = steps_in(thought)
        return Behaviour(steps=len(steps), wrong_steps=_wrong(steps), **shared)
    tries = attempts_of(problem, thought)
    return Behaviour(
        attempts=len(tries),
        hits=sum(a.hit for a in tries),
        checks=sum(a.check is not None for a in tries),
        checks_right=sum(a.check is True for a in tries),
        backtracks=sum(not a.hit for a in tries[:-1]),
        subgoals=sum(a.subgoal for a in tries),
        backward=sum(a.backward for a in tries),
        repeated=len(tries) - len({a.text for a in tries}),
        wrong_steps=sum(a.wrong_steps for a in tries),
        steps=sum(a.steps for a in tries),
        **shared,
    )


def attempts_of(problem: Countdown, thought: str) -> list[Attempt]:
    """The attempts of a thought, in order."""
    attempts = []
    for line in thought.split("\n"):
        if ("keep " in line or "留" in line) and KEPT.search(line):
            opening = _read_opening(problem, line)
            looks = line[opening.end :].split("; ")
            line_attempts = [_read_look(opening, look, i > 0) for i, look in enumerate(looks)]
        else:
            texts = spread(line)
            line_attempts = [_read_attempt(problem, text, i > 0) for i, text in enumerate(texts)]
        attempts += [attempt for attempt in line_attempts if attempt is not None]
    return attempts


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
    return sum(not step.true for step in steps)


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
    return [int(part) for part in text.split(", ")]


def _within_reach(pool: list[int]) -> list[int]:
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


def _read_attempt(problem: Countdown, line: str, shared: bool) -> Attempt | None:
    """`shared`: the first step stands in an earlier attempt already and is not counted again."""
    matches = list(_STEP.finditer(line))
    if not matches:
        return None
    steps = [_read_step(match[0]) for match in matches]
    plans = list(_PLAN.finditer(line)) if ":" in line or "：" in line else []
    pool, goal = list(problem.numbers), problem.target
    sound = True
    planned = before = 0  # steps that belong to plans; those before the plan at hand
    for plan in plans:
        while before < len(matches) and matches[before].end() <= plan.start():
            before += 1
        subgoal, backward = int(plan[2]), plan[1] is not None
        sound = sound and before == planned + 1
        sound = sound and _set_aside(pool, steps[planned], goal, subgoal, backward)
        goal, planned = subgoal, before
    sound = sound and all(_take(pool, step) for step in steps[planned:])
    around = _AROUND.match(line, matches[-1].end())
    looked_at = _wholes(around[1]) if around else []
    reach = _within_reach(pool)
    verdict = _VERDICT.match(line, (around or matches[-1]).end())
    wrong = _wrong(steps[shared:])
    if sound:
        wrong += sum(value not in reach for value in looked_at)
    last = looked_at[-1] if looked_at else steps[-1].value
    return Attempt(
        text=line[matches[0].start() : verdict.start() if verdict else None].rstrip(),
        hit=sound and (pool == [goal] or (looked_at[-1:] == [goal] and goal in reach)),
        check=_fits(verdict, last, goal, reach if sound else []) if verdict else None,
        subgoal=any(plan[1] is None for plan in plans),
        backward=any(plan[1] is not None for plan in plans),
        steps=len(steps) - shared + len(looked_at),
        wrong_steps=wrong,
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
    """Whether a verdict is right about an attempt that wrote down `value`, where one more step can
    make `reach`.
    """
    if verdict[1]:
        return value == goal
    return value != goal and (int(verdict[2]) == goal if verdict[2] else goal not in reach)


# ---------------------------------------------------------------- an attempt that keeps numbers


class _Opening(NamedTuple):
    """What the looks of a line share that keeps numbers for the end (writers/goal_directed.py)."""

    text: str  # without the word that opens the line
    end: int  # where it ends in the line
    steps: int  # written before a number is kept
    kept: list[int]
    left: list[int]
    goals: list[int]  # what is needed, as written
    target: int
    sound: bool
    wrong: int  # false steps, and needed values that do not lead on


def _read_opening(problem: Countdown, line: str) -> _Opening:
    keeps = list(KEPT.finditer(line))
    matches = list(_STEP.finditer(line, 0, keeps[0].start()))
    steps = [_read_step(match[0]) for match in matches]
    left, kept, goals = list(problem.numbers), [], [problem.target]
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
    return _Opening(text, end, len(steps), kept, left, goals, problem.target, sound, wrong)


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
    reach = _within_reach(left) if sound else []
    wrong = _wrong(steps + closing)
    if reach:
        wrong += sum(value not in reach for value in looked_at)
    check = None
    if verdict:
        check = bool(looked_at) and looked_at[-1] in opening.goals and looked_at[-1] in reach
    pool = left + opening.kept
    closed = sound and all(_take(pool, step) for step in closing)
    return Attempt(
        text=opening.text + looked,
        hit=closed and pool == [opening.target],
        check=check,
        subgoal=False,
        backward=True,
        steps=len(steps) + len(looked_at) + len(closing) + (0 if shared else opening.steps),
        wrong_steps=wrong + (0 if shared else opening.wrong),
    )


# ---------------------------------------------------------------- a batch


def total(rows: list[Behaviour]) -> Behaviour:
    return Behaviour(*map(sum, zip(*rows)))


def add_share(metrics: dict[str, float], name: str, part: float, whole: float) -> None:
    """A quotient with nothing below the line is left out: JSON knows no NaN."""
    if whole:
        metrics[name] = part / whole


def summarise(rollouts: Rollouts) -> dict[str, float]:
    """Flat metrics of a batch; a key whose denominator is zero is left out.

    Means over all Countdown responses: attempts (attempts_3: at 3 numbers), checks, backtracks,
    subgoals, backward. Shares of attempts: hit_rate (hit_rate_3: at 3 numbers), repeated.
    check_right: share of checks. wrong_steps: share of steps. Over all responses: reflections,
    reflections_100 (per 100 response tokens), right_if_reflecting (P(correct | a reflection word)),
    switched, thinking. accuracy_3, ... and accuracy_arithmetic: mean accuracy. And the means of
    what a task observes itself (Task.observe).
    """
    problems = [rollouts.problem(row) for row in range(len(rollouts.texts))]
    seen = [observe(problem, text) for problem, text in zip(problems, rollouts.texts)]
    right = [reward.accuracy for reward in rollouts.rewards]
    puzzles = [b for b, p in zip(seen, problems) if isinstance(p, Countdown)]
    metrics: dict[str, float] = {}
    whole = total(puzzles)
    for name in ("attempts", "checks", "backtracks", "subgoals", "backward"):
        add_share(metrics, name, getattr(whole, name), len(puzzles))
    add_share(metrics, "hit_rate", whole.hits, whole.attempts)
    add_share(metrics, "check_right", whole.checks_right, whole.checks)
    add_share(metrics, "repeated", whole.repeated, whole.attempts)
    groups = [len(p.numbers) if isinstance(p, Countdown) else p.task for p in problems]
    for group in sorted(set(groups), key=str):
        rows = [row for row, other in enumerate(groups) if other == group]
        if isinstance(group, int):
            part = total([seen[row] for row in rows])
            metrics[f"attempts_{group}"] = part.attempts / len(rows)
            add_share(metrics, f"hit_rate_{group}", part.hits, part.attempts)
        add_share(metrics, f"accuracy_{group}", sum(right[row] for row in rows), len(rows))
    return metrics | _observed(problems, rollouts.texts) | _reflection(rollouts, seen, right)


def _observed(problems: list[Problem], texts: list[str]) -> dict[str, float]:
    """Means of what the problems' own tasks observe (Task.observe)."""
    values: dict[str, list[float]] = {}
    for problem, text in zip(problems, texts):
        look = find_task(problem.task).observe
        for name, value in look(problem, text).items() if look is not None else ():
            values.setdefault(name, []).append(float(value))
    return {name: sum(v) / len(v) for name, v in values.items()}


def _reflection(rollouts: Rollouts, seen: list[Behaviour], right: list[float]) -> dict[str, float]:
    """The metrics over all responses, whatever their task."""
    metrics: dict[str, float] = {}
    whole = total(seen)
    reflecting = [r for r, b in zip(right, seen) if b.reflections]
    add_share(metrics, "reflections", whole.reflections, len(seen))
    add_share(metrics, "reflections_100", 100 * whole.reflections, sum(rollouts.lengths()))
    add_share(metrics, "right_if_reflecting", sum(reflecting), len(reflecting))
    add_share(metrics, "wrong_steps", whole.wrong_steps, whole.steps)
    add_share(metrics, "switched", whole.switched, len(seen))
    thinking = sum(text.startswith(THINK) for text in rollouts.texts)
    add_share(metrics, "thinking", thinking, len(seen))
    return metrics
