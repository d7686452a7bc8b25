"""A reference that is computed, not trained: distinct two-number states, each with a look at the last step.

Blind search writes random attempts to their end. This search never reaches the same last two numbers twice, leaves states
with a 0 or a large number for the end, and sees at once whether one operator on the last two numbers hits: what goal-directed
search without repeats can do with the same tokens.

>>> sorted(states((3, 5, 2)))[:3]
[(1, 5), (2, 2), (2, 8)]
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from math import comb
from random import Random

from minir1.tasks import Problem
from minir1.tasks.countdown import Countdown, Step, moves, steps_of
from minir1.tokenizer import Tokenizer

EVERYTHING = 10**18
WALKED = 5  # with as many numbers or more there are too many states to list: they are met by walking at random


def limit_of(target: int) -> int:
    """Intermediate results above this seldom lead to the target."""
    return 3 * max(100, target)


@lru_cache(1 << 14)
def states(numbers: tuple[int, ...], limit: int = EVERYTHING) -> dict[tuple[int, int], tuple[Step, ...]]:
    """Every pair of last numbers (the smaller first) that non-negative integer steps can leave, with one way to it.

    With a `limit` only over intermediate results from 1 to it.
    """
    if len(numbers) == 2:
        return {tuple(sorted(numbers)): ()}
    found: dict[tuple[int, int], tuple[Step, ...]] = {}
    seen = set()
    for step, left in moves(numbers):
        key = tuple(sorted(left))
        if key not in seen and (limit == EVERYTHING or 0 < step.value <= limit):
            seen.add(key)
            for pair, way in states(left, limit).items():
                found.setdefault(pair, (step, *way))
    return found


def last_step(pair: tuple[int, int], target: int) -> Step | None:
    """The step on two numbers that gives the target, if there is one."""
    return next((step for step in steps_of(*pair) if step.value == target), None)


def chance(numbers: tuple[int, ...], target: int, looks: int) -> float:
    """Chance that `looks` small states, drawn evenly without repeats, hold one that is a single step from the target.

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
    small, everything = (states(tuple(sorted(problem.numbers)), limit) for limit in (limit_of(problem.target), EVERYTHING))
    rest = [item for item in everything.items() if item[0] not in small]
    return rng.sample(list(small.items()), len(small)) + rng.sample(rest, len(rest))


def _walks(rng: Random, numbers: tuple[int, ...], limit: int) -> Iterator[tuple[tuple[int, int], tuple[Step, ...]]]:
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


def lookahead(problems: list[Problem], tokenizer: Tokenizer, budget: int, looks: int | None = None) -> dict[str, float]:
    """The share of Countdown problems solved within `budget` tokens a response, and (with `looks`) that many states.

    States come as in_order() gives them. Each is written as measure.blind writes an attempt, a last step and the verdict
    included; the pair's other last steps are looked at, not written. Same keys as measure.blind.
    """
    rng, right, tokens, by_count, tried = Random("lookahead"), [], [], {}, 0
    for problem in problems:
        if isinstance(problem, Countdown):
            solved, used, n = _search(rng, problem, tokenizer, budget, looks)
            right.append(solved)
            tokens.append(min(used, budget))
            tried += n
            by_count.setdefault(len(problem.numbers), []).append(solved)
    return {
        "accuracy": sum(right) / max(1, len(right)),
        "n": len(right),
        "length": sum(tokens) / max(1, len(tokens)),
        "hit_rate": sum(right) / max(1, tried),
        **{f"accuracy_{k}": sum(v) / len(v) for k, v in sorted(by_count.items())},
    }


def _search(rng: Random, problem: Countdown, tokenizer: Tokenizer, budget: int, looks: int | None) -> tuple[bool, int, int]:
    """(solved, tokens used, states looked at) for one problem."""
    used, n = 3, 0
    for pair, steps in islice(in_order(rng, problem), looks):
        hit = last_step(pair, problem.target)
        written = [*steps, hit or steps_of(*pair)[0]]
        used += len(tokenizer.encode(f"\nwait, {', '.join(map(str, written))}, not {problem.target}"))
        if used > budget:
            return False, used, n
        n += 1
        if hit:
            return True, used, n
    return False, used, n
