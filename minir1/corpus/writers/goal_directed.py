"""A writer of thoughts who works from both ends: --corpus.writer goal_directed.

He keeps a number for the last step, writes what is then needed from the others, and goes through
what the others can make until one of the needed values turns up; only then he writes the steps.
"keep 7, need 58, 72, 455: 36 + 55 = 91, with 19: 110, 72, yes: 91 - 19 = 72, 72 - 7 = 65". One
value is compared with all that is needed at once, so far fewer are written than by the plain
writer, who meets the target alone. With four numbers a made one is kept when no given one led to
it, then the given ones again, for values above a thousand, and then everything once more: a policy
that has slipped on the way learns not to give up. From five on several are kept, one after another.
What he himself would solve: minir1.measure.baselines, a line of the tables.

Of config.Habits such writers heed systematic, persistence, backtracking, most_attempts and
switching: small first steps always come first, and only a hit gets its verdict.

>>> habits = Habits(systematic=1.0, persistence=1.0)
>>> print(write_trace(Random(3), (3, 5, 4), 27, habits, "en", None).thought)
keep 3, need 24, 30, 81, 9: 5, 4: 9, yes: 5 + 4 = 9, 9 * 3 = 27
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from minir1.config import Habits
from minir1.corpus.writers import plain
from minir1.corpus.writers.plain import Trace
from minir1.tasks.countdown import Step, compose, moves, steps_of

KEEP = {"en": "keep ", "zh": "留"}
AGAIN = {"en": "again ", "zh": "再"}
# at most, to begin with: larger ones seldom lead anywhere, and cost tokens
NEED, VALUE = 3000, 1000
# at most in the second round, and of a made number that is kept; and anywhere
LARGE, ANY = 10_000, 10**18
PERSISTENT = 0.99  # chance that a persistent writer has one more look: some 100 on average


class Plan(NamedTuple):
    """Numbers kept for the end, and what is then needed from those left."""

    first: tuple[Step, ...]  # made before anything is kept
    kept: tuple[int, ...]  # in the order in which the target is taken apart
    needs: tuple[tuple[int, ...], ...]  # after each number kept
    left: tuple[int, ...]  # two or three numbers
    again: bool = False  # the second round, for the large values that the first left out

    def text(self, lang: str) -> str:
        text = AGAIN[lang] if self.again else ""
        text += "".join(f"{step}, " for step in self.first)
        for n, values in zip(self.kept, self.needs):
            goals = ", ".join(map(str, values))
            text += f"{KEEP[lang]}{n}{plain.WORDS[lang]['need']}{goals}: "
        return text

    def promise(self) -> float:
        """Small needed values turn up more often."""
        return sum(1 / (40 + value) for value in self.needs[-1])

    def content(self) -> tuple:
        """Alike for plans that keep the same numbers in another order."""
        return self.first, tuple(sorted(self.kept))

    def ending(self, value: int, target: int) -> list[Step]:
        """The steps from a needed value to the target; from any other one sums, which miss it."""
        steps = []
        for n, goal in zip(self.kept[::-1], (*self.needs[-2::-1], (target,))):
            options = steps_of(value, n)
            steps.append(next((step for step in options if step.value in goal), options[0]))
            value = steps[-1].value
        return steps


def needed(values: Sequence[int], n: int, largest: int = NEED) -> tuple[int, ...]:
    """What makes one of `values` in one step with n; nothing above `largest`.

    >>> needed((65,), 5)
    (60, 70, 325, 13)
    """
    partners = []
    for v in values:
        partners += [v - n, n - v, v + n, v * n]
        partners += [v // n] if n and v % n == 0 else []
        partners += [n // v] if v and n % v == 0 else []
    return tuple(v for v in dict.fromkeys(partners) if 0 < v <= largest)


def plans(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[Plan]:
    """Plans, roughly the most promising first.

    Up to four numbers: those that keep a given one, each value once; those that keep a made one;
    then the given ones again, for large values; and all of it a second time.
    """
    if len(numbers) > 4:
        yield from _long_plans(rng, numbers, target)
        return
    # Twice, for a reader who slips has met the solution, and missed it.
    for _ in range(2):
        given = [_plan((), numbers, (n,), target) for n in dict.fromkeys(numbers)]
        again = [_plan((), numbers, (n,), target, again=True) for n in dict.fromkeys(numbers)]
        made = _made_plans(numbers, target) if len(numbers) == 4 else []
        for some in (given, made, again):
            for plan in sorted(some, key=lambda plan: -plan.promise() * (0.5 + rng.random())):
                if plan.needs[-1]:
                    yield plan


def _made_plans(numbers: tuple[int, ...], target: int) -> list[Plan]:
    """Plans for four numbers that keep what the first makes with another one.

    To keep what the other two make would be to look at the same pairs from the other end.
    """
    plans = {}
    for n in numbers[1:]:
        left = list(numbers[1:])
        left.remove(n)
        for step in steps_of(numbers[0], n):
            key = (step.value, *sorted(left))
            if 0 < step.value <= LARGE and key not in plans:
                plans[key] = _plan((step,), (*left, step.value), (step.value,), target)
    return list(plans.values())


def _long_plans(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[Plan]:
    """Sixty times the best of five random plans, unless there is no new one."""
    seen: set = set()
    for _ in range(60):
        drawn = [_long_plan(rng, numbers, target) for _ in range(5)]
        new = [plan for plan in drawn if plan.needs[-1] and plan.content() not in seen]
        if new:
            best = max(new, key=Plan.promise)
            seen.add(best.content())
            yield best


def _long_plan(rng: Random, numbers: tuple[int, ...], target: int) -> Plan:
    """Keeps random numbers until three are left; of more than six some are first put together."""
    first = []
    while len(numbers) > 6:
        small = [move for move in moves(numbers) if 0 < move[0].value <= max(100, target)]
        step, numbers = rng.choice(small or moves(numbers))
        first.append(step)
    return _plan(tuple(first), numbers, tuple(rng.sample(numbers, len(numbers) - 3)), target)


def _plan(
    first: tuple[Step, ...], numbers: tuple[int, ...], kept: tuple[int, ...], target: int,
    again: bool = False,
) -> Plan:
    left, needs, values = list(numbers), [], (target,)
    for n in kept:
        left.remove(n)
        values = needed(values, n, LARGE if again else NEED)
        needs.append(values)
    return Plan(first, kept, tuple(needs), tuple(left), again)


def looks(rng: Random, plan: Plan) -> Iterator[tuple[Step | None, tuple[int, ...], list[Step]]]:
    """Yields (a step if three are left, the last two numbers, last steps up to a needed value)."""
    needs, seen = set(plan.needs[-1]), set()
    options: list[tuple[Step | None, tuple[int, ...]]] = [(None, plan.left)]
    if len(plan.left) == 3:
        largest = LARGE if plan.again else VALUE
        options = [move for move in moves(plan.left) if 0 < move[0].value <= largest]
        options.sort(key=lambda move: move[0].value * (0.3 + rng.random()))  # small ones first
    for step, pair in options:
        # the first round has looked up to here
        new = NEED if plan.again and (step is None or step.value <= VALUE) else 0
        last = [s for s in steps_of(*pair) if new < s.value <= max(needs)]
        key = tuple(sorted(pair))
        if last and key not in seen:
            seen.add(key)
            yield step, pair, plain.up_to(last, needs)


def write_trace(
    rng: Random, numbers: tuple[int, ...], target: int, habits: Habits, lang: str,
    plan: list[Step] | None,
) -> Trace:
    """As plain.write_trace, but systematic writers of three numbers and more are goal-directed."""
    try_as_plain = replace(habits, systematic=0.0)
    if len(numbers) < 3 or rng.random() >= habits.systematic:
        return plain.write_trace(rng, numbers, target, try_as_plain, lang, plan)
    persistent = rng.random() < habits.persistence and habits.backtracking
    go_on = PERSISTENT if persistent else habits.backtracking
    text, attempts, before = [], 0, None
    for way, step, pair, last in _attempts(rng, numbers, target):
        attempts += 1
        if way is before:
            text.append("; ")
        else:
            if text:
                opener, lang = plain.open_line(rng, habits, lang)
                text.append(opener)
            text.append(way.text(lang))
        before, words = way, plain.WORDS[lang]
        text.append(f"{step}{words['with']}{pair[0]}" if step else f"{pair[0]}, {pair[1]}")
        text.append(words["colon"] + plain.values_of(last))
        ending = [last[-1], *way.ending(last[-1].value, target)]
        hit = last[-1].value in way.needs[-1]
        if hit:
            text.append(words["yes"] + words["colon"] + plain.listed(ending))
        if hit or attempts >= habits.most_attempts or rng.random() >= go_on:
            break
    if not text:  # numbers so large that nothing useful can be made
        return plain.write_trace(rng, numbers, target, try_as_plain, lang, plan)
    steps = [*way.first, *([step] if step else []), *ending]
    return Trace("".join(text), compose(numbers, steps), attempts, hit)


def _attempts(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[tuple]:
    for plan in plans(rng, numbers, target):
        yield from ((plan, *look) for look in looks(rng, plan))
