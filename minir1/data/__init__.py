"""Checkpoints shipped with the package; the page beside each one says how it was trained."""

from pathlib import Path

FOLDER = Path(__file__).parent


def find_checkpoint(name: str) -> Path | None:
    """A checkpoint by the name it is shipped under, or by its path; None if there is neither."""
    return next((path for path in (FOLDER / name, Path(name)) if path.is_file()), None)
