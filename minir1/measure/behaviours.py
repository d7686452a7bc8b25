"""What a response does, counted by rule: attempts, checks, backtracks, subgoals, reflections.

Everything is read off the text; nothing is asked of a model. An attempt is one line of the thought
that holds at least one step such as `55 + 36 = 91`, or one of several that share their first step
on a line. A look round before the last step, `72, with 7: 79, 65, yes`, belongs to its attempt.
Where numbers are kept for the end (`keep 7, need 58, 72: `) every look at what the others make is
one.

>>> from minir1.tasks.countdown import Countdown
>>> seen = observe(Countdown((3, 5, 2), 4), "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 8 / 2 = 4, make 8: 3 + 5 = 8, yes</think>")
>>> seen.attempts, seen.hits, seen.checks, seen.checks_right, seen.backtracks, seen.subgoals, seen.reflections
(2, 1, 2, 2, 1, 1, 1)
"""

import argparse
import json
import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from minir1.config import UserError, apply
from minir1.console import errors as cli
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers.goal_directed import ANY, needed
from minir1.presets import PRESETS, check
from minir1.rewards import score
from minir1.rollout import Rollouts
from minir1.tasks import Problem, arithmetic, countdown, find_task
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import PIECES
from minir1.transcript import BEGIN, END, SPECIAL_TOKENS, THINK, THINK_END

# The R1 report's list of reflection words, and the "try" that our corpus opens attempts with;
# Chinese likewise.
REFLECTION_WORDS = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check",
    "try",
    "等等", "但是", "再试",
)  # fmt: skip

# Every repetition is bounded or cannot restart inside itself: reading stays linear in the text's
# length.
_N = r"(?:-?[0-9]{1,15}|\(-[0-9]{1,15}\))"
_FORM = r"(?<![0-9.])(?<![0-9)] [-+*/] )%s(?: [-+*/] %s){%d,6} = -?[0-9]{1,15}(?![0-9])"
_STEP = re.compile(_FORM % (_N, _N, 1))  # 8 + 4 = 12, 1 + 7 + 6 = 14
_COLUMN = re.compile(_FORM % (_N, _N, 0))  # a column of one digit too: 4 = 4
_PLAN = re.compile(r"[,，] ?(?:(need|还差)|make|先凑) ?(-?[0-9]{1,15})[:：]")
_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?[0-9]{1,15})|no|不行)\s*$")
# with 7: 79, 65
_AROUND = re.compile(r"[,，] ?(?:with|配) ?(?:[0-9]{1,15})[:：] ?((?:[0-9]{1,15}, )*[0-9]{1,15})")
# keep 7, need 58, 72:
KEPT = re.compile(
    r"(?:keep |留)([0-9]{1,15})[,，] ?(?:need |还差)((?:[0-9]{1,15}, )*[0-9]{1,15})[:：] ?"
)
_LISTED = re.compile(r"[:：] ?((?:[0-9]{1,15}, )*[0-9]{1,15})$")
_WORD, _WORD_EN = re.compile(r"[A-Za-z']+|[一-鿿]"), re.compile(r"[A-Za-z']+")
_REFLECTION_EN = frozenset(word for word in REFLECTION_WORDS if word.isascii())
_REFLECTION_ZH = tuple(word for word in REFLECTION_WORDS if not word.isascii())


class Behaviour(NamedTuple):
    """Counts for one response.

    Those from `attempts` to `backward`, and `repeated`, are 0 for arithmetic.
    """

    attempts: int
    hits: int  # attempts that reach the target with every number once and true arithmetic
    checks: int  # attempts closed by a verdict: ", yes", ", not 65", or ", no" (no last step hits)
    checks_right: int  # verdicts that fit what the attempt has reached
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
    operands: tuple[int, ...]
    operator: str  # the first one
    value: int
    true: bool


# ---------------------------------------------------------------- one response


def thought_of(response: str) -> str:
    """The text between <think> and </think> (or the end); "" if the response does not open with
    <think>.
    """
    return (
        response[len(THINK) :].partition(THINK_END)[0].removesuffix(END)
        if response.startswith(THINK)
        else ""
    )


