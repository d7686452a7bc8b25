"""What a response does, counted by rule: attempts, checks, backtracks, subgoals, reflections.

Everything is read off the text; nothing is asked of a model. An attempt is one line of the thought
that holds at least one step such as `55 + 36 = 91`.

>>> from minir1.tasks.countdown import Countdown
>>> seen = observe(Countdown((3, 5, 2), 4), "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 8 / 2 = 4, make 8: 3 + 5 = 8, yes</think>")
>>> seen.attempts, seen.hits, seen.checks, seen.checks_right, seen.backtracks, seen.subgoals, seen.reflections
(2, 1, 2, 2, 1, 1, 1)
"""

import argparse
import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from minir1.config import PRESETS, CorpusConfig, UserError
from minir1.corpus import sample_text
from minir1.rollout import Rollouts
from minir1.tasks import arithmetic, countdown
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import PIECES
from minir1.transcript import ANSWER, BEGIN, END, THINK, THINK_END, Problem, parse

# The R1 report's list of reflection words, and the "try" that our corpus opens attempts with; Chinese likewise.
REFLECTION_WORDS = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check", "try",
    "等等", "但是", "再试",
)  # fmt: skip

# Every repetition is bounded or cannot restart inside itself: reading stays linear in the text's length.
_N = r"(?:-?[0-9]{1,15}|\(-[0-9]{1,15}\))"
_FORM = r"(?<![0-9.])(?<![0-9)] [-+*/] )(%s)((?: [-+*/] %s){%d,6}) = (-?[0-9]{1,15})(?![0-9])"
_STEP = re.compile(_FORM % (_N, _N, 1))  # 8 + 4 = 12, 1 + 7 + 6 = 14
_COLUMN = re.compile(_FORM % (_N, _N, 0))  # a column of one digit too: 4 = 4
_TERM = re.compile(r" ([-+*/]) \(?(-?[0-9]+)")
_PLAN = re.compile(r"[,，] ?(?:(need|还差)|make|先凑) ?(-?[0-9]{1,15})(?![0-9])")
_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?[0-9]{1,15}))\s*$")
_WORD = re.compile(r"[A-Za-z']+|[一-鿿]")
_ENGLISH, _CHINESE = [w for w in REFLECTION_WORDS if w.isascii()], [w for w in REFLECTION_WORDS if not w.isascii()]
_REFLECTION = re.compile(rf"\b(?:{'|'.join(_ENGLISH)})\b|{'|'.join(_CHINESE)}", re.ASCII | re.IGNORECASE)


class Behaviour(NamedTuple):
    """Counts for one response. Those from `attempts` to `backward`, and `repeated`, are 0 for arithmetic."""

    attempts: int
    hits: int  # attempts that reach the target with every number once and true arithmetic
    checks: int  # attempts closed by a verdict: ", yes" or ", not 65"
    checks_right: int  # verdicts that fit the value the attempt ended on
    backtracks: int  # attempts that follow one that failed
    subgoals: int  # attempts that plan forward: "13 * 5 = 65, make 13: ..."
    backward: int  # attempts that start from the target: "65 / 5 = 13, need 13: ..."
    reflections: int  # words of REFLECTION_WORDS
    repeated: int  # attempts identical to an earlier one, their verdict and opening word aside
    wrong_steps: int  # written steps that are false as arithmetic
    steps: int
    switched: int  # 1 if the thought mixes English and Chinese words
    words: int  # in the thought; a Chinese character counts as a word


class Attempt(NamedTuple):
    text: str  # from the first step on, without the verdict
    hit: bool
    check: bool | None  # None: no verdict; else whether it is right
    subgoal: bool
    backward: bool
    steps: int
    wrong_steps: int


class _Step(NamedTuple):
    operands: list[int]
    operators: list[str]
    value: int
    true: bool


# ---------------------------------------------------------------- one response


def thought_of(response: str) -> str:
    """The text between <think> and </think> (or the end); "" if the response does not open with <think>."""
    return response[len(THINK) :].partition(THINK_END)[0].removesuffix(END) if response.startswith(THINK) else ""


def observe(problem: Problem, text: str) -> Behaviour:
    """Count the behaviours of one response (its forced prefix included). Total: any text gets a Behaviour."""
    thought = thought_of(text)
    words = _WORD.findall(thought)
    chinese = sum(word >= "一" for word in words)
    reflections = len(_REFLECTION.findall(thought)) if words else 0
    tail = (int(0 < chinese < len(words)), len(words))
    if not isinstance(problem, Countdown):
        steps = [_read_step(match) for match in _COLUMN.finditer(thought)]
        return Behaviour(0, 0, 0, 0, 0, 0, 0, reflections, 0, sum(not s.true for s in steps), len(steps), *tail)
    tries = attempts_of(problem, thought)
    return Behaviour(
        attempts=len(tries),
        hits=sum(a.hit for a in tries),
        checks=sum(a.check is not None for a in tries),
        checks_right=sum(a.check is True for a in tries),
        backtracks=sum(not a.hit for a in tries[:-1]),
        subgoals=sum(a.subgoal for a in tries),
        backward=sum(a.backward for a in tries),
        reflections=reflections,
        repeated=len(tries) - len({a.text for a in tries}),
        wrong_steps=sum(a.wrong_steps for a in tries),
        steps=sum(a.steps for a in tries),
        switched=tail[0],
        words=tail[1],
    )


def attempts_of(problem: Countdown, thought: str) -> list[Attempt]:
    """The attempts of a thought, in order."""
    found = (_read_attempt(problem, line) for line in thought.split("\n"))
    return [attempt for attempt in found if attempt is not None]


