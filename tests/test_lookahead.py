"""The look-ahead reference against brute force."""

from fractions import Fraction
from itertools import permutations
from math import comb
from random import Random

import pytest

from minir1.checkpoint import load_checkpoint
from minir1.measure.baselines import (
    EVERYTHING,
    blind,
    in_order,
    last_step,
    limit_of,
    lookahead,
    states,
)
from minir1.tasks.countdown import Countdown, sample, solve


@pytest.fixture(scope="module")
def tokenizer():
    return load_checkpoint("minir1/data/base-cpu.pt")[1]


def chance(numbers: tuple[int, ...], target: int, looks: int) -> float:
    """Chance that `looks` small states, drawn evenly without repeats, hold one that is a single
    step from the target.
    """
    pairs = states(tuple(sorted(numbers)), limit_of(target))
    misses = sum(last_step(pair, target) is None for pair in pairs)
    looks = min(looks, len(pairs))
    return 1 - comb(misses, looks) / comb(len(pairs), looks)


def brute_pairs(numbers: tuple[int, ...]) -> set[tuple[int, int]]:
    """All pairs that are left when any two numbers are combined until two remain; written apart
    from the module's way.
    """
    if len(numbers) == 2:
        return {tuple(sorted(numbers))}
    found = set()
    for a, b, *rest in permutations(numbers):
        values = [a + b, a - b, a * b, Fraction(a, b) if b else Fraction(-1)]
        for value in values:
            if value >= 0 and value == int(value):
                found |= brute_pairs((*rest, int(value)))
    return found


@pytest.mark.parametrize("numbers", [(3, 5, 2), (7, 7, 1), (12, 4, 6), (2, 3, 4, 6), (1, 1, 5, 25)])
def test_states_are_those_of_brute_force_and_their_ways_lead_there(numbers):
    found = states(tuple(sorted(numbers)))
    assert set(found) == brute_pairs(numbers)
    for pair, way in found.items():
        left = list(numbers)
        for step in way:
            left.remove(step.a)
            left.remove(step.b)
            left.append(step.value)
        assert tuple(sorted(left)) == pair


def test_without_a_budget_it_solves_exactly_what_can_be_solved(tokenizer):
    rng = Random(3)
    problems = [
        Countdown(tuple(rng.randint(1, 25) for _ in range(rng.choice((3, 4)))), rng.randint(10, 99))
        for _ in range(120)
    ]
    can = [solve(p.numbers, p.target) is not None for p in problems]
    assert 10 < sum(can) < 110
    for problem, solvable in zip(problems, can):
        assert lookahead([problem], tokenizer, 10**9)["accuracy"] == solvable


def test_the_chance_of_some_looks_is_what_drawing_gives(tokenizer):
    assert chance((3, 5, 2), 16, 1) == pytest.approx(1 / 9) and chance((3, 5, 2), 16, 100) == 1
    problem = Countdown((19, 36, 55, 7), 65)
    pairs = list(states((7, 19, 36, 55), limit_of(65)))
    hits = [last_step(pair, 65) is not None for pair in pairs]
    rng = Random(0)
    drawn = sum(any(rng.sample(hits, 8)) for _ in range(4000)) / 4000
    exact = chance(problem.numbers, 65, 8)
    # fails once in 16,000 for a right formula
    assert abs(drawn - exact) < 4 * (exact * (1 - exact) / 4000) ** 0.5
    found = lookahead([problem] * 2000, tokenizer, 10**9, looks=8)["accuracy"]
    assert abs(found - exact) < 4 * (exact * (1 - exact) / 2000) ** 0.5


@pytest.mark.parametrize("search", [blind, lookahead])
def test_a_search_is_charged_for_every_word_that_the_corpus_writes(tokenizer, search):
    """Two numbers: each attempt is one step, as long as any other. 1 and 1 never make 50."""
    line = "\nwait, 1 + 1 = 2, not 50"
    cost, first = len(tokenizer.encode(line)), 3
    assert cost > len(tokenizer.encode("1 + 1 = 2")) + 2
    wanted, hopeless = Countdown((1, 1), 2), Countdown((1, 1), 50)
    if search is blind:
        assert blind([hopeless], tokenizer, 10**9, {2: 5})["length"] == first + 5 * cost
        budget = first + 5 * cost
        fits, short = (blind([hopeless], tokenizer, b) for b in (budget, budget - 1))
        assert fits["length"] == budget and short["length"] == budget - 1
    hit = len(tokenizer.encode("\nwait, 1 + 1 = 2, not 2"))
    enough, less = (search([wanted] * 200, tokenizer, first + hit - k)["accuracy"] for k in (0, 1))
    assert enough > 0.2 and less == 0


def test_a_state_comes_once_and_small_ones_first():
    problem = Countdown((2, 3, 40, 50), 65)
    order = [pair for pair, _ in in_order(Random(1), problem)]
    small = states((2, 3, 40, 50), limit_of(65))
    assert len(order) == len(set(order)) == len(states((2, 3, 40, 50), EVERYTHING))
    assert set(order[: len(small)]) == set(small) and len(small) < len(order)


def test_zeros_and_large_numbers_are_not_small():
    assert (0, 3) in states((3, 5, 5)) and (0, 3) not in states((3, 5, 5), 300)
    assert (3, 400) in states((3, 20, 20)) and (3, 400) not in states((3, 20, 20), 300)


def test_five_numbers_are_walked_without_repeats_to_true_states():
    problem = Countdown((3, 8, 9, 25, 50), 65)
    walked = list(in_order(Random(1), problem))[:300]
    assert len({pair for pair, _ in walked}) == len(walked) == 300
    for pair, way in walked:
        left = list(problem.numbers)
        for step in way:
            left.remove(step.a)
            left.remove(step.b)
            left.append(step.value)
        assert tuple(sorted(left)) == pair and len(way) == 3


def test_more_tokens_solve_more_and_blind_search_solves_less(tokenizer):
    rng = Random(5)
    problems = [sample(rng, "sos4", "validation") for _ in range(150)]
    small, large = (lookahead(problems, tokenizer, budget) for budget in (200, 1000))
    assert (
        small["accuracy"] < large["accuracy"] and small["length"] <= 200 and large["length"] <= 1000
    )
    assert large["accuracy"] > blind(problems, tokenizer, 1000)["accuracy"] + 0.15
    assert set(blind(problems, tokenizer, 200)) == set(large)
