"""A run's rollouts as the viewer takes them: problems, kept steps, groups, within a budget."""

import json

from minir1.measure.diagnosis import number
from minir1.report.page.marks import find_marks

PROBLEMS, QUESTION = 24, 400  # problems on the page; characters of a question
# What is kept, from all to little, until it fits: steps, responses of a group, characters of a
# response.
PLANS = (
    (60, 32, 60_000), (40, 16, 60_000), (20, 16, 20_000), (12, 16, 6000), (12, 8, 3000),
    (6, 4, 1500), (2, 4, 500),
)
FIGURES = ("cuts", "logp", "base", "entropy")  # of tokens; see run/recorder.py

# Control characters shown as pictures, and those that turn the direction of text made harmless; one
# character for one.
VISIBLE = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {0x7F: 0x2421}
TURNING = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
VISIBLE |= dict.fromkeys((*range(0x80, 0xA0), *TURNING, *range(0xD800, 0xE000)), 0xFFFD)


def visible(value, most: int) -> str:
    """Any value as text that shows what is there.

    >>> visible("a\\0b\\u202e", 9), visible(None, 2)
    ('a␀b�', 'No')
    """
    return str(value)[:most].translate(VISIBLE)


def embedded(value) -> str:
    """JSON that cannot end the element it stands in.

    >>> embedded({"a": "</script>"})
    '{"a":"\\\\u003c/script>"}'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def fit(samples: list[dict], budget: int) -> dict:
    """`{"steps", "problems": [{"id", "question", "groups": {step: [response, ...]}}], "note"}`, as
    JSON below `budget` bytes.

    Steps are thinned first, then groups, then texts; `note` says so. Whole groups come before
    single responses.
    """
    table = by_problem(samples)
    every_step = sorted({step for groups in table.values() for step in groups})
    for most, responses, characters in PLANS:
        steps = spaced(every_step, most)
        problems = []
        for (name, question), groups in list(table.items())[:PROBLEMS]:
            kept = {}
            for step in steps:
                if step in groups:
                    kept[step] = [_response(row, characters) for row in groups[step][:responses]]
            problems.append({"id": name, "question": question, "groups": kept})
        notes = []
        if len(steps) < len(every_step):
            notes.append(f"{len(steps)} of {len(every_step)} kept steps")
        if most < PLANS[0][0]:
            notes.append(f"texts up to {characters:,} characters, groups up to {responses}")
        page = {"steps": steps, "problems": problems, "note": "; ".join(notes)}
        if len(embedded(page).encode("utf-8", "replace")) < budget:
            return page
    return {"steps": [], "problems": [], "note": "the responses are too large for this page"}


def by_problem(samples: list[dict]) -> dict[tuple[str, str], dict[int, list[dict]]]:
    """(id, question) -> step (-1: no number) -> rows; problems with the largest groups first."""
    table: dict[tuple[str, str], dict[int, list[dict]]] = {}
    for row in samples:
        step = number(row.get("step"))
        key = (visible(row.get("id", ""), 40), visible(row.get("question", ""), QUESTION))
        table.setdefault(key, {}).setdefault(-1 if step is None else int(step), []).append(row)
    return dict(sorted(table.items(), key=lambda item: -max(map(len, item[1].values()))))


def spaced(values: list, most: int) -> list:
    """At most `most` of the values, evenly taken, both ends among them.

    >>> len(spaced([0] * 999, 400)), spaced(list(range(500)), 400)[-1]
    (400, 499)
    """
    n = len(values)
    return values if n <= most else [values[round(i * (n - 1) / (most - 1))] for i in range(most)]


def _response(row: dict, characters: int) -> dict:
    """One response; whatever is not what it should be is left out."""
    raw = str(row.get("response", ""))
    text = visible(raw, characters)
    response = {"text": text, "right": row.get("correct") is True}
    if len(raw) > characters:
        response["more"] = len(raw) - characters
    for name in ("tokens", "reward", "format", "language", "advantage"):
        if (value := number(row.get(name))) is not None:
            response[name] = int(value) if value == int(value) else value
    if isinstance(row.get("stopped"), bool):
        response["stopped"] = row["stopped"]
    # control characters are replaced one for one, so that places agree
    marks = find_marks(str(row.get("question", ""))[:QUESTION], text)
    response["marks"] = [mark for mark in marks if mark[1] <= len(text)]
    return response | _figures(row, len(text))


def _figures(row: dict, characters: int) -> dict[str, list[int]]:
    """The figures of tokens, as far as the text goes."""
    lists = [row.get(name) for name in FIGURES]
    for values in lists:
        if not isinstance(values, list) or len(values) != len(lists[0]):
            return {}
        if not all(type(value) is int and abs(value) < 1e6 for value in values):
            return {}
    if min(lists[0], default=0) < 0:
        return {}
    count, reached = 0, 0
    while count < len(lists[0]) and reached < characters:
        reached += lists[0][count]
        count += 1
    return {name: values[:count] for name, values in zip(FIGURES, lists)}
