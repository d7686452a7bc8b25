"""Baselines that need no training: programs that write what a model could have written.

An accuracy is shown beside them. A task names its own in `Task.references`; one without shows none.

    blind            random attempts, written and checked as the corpus writes them, until one hits
    blind_pairs      random steps to two numbers, then all last steps at once, as half the corpus
    lookahead        distinct two-number states, each with a look at the last step
    lookahead_pairs  the same states in the notation of blind_pairs
    perfect_writer   the writer of the training text, without mistakes and without giving up

>>> sorted(states((3, 5, 2)))[:3]
[(1, 5), (2, 2), (2, 8)]
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from math import ceil
from random import Random
from typing import NamedTuple

from minir1.config import Habits
from minir1.corpus import mixture
from minir1.corpus.writers import plain
from minir1.measure.statistics import mean
from minir1.tasks import Problem, complete
from minir1.tasks.countdown import Countdown, Step, moves, steps_of
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt, render

UNLIMITED = 10**9  # tokens

# ---------------------------------------------------------------- what all of them report


class Tried(NamedTuple):
    """One puzzle; if it was solved, by the last of the attempts."""

    numbers: int  # how many
    solved: bool
    tokens: int
    attempts: int = 0


def search(problem: Countdown, lines: Iterable[tuple[int, bool]], budget: int) -> Tried:
    """One puzzle, tried by lines (tokens, does it hit?) until one hits or `budget` is used up."""
    used, n, hit = 3, 0, False
    for tokens, hit in lines:
        used += tokens
        if used > budget:
            hit = False
            break
        n += 1
        if hit:
            break
    return Tried(len(problem.numbers), hit, min(used, budget), n)


def tally(tried: list[Tried]) -> dict[str, float]:
    """Puzzles solved and tokens used, together and by count of numbers. {} without puzzles: a
    baseline that does not apply is absent, not 0%."""
    if not tried:
        return {}
    numbers, solved, tokens, attempts = zip(*tried)
    figures = {
        "accuracy": mean(solved), "n": len(tried), "length": mean(tokens),
        "hit_rate": sum(solved) / max(1, sum(attempts)),
    }
    for count in sorted(set(numbers)):
        figures[f"accuracy_{count}"] = mean(t.solved for t in tried if t.numbers == count)
    return figures


def puzzles_of(problems: list[Problem], fewest: int = 1) -> list[Countdown]:
    """The Countdown problems, of so many numbers at least."""
    return [p for p in problems if isinstance(p, Countdown) and len(p.numbers) >= fewest]


def attempt_tokens(tokenizer: Tokenizer, steps: list[Step], target: int) -> int:
    """Tokens of an attempt as the corpus writes it, its verdict included."""
    return len(tokenizer.encode(f"\nwait, {', '.join(map(str, steps))}, not {target}"))


# ---------------------------------------------------------------- blind search


def blind(
    problems: list[Problem], tokenizer: Tokenizer, budget: int, attempts: dict | None = None
) -> dict[str, float]:
    """Blind search, for `budget` tokens or, when given, `attempts[how many numbers]` attempts."""
    rng, tried = Random("blind"), []

    def lines(problem: Countdown) -> Iterator[tuple[int, bool]]:
        while True:
            steps = plain.random_attempt(rng, problem.numbers)
            tokens = attempt_tokens(tokenizer, steps, problem.target)
            yield tokens, steps[-1].value == problem.target

    for problem in puzzles_of(problems):
        limit = (attempts or {}).get(len(problem.numbers))
        if limit != 0:  # a policy without attempts gives nothing to compare with
            tried.append(search(problem, islice(lines(problem), limit and ceil(limit)), budget))
    return tally(tried)


def blind_hit_rates(problems: list[Problem], repeats: int = 40) -> dict[str, float]:
    """Chance that one random attempt hits, by count of numbers."""
    rng = Random("blind hits")
    shares: dict[int, list[float]] = {}
    for problem in puzzles_of(problems):
        attempts = [plain.random_attempt(rng, problem.numbers) for _ in range(repeats)]
        hits = sum(steps[-1].value == problem.target for steps in attempts)
        shares.setdefault(len(problem.numbers), []).append(hits / repeats)
    return {f"hit_rate_{count}": mean(shares[count]) for count in sorted(shares)}


@lru_cache(1 << 18)
def hit_chance(numbers: tuple[int, ...], target: int) -> float:
    """Chance that one random attempt (plain.random_attempt) hits, exactly; `numbers` in order.

    >>> hit_chance((3, 5), 8) == 2 / 6
    True
    """
    if len(numbers) == 1:
        return float(numbers[0] == target)
    chances = []
    for i, x in enumerate(numbers):
        for j, y in enumerate(numbers[:i]):
            rest = numbers[:j] + numbers[j + 1 : i] + numbers[i + 1 :]
            for operator in plain.OPERATORS:
                left = tuple(sorted((*rest, plain.step_by(operator, x, y).value)))
                chances.append(hit_chance(left, target))
    return mean(chances)


# ---------------------------------------------------------------- look-ahead

Pair = tuple[int, int]  # the last two numbers, the smaller first
Way = tuple[Step, ...]  # steps that lead to them

EVERYTHING = 10**18
WALKED = 5  # with as many numbers there are too many states to list: random walks meet them


def limit_of(target: int) -> int:
    """Intermediate results above this seldom lead to the target."""
    return 3 * max(100, target)


@lru_cache(1 << 14)
def states(numbers: tuple[int, ...], limit: int = EVERYTHING) -> dict[Pair, Way]:
    """Every pair of last numbers that non-negative integer steps can leave, with one way to it.

    With a `limit` only over intermediate results from 1 to it.
    """
    if len(numbers) == 2:
        return {tuple(sorted(numbers)): ()}
    ways: dict[Pair, Way] = {}
    seen = set()
    for step, left in moves(numbers):
        key = tuple(sorted(left))
        if key not in seen and (limit == EVERYTHING or 0 < step.value <= limit):
            seen.add(key)
            for pair, way in states(left, limit).items():
                ways.setdefault(pair, (step, *way))
    return ways


def last_step(pair: Pair, target: int) -> Step | None:
    """The step on two numbers that gives the target, if there is one."""
    return next((step for step in steps_of(*pair) if step.value == target), None)


def in_order(rng: Random, problem: Countdown) -> Iterator[tuple[Pair, Way]]:
    """Each state once, with a way to it: the small ones in random order, then the others."""
    limit = limit_of(problem.target)
    if len(problem.numbers) >= WALKED:
        yield from _walks(rng, problem.numbers, limit)
        return
    numbers = tuple(sorted(problem.numbers))
    small = states(numbers, limit)
    rest = [item for item in states(numbers).items() if item[0] not in small]
    order = rng.sample(list(small.items()), len(small))
    yield from order + rng.sample(rest, len(rest))


def _walks(rng: Random, numbers: tuple[int, ...], limit: int) -> Iterator[tuple[Pair, Way]]:
    """Small states that random steps reach, until 100 walks on end bring nothing new."""
    seen, vain = set(), 0
    while vain < 100:
        vain += 1
        left, way = numbers, ()
        while len(left) > 2:
            options = [move for move in moves(left) if 0 < move[0].value <= limit]
            if not options:
                break
            step, left = rng.choice(options)
            way = (*way, step)
        pair = tuple(sorted(left))
        if len(pair) == 2 and pair not in seen:
            seen.add(pair)
            vain = 0
            yield pair, way


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
    rng = Random("lookahead")

    def lines(problem: Countdown) -> Iterator[tuple[int, bool]]:
        for pair, way in islice(in_order(rng, problem), looks):
            hit = last_step(pair, problem.target)
            steps = [*way, hit or steps_of(*pair)[0]]
            yield attempt_tokens(tokenizer, steps, problem.target), hit is not None

    return tally([search(problem, lines(problem), budget) for problem in puzzles_of(problems)])


# ---------------------------------------------------------------- all last steps at once


def pair_line(
    rng: Random, problem: Countdown, way: Sequence[Step], pair: tuple[int, ...]
) -> tuple[str, bool]:
    """A look at two numbers as plain writers write it, opener and verdict too; whether it hits.

    >>> pair_line(Random(1), Countdown((3, 5, 2), 16), [Step(3, "+", 5, 8)], (2, 8))
    ('\\nwait, 3 + 5 = 8, with 2: 10, 6, 16, yes', True)
    """
    target, words = problem.target, plain.WORDS[problem.lang]
    useful = range(1, max(300, 3 * target))
    last = plain.up_to([step for step in steps_of(*pair) if step.value in useful], (target,))
    hit = bool(last) and last[-1].value == target
    opener, _ = plain.open_line(rng, Habits(), problem.lang)
    # with more than three numbers the first step stands before a colon
    head = f"{way[0]}: {plain.listed(way[1:])}" if len(way) > 1 else plain.listed(way)
    seen = f"{words['with']}{pair[0]}{words['colon']}{plain.values_of(last)}"
    return f"{opener}{head}{seen}{words['yes' if hit else 'none']}", hit


def search_pairs(
    problems: list[Problem], tokenizer: Tokenizer, budget: int,
    order: Callable[[Random, Countdown], Iterator[tuple[Pair, Way]]], name: str,
) -> dict[str, float]:
    """Writes what `order` yields by pair_line, until one hits or `budget` tokens are used.

    As for `blind`, the tokens of the answer are not counted. Two numbers leave nothing to search.
    """
    rng, words = Random(name), Random(f"{name} words")

    def lines(problem: Countdown) -> Iterator[tuple[int, bool]]:
        for pair, way in order(rng, problem):
            line, hit = pair_line(words, problem, way, pair)
            yield len(tokenizer.encode(line)), hit

    return tally([search(problem, lines(problem), budget) for problem in puzzles_of(problems, 3)])


def blind_pairs(problems: list[Problem], tokenizer: Tokenizer, budget: int) -> dict[str, float]:
    """Blind search that looks at all last steps at once, as half of the corpus's thoughts do."""
    order = lambda rng, p: iter(lambda: plain.random_pair(rng, p.numbers), None)  # noqa: E731
    return search_pairs(problems, tokenizer, budget, order, "blind pairs")


