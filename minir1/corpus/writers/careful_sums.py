"""A writer of workings who leaves nothing to the eye: --corpus.sums careful_sums.

A base of eight million parameters slipped in plain workings where it had to see which number is the
larger although both begin alike (3327 - 3449), in steps with a negative number (-4 - 6), in the
sums of a product in one go (340 + 7650). Here digits are compared from the left before a long
difference, signs are settled before anything is computed, and every long sum, difference and
product goes digit by digit and ends with its value.

>>> working([3327, "-", 3449])
'3 = 3, 3 < 4: 3449 - 3327: 9 - 7 = 2, 4 - 2 = 2, 4 - 3 = 1, 3 - 3 = 0, 122, -122'
>>> working([3, "*", [3, "-", 9]])
'3 - 9: 9 - 3 = 6, -6, 3 * (-6): 3 * 6 = 18, -18'
>>> working([23, "*", 45])
'23 * 5 = 115, 23 * 40 = 920, 115 + 920: 5 + 0 = 5, 1 + 2 = 3, 1 + 9 = 10, 1035'
"""

from minir1.corpus.writers.plain_sums import columns_minus, columns_plus
from minir1.tasks.arithmetic import value_of


def working(parts) -> str:
    """As plain_sums.working: how the value of `parts` is found, inner steps first."""
    return ", ".join(_steps(parts, asked=all(isinstance(part, int) for part in parts[::2])))


def _steps(parts, asked: bool) -> list[str]:
    a, operator, b = parts
    steps = []
    for part in (a, b):
        if isinstance(part, list):
            steps += _steps(part, asked=False)
    return [*steps, _step(value_of(a), operator, value_of(b), asked)]


def _step(a: int, operator: str, b: int, asked: bool) -> str:
    """One operation. `asked`: it is the whole question, and need not be said again."""
    negative, x, plain, y = _without_signs(a, operator, b)
    same, short = (a, operator, b) == (x, plain, y), _is_short(x, plain, y)
    text = ""
    if not asked and not (same and short):
        text += f"{a} {operator} {f'({b})' if b < 0 else b}: "
    if plain == "-" and not short:
        text += f"{_compare(abs(a), abs(b))}: "
        text += "" if same else f"{x} - {y}: "
    text += _compute(x, plain, y)
    return f"{text}, {value_of([a, operator, b])}" if negative else text


def _without_signs(a: int, operator: str, b: int) -> tuple[bool, int, str, int]:
    """(whether the value is negative, what to compute instead with x >= y >= 0 in a difference).

    >>> _without_signs(-4, "-", 6), _without_signs(3, "-", 8)
    ((True, 4, '+', 6), (True, 8, '-', 3))
    """
    value, x, y = value_of([a, operator, b]), abs(a), abs(b)
    if operator == "*":
        return value < 0, x, "*", y
    alike = (a < 0) == (b < 0)
    if alike == (operator == "+"):
        return value < 0, x, "+", y
    return value < 0, max(x, y), "-", min(x, y)


def _is_short(x: int, operator: str, y: int) -> bool:
    """Whether the base does it at once: two digits, or one digit times two."""
    return max(x, y) < 100 and (operator != "*" or min(x, y) < 10)


def _compute(x: int, operator: str, y: int) -> str:
    """From non-negative numbers to the value, the last thing written."""
    value = value_of([x, operator, y])
    if _is_short(x, operator, y):
        return f"{x} {operator} {y} = {value}"
    if operator == "*":
        return _product(x, y)
    columns = columns_plus if operator == "+" else columns_minus
    return f"{columns(x, y)}, {value}"


def _compare(x: int, y: int) -> str:
    """Digits from the left until two differ.

    >>> _compare(1090, 27), _compare(415, 415)
    ('1 > 0', '4 = 4, 1 = 1, 5 = 5')
    """
    pairs, width = [], len(str(max(x, y)))
    for p, q in zip(f"{x:0{width}}", f"{y:0{width}}"):
        pairs.append(f"{p} {'=' if p == q else '<' if p < q else '>'} {q}")
        if p != q:
            break
    return ", ".join(pairs)


def _product(x: int, y: int) -> str:
    """A line for each digit of the shorter factor but 0, each added to the sum so far."""
    if len(str(x)) < len(str(y)):
        x, y = y, x
    lines, total = [], 0
    for place, digit in enumerate(reversed(str(y))):
        part = int(digit) * 10**place
        if part:
            lines.append(_times_a_part(x, part))
            if total:
                lines.append(_step(total, "+", x * part, asked=False))
            total += x * part
    return ", ".join(lines) or f"{x} * {y} = 0"


def _times_a_part(x: int, part: int) -> str:
    """x * part, where part is a digit with zeros behind it.

    An x of three digits and more is multiplied digit by digit.

    >>> _times_a_part(123, 40)
    '123 * 40: 3 * 4 = 12, 2 * 4 + 1 = 9, 1 * 4 = 4, 4920'
    """
    if x < 100:
        return f"{x} * {part} = {x * part}"
    columns, carry, digit = [], 0, int(str(part)[0])
    for top in map(int, reversed(str(x))):
        value = top * digit + carry
        columns.append(f"{top} * {digit}{f' + {carry}' if carry else ''} = {value}")
        carry = value // 10
    return f"{x} * {part}: {', '.join(columns)}, {x * part}"