def observe(problem: Problem, text: str) -> Behaviour:
    """Count the behaviours of one response (its forced prefix included).

    Total: any text gets a Behaviour.
    """
    thought = thought_of(text)
    english, chinese, reflections = _count_words(thought)
    tail = (int(english > 0 and chinese > 0), english + chinese)
    if not isinstance(problem, Countdown):
        steps = [_read_step(text) for text in _COLUMN.findall(thought)]
        return Behaviour(
            0, 0, 0, 0, 0, 0, 0, reflections, 0, sum(not s.true for s in steps), len(steps), *tail
        )
    tries = attempts_of(problem, thought)
    return Behaviour(
        attempts=len(tries), hits=sum(a.hit for a in tries),
        checks=sum(a.check is not None for a in tries),
        checks_right=sum(a.check is True for a in tries),
        backtracks=sum(not a.hit for a in tries[:-1]), subgoals=sum(a.subgoal for a in tries),
        backward=sum(a.backward for a in tries), reflections=reflections,
        repeated=len(tries) - len({a.text for a in tries}),
        wrong_steps=sum(a.wrong_steps for a in tries), steps=sum(a.steps for a in tries),
        switched=tail[0], words=tail[1],
    )


def _count_words(thought: str) -> tuple[int, int, int]:
    """English words, Chinese characters, reflection words."""
    if thought.isascii():
        english, chinese, reflections = _WORD_EN.findall(thought), 0, 0
    else:
        words = _WORD.findall(thought)
        english = [word for word in words if word < "一"]
        chinese, reflections = len(words) - len(english), sum(map(thought.count, _REFLECTION_ZH))
    return (
        len(english), chinese,
        reflections + sum(word.lower() in _REFLECTION_EN for word in english),
    )


def attempts_of(problem: Countdown, thought: str) -> list[Attempt]:
    """The attempts of a thought, in order."""
    return [attempt for line in thought.split("\n") for attempt in _line_attempts(problem, line)]


def _line_attempts(problem: Countdown, line: str) -> list[Attempt]:
    if ("keep " in line or "留" in line) and KEPT.search(line):
        opening = _read_opening(problem, line)
        found = [
            _read_look(problem, opening, look, i > 0)
            for i, look in enumerate(line[opening.end :].split("; "))
        ]
    else:
        found = [_read_attempt(problem, text, i > 0) for i, text in enumerate(spread(line))]
    return [attempt for attempt in found if attempt is not None]


class _Opening(NamedTuple):
    """What the looks of a line share that keeps numbers for the end
    (minir1.corpus.writers.goal_directed).
    """

    text: str  # without the word that opens the line
    end: int  # where it ends in the line
    steps: int  # written before a number is kept
    kept: list[int]
    left: list[int]
    goals: list[int]  # what is needed, as written
    sound: bool
    wrong: int  # false steps, and needed values that do not lead on


def _read_opening(problem: Countdown, line: str) -> _Opening:
    keeps = list(KEPT.finditer(line))
    steps = list(_STEP.finditer(line, 0, keeps[0].start()))
    first, left, goals = (
        [_read_step(match[0]) for match in steps], list(problem.numbers), [problem.target],
    )
    sound, wrong = all(_take(left, step) for step in first), sum(not step.true for step in first)
    for keep in keeps:
        n, written = int(keep[1]), [int(value) for value in keep[2].split(", ")]
        wrong += len(set(written) - set(needed(goals, n, ANY)))
        sound, goals = sound and n in left, written
        if n in left:
            left.remove(n)
    begin, end = (steps or keeps)[0].start(), keeps[-1].end()
    return _Opening(
        line[begin:end], end, len(first), [int(keep[1]) for keep in keeps], left, goals, sound,
        wrong,
    )


