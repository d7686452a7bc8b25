"""Solutions to the puzzles of 00_tour.ipynb, for teachers."""

from collections import Counter


def replay(numbers, steps, target):
    there = Counter(numbers)
    for a, operator, b in steps:
        there.subtract((a, b))
        if min(there.values()) < 0:
            return False
        there[a + b if operator == "+" else a - b if operator == "-" else a * b] += 1
    return +there == Counter([target])


def response_probability(logp_T):
    return logp_T.sum().exp()  # a product of probabilities is a sum of logarithms


def push(reward_G):
    above_G = reward_G - reward_G.mean()
    return [0 if abs(above) < 1e-6 else 1 if above > 0 else -1 for above in above_G.tolist()]


def majority(answers):
    given = [answer for answer in answers if answer is not None]
    return max(given, key=given.count) if given else None  # max keeps the first of equals
