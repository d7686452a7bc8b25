"""A run in words: "is it learning?" (one sentence, quick enough for the console) and the result with its reference lines.

>>> verdict([{"phase": "rl", "step": i, "accuracy": 0.3 + 0.01 * i} for i in range(10)])
'learning: accuracy 30% -> 39% over the last 10 steps'
"""

import math
from collections.abc import Iterable

WINDOW = 10  # rl rows that a verdict looks at

# Every accuracy is shown beside these: key in summary["references"] -> what it is.
REFERENCES = {
    "blind_tokens": "blind search, same token limit",
    "blind_attempts": "blind search, as many attempts",
    "blind_budget": "blind search, same token budget",
    "forced_base": "base, forced to go on",
    "answer_only": "answer only, RL too",
    "pass64_base": "base, any of 64 (pass@64)",
}

# ---------------------------------------------------------------- figures out of rows and summaries


def number(value) -> float | None:
    """A plain finite number, or None.

    >>> number(3), number(float("nan")), number("3"), number(None)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return None
    return float(value)


def entry(value) -> dict[str, float]:
    """A result as a flat dictionary of numbers, whether it was a rate or a dictionary; {"3": r} reads as accuracy_3.

    >>> entry(0.5), entry({"accuracy": 0.5, "3": 0.9, "stderr": None}), entry("soon")
    ({'accuracy': 0.5}, {'accuracy': 0.5, 'accuracy_3': 0.9}, {})
    """
    pairs = value.items() if isinstance(value, dict) else [("accuracy", value)]
    return {f"accuracy_{k}" if str(k).isdigit() else k: number(v) for k, v in pairs if number(v) is not None}


def column(rows: Iterable[dict], name: str, x: str = "step") -> tuple[list[float], list[float]]:
    """(x, values) of the rows that hold both as numbers."""
    pairs = [(number(row.get(x)), number(row.get(name))) for row in rows]
    kept = sorted((a, b) for a, b in pairs if a is not None and b is not None)
    return [a for a, _ in kept], [b for _, b in kept]


def phase(rows: Iterable[dict], name: str) -> list[dict]:
    return [row for row in rows if row.get("phase") == name]


def references_of(summary: dict) -> dict[str, dict[str, float]]:
    """The reference lines that the summary holds, each as a flat dictionary."""
    found = summary.get("references")
    return {key: entry(found[key]) for key in REFERENCES if key in found} if isinstance(found, dict) else {}


# ---------------------------------------------------------------- is it learning?


def verdict(rows: list[dict]) -> str:
    """One sentence on the last few RL steps: is it learning, and if not, what to look at."""
    practice = [row for row in rows if row.get("phase", "rl") == "rl"]
    if not practice:
        loss = column(enumerate_rows(phase(rows, "pretrain")), "loss", "#")[1]
        return f"pretraining: loss {loss[0]:.2f} -> {loss[-1]:.2f}, no RL step yet" if loss else "no RL step yet"
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
    return f"responses are cut at the limit ({hint}" if cut > 0.25 else _stalled(practice, (start + end) / 2)


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
    if entropy is not None and entropy < max(0.01, 0.05 * (early or 0.0)) and (accuracy or 0.0) < 0.9:
        return f"entropy collapsed ({entropy:.3f} nats a token): responses to a question are all alike"
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
    """(start, end) of a straight line through the values, and whether its slope is 2.5 standard errors from zero.

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
    error = math.sqrt(sum((b - my - slope * (a - mx)) ** 2 for a, b in zip(x, y)) / (n - 2) / spread)
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


# ---------------------------------------------------------------- the result in words

