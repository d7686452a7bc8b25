"""What a run folder holds: its metrics and its summary."""

import json
from pathlib import Path

from minir1.config import UserError
from minir1.console.files import read_object


def read_lines(path: Path) -> list[dict]:
    """The JSON objects of a file, one per line; a torn last line, say, is passed over."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            rows.append(value)
    return rows


def read_metrics(run: Path) -> list[dict]:
    """The rows of RUN/metrics.jsonl, torn ones left out. Raises UserError if no line is one."""
    path = Path(run) / "metrics.jsonl"
    rows = read_lines(path)
    if not rows and path.is_file() and path.read_bytes().strip():
        raise UserError(f"{path} cannot be read (no line is a row of metrics)")
    return rows


def read_summary(run: Path) -> dict:
    """RUN/summary.json; {} while there is none. Raises UserError if it is no JSON object."""
    path = Path(run) / "summary.json"
    return read_object(path) if path.is_file() else {}