def _read_look(problem: Countdown, opening: _Opening, text: str, shared: bool) -> Attempt | None:
    """`shared`: the opening stands in an earlier attempt already and is not counted again."""
    looked, verdict, ending = text.partition(", yes: " if ", yes: " in text else "，对：")
    steps, closing = (
        [_read_step(match[0]) for match in _STEP.finditer(part)] for part in (looked, ending)
    )
    listed, left = _LISTED.search(looked), list(opening.left)
    tried = [int(value) for value in listed[1].split(", ")] if listed else []
    if not (steps or tried):
        return None
    sound = opening.sound and all(_take(left, step) for step in steps)
    made, pool = (
        [s.value for s in countdown.steps_of(*left)] if sound and len(left) == 2 else [],
        left + opening.kept,
    )
    wrong = sum(not s.true for s in steps + closing) + sum(v not in made for v in tried if made)
    return Attempt(
        text=opening.text + looked,
        hit=sound and all(_take(pool, step) for step in closing) and pool == [problem.target],
        check=bool(tried) and tried[-1] in opening.goals and tried[-1] in made if verdict else None,
        subgoal=False, backward=True,
        steps=len(steps) + len(tried) + len(closing) + (0 if shared else opening.steps),
        wrong_steps=wrong + (0 if shared else opening.wrong),
    )


