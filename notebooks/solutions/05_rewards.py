"""Solutions to the puzzles of 05_rewards.ipynb, for teachers."""

import re
from collections import Counter
from fractions import Fraction


def well_formed(response):
    shape = r"(<think>[^<>]*</think>)?\s*<answer>[^<>]*</answer>\s*<\|end\|>"
    return re.fullmatch(shape, response) is not None


def uses_each_once(numbers, used):
    return Counter(numbers) == Counter(used)


def exact_value(parts):
    total, product = Fraction(0), Fraction(parts[0])
    for operator, number in zip(parts[1::2], parts[2::2]):
        if operator == "*":
            product = product * number
        elif operator == "/":
            if number == 0:
                return None
            product = product / number
        else:  # a sum or difference closes the product before it
            total = total + product
            product = Fraction(number if operator == "+" else -number)
    return total + product


def total_reward(right, formed, format_weight):
    return float(right and formed) + format_weight * formed


def share_in_language(words, lang):
    if not words:
        return 1.0
    fitting = sum((word[0] >= "一") == (lang == "zh") for word in words)
    return fitting / len(words)
