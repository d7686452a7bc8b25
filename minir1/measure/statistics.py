"""Statistics of right and wrong answers: pass@k, the majority's vote, intervals.

>>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
(0.5, 1.0)
"""

from collections import Counter
from collections.abc import Iterable
from math import comb


def mean(values: Iterable[float]) -> float:
    """0 for nothing."""
    values = list(values)
    return sum(values) / max(1, len(values))


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

    Several samples a problem scatter less than single ones: they count as that many more problems.

    >>> [round(x, 3) for x in interval([1.0] * 10)]
    [0.722, 1.0]
    """
    n = len(shares)
    p = sum(shares) / n
    variance = sum((s - p) ** 2 for s in shares) / n
    n = n * p * (1 - p) / variance if variance > 1e-12 else n
    z = 1.96**2 / n
    middle = (p + z / 2) / (1 + z)
    reach = (z * p * (1 - p) + z * z / 4) ** 0.5 / (1 + z)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def majority(answers: list[str | None]) -> str | None:
    """The answer written most often, spaces aside; of several such the one written first.

    >>> majority(["1 + 2", None, "2 + 1", "2+1"])
    '2 + 1'
    """
    written = [a for a in answers if a is not None]
    votes = Counter(a.replace(" ", "") for a in written)
    most = max(votes.values(), default=0)
    return next((a for a in written if votes[a.replace(" ", "")] == most), None)