# metric -> (what it is, in percent)
BEFORE_AND_AFTER = {
    "accuracy": ("right answers (pass@1)", True),
    "accuracy_3": ("  3 numbers", True),
    "accuracy_4": ("  4 numbers", True),
    "hit_rate": ("hits per attempt", True),
    "hit_rate_3": ("  3 numbers", True),
    "hit_rate_4": ("  4 numbers", True),
    "attempts": ("attempts a response", False),
    "check_right": ("checks that are right", True),
    "repeated": ("attempts that repeat an earlier one", True),
    "length": ("tokens a response", False),
    "truncated": ("cut at the token limit", True),
    "reflections": ("reflection words a response", False),
    "reflections_100": ("  per 100 tokens", False),
}


def summary_text(summary: dict) -> str:
    """The summary of a run in words and a plain table. Percentages stand with ± one standard error where there is one."""
    return "\n\n".join(block if isinstance(block, str) else table(*block) for block in summary_blocks(summary))


def summary_blocks(summary: dict) -> list[str | tuple[tuple, list[tuple]]]:
    """The parts of summary_text: paragraphs, and tables as (head, rows)."""
    base, zero = entry(summary.get("base")), entry(summary.get("zero"))
    blocks = [_heading(summary), _in_words(base, zero), _before_and_after(summary, base, zero), *_beside(summary, base, zero)]
    return [block for block in blocks if block]


def _heading(summary: dict) -> str:
    named = [f"{name} {summary[name]}" for name in ("preset", "seed") if name in summary]
    named += [str(summary[name]) for name in ("device", "date") if summary.get(name)]
    seconds, size = entry(summary.get("seconds")), summary.get("parameters")
    size = number(size.get("all")) if isinstance(size, dict) else number(size)
    if size:
        named.append(f"{size / 1e6:.1f} M parameters")
    parts = [f"{name} {_clock(s)}" for name, s in seconds.items() if name not in ("total", "this_session")]
    took = f"took {_clock(seconds['total'])}" if "total" in seconds else ""
    return "\n".join(line for line in (", ".join(named), took + (f" ({', '.join(parts)})" if took and parts else "")) if line)


