"""The result of a run in words and tables, with its baselines."""


import math

from minir1.measure.diagnosis import number

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


def entry(value) -> dict[str, float]:
    """A result as a flat dictionary of numbers, whether it was a rate or a dictionary; {"3": r}
    reads as accuracy_3.

    >>> entry(0.5), entry({"accuracy": 0.5, "3": 0.9, "stderr": None}), entry("soon")
    ({'accuracy': 0.5}, {'accuracy': 0.5, 'accuracy_3': 0.9}, {})
    """
    pairs = value.items() if isinstance(value, dict) else [("accuracy", value)]
    return {
        f"accuracy_{k}" if str(k).isdigit() else k: number(v)
        for k, v in pairs
        if number(v) is not None
    }


def references_of(summary: dict) -> dict[str, dict[str, float]]:
    """The reference lines that the summary holds, each as a flat dictionary."""
    found = summary.get("references")
    return (
        {key: entry(found[key]) for key in REFERENCES if key in found}
        if isinstance(found, dict)
        else {}
    )


# ---------------------------------------------------------------- is it learning?


# ---------------------------------------------------------------- the result in words

# metric -> (what it is, in percent)
BEFORE_AND_AFTER = {
    "accuracy": ("right answers (pass@1)", True), "accuracy_3": ("  3 numbers", True),
    "accuracy_4": ("  4 numbers", True), "hit_rate": ("hits per attempt", True),
    "hit_rate_3": ("  3 numbers", True), "hit_rate_4": ("  4 numbers", True),
    "attempts": ("attempts a response", False), "check_right": ("checks that are right", True),
    "repeated": ("attempts that repeat an earlier one", True),
    "length": ("tokens a response", False), "truncated": ("cut at the token limit", True),
    "reflections": ("reflection words a response", False),
    "reflections_100": ("  per 100 tokens", False),
}


def summary_text(summary: dict) -> str:
    """The summary of a run in words and a plain table.

    Percentages stand with ± one standard error where there is one.
    """
    return "\n\n".join(
        block if isinstance(block, str) else table(*block) for block in summary_blocks(summary)
    )


def summary_blocks(summary: dict) -> list[str | tuple[tuple, list[tuple]]]:
    """The parts of summary_text: paragraphs, and tables as (head, rows)."""
    base, zero = entry(summary.get("base")), entry(summary.get("zero"))
    blocks = [
        _heading(summary), _in_words(base, zero), _before_and_after(summary, base, zero),
        *_beside(summary, base, zero),
    ]
    return [block for block in blocks if block]


def _heading(summary: dict) -> str:
    named = [f"{name} {summary[name]}" for name in ("preset", "seed") if name in summary]
    named += [str(summary[name]) for name in ("device", "date") if summary.get(name)]
    seconds, size = entry(summary.get("seconds")), summary.get("parameters")
    size = number(size.get("all")) if isinstance(size, dict) else number(size)
    if size:
        named.append(f"{size / 1e6:.1f} M parameters")
    parts = [
        f"{name} {_clock(s)}"
        for name, s in seconds.items()
        if name not in ("total", "this_session")
    ]
    took = f"took {_clock(seconds['total'])}" if "total" in seconds else ""
    return "\n".join(
        line
        for line in (", ".join(named), took + (f" ({', '.join(parts)})" if took and parts else ""))
        if line
    )


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
    return (
        found["stderr"] if "stderr" in found else math.sqrt(max(0.0, p * (1 - p)) / n) if n else 0.0
    )


def _in_words(base: dict[str, float], zero: dict[str, float]) -> str:
    """What changed, and what RL did to the habits the base holds.

    Claims only what the figures show.
    """
    if "accuracy" not in base or "accuracy" not in zero:
        return ""
    gain, error = zero["accuracy"] - base["accuracy"], math.hypot(error_of(base), error_of(zero))
    pair = f"{100 * base['accuracy']:.1f}% to {100 * zero['accuracy']:.1f}% (± {100 * error_of(zero):.1f})"
    said = [
        f"RL with rule rewards made no difference that can be told from chance: accuracy {pair}."
    ]
    if abs(gain) > 2 * error:
        said = [f"RL with rule rewards {'raised' if gain > 0 else 'lowered'} accuracy from {pair}."]
    if "hit_rate" in base and "hit_rate" in zero:
        rest = (
            "; the rest is the number of attempts, their checks, and stopping"
            if gain > 2 * error
            else ""
        )
        rates = (f"{100 * found['hit_rate']:.1f}%" for found in (base, zero))
        said.append(f"One attempt hits in {' of cases before and '.join(rates)} after{rest}.")
    return "\n".join([*said, *_habits(base, zero)])


def _habits(base: dict[str, float], zero: dict[str, float]) -> list[str]:
    """Amplified is what grew by a fifth or more from a rate above zero."""
    names = {"attempts": "attempts a response", "reflections": "reflection words a response"}
    names |= {"reflections_100": "reflection words per 100 tokens"}
    known = [k for k in names if k in base and k in zero]
    grown = [
        f"{names[k]} {base[k]:.1f} -> {zero[k]:.1f}" for k in known if zero[k] > 1.2 * base[k] > 0
    ]
    fresh = [names[k] for k in known if base[k] == 0 < zero[k]]
    said = (
        [f"RL amplified habits the base holds at a measured rate: {', '.join(grown)}."]
        if grown
        else []
    )
    if fresh:
        said.append(f"Not seen in the base's responses, and found after RL: {', '.join(fresh)}.")
    return said or (["RL did not amplify the habits counted here."] if known else [])


def _before_and_after(
    summary: dict, base: dict[str, float], zero: dict[str, float]
) -> tuple | None:
    rows = [
        (text, _cell(base, k, percent), _cell(zero, k, percent))
        for k, (text, percent) in BEFORE_AND_AFTER.items()
    ]
    kinds: dict[str, list[str]] = {}
    for i, side in enumerate(("base", "zero")):
        found = summary.get(side) if isinstance(summary.get(side), dict) else {}
        for kind, result in (
            found["arithmetic"].items() if isinstance(found.get("arithmetic"), dict) else ()
        ):
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
            rows.append(
                (REFERENCES[key], *cells, _cell(line, "length", False), _against(line, zero))
            )
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
    return [
        (("accuracy beside it", "all", "3 numbers", "4 numbers", "tokens", "R1-Zero is"), rows),
        "\n".join(said),
    ]


def _against(line: dict[str, float], zero: dict[str, float]) -> str:
    if "accuracy" not in zero:
        return ""
    lead, error = zero["accuracy"] - line["accuracy"], math.hypot(error_of(zero), error_of(line))
    return (
        "even"
        if abs(lead) <= 2 * error
        else f"{100 * abs(lead):.1f} points {'above' if lead > 0 else 'below'}"
    )


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
    padded = [
        [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths))]
        for line in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
