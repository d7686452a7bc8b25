"""The result of a run in words and tables, with its baselines."""

import math
import re

from minir1.console.tables import aligned, without_empty_columns
from minir1.measure.diagnosis import number

# Every accuracy is shown beside these: key in summary["references"] -> what it is.
REFERENCES = {
    "blind_tokens": "blind search, same token limit",
    "blind_attempts": "blind search, as many attempts",
    "blind_pairs": "blind pairs, all last steps at once",
    "forced_base": "forced base, goes on until yes",
    "answer_only": "answer only, RL too",
    "pass64_base": "base, any of 64 (pass@64)",
    "lookahead_pairs": "program: look-ahead search",
    "plain_writer": "program: plain writer, no slips",
    "goal_directed_writer": "program: goal-directed writer",
}
PROGRAMS = ("lookahead_pairs", "plain_writer", "goal_directed_writer")
MANY_TRIES = ("pass64_base",)  # not to be compared with one

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
    "length": ("tokens per response", False),
    "truncated": ("cut at the token limit", True),
    "reflections": ("reflection words a response", False),
    "reflections_100": ("  per 100 tokens", False),
}
HABITS = {
    "attempts": "attempts a response",
    "reflections": "reflection words a response",
    "reflections_100": "reflection words per 100 tokens",
}

# ---------------------------------------------------------------- figures of a summary


def entry(value) -> dict[str, float]:
    """A result as a flat dictionary of numbers, whether it was a rate or a dictionary.

    >>> entry(0.5), entry({"accuracy": 0.5, "stderr": None}), entry("soon")
    ({'accuracy': 0.5}, {'accuracy': 0.5}, {})
    """
    figures = value if isinstance(value, dict) else {"accuracy": value}
    known = {name: number(figure) for name, figure in figures.items()}
    return {name: figure for name, figure in known.items() if figure is not None}


def merged(result: dict[str, float]) -> dict[str, float]:
    """A result without its figures for one count of numbers, where there is only that count.

    >>> merged({"accuracy": 0.5, "accuracy_3": 0.5, "hit_rate_3": 0.1})
    {'accuracy': 0.5}
    """
    counts = {name[-1] for name in result if re.fullmatch("accuracy_[1-9]", name)}
    if len(counts) != 1:
        return result
    return {name: value for name, value in result.items() if name[-2:] != f"_{min(counts)}"}


def part(summary: dict, name: str) -> dict:
    """An object within a summary; {} if there is none."""
    value = summary.get(name)
    return value if isinstance(value, dict) else {}


def references_of(summary: dict) -> dict[str, dict[str, float]]:
    """The reference lines that the summary holds, each as a flat dictionary.

    One that was measured on no problem does not apply and is left out.
    """
    lines = part(summary, "references")
    known = {key: entry(lines[key]) for key in REFERENCES if key in lines}
    return {key: line for key, line in known.items() if line.get("n") != 0}


def blind_hit_rates(summary: dict) -> dict[str, float]:
    """hit_rate_3, ... of random attempts."""
    return entry(part(summary, "references").get("blind_hit_rates"))


def error_of(result: dict[str, float]) -> float:
    """One standard error of the accuracy: as given, or that of a proportion, or 0 if unknown."""
    if "stderr" in result:
        return result["stderr"]
    p, n = result.get("accuracy", 0.0), result.get("n", 0.0)
    return math.sqrt(max(0.0, p * (1 - p)) / n) if n else 0.0


def difference(a: dict[str, float], b: dict[str, float]) -> tuple[float, bool]:
    """a's accuracy minus b's, and whether that is more than two standard errors."""
    lead = a["accuracy"] - b["accuracy"]
    return lead, abs(lead) > 2 * math.hypot(error_of(a), error_of(b))


# ---------------------------------------------------------------- the result in words


def summary_text(summary: dict) -> str:
    """The summary of a run in words and a plain table; percentages ± one standard error."""
    blocks = summary_blocks(summary)
    return "\n\n".join(block if isinstance(block, str) else table(*block) for block in blocks)


def summary_blocks(summary: dict) -> list[str | tuple[tuple, list[tuple]]]:
    """The parts of summary_text: paragraphs, and tables as (head, rows)."""
    base, zero = merged(entry(summary.get("base"))), merged(entry(summary.get("zero")))
    blocks = [_heading(summary), _gain(base, zero), _before_and_after(summary, base, zero)]
    return [block for block in blocks + _beside(summary, zero) if block]


def _heading(summary: dict) -> str:
    names = [f"{name} {summary[name]}" for name in ("preset", "seed") if name in summary]
    names += [str(summary[name]) for name in ("device", "date") if summary.get(name)]
    if size := number(part(summary, "parameters").get("all")):
        names.append(f"{size / 1e6:.1f} M parameters")
    lines = [", ".join(names)]
    seconds = entry(summary.get("seconds"))
    if "total" in seconds:
        total = seconds.pop("total")
        seconds.pop("this_session", None)
        parts = ", ".join(f"{name} {_clock(s)}" for name, s in seconds.items())
        lines.append(f"took {_clock(total)}" + (f" ({parts})" if parts else ""))
    return "\n".join(filter(None, lines))


