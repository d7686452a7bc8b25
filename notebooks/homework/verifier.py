"""Task 3 (3 points): right or wrong, and nothing else. (R1 report, section 2.2; notebook 5)"""

from minir1.config import UserError


def verify(numbers: tuple[int, ...], target: int, answer: str) -> bool:
    """Does `answer` make the target from all numbers, each used once, with + - * / and parentheses?

    Exactly: in fractions, not in floating point. Numbers have no leading zeros; no unary signs, no
    `**`, no `//`, no "=", ASCII digits only; at most 256 characters and 32 nested parentheses.
    Anything else is False. Whatever the text, this function raises nothing, evaluates nothing as
    code, and returns at once.
    """
    raise UserError("task 3: verify() in verifier.py is not written yet")