def _clock(seconds: float) -> str:
    """
    >>> _clock(7), _clock(67), _clock(6000)
    ('7 s', '1 min 07 s', '1 h 40 min')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def error_of(found: dict[str, float]) -> float:
    """One standard error of the accuracy: as given, or that of a proportion, or 0 if unknown."""
    p, n = found.get("accuracy", 0.0), found.get("n", 0.0)
    return found["stderr"] if "stderr" in found else math.sqrt(max(0.0, p * (1 - p)) / n) if n else 0.0


def _in_words(base: dict[str, float], zero: dict[str, float]) -> str:
    """What changed, and what RL did to the habits the base holds. Claims only what the figures show."""
    if "accuracy" not in base or "accuracy" not in zero:
        return ""
    gain, error = zero["accuracy"] - base["accuracy"], math.hypot(error_of(base), error_of(zero))
    pair = f"{100 * base['accuracy']:.1f}% to {100 * zero['accuracy']:.1f}% (± {100 * error_of(zero):.1f})"
    said = [f"RL with rule rewards made no difference that can be told from chance: accuracy {pair}."]
    if abs(gain) > 2 * error:
        said = [f"RL with rule rewards {'raised' if gain > 0 else 'lowered'} accuracy from {pair}."]
    if "hit_rate" in base and "hit_rate" in zero:
        rest = "; the rest is the number of attempts, their checks, and stopping" if gain > 2 * error else ""
        rates = (f"{100 * found['hit_rate']:.1f}%" for found in (base, zero))
        said.append(f"One attempt hits in {' of cases before and '.join(rates)} after{rest}.")
    return "\n".join([*said, *_habits(base, zero)])


def _habits(base: dict[str, float], zero: dict[str, float]) -> list[str]:
    """Amplified is what grew by a fifth or more from a rate above zero."""
    names = {"attempts": "attempts a response", "reflections": "reflection words a response"}
    names |= {"reflections_100": "reflection words per 100 tokens"}
    known = [k for k in names if k in base and k in zero]
    grown = [f"{names[k]} {base[k]:.1f} -> {zero[k]:.1f}" for k in known if zero[k] > 1.2 * base[k] > 0]
    fresh = [names[k] for k in known if base[k] == 0 < zero[k]]
    said = [f"RL amplified habits the base holds at a measured rate: {', '.join(grown)}."] if grown else []
    if fresh:
        said.append(f"Not seen in the base's responses, and found after RL: {', '.join(fresh)}.")
    return said or (["RL did not amplify the habits counted here."] if known else [])


def _before_and_after(summary: dict, base: dict[str, float], zero: dict[str, float]) -> tuple | None:
    rows = [(text, _cell(base, k, percent), _cell(zero, k, percent)) for k, (text, percent) in BEFORE_AND_AFTER.items()]
    kinds: dict[str, list[str]] = {}
    for i, side in enumerate(("base", "zero")):
        found = summary.get(side) if isinstance(summary.get(side), dict) else {}
        for kind, result in found["arithmetic"].items() if isinstance(found.get("arithmetic"), dict) else ():
            kinds.setdefault(str(kind), ["", ""])[i] = _cell(entry(result), "accuracy", True)
    rows += [(f"arithmetic {kind}", *cells) for kind, cells in kinds.items()]
    rows = [row for row in rows if row[1] or row[2]]
    return (("", "base", "R1-Zero"), rows) if rows else None


def _beside(summary: dict, base: dict[str, float], zero: dict[str, float]) -> list:
    """Every reference line, and in words whether R1-Zero beats it."""
    found, rows, said = references_of(summary), [], []
    for key, line in found.items():
        if "accuracy" in line:
            cells = [_cell(line, k, True) for k in ("accuracy", "accuracy_3", "accuracy_4")]
            rows.append((REFERENCES[key], *cells, _cell(line, "length", False), _against(line, zero)))
            if "accuracy" in zero and not rows[-1][-1].endswith("above"):
                beyond = " by more than chance" if zero["accuracy"] > line["accuracy"] else ""
                said.append(f"R1-Zero does not beat \"{REFERENCES[key]}\"{beyond}: "
                            f"{100 * zero['accuracy']:.1f}% against {100 * line['accuracy']:.1f}%.")  # fmt: skip
    if not rows:
        return []
    if zero:
        cells = [_cell(zero, k, True) for k in ("accuracy", "accuracy_3", "accuracy_4")]
        rows.append(("R1-Zero", *cells, _cell(zero, "length", False), ""))
    if "accuracy" in zero and not said:
        said.append("R1-Zero beats every line here by more than two standard errors.")
    return [(("accuracy beside it", "all", "3 numbers", "4 numbers", "tokens", "R1-Zero is"), rows), "\n".join(said)]


def _against(line: dict[str, float], zero: dict[str, float]) -> str:
    if "accuracy" not in zero:
        return ""
    lead, error = zero["accuracy"] - line["accuracy"], math.hypot(error_of(zero), error_of(line))
    return "even" if abs(lead) <= 2 * error else f"{100 * abs(lead):.1f} points {'above' if lead > 0 else 'below'}"


def _cell(found: dict[str, float], name: str, percent: bool) -> str:
    if name not in found:
        return ""
    if not percent:
        return f"{found[name]:.0f}" if found[name] >= 100 else f"{found[name]:.1f}"
    error = error_of(found) if name == "accuracy" else 0.0
    return f"{100 * found[name]:.1f}%" + (f" ± {100 * error:.1f}" if error else "")


def table(head: tuple, rows: list[tuple]) -> str:
    """Columns under each other; those without any entry are left out.

    >>> print(table(("", "a", "b"), [("one", "1.5%", ""), ("other", "22%", "")]))
              a
    one    1.5%
    other   22%
    """
    keep = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    lines = [[line[i] for i in keep] for line in (head, *rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    padded = [[c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths))] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
