"""The diagnosis of a run in words: is it learning? One sentence, quick enough for the console.

>>> diagnosis([{"phase": "rl", "step": i, "accuracy": 0.3 + 0.01 * i} for i in range(10)])
'learning: accuracy 30% -> 39% over the last 10 steps'
"""

import math
from collections.abc import Iterable

WINDOW = 10  # RL rows that a diagnosis looks at

# ---------------------------------------------------------------- rows of metrics.jsonl


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
    """(x, values) of the rows that hold both as numbers, sorted by x."""
    pairs = [(number(row[x]), number(row[name])) for row in rows if name in row and x in row]
    kept = sorted(pair for pair in pairs if None not in pair)
    return [a for a, _ in kept], [b for _, b in kept]


def _points(rows: list[dict], name: str) -> list[tuple[int, float]]:
    """(index of the row, value) where a row holds the number."""
    points = [(i, number(row.get(name))) for i, row in enumerate(rows)]
    return [(i, value) for i, value in points if value is not None]


def _mean(rows: list[dict], name: str) -> float | None:
    values = [value for _, value in _points(rows, name)]
    return sum(values) / len(values) if values else None


def trend(rows: list[dict], name: str) -> tuple[float | None, float | None, bool]:
    """(start, end) of a straight line through the values, and whether its slope is 2.5 standard
    errors from zero.

    >>> trend([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}, {"a": 4.0}], "a")
    (1.0, 4.0, True)
    """
    points = _points(rows, name)
    x, y = [a for a, _ in points], [b for _, b in points]
    n = len(points)
    if n < 3:
        return (y[0], y[-1], False) if y else (None, None, False)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in points) / spread
    squares = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in points)
    error = math.sqrt(squares / (n - 2) / spread)
    start, end = (round(mean_y + slope * (a - mean_x), 9) for a in (x[0], x[-1]))
    if min(y) >= 0 and max(y) <= 1:
        start, end = (min(1.0, max(0.0, v)) for v in (start, end))
    return start, end, n >= 4 and abs(slope) > 2.5 * error and abs(end - start) > 0.005


# ---------------------------------------------------------------- the sentence


def diagnosis(rows: list[dict]) -> str:
    """One sentence on the last few RL steps: is it learning, and if not, what to look at."""
    practice = [row for row in rows if row.get("phase", "rl") == "rl"]
    if practice:
        return _trouble(practice) or _course(practice)
    losses = [loss for _, loss in _points(phase(rows, "pretrain"), "loss")]
    if losses:
        return f"pretraining: loss {losses[0]:.2f} -> {losses[-1]:.2f}, no RL step yet"
    return "no RL step yet"


def _trouble(rows: list[dict]) -> str:
    """What makes all the rest meaningless; "" if there is nothing of the kind."""
    last = rows[-WINDOW:]
    for name in ("loss", "grad_norm", "reward"):
        if any(isinstance(row.get(name), float) and not math.isfinite(row[name]) for row in last):
            return f"broken: {name} is not a number; a lower --rl.lr or --dtype float32 may help"
    accuracy = _mean(last, "accuracy") or 0.0
    signal = _mean(last, "signal")
    if signal is not None and signal < 0.1:
        equal = f"{100 * (1 - signal):.0f}% of groups"
        if accuracy > 0.9:
            return f"solved: accuracy {100 * accuracy:.0f}%, so {equal} are all right or all wrong"
        return f"no signal: {equal} all right or all wrong"
    gap = _mean(last, "gap") or 0.0
    if gap > 0.1:
        gap_words = f"sampler and trainer disagree (gap {gap:.2f} nats a token)"
        return f"{gap_words}: what is learnt is not what was sampled"
    entropy = _mean(last, "entropy")
    least = max(0.01, 0.05 * (_mean(rows[:WINDOW], "entropy") or 0.0))
    if entropy is not None and entropy < least and accuracy < 0.9:
        alike = "responses to a question are all alike"
        return f"entropy collapsed ({entropy:.3f} nats a token): {alike}"
    return ""


def _course(rows: list[dict]) -> str:
    """The words for a run whose figures can be trusted."""
    last = rows[-WINDOW:]
    start, end, sure = trend(last, "accuracy")
    if start is None:
        return "accuracy is not measured"
    if len(last) < 4:
        steps = "1 step" if len(rows) == 1 else f"{len(rows)} steps"
        return f"too early to tell: accuracy {100 * end:.0f}% after {steps}"
    cut, cut_words = _mean(last, "truncated") or 0.0, ""
    if cut > 0.25:
        cut_words = f"responses are cut at the limit ({100 * cut:.0f}%): raise --rl.max_tokens"
    change = f"accuracy {_change(start, end)} over the last {len(last)} steps"
    if sure and end > start:
        return f"learning: {change}; {cut_words}" if cut_words else f"learning: {change}"
    if sure:
        return f"getting worse: {change}; a lower --rl.lr may help"
    return cut_words or _stalled(rows, (start + end) / 2)


def _stalled(rows: list[dict], level: float) -> str:
    """The words for an accuracy that does not move."""
    recent, late = rows[-WINDOW:], rows[-4 * WINDOW :]
    accuracy = f"accuracy {100 * level:.0f}%"
    if level > 0.95:
        return f"solved: {accuracy}"
    start, end, sure = trend(late, "accuracy")
    if sure and end > start and len(rows) > WINDOW:
        change = f"accuracy {_change(start, end)} over the last {_steps(late)} steps"
        return f"learning slowly: {change}"
    before, now = _mean(rows[:WINDOW], "length"), _mean(recent, "length")
    if len(rows) < 2 * WINDOW:
        before, now, _ = trend(recent, "length")
    if before and now is not None and now < 0.85 * before:
        stalls = f"accuracy stalls at {100 * level:.0f}%: base may not compute reliably"
        return f"length shrinks ({before:.0f} -> {now:.0f} tokens) while {stalls}"
    start, end, _ = trend(recent, "format")
    if start is not None and end - start > 0.1:
        form = f"learning the form ({_change(start, end)} well formed)"
        return f"{form}, not yet the task: {accuracy}"
    return f"flat: {accuracy} over the last {_steps(recent)} steps"


def _steps(rows: list[dict]) -> int:
    """How many steps the rows span; of some runs not every row is kept."""
    steps = [row["step"] for row in rows if "step" in row]
    return steps[-1] - steps[0] + 1 if steps else len(rows)


def _change(start: float, end: float) -> str:
    digits = 0 if abs(end - start) >= 0.015 else 1
    return f"{100 * start:.{digits}f}% -> {100 * end:.{digits}f}%"
