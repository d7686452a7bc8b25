"""What the puzzles of notebook 08 ask for (from R1-Zero to R1), as obvious loops. (Spoilers.)"""

import math
from random import Random

from torch import Tensor

from grader.draw import Puzzle, normal


def keep(
    right: bool, thought: str | None, repeated: int, false_steps: int, share: float | None
) -> str:
    for reason, holds in (
        ("wrong", not right),
        ("no thought", thought is None),
        ("other language", share is not None and share < 1),
        ("repeated attempt", repeated > 0),
        ("false step", false_steps > 0),
    ):
        if holds:
            return reason
    return ""


def thin_out(pairs: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    kept = []
    for question, response in pairs:
        same = 0
        for other, _ in kept:
            if other == question:
                same += 1
        if (question, response) not in kept and same < most:
            kept.append((question, response))
    return kept


def highest_weight(share: float) -> float:
    low, high = 0.0, 1e6
    for _ in range(200):  # halve the interval in which 1 + weight * share meets weight
        middle = (low + high) / 2
        if 1 + middle * share > middle:
            low = middle
        else:
            high = middle
    return low


def preference_loss(better_N: Tensor, worse_N: Tensor) -> float:
    total = 0.0
    for better, worse in zip(better_N.tolist(), worse_N.tolist()):
        total -= math.log(math.exp(better) / (math.exp(better) + math.exp(worse)))
    return total / len(better_N)


def reverse_kl(student_V: Tensor, teacher_V: Tensor) -> float:
    student, teacher = ([math.exp(x) for x in logits.tolist()] for logits in (student_V, teacher_V))
    total = 0.0
    for s, t in zip(student, teacher):
        p, q = s / sum(student), t / sum(teacher)
        total += p * math.log(p / q)
    return total


def operations(parameters: int, sampled: int, trained: int) -> int:
    count = 0
    for _ in range(sampled):
        count += 2 * parameters
    for _ in range(trained):
        count += 2 * parameters + 4 * parameters
    return count


def _draw_response(rng: Random) -> tuple:
    def rarely(value, otherwise):
        return value if rng.random() < 0.25 else otherwise

    share = rng.choice((None, 1.0, 1.0, 0.0, 0.5))
    right = rng.random() < 0.8
    thought = rarely(None, rng.choice(("3 + 5 = 8, yes", "")))
    return right, thought, rarely(1, 0), rarely(2, 0), share


def _draw_pairs(rng: Random) -> tuple:
    pairs = [(rng.choice("AB"), rng.choice("xyz")) for _ in range(rng.randint(0, 8))]
    return pairs, rng.randint(1, 3)


def _draw_scores(rng: Random) -> tuple:
    N = rng.randint(1, 5)
    return normal(rng, N, scale=2.0), normal(rng, N, scale=2.0)


def _draw_logits(rng: Random) -> tuple:
    V = rng.randint(2, 6)
    return normal(rng, V), normal(rng, V)


def _draw_counts(rng: Random) -> tuple:
    return rng.randint(10, 999), rng.randint(0, 50), rng.randint(0, 50)


def _draw_share(rng: Random) -> tuple:
    return (rng.uniform(0, 0.9),)


_KEPT = {
    "an empty thought is a thought": (True, "", 0, 0, 1.0),
    "no words, so no wrong language": (True, "", 0, 0, None),
    "one false step": (True, "", 0, 1, 1.0),
    "everything is wrong at once": (False, None, 3, 2, 0.5),
}

PUZZLES = {
    "08.keep": Puzzle(keep, _draw_response, _KEPT),
    "08.thin_out": Puzzle(thin_out, _draw_pairs, {"no pair": ([], 2)}),
    "08.highest_weight": Puzzle(highest_weight, _draw_share, {"no word fits": (0.0,)}),
    "08.preference_loss": Puzzle(preference_loss, _draw_scores),
    "08.reverse_kl": Puzzle(reverse_kl, _draw_logits),
    "08.operations": Puzzle(operations, _draw_counts),
}
