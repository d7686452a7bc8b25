"""What a response does, counted by rule, in one response, in a batch and in a corpus.

>>> text = "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 8 / 2 = 4, make 8: 3 + 5 = 8, yes</think>"
>>> seen = observe(Countdown((3, 5, 2), 4), text)
>>> seen.attempts, seen.hits, seen.checks, seen.backtracks, seen.subgoals, seen.reflections
(2, 1, 2, 1, 1, 1)
>>> read_document("<|begin|>User: Make 8 from 3, 5.\\nAssistant:<answer>3 + 5</answer><|end|>")[:2]
('countdown', Countdown(numbers=(3, 5), target=8, lang='en', id=''))
"""

import re
from collections import Counter
from typing import NamedTuple

from minir1.fast.ranks import Ranks
from minir1.measure.attempts import attempts_of, steps_in, thought_of
from minir1.rewards import CHINESE, WORD, score
from minir1.rollout import Rollouts
from minir1.tasks import Problem, arithmetic, countdown, find_task
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import PIECES
from minir1.transcript import BEGIN, SPECIAL_TOKENS, THINK

# The R1 report's list of reflection words, and the "try" that our corpus opens attempts with;
# Chinese likewise.
REFLECTION_WORDS = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check",
    "try", "等等", "但是", "再试",
)
_IN_ENGLISH = frozenset(filter(str.isascii, REFLECTION_WORDS))
_IN_CHINESE = re.compile("|".join(word for word in REFLECTION_WORDS if not word.isascii()))


# ---------------------------------------------------------------- one response


class Behaviour(NamedTuple):
    """Counts for one response; `attempts` to `backward` and `repeated` are Countdown's alone."""

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


def reflections_in(text: str) -> Counter:
    """How often each of REFLECTION_WORDS stands in a text; English ones as whole words."""
    return Counter(_reflections(WORD.findall(text), text))


def _reflections(english: list[str], text: str) -> list[str]:
    """Those of a text, whose English words are known."""
    found = [word for word in map(str.lower, english) if word in _IN_ENGLISH]
    return found if text.isascii() else found + _IN_CHINESE.findall(text)


