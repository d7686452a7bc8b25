"""Text and JSON files: written whole or not at all, read with one clear line about a fault."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from minir1.config import UserError


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


# ---------------------------------------------------------------- JSON lines


def read_objects(
    path: Path, build: Callable[[dict, int], object]
) -> tuple[list[tuple[int, object]], list[str]]:
    """(line number, build(object, line number)) of each JSON line, and a message for each malformed
    one.

    `build` raises ValueError or TypeError for what it cannot take. Raises UserError if there is no
    such file.
    """
    if not path.exists():
        raise UserError(f"no file {path}")
    found, faults = [], []
    for number, text in enumerate(path.read_bytes().decode("utf-8-sig", "replace").split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            # an unpaired surrogate could neither be asked nor written
            json.dumps(value, ensure_ascii=False).encode()
            found.append((number, build(value, number)))
        except json.JSONDecodeError as fault:
            faults.append(f"{path}: line {number}: not JSON ({fault.msg} at column {fault.colno})")
        except UnicodeEncodeError:
            faults.append(f"{path}: line {number}: holds a character that is not Unicode text")
        except (ValueError, TypeError, RecursionError) as fault:
            faults.append(f"{path}: line {number}: {fault}")
    return found, faults


def write_lines(path: Path, rows: list[dict]) -> None:
    """JSON lines, whole or not at all. Raises OSError with one clear line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = path.resolve()
    # /dev/stdout has no neighbour
    part = path if path.exists() and not path.is_file() else path.with_name(f"{path.name}.tmp")
    try:
        part.write_text(text, encoding="utf-8")
        if part != path:
            os.replace(part, path)
    except OSError as fault:
        if part != path:
            part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {fault.strerror or fault}") from fault


def check_writable(path: Path) -> None:
    """Find out before the work, not after it. Raises OSError."""
    place = path if path.exists() else path.resolve().parent
    if path.is_dir() or not place.exists() or not os.access(place, os.W_OK):
        reason = (
            "it is a folder"
            if path.is_dir()
            else "no permission"
            if place.exists()
            else f"no folder {place}"
        )
        raise OSError(f"cannot write {path}: {reason}")