def spread(line: str) -> list[str]:
    """A line whose attempts share their first step, as one text an attempt; any other line as it
    is.

    >>> spread("wait, 3 + 5 = 8: 8 + 2 = 10, with 1: 11, 9, no; 8 / 2 = 4, with 1: 5, yes")
    ['wait, 3 + 5 = 8, 8 + 2 = 10, with 1: 11, 9, no', 'wait, 3 + 5 = 8, 8 / 2 = 4, with 1: 5, yes']
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
    # steps[:first] belong to plans
    pool, goal, sound, first, last = list(problem.numbers), problem.target, True, 0, 0
    plans = list(_PLAN.finditer(line)) if ":" in line or "：" in line else ()
    for plan in plans:
        while last < len(matches) and matches[last].end() <= plan.start():
            last += 1
        made = int(plan[2])
        sound = (
            sound
            and last == first + 1
            and _set_aside(pool, steps[first], goal, made, plan[1] is not None)
        )
        goal, first = made, last
    sound = sound and all(_take(pool, step) for step in steps[first:])
    around = _AROUND.match(line, matches[-1].end())
    tried = [int(value) for value in around[1].split(", ")] if around else []
    # what one more step can make
    made = [s.value for s in countdown.steps_of(*pool)] if len(pool) == 2 else []
    verdict = _VERDICT.match(line, (around or matches[-1]).end())
    return Attempt(
        text=line[matches[0].start() : verdict.start() if verdict else None].rstrip(),
        hit=sound and (pool == [goal] or tried[-1:] == [goal] and goal in made),
        check=None
        if verdict is None
        else _fits(verdict, tried[-1] if tried else steps[-1].value, goal, made if sound else []),
        subgoal=any(plan[1] is None for plan in plans),
        backward=any(plan[1] is not None for plan in plans),
        steps=len(steps) - shared + len(tried),
        wrong_steps=[step.true for step in steps[shared:]].count(False)
        + (sum(v not in made for v in tried) if sound else 0),
    )


@lru_cache(1 << 16)  # small numbers: the same steps come back all the time
def _read_step(text: str) -> _Step:
    parts = text.split(" ")  # 1 + 7 + 6 = 14
    operands, operators, value = (
        tuple(int(p.strip("()")) for p in parts[:-2:2]), parts[1:-2:2], int(parts[-1]),
    )
    return _Step(
        operands, operators[0] if operators else "", value, _value(operands, operators) == value
    )


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
    if known not in (a, b) or n not in pool or (backward and n == 0 and step.operator in "*/"):
        return False  # a product with 0 cannot be undone
    pool.remove(n)
    return True


def _fits(verdict: re.Match, value: int, goal: int, made: list[int]) -> bool:
    """Whether the verdict is the right thing to say of an attempt that wrote down `value`, where
    one more step can make `made`.
    """
    if verdict[1]:
        return value == goal
    return value != goal and (int(verdict[2]) == goal if verdict[2] else goal not in made)


# ---------------------------------------------------------------- a batch


def _total(rows: list[Behaviour]) -> Behaviour:
    return Behaviour(*map(sum, zip(*rows))) if rows else Behaviour(*[0] * len(Behaviour._fields))


def _share(metrics: dict[str, float], name: str, part: float, whole: float) -> None:
    """A quotient with nothing below the line is left out: JSON knows no NaN."""
    if whole:
        metrics[name] = part / whole


def summarise(rollouts: Rollouts) -> dict[str, float]:
    """Flat metrics of a batch; a key whose denominator is zero is left out.

    Means over all Countdown responses: attempts (attempts_3: at 3 numbers), checks, backtracks,
    subgoals, backward. Shares of attempts: hit_rate (hit_rate_3: at 3 numbers), repeated.
    check_right: share of checks. wrong_steps: share of steps. Over all responses: reflections,
    reflections_100 (per 100 response tokens), right_if_reflecting (P(correct | a reflection word)),
    switched, thinking. accuracy_3, ... and accuracy_arithmetic: mean accuracy.
    """
    problems = [rollouts.problem(row) for row in range(len(rollouts.texts))]
    seen = [observe(problem, text) for problem, text in zip(problems, rollouts.texts)]
    right = [reward.accuracy for reward in rollouts.rewards]
    groups = [len(p.numbers) if isinstance(p, Countdown) else p.task for p in problems]
    metrics: dict[str, float] = {}
    puzzles = [b for b, p in zip(seen, problems) if isinstance(p, Countdown)]
    total = _total(puzzles)
    for name in ("attempts", "checks", "backtracks", "subgoals", "backward"):
        _share(metrics, name, getattr(total, name), len(puzzles))
    _share(metrics, "hit_rate", total.hits, total.attempts)
    _share(metrics, "check_right", total.checks_right, total.checks)
    _share(metrics, "repeated", total.repeated, total.attempts)
    for group in sorted(set(groups), key=str):
        rows = [row for row, other in enumerate(groups) if other == group]
        if isinstance(group, int):
            part = _total([seen[row] for row in rows])
            metrics[f"attempts_{group}"] = part.attempts / len(rows)
            _share(metrics, f"hit_rate_{group}", part.hits, part.attempts)
        _share(metrics, f"accuracy_{group}", sum(right[row] for row in rows), len(rows))
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
    total, reflecting = _total(seen), [r for r, b in zip(right, seen) if b.reflections]
    _share(metrics, "reflections", total.reflections, len(seen))
    _share(metrics, "reflections_100", 100 * total.reflections, sum(rollouts.lengths()))
    _share(metrics, "right_if_reflecting", sum(reflecting), len(reflecting))
    _share(metrics, "wrong_steps", total.wrong_steps, total.steps)
    _share(metrics, "switched", total.switched, len(seen))
    _share(metrics, "thinking", sum(text.startswith(THINK) for text in rollouts.texts), len(seen))
    return metrics


# ---------------------------------------------------------------- the corpus

_PIECE = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|" + PIECES)


def _readers(questions: dict[str, tuple[str, ...]], **parts: str) -> list[tuple[str, re.Pattern]]:
    """The wordings of a task turned round: patterns that find its parts in a question."""
    named = {name: f"(?P<{name}>{pattern})" for name, pattern in parts.items()}
    form = lambda text: re.sub(r"\{(\w)\}", lambda m: named[m[1]], re.sub(r"([.?])", r"\\\1", text))  # noqa: E731
    return [(lang, re.compile(form(text))) for lang, forms in questions.items() for text in forms]


_PUZZLES = _readers(countdown.QUESTIONS, n="[0-9]+(?:(?:, |、)[0-9]+)*", t="[0-9]+")
_SUMS = _readers(arithmetic.QUESTIONS, e=r"(?:[-+*() 0-9加减乘]|plus|minus|times)+")


def read_document(text: str) -> tuple[str, Countdown | None, str]:
    """(kind, the puzzle if it is one, response) of a whole document; kinds: countdown, arithmetic,
    equations, general.

    >>> read_document("<|begin|>User: Make 8 from 3, 5.\\nAssistant:<answer>3 + 5</answer><|end|>")[:2]
    ('countdown', Countdown(numbers=(3, 5), target=8, lang='en', id=''))
    """
    question, found, response = text.removeprefix(f"{BEGIN}User: ").partition("\nAssistant:")
    if not found:
        return "equations", None, text
    for lang, pattern in _PUZZLES:
        if match := pattern.fullmatch(question):
            return (
                "countdown",
                Countdown(tuple(map(int, re.findall("[0-9]+", match["n"]))), int(match["t"]), lang),
                response,
            )
    return (
        "arithmetic" if any(p.fullmatch(question) for _, p in _SUMS) else "general",
        None,
        response,
    )


def corpus_rates(texts: list[str]) -> dict[str, float]:
    """The rates that a corpus really has, measured on whole documents; a key without a denominator
    is left out.

    Shares of documents: share_countdown, share_arithmetic, share_equations, share_general. Of
    Countdown documents: direct (answered without thinking), right, right_direct, right_thinking. Of
    the thinking ones: retrying (more than one attempt), attempts (a mean). Of attempts: checked,
    hit_rate, hit_rate_3, ..., subgoals, backward, repeated; check_right of checks; backtracking of
    failed attempts; switched of thoughts. wrong_steps: of written steps anywhere.
    arithmetic_direct: of arithmetic documents. wait_1000 and so on: reflection words per 1,000
    tokens (pieces of minir1.tokenizer, which nearly always are one token). tokens: mean per
    document.
    """
    read = [read_document(text) for text in texts]
    metrics: dict[str, float] = {}
    for kind in ("countdown", "arithmetic", "equations", "general"):
        _share(metrics, f"share_{kind}", sum(k == kind for k, _, _ in read), len(texts))
    sums = [response for kind, _, response in read if kind == "arithmetic"]
    _share(metrics, "arithmetic_direct", sum(not r.startswith(THINK) for r in sums), len(sums))
    metrics |= _puzzle_rates([(problem, response) for _, problem, response in read if problem])
    steps = [
        _read_step(step)
        for kind, _, text in read
        if kind != "general"
        for step in _COLUMN.findall(text)
    ]
    _share(metrics, "wrong_steps", sum(not step.true for step in steps), len(steps))
    return metrics | _word_rates(texts)


def _puzzle_rates(documents: list[tuple[Countdown, str]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    rows = [(p, r.startswith(THINK), score(p, r).accuracy, observe(p, r)) for p, r in documents]
    thinking = [b for _, thinks, _, b in rows if thinks]
    _share(metrics, "direct", len(rows) - len(thinking), len(rows))
    for name, wanted in (
        ("right", (True, False)), ("right_direct", (False,)), ("right_thinking", (True,)),
    ):
        right = [accuracy for _, thinks, accuracy, _ in rows if thinks in wanted]
        _share(metrics, name, sum(right), len(right))
    total = _total(thinking)
    _share(metrics, "retrying", sum(b.attempts > 1 for b in thinking), len(thinking))
    _share(metrics, "attempts", total.attempts, len(thinking))
    for name, part in (
        ("checked", "checks"), ("hit_rate", "hits"), ("subgoals",) * 2, ("backward",) * 2,
        ("repeated",) * 2,
    ):
        _share(metrics, name, getattr(total, part), total.attempts)
    for count in sorted({len(p.numbers) for p, _ in documents}):
        part = _total([b for p, thinks, _, b in rows if thinks and len(p.numbers) == count])
        _share(metrics, f"hit_rate_{count}", part.hits, part.attempts)
    _share(metrics, "check_right", total.checks_right, total.checks)
    _share(metrics, "backtracking", total.backtracks, total.attempts - total.hits)
    _share(metrics, "switched", total.switched, len(thinking))
    return metrics


def _word_rates(texts: list[str]) -> dict[str, float]:
    """Each reflection word that occurs, and all of them, per 1,000 tokens; tokens per document."""
    metrics: dict[str, float] = {}
    text = "".join(texts)
    tokens = sum(1 for _ in _PIECE.finditer(text))
    found = Counter(word.lower() for word in _WORD_EN.findall(text))
    found.update({word: text.count(word) for word in _REFLECTION_ZH})
    for word in REFLECTION_WORDS:
        if found[word]:
            metrics[f"{word}_1000"] = 1000 * found[word] / tokens
    _share(
        metrics, "reflections_1000", 1000 * sum(found[word] for word in REFLECTION_WORDS), tokens
    )
    _share(metrics, "tokens", tokens, len(texts))
    return metrics


_ROWS = {
    "share_countdown": "documents: Countdown",
    "share_arithmetic": "documents: arithmetic questions",
    "share_equations": "documents: lists of equations",
    "share_general": "documents: anything else",
    "arithmetic_direct": "arithmetic: answered without working",
    "direct": "Countdown: answered without thinking",
    "right": "Countdown: right",
    "right_direct": "  of those without thinking",
    "right_thinking": "  of those with thinking",
    "retrying": "thoughts with more than one attempt",
    "switched": "thoughts that mix languages",
    "checked": "attempts closed by a check",
    "check_right": "checks that are right",
    "backtracking": "failed attempts followed by another",
    "subgoals": "attempts that set a subgoal",
    "backward": "attempts that start from the target",
    "repeated": "attempts identical to an earlier one",
    "hit_rate": "attempts that hit",
    "wrong_steps": "written steps that are false",
    "attempts": "attempts in a thought",
    "tokens": "tokens in a document",
    "reflections_1000": "reflection words in 1,000 tokens",
}


def table(rates: dict[str, float]) -> str:
    """corpus_rates for people: shares in percent, means as they are."""
    lines, order = [], list(_ROWS)

    def place(name: str) -> int:
        if name not in _ROWS:
            name = "hit_rate" if "hit_rate" in name else order[-1]
        return order.index(name)

    for name, value in sorted(
        rates.items(), key=lambda item: (place(item[0]), item[0] not in _ROWS)
    ):
        label = (
            _ROWS.get(name) or f"  {name.removesuffix('_1000').replace('hit_rate_', 'numbers: ')}"
        )
        mean = name in ("attempts", "tokens") or name.endswith("_1000")
        lines.append(f"{label:<40}{value:>8.2f}" if mean else f"{label:<40}{value:>8.2%}")
    return "\n".join(lines)


def main_corpus(arguments: list[str]) -> int:
    """`python -m minir1 corpus`: the rates of a preset's corpus, and some of its documents."""
    parser = argparse.ArgumentParser(
        "minir1 corpus", description="Measure the pretraining corpus.", allow_abbrev=False
    )
    parser.add_argument(
        "--preset", default="cpu", choices=tuple(PRESETS), help="whose corpus (default: cpu)"
    )
    parser.add_argument(
        "--documents", type=int, default=20_000, help="documents to measure (default: 20000)"
    )
    parser.add_argument("--languages", help="en, zh or en,zh instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="which documents (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the rates as JSON, nothing else")
    given = cli.parse(parser, arguments)
    if given.documents < 1:
        raise UserError("--documents must be at least 1")
    config = PRESETS[given.preset].corpus
    if given.languages:
        config = check(
            apply(PRESETS[given.preset], {"corpus.languages": tuple(given.languages.split(","))})
        ).corpus
    texts = sample_text(config, given.seed, given.documents)
    rates = corpus_rates(texts)
    if given.json:
        print(json.dumps(rates, indent=2, ensure_ascii=False))
        return 0
    print(
        f"{given.documents:,} documents of the {given.preset} corpus, seed {given.seed}\n\n{table(rates)}\n"
    )
    for text in texts[:3]:
        print(f"{text}\n")
    return 0