def observe(problem: Problem, text: str) -> Behaviour:
    """Count the behaviours of one response, its forced prefix included. Total: never raises."""
    thought = thought_of(text)
    english = WORD.findall(thought)
    chinese = 0 if thought.isascii() else len(CHINESE.findall(thought))
    shared = {
        "reflections": len(_reflections(english, thought)),
        "switched": int(len(english) > 0 and chinese > 0),
        "words": len(english) + chinese,
    }
    if not isinstance(problem, Countdown):
        steps = [step.true for step in steps_in(thought)]
        return Behaviour(steps=len(steps), wrong_steps=steps.count(False), **shared)
    tries = attempts_of(problem, thought)
    texts, hits, checks, subgoals, backward, steps, wrong = zip(*tries) if tries else [()] * 7
    return Behaviour(
        attempts=len(tries),
        hits=sum(hits),
        checks=len(checks) - checks.count(None),
        checks_right=checks.count(True),
        backtracks=hits[:-1].count(False),
        subgoals=sum(subgoals),
        backward=sum(backward),
        repeated=len(texts) - len(set(texts)),
        wrong_steps=sum(wrong),
        steps=sum(steps),
        **shared,
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
    pairs = [(row // rollouts.group, text) for row, text in enumerate(rollouts.texts)]
    distinct = dict.fromkeys(pairs)  # of equal responses one is read
    asked = [rollouts.problems[i] for i, _ in distinct]
    read = Ranks.current().each(observe, asked, [text for _, text in distinct])
    seen = [*map(dict(zip(distinct, read)).get, pairs)]
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
    add_share(metrics, "thinking", sum(t.startswith(THINK) for t in rollouts.texts), len(seen))
    return metrics


_PIECE = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|" + PIECES)

# ---------------------------------------------------------------- a document


def _readers(questions: dict[str, tuple[str, ...]], **parts: str) -> list[tuple[str, re.Pattern]]:
    """The wordings of a task turned round: patterns that find its parts in a question."""
    readers = []
    for lang, forms in questions.items():
        for form in forms:
            pattern = re.sub(r"([.?])", r"\\\1", form)
            for name, part in parts.items():
                pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{part})")
            readers.append((lang, re.compile(pattern)))
    return readers


_PUZZLES = _readers(countdown.QUESTIONS, n="[0-9]+(?:(?:, |、)[0-9]+)*", t="[0-9]+")
_SUMS = _readers(arithmetic.QUESTIONS, e=r"(?:[-+*() 0-9加减乘]|plus|minus|times)+")


def read_document(text: str) -> tuple[str, Countdown | None, str]:
    """(kind, puzzle if it is one, response); kinds: countdown, arithmetic, equations, general."""
    question, separator, response = text.removeprefix(f"{BEGIN}User: ").partition("\nAssistant:")
    if not separator:
        return "equations", None, text
    for lang, pattern in _PUZZLES:
        if match := pattern.fullmatch(question):
            numbers = tuple(map(int, re.findall("[0-9]+", match["n"])))
            return "countdown", Countdown(numbers, int(match["t"]), lang), response
    is_sum = any(pattern.fullmatch(question) for _, pattern in _SUMS)
    return "arithmetic" if is_sum else "general", None, response


# ---------------------------------------------------------------- a corpus


def corpus_rates(texts: list[str]) -> dict[str, float]:
    """The rates of whole documents; a key without a denominator is left out.

    Shares of documents: share_countdown, share_arithmetic, share_equations, share_general. Of
    Countdown documents: direct (answered without thinking), right, right_direct, right_thinking. Of
    the thinking ones: retrying (more than one attempt), attempts (a mean). Of attempts: checked,
    hit_rate, hit_rate_3, ..., subgoals, backward, repeated; check_right of checks; backtracking of
    failed attempts; switched of thoughts. wrong_steps: of written steps anywhere.
    arithmetic_direct: of arithmetic documents. wait_1000 and so on: reflection words per 1,000
    tokens (pieces of minir1.tokenizer, which nearly always are one token). tokens: mean per
    document.
    """
    documents = [read_document(text) for text in texts]
    metrics: dict[str, float] = {}
    for kind in ("countdown", "arithmetic", "equations", "general"):
        add_share(metrics, f"share_{kind}", sum(k == kind for k, _, _ in documents), len(texts))
    sums = [response for kind, _, response in documents if kind == "arithmetic"]
    add_share(metrics, "arithmetic_direct", sum(not r.startswith(THINK) for r in sums), len(sums))
    metrics |= _puzzle_rates([(problem, text) for _, problem, text in documents if problem])
    steps = [step for kind, _, text in documents if kind != "general" for step in steps_in(text)]
    add_share(metrics, "wrong_steps", sum(not step.true for step in steps), len(steps))
    return metrics | _word_rates(texts)


def _puzzle_rates(documents: list[tuple[Countdown, str]]) -> dict[str, float]:
    right = {True: [], False: []}  # by whether it thinks
    thinking = []
    for problem, response in documents:
        thinks = response.startswith(THINK)
        right[thinks].append(score(problem, response).accuracy)
        if thinks:
            thinking.append((problem, observe(problem, response)))
    behaviours = [behaviour for _, behaviour in thinking]
    whole = total(behaviours)
    metrics: dict[str, float] = {}
    add_share(metrics, "direct", len(right[False]), len(documents))
    add_share(metrics, "right", sum(right[True] + right[False]), len(documents))
    add_share(metrics, "right_direct", sum(right[False]), len(right[False]))
    add_share(metrics, "right_thinking", sum(right[True]), len(right[True]))
    add_share(metrics, "retrying", sum(b.attempts > 1 for b in behaviours), len(behaviours))
    add_share(metrics, "attempts", whole.attempts, len(behaviours))
    add_share(metrics, "checked", whole.checks, whole.attempts)
    add_share(metrics, "hit_rate", whole.hits, whole.attempts)
    for name in ("subgoals", "backward", "repeated"):
        add_share(metrics, name, getattr(whole, name), whole.attempts)
    for count in sorted({len(problem.numbers) for problem, _ in thinking}):
        part = total([b for problem, b in thinking if len(problem.numbers) == count])
        add_share(metrics, f"hit_rate_{count}", part.hits, part.attempts)
    add_share(metrics, "check_right", whole.checks_right, whole.checks)
    add_share(metrics, "backtracking", whole.backtracks, whole.attempts - whole.hits)
    add_share(metrics, "switched", whole.switched, len(behaviours))
    return metrics


def _word_rates(texts: list[str]) -> dict[str, float]:
    """Each reflection word that occurs, and all of them, per 1,000 tokens; tokens per document."""
    text = "".join(texts)
    tokens = sum(1 for _ in _PIECE.finditer(text))
    counts = reflections_in(text)
    metrics = {f"{w}_1000": 1000 * counts[w] / tokens for w in REFLECTION_WORDS if counts[w]}
    add_share(metrics, "reflections_1000", 1000 * counts.total(), tokens)
    add_share(metrics, "tokens", tokens, len(texts))
    return metrics


ROWS = {
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
    order = list(ROWS)

    def place(name: str) -> tuple[int, bool]:
        """Rates by count of numbers follow the hit rate, single words come last."""
        row = name if name in ROWS else "hit_rate" if "hit_rate" in name else order[-1]
        return order.index(row), name not in ROWS

    lines = []
    for name in sorted(rates, key=place):
        label = ROWS.get(name, f"  {name.removesuffix('_1000').replace('hit_rate_', 'numbers: ')}")
        mean = name in ("attempts", "tokens") or name.endswith("_1000")
        lines.append(f"{label:<40}{rates[name]:>8.{'2f' if mean else '2%'}}")
    return "\n".join(lines)
