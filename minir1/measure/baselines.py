"""Baselines that need no training: programs that write what a model could have written.

An accuracy is shown beside them. A task names its own in `Task.references`; one without shows none.

    blind            random attempts, written and checked as the corpus writes them, until one hits
    lookahead        distinct two-number states, each with a look at the last step
    perfect_writer   the writer of the training text, without mistakes and without giving up

>>> sorted(states((3, 5, 2)))[:3]
[(1, 5), (2, 2), (2, 8)]
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from itertools import islice
from math import comb
from random import Random

from minir1.config import Habits
from minir1.corpus.writers import plain
from minir1.tasks import Problem, complete
from minir1.tasks.countdown import Countdown, Step, moves, steps_of
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt, render

# ---------------------------------------------------------------- what all of them report


class Tally:
    """Puzzles solved and tokens used, together and by count of numbers."""

    def __init__(self, budget: int):
        self.budget, self.tried, self.hits = budget, 0, 0
        self.right: list[bool] = []
        self.tokens: list[int] = []
        self.by_count: dict[int, list[bool]] = {}

    def add(
        self, problem: Countdown, solved: bool, used: int, tried: int = 0, hits: int = 0
    ) -> None:
        """One puzzle: whether it was solved, tokens used, attempts made, attempts that hit."""
        self.right.append(solved)
        self.tokens.append(min(used, self.budget))
        self.by_count.setdefault(len(problem.numbers), []).append(solved)
        self.tried, self.hits = self.tried + tried, self.hits + hits

    def figures(self) -> dict[str, float]:
        n = max(1, len(self.right))
        figures = {"accuracy": sum(self.right) / n, "n": len(self.right)}
        figures["length"] = sum(self.tokens) / n
        figures["hit_rate"] = self.hits / max(1, self.tried)
        for count, right in sorted(self.by_count.items()):
            figures[f"accuracy_{count}"] = sum(right) / len(right)
        return figures


def puzzles_of(problems: list[Problem]) -> list[Countdown]:
    return [p for p in problems if isinstance(p, Countdown)]


def attempt_tokens(tokenizer: Tokenizer, steps: list[Step], target: int) -> int:
    """Tokens of an attempt as the corpus writes it, its verdict included."""
    return len(tokenizer.encode(f"\nwait, {', '.join(map(str, steps))}, not {target}"))


# ---------------------------------------------------------------- blind search


def blind(
    problems: list[Problem], tokenizer: Tokenizer, budget: int, attempts: dict | None = None
) -> dict[str, float]:
    """Blind search on the Countdown problems.

    Stops after `budget` tokens or, when given, after `attempts[how many numbers]` attempts.
    """
    rng, tally = Random("blind"), Tally(budget)
    for problem in puzzles_of(problems):
        used, solved, n = 3, False, 0
        limit = (attempts or {}).get(len(problem.numbers), float("inf"))
        while not solved and n < limit:
            steps = plain.random_attempt(rng, problem.numbers)
            used += attempt_tokens(tokenizer, steps, problem.target)
            if used > budget:
                break
            n, solved = n + 1, steps[-1].value == problem.target
        tally.add(problem, solved, used, n, int(solved))
    return tally.figures()


def blind_hit_rates(problems: list[Problem], repeats: int = 40) -> dict[str, float]:
    """Chance that one random attempt hits, by count of numbers."""
    rng, shares = Random("blind hits"), {}
    for p in puzzles_of(problems):
        values = [plain.random_attempt(rng, p.numbers)[-1].value for _ in range(repeats)]
        shares.setdefault(len(p.numbers), []).append(values.count(p.target) / repeats)
    return {f"hit_rate_{k}": sum(v) / len(v) for k, v in sorted(shares.items())}


# ---------------------------------------------------------------- look-ahead

EVERYTHING = 10**18
# with as many numbers or more there are too many states to list: they are met by walking at random
WALKED = 5


def limit_of(target: int) -> int:
    """Intermediate results above this seldom lead to the target."""
    return 3 * max(100, target)


@lru_cache(1 << 14)
def states(
    numbers: tuple[int, ...], limit: int = EVERYTHING
) -> dict[tuple[int, int], tuple[Step, ...]]:
    """Every pair of last numbers (the smaller first) that non-negative integer steps can leave,
    with one way to it.

    With a `limit` only over intermediate results from 1 to it.
    """
    if len(numbers) == 2:
        return {tuple(sorted(numbers)): ()}
    ways: dict[tuple[int, int], tuple[Step, ...]] = {}
    seen = set()
    for step, left in moves(numbers):
        key = tuple(sorted(left))
        if key not in seen and (limit == EVERYTHING or 0 < step.value <= limit):
            seen.add(key)
            for pair, way in states(left, limit).items():
                ways.setdefault(pair, (step, *way))
    return ways


def last_step(pair: tuple[int, int], target: int) -> Step | None:
    """The step on two numbers that gives the target, if there is one."""
    return next((step for step in steps_of(*pair) if step.value == target), None)


def chance(numbers: tuple[int, ...], target: int, looks: int) -> float:
    """Chance that `looks` small states, drawn evenly without repeats, hold one that is a single
    step from the target.

    >>> chance((3, 5, 2), 16, 1), chance((3, 5, 2), 16, 100)
    (0.1111111111111111, 1.0)
    """
    pairs = states(tuple(sorted(numbers)), limit_of(target))
    hits, looks = sum(last_step(pair, target) is not None for pair in pairs), min(looks, len(pairs))
    return (comb(len(pairs), looks) - comb(len(pairs) - hits, looks)) / comb(len(pairs), looks)


def in_order(rng: Random, problem: Countdown) -> Iterable[tuple[tuple[int, int], tuple[Step, ...]]]:
    """Each state once, with a way to it: the small ones in random order, then the others."""
    if len(problem.numbers) >= WALKED:
        return _walks(rng, problem.numbers, limit_of(problem.target))
    small, everything = (
        states(tuple(sorted(problem.numbers)), limit)
        for limit in (limit_of(problem.target), EVERYTHING)
    )
    rest = [item for item in everything.items() if item[0] not in small]
    return rng.sample(list(small.items()), len(small)) + rng.sample(rest, len(rest))


def _walks(
    rng: Random, numbers: tuple[int, ...], limit: int
) -> Iterator[tuple[tuple[int, int], tuple[Step, ...]]]:
    """Small states that random steps reach, until 100 walks on end bring nothing new."""
    seen, vain = set(), 0
    while vain < 100:
        left, steps, vain = numbers, [], vain + 1
        while len(left) > 2:
            options = [move for move in moves(left) if 0 < move[0].value <= limit]
            if not options:
                break
            step, left = rng.choice(options)
            steps.append(step)
        if len(left) == 2 and (pair := tuple(sorted(left))) not in seen:
            seen.add(pair)
            vain = 0
            yield pair, tuple(steps)


def lookahead(
    problems: list[Problem], tokenizer: Tokenizer, budget: int, looks: int | None = None
) -> dict[str, float]:
    """The share of Countdown problems solved within `budget` tokens and (with `looks`) that many
    states.

    This search never reaches the same last two numbers twice, leaves states with a 0 or a large
    number for the end, and sees at once whether one operator on the last two numbers hits. Each
    state is written as `blind` writes an attempt, a last step and the verdict included; the pair's
    other last steps are looked at, not written.
    """
    rng, tally = Random("lookahead"), Tally(budget)
    for problem in puzzles_of(problems):
        solved, used, n = _search(rng, problem, tokenizer, budget, looks)
        tally.add(problem, solved, used, n, int(solved))
    return tally.figures()


def _search(
    rng: Random, problem: Countdown, tokenizer: Tokenizer, budget: int, looks: int | None
) -> tuple[bool, int, int]:
    """(solved, tokens used, states looked at) for one problem."""
    used, n = 3, 0
    for pair, steps in islice(in_order(rng, problem), looks):
        hit = last_step(pair, problem.target)
        written = [*steps, hit or steps_of(*pair)[0]]
        used += attempt_tokens(tokenizer, written, problem.target)
        if used > budget:
            return False, used, n
        n += 1
        if hit:
            return True, used, n
    return False, used, n


# ---------------------------------------------------------------- the perfect writer

TIRELESS = Habits(
    systematic=1.0, persistence=0.0, backtracking=1.0, small_first=1.0, verification=1.0,
    most_attempts=10**9,
)


def perfect_writer(
    problems: list[Problem], tokenizer: Tokenizer, budget: int, writer: str
) -> dict[str, float]:
    """The share of Countdown problems that `writer` (config.CorpusConfig.writer) solves within
    `budget` tokens, answer included.

    The base has read thoughts of writers that mostly gave up. What a policy would solve that wrote
    exactly as they do, without a mistake and until it is right, says how much of a result lies in
    the notation, and what is still missing is the model's.
    """
    write = import_module(f"minir1.corpus.writers.{writer}").write_trace
    rng, tally = Random("perfect writer"), Tally(budget)
    for problem in puzzles_of(problems):
        if len(problem.numbers) > 2:
            trace = write(rng, problem.numbers, problem.target, TIRELESS, problem.lang, None)
            whole = render(problem.question(), trace.answer, trace.thought)
            asked = tokenizer.encode(prompt(problem.question()))
            used = len(tokenizer.encode(whole)) - len(asked)
            tally.add(problem, trace.solved and used <= budget, used)
    figures = tally.figures()
    figures.pop("hit_rate")  # it does not make attempts of one kind
    return figures


# ---------------------------------------------------------------- the registry


def _blind_tokens(problems, tokenizer, budget: int, tries: dict) -> dict:
    return blind(problems, tokenizer, budget)


def _blind_attempts(problems, tokenizer, budget: int, tries: dict) -> dict:
    return blind(problems, tokenizer, 10**9, tries)


def _hit_rates(problems, tokenizer, budget: int, tries: dict) -> dict:
    return blind_hit_rates(problems)


REFERENCES = {
    "blind_tokens": _blind_tokens, "blind_attempts": _blind_attempts, "blind_hit_rates": _hit_rates,
}
complete("countdown", references=REFERENCES)
