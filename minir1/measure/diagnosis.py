"""The diagnosis of a run in words: is it learning? One sentence, quick enough for the console.

>>> diagnosis([{"phase": "rl", "step": i, "accuracy": 0.3 + 0.01 * i} for i in range(10)])
'learning: accuracy 30% -> 39% over the last 10 steps'
"""

import math
from collections.abc import Iterable
from statistics import median

WINDOW = 10  # RL rows that a diagnosis looks at
TOO_LARGE = "steps too large: lower --rl.lr"
DISAGREEING = (
    "sampler and trainer disagree (gap {:.2f} nats a token): what is learnt is not what was sampled"
)
CUT_OFF = "nearly all responses are cut off ({:.0%}): raise --rl.max_tokens"
UNFORMED = (
    "nothing is well formed ({:.0%}): the base does not write the format; see --base, the template "
    "and --rl.format_reward"
)
ALIKE = "entropy collapsed ({:.3f} nats a token): responses to a question are all alike"

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
        return trouble(practice) or _course(practice)
    reading = phase(rows, "pretrain")
    losses = [loss for _, loss in _points(reading, "loss")]
    course = f"pretraining: loss {losses[0]:.2f} -> {losses[-1]:.2f}, " if losses else ""
    return _broken(reading) or f"{course}no RL step yet"


def trouble(rows: list[dict]) -> str:
    """What makes all the rest meaningless, with its usual cause; "" if there is nothing of the
    kind. One row is enough for what needs no comparison, a validation's, too.

    >>> trouble([{"accuracy": 0.0, "truncated": 0.98}])
    'nearly all responses are cut off (98%): raise --rl.max_tokens'
    """
    sharp = (_mean(rows[-WINDOW:], "accuracy") or 0.0) >= 0.9  # then it may be sure of itself
    least = 0.0 if sharp else max(0.01, 0.05 * (_mean(rows[:WINDOW], "entropy") or 0.0))
    return (
        _broken(rows)
        or _outside(rows, "gap", 0, 0.1, DISAGREEING)
        or _changed(rows)
        or _leaping(rows)
        or _outside(rows, "truncated", 0, 0.75, CUT_OFF)
        or _outside(rows, "format", 0.1, 1, UNFORMED)
        or _no_signal(rows)
        or _outside(rows, "entropy", least, math.inf, ALIKE)
    )


def _outside(rows: list[dict], name: str, low: float, high: float, words: str) -> str:
    """The words, with the median of the last values, if that lies outside low..high."""
    values = [value for _, value in _points(rows[-3:], name)]
    return words.format(median(values)) if values and not low <= median(values) <= high else ""


def _broken(rows: list[dict]) -> str:
    """A figure that is not finite (metrics.jsonl holds null in its place), unless answers have been
    right since: then the step did no harm."""
    bad, good = {}, []
    for i, row in enumerate(rows):
        names = [n for n in ("loss", "grad_norm", "reward") if n in row and number(row[n]) is None]
        if names:
            bad[i] = names[0]
        elif number(row.get("accuracy", 1)):
            good.append(i)
    often = sum(i >= len(rows) - WINDOW for i in bad) >= 3
    if not bad or (good and good[-1] > max(bad) and not often):
        return ""
    whole = max((i for i in good if i < max(bad)), default=-1)
    first = min(i for i in bad if i > whole)
    step = number(rows[first].get("step")) or first + 1
    what = f"broken since step {step:.0f}: {bad[first]} is not a number"
    return f"{what}; a lower --rl.lr or, in half precision, --dtype float32 may help"


