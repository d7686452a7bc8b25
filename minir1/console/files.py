"""Files are written whole or not at all."""

import json
import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


RENAMED = {  # values of settings in run folders of earlier versions
    "corpus.writer": {
        "minir1.tasks.countdown": "plain",
        "minir1.variants.goal_directed": "goal_directed",
    },
    "corpus.sums": {
        "minir1.tasks.arithmetic": "plain_sums",
        "minir1.variants.careful_sums": "careful_sums",
    },
}


def current_settings(values: dict) -> dict:
    """A configuration as a run folder holds it, with the names of today.

    >>> current_settings({"corpus": {"writer": "minir1.variants.goal_directed"}})
    {'corpus': {'writer': 'goal_directed'}}
    """
    values = dict(values)
    for name, names in RENAMED.items():
        group, _, setting = name.partition(".")
        if isinstance(values.get(group), dict) and setting in values[group]:
            value = values[group][setting]
            values[group] = values[group] | {setting: names.get(value, value)}
    return values


def read_settings(path: Path) -> dict:
    """A run folder's config.json. Raises ValueError if it is not a JSON object."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return current_settings(values)