def _clock(seconds: float) -> str:
    """
    >>> _clock(7), _clock(67), _clock(6000)
    ('7 s', '1 min 07 s', '1 h 40 min')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _gain(base: dict[str, float], zero: dict[str, float]) -> str:
    """What changed, and what RL did to the base's habits: no more than the figures show."""
    if "accuracy" not in base or "accuracy" not in zero:
        return ""
    gain, sure = difference(zero, base)
    verb = "raised" if gain > 0 else "lowered"
    change = f"{100 * base['accuracy']:.1f}% to {100 * zero['accuracy']:.1f}%"
    change += f" (± {100 * error_of(zero):.1f})"
    none = f"made no difference that can be told from chance: accuracy {change}."
    effect = f"{verb} accuracy from {change}." if sure else none
    lines = [f"RL with rule rewards {effect}"]
    if "hit_rate" in base and "hit_rate" in zero:
        before, after = (f"{100 * result['hit_rate']:.1f}%" for result in (base, zero))
        rest = "; the rest is the number of attempts, their checks, and stopping"
        rest = rest if sure and gain > 0 else ""
        lines.append(f"One attempt hits in {before} of cases before and {after} after{rest}.")
    return "\n".join(lines + _habits(base, zero))


def _habits(base: dict[str, float], zero: dict[str, float]) -> list[str]:
    """Amplified is what grew by a fifth or more from a rate above zero."""
    known = [name for name in HABITS if name in base and name in zero]
    fresh = [HABITS[name] for name in known if base[name] == 0 < zero[name]]
    grown = []
    for name in known:
        if zero[name] > 1.2 * base[name] > 0:
            grown.append(f"{HABITS[name]} {base[name]:.1f} -> {zero[name]:.1f}")
    lines = []
    if grown:
        lines.append(f"RL amplified habits the base holds at a measured rate: {', '.join(grown)}.")
    if fresh:
        lines.append(f"Not seen in the base's responses, and found after RL: {', '.join(fresh)}.")
    return lines or ["RL did not amplify the habits counted here."] * bool(known)


# ---------------------------------------------------------------- tables


def _before_and_after(
    summary: dict, base: dict[str, float], zero: dict[str, float]
) -> tuple | None:
    rows = []
    for name, (text, percent) in BEFORE_AND_AFTER.items():
        rows.append((text, _cell(base, name, percent), _cell(zero, name, percent)))
    sums = [part(part(summary, side), "arithmetic") for side in ("base", "zero")]
    for kind in sums[0] | sums[1]:
        cells = [_cell(entry(side.get(kind)), "accuracy", True) for side in sums]
        rows.append((f"arithmetic {kind}", *cells))
    rows = [row for row in rows if any(row[1:])]
    return (("", "base", "R1-Zero"), rows) if rows else None


def _beside(summary: dict, zero: dict[str, float]) -> list:
    """Every reference line in a table, and in words whether R1-Zero beats it."""
    rows, words, programs = [], [], []
    for key, line in references_of(summary).items():
        line = merged(line)
        if "accuracy" not in line:
            continue
        if "accuracy" not in zero or key in MANY_TRIES:
            rows.append((REFERENCES[key], *_accuracies(line), ""))
            continue
        lead, sure = difference(zero, line)
        rank = f"{100 * lead:+.1f}" if sure else "even"
        rows.append((REFERENCES[key], *_accuracies(line), rank))
        if key in PROGRAMS and lead < 0:
            name = REFERENCES[key].removeprefix("program: ")
            programs.append(f"{name} {100 * line['accuracy']:.1f}%")
        elif key not in PROGRAMS and (not sure or lead < 0):
            beyond = " by more than chance" if lead > 0 else ""
            pair = f"{100 * zero['accuracy']:.1f}% against {100 * line['accuracy']:.1f}%"
            words.append(f'R1-Zero does not beat "{REFERENCES[key]}"{beyond}: {pair}.')
    if not rows:
        return []
    if "accuracy" in zero and not words:
        words.append("R1-Zero beats every baseline here by more than two standard errors.")
    if programs:
        words.append(f"A short program still solves more: {', '.join(programs)}.")
    head = ("test accuracy", "all", "of 3", "of 4", "tokens", "asked", "lead (points)")
    return [(head, rows), "\n".join(words)]


def _accuracies(result: dict[str, float]) -> list[str]:
    cells = [_cell(result, name, True) for name in ("accuracy", "accuracy_3", "accuracy_4")]
    problems = f"{result['n']:.0f}" if "n" in result else ""
    return [*cells, _cell(result, "length", False), problems]


def _cell(result: dict[str, float], name: str, percent: bool) -> str:
    if name not in result:
        return ""
    value = result[name]
    if not percent:
        return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
    error = error_of(result) if name == "accuracy" else 0.0
    return f"{100 * value:.1f}%" + (f" ± {100 * error:.1f}" if error else "")


def table(head: tuple, rows: list[tuple]) -> str:
    """Columns under each other, without the empty ones."""
    return aligned(without_empty_columns(head, rows))
