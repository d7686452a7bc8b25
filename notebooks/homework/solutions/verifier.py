"""Task 3, solved: a recursive-descent reader.

Each function takes a place in the tokens and returns (value, next place).
"""

import re
from fractions import Fraction


def verify(numbers, target, answer):
    if not isinstance(answer, str) or len(answer) > 256:
        return False
    if not re.fullmatch(r"[0-9+\-*/() ]+", answer):
        return False
    tokens = re.findall(r"[0-9]+|[^ ]", answer)
    used = [token for token in tokens if token.isdigit()]
    if any(token[0] == "0" and token != "0" for token in used):
        return False
    if sorted(map(int, used)) != sorted(numbers):
        return False
    try:
        value, place = _sum(tokens, 0, 0)
    except (ValueError, IndexError, ZeroDivisionError):
        return False
    return place == len(tokens) and value == target


def _sum(tokens, place, depth):
    value, place = _product(tokens, place, depth)
    while place < len(tokens) and tokens[place] in "+-":
        sign = 1 if tokens[place] == "+" else -1
        other, place = _product(tokens, place + 1, depth)
        value += sign * other
    return value, place


def _product(tokens, place, depth):
    value, place = _atom(tokens, place, depth)
    while place < len(tokens) and tokens[place] in "*/":
        operator = tokens[place]
        other, place = _atom(tokens, place + 1, depth)
        value = value * other if operator == "*" else value / other
    return value, place


def _atom(tokens, place, depth):
    if tokens[place] == "(" and depth < 32:
        value, place = _sum(tokens, place + 1, depth + 1)
        if tokens[place] != ")":
            raise ValueError("unbalanced")
        return value, place + 1
    if not tokens[place].isdigit():
        raise ValueError("number expected")
    return Fraction(int(tokens[place])), place + 1
