"""The rollouts of a run as the viewer takes them: problems, kept steps, groups of responses, within
a budget of bytes.
"""

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

# Control characters shown as pictures, and those that turn the direction of text made harmless; one
# character for one.
VISIBLE = (
    {c: 0x2400 + c for c in range(32) if c not in (9, 10)}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)
VISIBLE |= dict.fromkeys(
    [0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD
)


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
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )


def fit(samples: list[dict], budget: int) -> dict:
    """`{"steps", "problems": [{"id", "question", "groups": {step: [response, ...]}}], "note"}`, as
    JSON below `budget` bytes.

    Steps are thinned first, then groups, then texts; `note` says so. Whole groups come before
    single responses.
    """
    table = by_problem(samples)
    everything = sorted({step for groups in table.values() for step in groups})
    for most, responses, characters in PLANS:
        steps = spaced(everything, most)
        problems = [
            _problem(key, groups, steps, responses, characters)
            for key, groups in list(table.items())[:PROBLEMS]
        ]
        note = (
            [f"{len(steps)} of {len(everything)} kept steps"]
            if len(steps) < len(everything)
            else []
        )
        note += (
            [f"texts up to {characters:,} characters, groups up to {responses}"]
            if (most, responses) != PLANS[0][:2]
            else []
        )
        found = {"steps": steps, "problems": problems, "note": "; ".join(note)}
        if len(embedded(found).encode("utf-8", "replace")) < budget:
            return found
    return {"steps": [], "problems": [], "note": "the responses are too large for this page"}


def by_problem(samples: list[dict]) -> dict[tuple[str, str], dict[int, list[dict]]]:
    """(id, question) -> step -> rows; problems with the largest groups first.

    A step that is no number reads as -1.
    """
    table: dict[tuple[str, str], dict[int, list[dict]]] = {}
    for row in samples:
        step = number(row.get("step"))
        key = (visible(row.get("id", ""), 40), visible(row.get("question", ""), QUESTION))
        table.setdefault(key, {}).setdefault(-1 if step is None else int(step), []).append(row)
    return dict(sorted(table.items(), key=lambda item: -max(map(len, item[1].values()))))


def spaced(values: list, most: int) -> list:
    """At most `most` of the values, evenly taken, both ends among them."""
    n = len(values)
    return (
        values
        if n <= most
        else sorted({values[round(i * (n - 1) / (most - 1))] for i in range(most)})
    )


def _problem(
    key: tuple[str, str], groups: dict, steps: list[int], responses: int, characters: int
) -> dict:
    kept = {
        step: [_response(row, characters) for row in groups[step][:responses]]
        for step in steps
        if step in groups
    }
    return {"id": key[0], "question": key[1], "groups": kept}


def _response(row: dict, characters: int) -> dict:
    """One response; whatever is not what it should be is left out."""
    raw = row.get("response", "")
    raw = raw if isinstance(raw, str) else str(raw)
    found = {"text": visible(raw, characters), "right": row.get("correct") is True}
    if len(raw) > characters:
        found["more"] = len(raw) - characters
    for name in ("tokens", "reward", "format", "language", "advantage"):
        if (value := number(row.get(name))) is not None:
            found[name] = int(value) if value == int(value) else value
    if isinstance(row.get("stopped"), bool):
        found["stopped"] = row["stopped"]
    return found | _figures(row, len(found["text"])) | {"marks": _marks(row, found["text"])}


def _figures(row: dict, characters: int) -> dict[str, list[int]]:
    """The figures of tokens, as far as the text goes."""
    names = ("cuts", "logp", "base", "entropy")
    lists = [row.get(name) for name in names]
    if not all(
        isinstance(v, list) and all(type(x) is int and abs(x) < 1e6 for x in v) for v in lists
    ):
        return {}
    if len(set(map(len, lists))) != 1 or min(lists[0], default=0) < 0:
        return {}
    count, reached = 0, 0
    while count < len(lists[0]) and reached < characters:
        reached += lists[0][count]
        count += 1
    return {name: values[:count] for name, values in zip(names, lists)}


def _marks(row: dict, text: str) -> list[list]:
    """Marks on the text that is shown (its control characters are replaced one for one, so places
    agree).
    """
    return [
        mark
        for mark in find_marks(str(row.get("question", ""))[:QUESTION], text)
        if mark[1] <= len(text)
    ]
