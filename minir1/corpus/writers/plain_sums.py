"""How a sum is done, column by column: --corpus.sums plain."""

from minir1.tasks.arithmetic import value_of


def working(parts) -> str:
    """How the value is found, column by column and step by step; what the base model reads rarely.

    >>> working([478, "+", 64])
    '8 + 4 = 12, 1 + 7 + 6 = 14, 1 + 4 = 5'
    >>> working([[9, "+", 8], "*", 2])
    '9 + 8 = 17, 17 * 2 = 34'
    """
    a, operator, b = parts
    lines = []
    if isinstance(a, list):
        lines.append(working(a))
    if isinstance(b, list):
        lines.append(working(b))
    a, b = value_of(a), value_of(b)
    lines.append(_one_step(a, operator, b, nested=bool(lines)))
    return ", ".join(lines)


def _one_step(a: int, operator: str, b: int, nested: bool) -> str:
    result = value_of([a, operator, b])
    if operator == "*" and min(a, b) >= 10:
        return _product(a, b)
    if nested or a < 0 or b < 0 or max(a, b) < 100 or operator == "*":
        shown_b = f"({b})" if b < 0 else str(b)
        return f"{a} {operator} {shown_b} = {result}"
    if operator == "+":
        return _columns_plus(a, b)
    return (
        _columns_minus(a, b) if a >= b else f"{b} - {a}: {_columns_minus(b, a)}, {b - a}, -{b - a}"
    )


def _columns_plus(a: int, b: int) -> str:
    out, carry = [], 0
    while a or b or not out:
        terms = (
            ([carry] if carry else [])
            + ([a % 10] if a or not out else [])
            + ([b % 10] if b or not out else [])
        )
        total = sum(terms)
        out.append(" + ".join(map(str, terms)) + f" = {total}")
        a, b, carry = a // 10, b // 10, total // 10
    return ", ".join(out)


def _columns_minus(a: int, b: int) -> str:
    """Needs a >= b >= 0. A column that borrows is written with its ten: 13 - 8 = 5."""
    out, borrow = [], 0
    while a or not out:
        top, digit = a % 10, b % 10
        need = digit + borrow
        lifted = top + 10 if top < need else top
        text = f"{lifted} - {digit}" + (f" - {borrow}" if borrow else "")
        out.append(f"{text} = {lifted - need}")
        a, b, borrow = a // 10, b // 10, int(top < need)
    return ", ".join(out)


def _product(a: int, b: int) -> str:
    out, total, shift = [], 0, 1
    for digit in reversed(str(b)):
        part = int(digit) * shift
        if part:
            out.append(f"{a} * {part} = {a * part}")
            if total:
                out.append(f"{total} + {a * part} = {total + a * part}")
            total += a * part
        shift *= 10
    return ", ".join(out)
