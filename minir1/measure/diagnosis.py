"""The diagnosis of a run in words: is it learning? One sentence, quick enough for the console.

>>> diagnosis([{"phase": "rl", "step": i, "accuracy": 0.3 + 0.01 * i} for i in range(10)])
'learning: accuracy 30% -> 39% over the last 10 steps'
"""

import math
from collections.abc import Iterable

WINDOW = 10  # rl rows that a verdict looks at


def number(value) -> float | None:
    """A plain finite number, or None.

    >>> number(3), number(float("nan")), number("3"), number(None)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return None
    return float(value)


def phase(rows: Iterable[dict], name: str) -> list[dict]:
    return [row for row in rows if row.get("phase") == name]


def column(rows: Iterable[dict], name: str, x: str = "step") -> tuple[list[float], list[float]]:
    """(x, values) of the rows that hold both as numbers."""
    pairs = [(number(row.get(x)), number(row.get(name))) for row in rows]
    kept = sorted((a, b) for a, b in pairs if a is not None and b is not None)
    return [a for a, _ in kept], [b for _, b in kept]


def diagnosis(rows: list[dict]) -> str:
    """One sentence on the last few RL steps: is it learning, and if not, what to look at."""
    practice = [row for row in rows if row.get("phase", "rl") == "rl"]
    if not practice:
        loss = column(enumerate_rows(phase(rows, "pretrain")), "loss", "#")[1]
        return (
            f"pretraining: loss {loss[0]:.2f} -> {loss[-1]:.2f}, no RL step yet"
            if loss
            else "no RL step yet"
        )
    last, trouble = practice[-WINDOW:], _trouble(practice)
    if trouble:
        return trouble
    start, end, sure = trend(last, "accuracy")
    if start is None:
        return "accuracy is not measured"
    cut = _mean(last, "truncated") or 0.0
    hint = f"{100 * cut:.0f}%): raise --rl.max_tokens"
    if len(last) < 4:
        return f"too early to tell: accuracy {100 * end:.0f}% after {_count(len(practice))}"
    if sure and end > start:
        tail = f"; responses are cut at the limit ({hint}" if cut > 0.25 else ""
        return f"learning: accuracy {_change(start, end)} over the last {len(last)} steps{tail}"
    if sure:
        return f"getting worse: accuracy {_change(start, end)} over the last {len(last)} steps; a lower --rl.lr may help"
    return (
        f"responses are cut at the limit ({hint}"
        if cut > 0.25
        else _stalled(practice, (start + end) / 2)
    )


def enumerate_rows(rows: list[dict]) -> list[dict]:
    return [row | {"#": i} for i, row in enumerate(rows)]


def _trouble(rows: list[dict]) -> str | None:
    """What makes all the rest meaningless."""
    last = rows[-WINDOW:]
    for name in ("loss", "grad_norm", "reward"):
        if any(isinstance(row.get(name), float) and not math.isfinite(row[name]) for row in last):
            return f"broken: {name} is not a number; a lower --rl.lr or --dtype float32 may help"
    signal, accuracy, gap = (_mean(last, name) for name in ("signal", "accuracy", "gap"))
    if signal is not None and signal < 0.1:
        if accuracy is not None and accuracy > 0.9:
            return f"solved: accuracy {100 * accuracy:.0f}%, so {100 * (1 - signal):.0f}% of groups are all right or all wrong"
        return f"no signal: {100 * (1 - signal):.0f}% of groups all right or all wrong"
    if gap is not None and gap > 0.1:
        return f"sampler and trainer disagree (gap {gap:.2f} nats a token): what is learnt is not what was sampled"
    entropy, early = _mean(last, "entropy"), _mean(rows[:WINDOW], "entropy")
    if (
        entropy is not None
        and entropy < max(0.01, 0.05 * (early or 0.0))
        and (accuracy or 0.0) < 0.9
    ):
        return (
            f"entropy collapsed ({entropy:.3f} nats a token): responses to a question are all alike"
        )
    return None


def _stalled(rows: list[dict], level: float) -> str:
    """The words for an accuracy that does not move."""
    recent, first = rows[-WINDOW:], rows[:WINDOW]
    if level > 0.95:
        return f"solved: accuracy {100 * level:.0f}%"
    late = rows[-4 * WINDOW :]
    start, end, sure = trend(late, "accuracy")
    if sure and end > start and len(rows) > WINDOW:
        return f"learning slowly: accuracy {_change(start, end)} over the last {_steps(late)} steps"
    before, now = _mean(first, "length"), _mean(recent, "length")
    if len(rows) < 2 * WINDOW:
        before, now, _ = trend(recent, "length")
    if before and now is not None and now < 0.85 * before:
        return (
            f"length shrinks ({before:.0f} -> {now:.0f} tokens) while accuracy stalls at {100 * level:.0f}%: "
            "base may not compute reliably"
        )
    formed, form = trend(recent, "format")[:2]
    if formed is not None and form - formed > 0.1:
        return f"learning the form ({_change(formed, form)} well formed), not yet the task: accuracy {100 * level:.0f}%"
    return f"flat: accuracy {100 * level:.0f}% over the last {_steps(recent)} steps"


def _steps(rows: list[dict]) -> int:
    """How many steps the rows span; of some runs not every row is kept."""
    steps = [row["step"] for row in rows if "step" in row]
    return steps[-1] - steps[0] + 1 if steps else len(rows)


def trend(rows: list[dict], name: str) -> tuple[float | None, float | None, bool]:
    """(start, end) of a straight line through the values, and whether its slope is 2.5 standard
    errors from zero.

    >>> trend([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}, {"a": 4.0}], "a")
    (1.0, 4.0, True)
    """
    x, y = column(enumerate_rows(rows), name, "#")
    n = len(y)
    if n < 3:
        return (y[0], y[-1], False) if y else (None, None, False)
    mx, my = sum(x) / n, sum(y) / n
    spread = sum((a - mx) ** 2 for a in x)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / spread
    error = math.sqrt(
        sum((b - my - slope * (a - mx)) ** 2 for a, b in zip(x, y)) / (n - 2) / spread
    )
    start, end = (round(my + slope * (a - mx), 9) for a in (x[0], x[-1]))
    if min(y) >= 0 and max(y) <= 1:
        start, end = (min(1.0, max(0.0, v)) for v in (start, end))
    return start, end, n >= 4 and abs(slope) > 2.5 * error and abs(end - start) > 0.005


def _mean(rows: list[dict], name: str) -> float | None:
    values = [v for v in (number(row.get(name)) for row in rows) if v is not None]
    return sum(values) / len(values) if values else None


def _change(start: float, end: float) -> str:
    digits = 0 if abs(end - start) >= 0.015 else 1
    return f"{100 * start:.{digits}f}% -> {100 * end:.{digits}f}%"


def _count(n: int) -> str:
    return f"{n} step" + "s" * (n != 1)