def _moved(rows: list[dict], name: str, extreme=max) -> tuple[float, float]:
    """(the extreme of what the figure was before, what it is now), in medians of 3 rows, so that a
    single spike is nothing. Not a number, which is neither above nor below, where it is unknown.

    >>> _moved([{"a": 1}, {"a": 3}, {"a": 2}], "a"), _moved([], "a")
    ((3.0, 2.0), (nan, nan))
    """
    values = [value for _, value in _points(rows, name)]
    size = min(3, len(values) // 2)
    if not size:
        return math.nan, math.nan
    starts = range(0, len(values) - 2 * size + 1)
    return extreme(median(values[i : i + size]) for i in starts), median(values[-size:])


def _changed(rows: list[dict]) -> str:
    """Other responses than before: repeating, without thoughts, or no longer readable."""
    short, long = _moved(rows, "length", min)
    fresh, repeated = _moved(rows, "repeated", min)
    if long > 2.5 * short and repeated > max(0.4, fresh + 0.2):
        longer = f"{short:.0f} -> {long:.0f} tokens, {repeated:.0%} of attempts repeated"
        return f"responses repeat themselves ({longer}): lower --rl.lr, and read some"
    (formed, form), (thought, thinks) = _moved(rows, "format"), _moved(rows, "thinking")
    if thought > 0.3 and thinks < 0.2 * thought and not form < 0.5:
        cause = "thoughts are cut off (--rl.max_tokens), or the base cannot compute"
        return f"thinking stops ({_change(thought, thinks)} of responses): {cause}"
    (before, now), (ended, cut) = _moved(rows, "accuracy"), _moved(rows, "truncated", min)
    chance = max(0.1, 3 * (_mean(rows[-3:], "stderr") or 0.0))
    lost = ["accuracy " + _change(before, now)] if before - now > max(chance, 0.5 * before) else []
    if not now > max(0.01, before - 0.01):
        lost += ["well formed " + _change(formed, form)] * (formed > 0.5 and form < 0.5 * formed)
        lost += ["cut off " + _change(ended, cut)] * (ended < 0.5 and cut > 0.9)
    return f"the policy falls apart ({', '.join(lost)}): {TOO_LARGE}" if lost else ""


def _leaping(rows: list[dict]) -> str:
    """Steps that are too large, by the figures of the update."""
    before, now = _moved(rows, "grad_norm", min)
    if now > max(1, 20 * before):
        return f"the gradient leaps (norm {before:.2g} -> {now:.2g}): {TOO_LARGE}"
    known = [row for row in rows if number(row.get("kl")) is not None][1:]  # the first is about 0
    before, now = _moved(known[-2 * WINDOW :], "kl", min)
    now = min([now, *(row["kl"] for row in known[-2:])])  # a rare figure: one spike is its median
    if now > max(0.01, 1000 * before) or now > 1:
        return f"the policy leaps away from the base (KL {before:.2g} -> {now:.2g}): {TOO_LARGE}"
    clipped = _mean(rows[-5:], "clip_fraction") or 0.0
    start, end, sure = trend(rows[-WINDOW:], "accuracy")
    if clipped > (0.4 if sure and end > start else 0.2):  # GSPO clips whole responses, and learns
        return f"{clipped:.0%} of tokens are clipped: {TOO_LARGE} or --rl.minibatches"
    return ""


def _no_signal(rows: list[dict]) -> str:
    """Groups whose rewards are equal though not all are right, and why."""
    last = rows[-WINDOW:]
    accuracy, signal = _mean(last, "accuracy") or 0.0, _mean(last, "signal")
    if signal is None or signal >= 0.1 or accuracy > 0.9:
        return ""
    equal, share = f"{1 - signal:.0%} of groups", f"accuracy {accuracy:.0%}"
    if accuracy <= signal:
        return f"no signal: {equal} are all wrong: easier --rl.tasks, or a better --base"
    if _answers_agree(last):
        cause = "each puzzle is too easy or too hard: other --rl.tasks"
        return f"no signal: {equal} are all right or all wrong ({share}): {cause}"
    return f"no signal: {equal} have equal rewards, but {share}: look at the reward"


def _answers_agree(rows: list[dict]) -> bool:
    """Whether the responses of a group are all right or all wrong: then the accuracy of n problems
    has the standard error of n coin flips; where they differ, a smaller one."""
    found = expected = 0.0
    for row in rows:
        p, error, n = (number(row.get(name)) for name in ("accuracy", "stderr", "n"))
        if None not in (p, error, n) and n > 1:
            found, expected = found + error**2, expected + p * (1 - p) / (n - 1)
    return found > 0.8 * expected > 0


def _course(rows: list[dict]) -> str:
    """The words for a run whose figures can be trusted."""
    last = rows[-WINDOW:]
    start, end, sure = trend(last, "accuracy")
    if start is None:
        return "accuracy is not measured"
    if (signal := _mean(last, "signal")) is not None and signal < 0.1:  # and no trouble
        share = f"accuracy {_mean(last, 'accuracy'):.0%}"
        return f"solved: {share}, so {1 - signal:.0%} of groups are all right"
    if len(last) < 4:
        steps = "1 step" if len(rows) == 1 else f"{len(rows)} steps"
        return f"too early to tell: accuracy {100 * end:.0f}% after {steps}"
    cut, cut_words = _mean(last, "truncated") or 0.0, ""
    if cut > 0.25:
        cut_words = f"responses are cut at the limit ({100 * cut:.0f}%): raise --rl.max_tokens"
    change = f"accuracy {_change(start, end)} over the last {len(last)} steps"
    if sure and end > start:
        return f"learning: {change}; {cut_words}" if cut_words else f"learning: {change}"
    usual = _mean(rows[-4 * WINDOW : -WINDOW], "accuracy")  # noise goes up before it goes down
    if sure and (usual is None or end < usual - 0.1):
        return f"getting worse: {change}; a lower --rl.lr may help"
    return cut_words or _stalled(rows, (start + end) / 2)


def _stalled(rows: list[dict], level: float) -> str:
    """The words for an accuracy that does not move."""
    recent, late = rows[-WINDOW:], rows[-4 * WINDOW :]
    accuracy = f"accuracy {100 * level:.0f}%"
    if level > 0.95:
        return f"solved: {accuracy}"
    start, end, sure = trend(late, "accuracy")
    began = _mean(rows[:WINDOW], "accuracy")
    gained = level - began if began is not None else 0.0
    levelling = f"levelling off: {accuracy} over the last {_steps(recent)} steps"
    if max(level, end) > 0.9:
        return levelling
    slow = gained > 0.1 and end - start < 0.3 * gained  # most of it was gained before
    if sure and end > start and len(rows) > WINDOW and not slow:
        change = f"accuracy {_change(start, end)} over the last {_steps(late)} steps"
        return f"learning slowly: {change}"
    before, now = _mean(rows[:WINDOW], "length"), _mean(recent, "length")
    if len(rows) < 2 * WINDOW:
        before, now, sure = trend(recent, "length")
        before = before if sure else None
    if before and now is not None and now < 0.85 * before:
        stalls = f"accuracy stalls at {100 * level:.0f}%: base may not compute reliably"
        return f"length shrinks ({before:.0f} -> {now:.0f} tokens) while {stalls}"
    start, end, _ = trend(recent, "format")
    if start is not None and end - start > 0.1:
        form = f"learning the form ({_change(start, end)} well formed)"
        return f"{form}, not yet the task: {accuracy}"
    return levelling if gained > 0.1 else levelling.replace("levelling off", "flat")


def _steps(rows: list[dict]) -> int:
    """How many steps the rows span; of some runs not every row is kept."""
    steps = [step for _, step in _points(rows, "step")]
    return round(steps[-1] - steps[0]) + 1 if steps else len(rows)


def _change(start: float, end: float) -> str:
    digits = 0 if abs(end - start) >= 0.015 else 1
    return f"{100 * start:.{digits}f}% -> {100 * end:.{digits}f}%"