def lookahead_pairs(problems: list[Problem], tokenizer: Tokenizer, budget: int) -> dict[str, float]:
    """The same without blindness: no pair of numbers twice, small ones first."""
    return search_pairs(problems, tokenizer, budget, in_order, "lookahead pairs")


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
    write = mixture.writer(writer).write_trace
    rng, tried = Random("perfect writer"), []
    for problem in puzzles_of(problems, 3):
        trace = write(rng, problem.numbers, problem.target, TIRELESS, problem.lang, None)
        document = render(problem.question(), trace.answer, trace.thought)
        asked = tokenizer.encode(prompt(problem.question()))
        used = len(tokenizer.encode(document)) - len(asked)
        solved = trace.solved and used <= budget
        tried.append(Tried(len(problem.numbers), solved, min(used, budget)))
    figures = tally(tried)
    figures.pop("hit_rate", None)  # it does not make attempts of one kind
    return figures


# ---------------------------------------------------------------- the registry


def within(search: Callable, *how) -> Callable:
    """A search that the budget alone ends, as a baseline."""
    return lambda asked, tokenizer, budget, attempts: search(asked, tokenizer, budget, *how)


# name -> baseline(problems, tokenizer, token budget, the policy's attempts by count of numbers)
REFERENCES = {
    "blind_tokens": within(blind),
    "blind_attempts": lambda asked, tokenizer, _, tries: blind(asked, tokenizer, UNLIMITED, tries),
    "blind_pairs": within(blind_pairs),
    "lookahead_pairs": within(lookahead_pairs),
    "plain_writer": within(perfect_writer, "plain"),
    "goal_directed_writer": within(perfect_writer, "goal_directed"),
    "blind_hit_rates": lambda asked, *_: blind_hit_rates(asked),
}
complete("countdown", references=REFERENCES)
