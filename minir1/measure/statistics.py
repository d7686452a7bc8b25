"""Statistics of right and wrong answers: pass@k, the majority's vote, intervals.

>>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
(0.5, 1.0)
"""

from collections import Counter
from collections.abc import Iterable
from math import comb

from minir1.tasks.countdown import Countdown, evaluate


def mean(values: Iterable[float]) -> float:
    """0 for nothing."""
    values = list(values)
    return sum(values) / max(1, len(values))


def mean_and_error(shares: list[float]) -> tuple[float, float]:
    """The mean over problems and its standard error, 0 for a single one.

    >>> mean_and_error([1.0, 1.0, 0.0, 0.5])[1] == (0.6875 / 3 / 4) ** 0.5
    True
    """
    middle, n = mean(shares), len(shares)
    return middle, (sum((s - middle) ** 2 for s in shares) / max(1, n - 1) / max(1, n)) ** 0.5


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples is right, when c of the n samples are.

    1 - C(n-c, k) / C(n, k), which is unbiased (arXiv 2107.03374, equation 1).
    """
    return 1 - comb(n - c, k) / comb(n, k)


def powers(k: int) -> list[int]:
    """
    >>> powers(12)
    [1, 2, 4, 8, 12]
    """
    return [*(2**i for i in range(k.bit_length()) if 2**i < k), k]


def interval(shares: list[float]) -> tuple[float, float]:
    """95% interval of the mean of per-problem shares: Wilson's, which also holds near 0 and 1.

    Several samples a problem scatter less than single ones: they count as more problems. How many
    is judged with 1.96² problems added, half of them solved, as Wilson's centre has it: where all
    shares are (nearly) 1, how they scatter is unknown, and one wrong sample must not narrow it.

    >>> [round(x, 3) for x in interval([1.0] * 10)]
    [0.722, 1.0]
    >>> [round(interval([1.0] * 99 + [last])[0], 3) for last in (1.0, 15 / 16)]
    [0.963, 0.963]
    """
    count, added = len(shares), 1.96**2
    p = sum(shares) / count
    padded = (count * p + added / 2) / (count + added)
    squares = sum((s - padded) ** 2 for s in shares)
    squares += added / 2 * (padded**2 + (1 - padded) ** 2)
    n = count * padded * (1 - padded) * (count + added) / squares
    z = added / n
    middle = (p + z / 2) / (1 + z)
    reach = (z * p * (1 - p) + z * z / 4) ** 0.5 / (1 + z)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def vote(problem: object, answer: str | None) -> str | None:
    """What an answer counts as: an expression of the right numbers by its value, others as text.

    >>> [vote(Countdown((3, 5), 8), answer) for answer in ("5 + 3", "3 + 3", None)]
    ['= 8', '3 + 3', None]
    """
    value = evaluate(answer) if answer and isinstance(problem, Countdown) else None
    if value is None or Counter(value[1]) != Counter(problem.numbers):
        return answer
    return f"= {value[0]}"


def consensus_answer(problem: object, answers: list[str | None]) -> str | None:
    """cons@k: the answer given most often, by value; the first one of equals; None if none is."""
    votes = [vote(problem, answer) for answer in answers]
    winner = majority(votes)
    return None if winner is None else answers[votes.index(winner)]


def majority(answers: list[str | None]) -> str | None:
    """The answer written most often, spaces aside; of several such the one written first.

    >>> majority(["1 + 2", None, "2 + 1", "2+1"])
    '2 + 1'
    """
    written = [a for a in answers if a is not None]
    votes = Counter(a.replace(" ", "") for a in written)
    most = max(votes.values(), default=0)
    return next((a for a in written if votes[a.replace(" ", "")] == most), None)
