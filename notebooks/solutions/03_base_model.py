"""Solutions to the puzzles of 03_base_model.ipynb, for teachers."""

from math import comb


def true_share(steps):
    true = 0
    for a, operator, b, value in steps:
        result = a + b if operator == "+" else a - b if operator == "-" else a * b
        true += result == value
    return true / len(steps)


def count_attempts(thought):
    return sum(" = " in line for line in thought.split("\n"))


def pass_at_k(n, c, k):
    return 1 - comb(n - c, k) / comb(n, k)  # one minus the chance that all k are wrong
