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
    inner = [working(part) for part in (a, b) if isinstance(part, list)]
    step = _one_step(value_of(a), operator, value_of(b), nested=bool(inner))
    return ", ".join([*inner, step])


def _one_step(a: int, operator: str, b: int, nested: bool) -> str:
    if operator == "*" and min(a, b) >= 10:
        return _product(a, b)
    if nested or a < 0 or b < 0 or max(a, b) < 100 or operator == "*":
        return f"{a} {operator} {f'({b})' if b < 0 else b} = {value_of([a, operator, b])}"
    if operator == "+":
        return columns_plus(a, b)
    if a >= b:
        return columns_minus(a, b)
    return f"{b} - {a}: {columns_minus(b, a)}, {b - a}, -{b - a}"


def columns_plus(a: int, b: int) -> str:
    out, carry = [], 0
    while a or b or not out:
        terms = [carry] if carry else []
        terms += [a % 10] if a or not out else []
        terms += [b % 10] if b or not out else []
        total = sum(terms)
        out.append(f"{' + '.join(map(str, terms))} = {total}")
        a, b, carry = a // 10, b // 10, total // 10
    return ", ".join(out)


def columns_minus(a: int, b: int) -> str:
    """Needs a >= b >= 0. A column that borrows is written with its ten: 13 - 8 = 5."""
    out, borrow = [], 0
    while a or not out:
        top, digit = a % 10, b % 10
        lacking = top < digit + borrow
        top += 10 if lacking else 0
        out.append(f"{top} - {digit}{' - 1' if borrow else ''} = {top - digit - borrow}")
        a, b, borrow = a // 10, b // 10, int(lacking)
    return ", ".join(out)


def _product(a: int, b: int) -> str:
    """A line for each digit of b but 0, each added to the sum so far."""
    out, total = [], 0
    for place, digit in enumerate(reversed(str(b))):
        part = int(digit) * 10**place
        if part:
            out.append(f"{a} * {part} = {a * part}")
            if total:
                out.append(f"{total} + {a * part} = {total + a * part}")
            total += a * part
    return ", ".join(out)