def _read_attempt(problem: Countdown, line: str) -> Attempt | None:
    matches = list(_STEP.finditer(line))
    if not matches:
        return None
    steps, plans = [_read_step(match) for match in matches], list(_PLAN.finditer(line))
    pool, goal, sound, first = list(problem.numbers), problem.target, True, 0
    for plan in plans:
        last = sum(match.end() <= plan.start() for match in matches)
        made = int(plan[2])
        sound = sound and last == first + 1 and _set_aside(pool, steps[first], goal, made, plan[1] is not None)
        goal, first = made, last
    sound = sound and all(_take(pool, step) for step in steps[first:])
    verdict = _VERDICT.search(line)
    return Attempt(
        text=line[matches[0].start() : verdict.start() if verdict else None].rstrip(),
        hit=sound and pool == [goal],
        check=None if verdict is None else _fits(verdict, steps[-1].value if first < len(steps) else None, goal),
        subgoal=any(plan[1] is None for plan in plans),
        backward=any(plan[1] is not None for plan in plans),
        steps=len(steps),
        wrong_steps=sum(not step.true for step in steps),
    )


def _read_step(match: re.Match) -> _Step:
    terms = _TERM.findall(match[2])
    operators, operands = [t[0] for t in terms], [int(match[1].strip("()")), *(int(t[1]) for t in terms)]
    value = int(match[3])
    return _Step(operands, operators, value, _value(operands, operators) == value)


def _value(operands: list[int], operators: list[str]) -> int | Fraction | None:
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
            total, product = total + product, b if operator == "+" else -b
    return total + product


def _take(pool: list[int], step: _Step) -> bool:
    """Replace the step's operands by its value, if they are there and the step is true."""
    try:
        for n in step.operands:
            pool.remove(n)
    except ValueError:
        return False
    pool.append(step.value)
    return step.true


def _set_aside(pool: list[int], step: _Step, goal: int, made: int, backward: bool) -> bool:
    """Take the number a plan reserves out of the pool; False if the plan does not lead to the goal.

    Backward: `goal / n = made`. Subgoal: `made * n = goal`. Either may stand the other way round.
    """
    if not step.true or len(step.operands) != 2 or step.value != (made if backward else goal):
        return False
    a, b = step.operands
    known = goal if backward else made
    n = b if a == known else a
    if known not in (a, b) or n not in pool or (backward and n == 0 and step.operators[0] in "*/"):
        return False  # a product with 0 cannot be undone
    pool.remove(n)
    return True


def _fits(verdict: re.Match, value: int | None, goal: int) -> bool:
    """Whether "yes" or "not N" is the right thing to say of an attempt that wrote down `value`."""
    return value == goal if verdict[1] else value not in (None, goal) and int(verdict[2]) == goal


# ---------------------------------------------------------------- a batch


def _total(rows: list[Behaviour]) -> Behaviour:
    return Behaviour(*map(sum, zip(*rows))) if rows else Behaviour(*[0] * len(Behaviour._fields))


def _share(metrics: dict[str, float], name: str, part: float, whole: float) -> None:
    """A quotient with nothing below the line is left out: JSON knows no NaN."""
    if whole:
        metrics[name] = part / whole


def summarise(rollouts: Rollouts) -> dict[str, float]:
    """Flat metrics of a batch; a key whose denominator is zero is left out.

    Means over all Countdown responses: attempts, checks, backtracks, subgoals, backward. Shares of attempts:
    hit_rate (hit_rate_3: at 3 numbers), repeated. check_right: share of checks. wrong_steps: share of steps.
    Over all responses: reflections, reflections_100 (per 100 response tokens), right_if_reflecting
    (P(correct | a reflection word)), switched, thinking. accuracy_3, ... and accuracy_arithmetic: mean accuracy.
    """
    problems = [rollouts.problem(row) for row in range(len(rollouts.texts))]
    seen = [observe(problem, text) for problem, text in zip(problems, rollouts.texts)]
    right = [reward.accuracy for reward in rollouts.rewards]
    groups = [len(p.numbers) if isinstance(p, Countdown) else 0 for p in problems]  # 0: arithmetic
    metrics: dict[str, float] = {}
    puzzles = [b for b, count in zip(seen, groups) if count]
    total = _total(puzzles)
    for name in ("attempts", "checks", "backtracks", "subgoals", "backward"):
        _share(metrics, name, getattr(total, name), len(puzzles))
    _share(metrics, "hit_rate", total.hits, total.attempts)
    _share(metrics, "check_right", total.checks_right, total.checks)
    _share(metrics, "repeated", total.repeated, total.attempts)
    for count in sorted(set(groups)):
        rows = [row for row, other in enumerate(groups) if other == count]
        part = _total([seen[row] for row in rows])
        _share(metrics, f"hit_rate_{count}", part.hits, part.attempts)
        _share(metrics, f"accuracy_{count or 'arithmetic'}", sum(right[row] for row in rows), len(rows))
    return metrics | _reflection(rollouts, seen, right)


def _reflection(rollouts: Rollouts, seen: list[Behaviour], right: list[float]) -> dict[str, float]:
    """The metrics over all responses, whatever their task."""
    metrics: dict[str, float] = {}
    total, reflecting = _total(seen), [r for r, b in zip(right, seen) if b.reflections]
    _share(metrics, "reflections", total.reflections, len(seen))
    _share(metrics, "reflections_100", 100 * total.reflections, sum(rollouts.lengths()))
    _share(metrics, "right_if_reflecting", sum(reflecting), len(reflecting))
    _share(metrics, "wrong_steps", total.wrong_steps, total.steps)
    _share(metrics, "switched", total.switched, len(seen))
    _share(metrics, "thinking", sum(text.startswith(THINK) for text in rollouts.texts), len(seen))
    return metrics
