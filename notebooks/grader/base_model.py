"""What the puzzles of notebook 03 ask for (the base model), as obvious loops. (Spoilers.)"""

from itertools import combinations
from random import Random

from grader.draw import Puzzle


def true_share(steps: list[tuple[int, str, int, int]]) -> float:
    true = 0
    for a, operator, b, value in steps:
        result = {"+": a + b, "-": a - b, "*": a * b}[operator]
        if result == value:
            true += 1
    return true / len(steps)


def count_attempts(thought: str) -> int:
    count = 0
    for line in thought.split("\n"):
        if " = " in line:
            count += 1
    return count


def pass_at_k(n: int, c: int, k: int) -> float:
    hits, draws = 0, 0
    for chosen in combinations(range(n), k):  # responses 0 .. c-1 are the right ones
        draws += 1
        if any(i < c for i in chosen):
            hits += 1
    return hits / draws


def _draw_steps(rng: Random) -> tuple:
    steps = []
    for _ in range(rng.randint(1, 6)):
        a, operator, b = rng.randint(0, 30), rng.choice("+-*"), rng.randint(0, 30)
        value = {"+": a + b, "-": a - b, "*": a * b}[operator]
        if rng.random() >= 0.6:
            value += rng.choice((-10, -1, 1, 10))
        steps.append((a, operator, b, value))
    return (steps,)


def _draw_thought(rng: Random) -> tuple:
    steps = ("3 + 5 = 8, not 9", "wait, 3 * 5 = 15, 15 - 6 = 9, yes")
    lines = (*steps, "hm", "", "so 3 and 5", "try 3 - 5")
    return ("\n".join(rng.choices(lines, k=rng.randint(0, 5))),)


def _draw_pass(rng: Random) -> tuple:
    n = rng.randint(1, 8)
    return n, rng.randint(0, n), rng.randint(1, n)


_SURE = {"all are wrong": (4, 0, 2), "all are right": (4, 4, 1), "all are drawn": (4, 1, 4)}

PUZZLES = {
    "03.true_share": Puzzle(true_share, _draw_steps),
    "03.count_attempts": Puzzle(count_attempts, _draw_thought, {"no thought": ("",)}),
    "03.pass_at_k": Puzzle(pass_at_k, _draw_pass, _SURE),
}
