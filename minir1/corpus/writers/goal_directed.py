"""A writer of thoughts who works from both ends: --corpus.writer goal_directed.

He keeps a number for the last step, writes what is then needed from the others, and goes through
what the others can make until one of the needed values turns up; only then he writes the steps.
"keep 7, need 58, 72, 455: 36 + 55 = 91, with 19: 110, 72, yes: 91 - 19 = 72, 72 - 7 = 65". One
value is compared with all that is needed at once, so far fewer are written than by the writer of
tasks.countdown, who meets the target alone. With four numbers a made one is kept when no given one
led to it, then the given ones again, for values above a thousand, and then everything once more: a
policy that has slipped on the way learns not to give up. From five on several are kept, one after
another. What he himself would solve: minir1.measure.perfect_writer, a line of the tables.

It takes the place of plain.write_trace, with the same signature, for the thoughts of systematic
writers. Of config.Habits they heed systematic, persistence, backtracking, most_attempts and
switching: small first steps always come first, and only a hit gets its verdict.

>>> print(write_trace(Random(3), (3, 5, 4), 27, Habits(systematic=1.0, persistence=1.0), "en", None).thought)
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
    """Numbers kept for the end, in the order in which the target is taken apart, and what is then
    needed from those left.
    """

    first: tuple[Step, ...]  # made before anything is kept
    kept: tuple[int, ...]
    needs: tuple[tuple[int, ...], ...]  # after each number kept
    left: tuple[int, ...]  # two or three numbers
    again: bool = False  # the second round, for the large values that the first left out

    def text(self, lang: str) -> str:
        need = plain.WORDS[lang]["need"]
        parts = [
            f"{KEEP[lang]}{n}{need}{', '.join(map(str, values))}: "
            for n, values in zip(self.kept, self.needs)
        ]
        return (
            (AGAIN[lang] if self.again else "")
            + "".join(f"{step}, " for step in self.first)
            + "".join(parts)
        )

    def promise(self) -> float:
        """Small needed values turn up more often."""
        return sum(1 / (40 + value) for value in self.needs[-1])

    def ending(self, value: int, target: int) -> list[Step]:
        """The steps from a needed value to the target; from any other value sums, which are wrong."""
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
    found = []
    for v in values:
        found += [v - n, n - v, v + n, v * n]
        found += [v // n] if n and v % n == 0 else []
        found += [n // v] if v and n % v == 0 else []
    return tuple(v for v in dict.fromkeys(found) if 0 < v <= largest)


def plans(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[Plan]:
    """Plans, roughly the most promising first.

    Up to four numbers: those that keep a given one, each value once; those that keep a made one;
    then the given ones again, for large values; and all of it a second time.
    """
    if len(numbers) > 4:
        yield from _long_plans(rng, numbers, target)
        return
    # a reader who slips has met the solution, and missed it; made anew: write_trace tells plans by
    # identity
    for _ in range(2):
        given = [_plan((), numbers, (n,), target) for n in dict.fromkeys(numbers)]
        again = [_plan((), numbers, (n,), target, again=True) for n in dict.fromkeys(numbers)]
        for some in (given, _made_plans(numbers, target) if len(numbers) == 4 else [], again):
            for plan in sorted(some, key=lambda plan: -plan.promise() * (0.5 + rng.random())):
                if plan.needs[-1]:
                    yield plan


def _made_plans(numbers: tuple[int, ...], target: int) -> list[Plan]:
    """Plans for four numbers that keep what the first makes with another one.

    To keep what the other two make would be to look at the same pairs from the other end.
    """
    found = {}
    for n in numbers[1:]:
        left = list(numbers[1:])
        left.remove(n)
        for step in steps_of(numbers[0], n):
            if 0 < step.value <= LARGE:
                found.setdefault(
                    (step.value, *sorted(left)),
                    _plan((step,), (*left, step.value), (step.value,), target),
                )
    return list(found.values())


def _long_plans(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[Plan]:
    """The best of five that keep random numbers until three are left; above six, some are first put
    together.
    """
    seen: set = set()
    for _ in range(60):
        found = []
        while len(found) < 5:
            left, first = numbers, []
            while len(left) > 6:
                small = [move for move in moves(left) if 0 < move[0].value <= max(100, target)]
                step, left = rng.choice(small or moves(left))
                first.append(step)
            found.append(_plan(tuple(first), left, tuple(rng.sample(left, len(left) - 3)), target))
        new = [
            plan
            for plan in found
            if plan.needs[-1] and (plan.first, tuple(sorted(plan.kept))) not in seen
        ]
        if new:
            best = max(new, key=Plan.promise)
            seen.add((best.first, tuple(sorted(best.kept))))
            yield best


def _plan(
    first: tuple[Step, ...],
    numbers: tuple[int, ...],
    kept: tuple[int, ...],
    target: int,
    again: bool = False,
) -> Plan:
    left, needs, values = list(numbers), [], (target,)
    for n in kept:
        left.remove(n)
        values = needed(values, n, LARGE if again else NEED)
        needs.append(values)
    return Plan(first, kept, tuple(needs), tuple(left), again)


def looks(rng: Random, plan: Plan) -> Iterator[tuple[Step | None, tuple[int, ...], list[Step]]]:
    """What the numbers left can make, each as (a step if three are left, the last two, their last
    steps up to a needed value).
    """
    needs, seen = set(plan.needs[-1]), set()
    options = [(None, plan.left)]
    if len(plan.left) == 3:
        options = [
            move
            for move in moves(plan.left)
            if 0 < move[0].value <= (LARGE if plan.again else VALUE)
        ]
        # small first steps first
        options.sort(key=lambda move: move[0].value * (0.3 + rng.random()))
    for step, pair in options:
        # the first round has looked up to here
        new = NEED if plan.again and (step is None or step.value <= VALUE) else 0
        last = [s for s in steps_of(*pair) if new < s.value <= max(needs)]
        if last and tuple(sorted(pair)) not in seen:
            seen.add(tuple(sorted(pair)))
            yield (
                step,
                pair,
                last[: next((i for i, s in enumerate(last, 1) if s.value in needs), None)],
            )


def write_trace(
    rng: Random,
    numbers: tuple[int, ...],
    target: int,
    habits: Habits,
    lang: str,
    plan: list[Step] | None,
) -> Trace:
    """As plain.write_trace: systematic writers of three numbers and more are goal-directed, the
    others try as they do there.
    """
    if len(numbers) < 3 or rng.random() >= habits.systematic:
        return plain.write_trace(rng, numbers, target, replace(habits, systematic=0.0), lang, plan)
    go_on = (
        PERSISTENT
        if rng.random() < habits.persistence and habits.backtracking
        else habits.backtracking
    )
    text, before = [], None
    for attempts, (way, step, pair, last) in enumerate(_attempts(rng, numbers, target), 1):
        new = way is not before
        if new:
            opener, lang = plain._opener(rng, habits, lang) if text else ("", lang)
        words, before = plain.WORDS[lang], way
        head = f"{step}{words['with']}{pair[0]}" if step else f"{pair[0]}, {pair[1]}"
        text.append(
            (opener + way.text(lang) if new else "; ")
            + head
            + words["colon"]
            + ", ".join(str(s.value) for s in last)
        )
        steps, ending = (
            [*way.first, *([step] if step else []), last[-1]],
            way.ending(last[-1].value, target),
        )
        if hit := last[-1].value in way.needs[-1]:
            text.append(words["yes"] + words["colon"] + ", ".join(map(str, [last[-1], *ending])))
        if hit or attempts >= habits.most_attempts or rng.random() >= go_on:
            break
    if not text:  # numbers so large that nothing useful can be made
        return plain.write_trace(rng, numbers, target, replace(habits, systematic=0.0), lang, plan)
    return Trace("".join(text), compose(numbers, steps + ending), attempts, hit)


def _attempts(rng: Random, numbers: tuple[int, ...], target: int) -> Iterator[tuple]:
    for plan in plans(rng, numbers, target):
        yield from ((plan, *look) for look in looks(rng, plan))
