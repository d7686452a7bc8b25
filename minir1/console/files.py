"""Text and JSON files: written whole or not at all, read with one clear line about a fault."""

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from minir1.config import UserError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

# ---------------------------------------------------------------- writing


def write_text(path: Path, text: str) -> None:
    """Whole or not at all, in a folder that is made if need be. Raises OSError in one line."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    device = path.exists() and not path.is_file()  # /dev/stdout has no neighbour
    part = path if device else path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if not device:
            os.replace(part, path)
    except OSError as fault:
        if not device:
            part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {fault.strerror or fault}") from fault


def write_json(path: Path, value) -> None:
    """As JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False))


def write_lines(path: Path, rows: list[dict]) -> None:
    """JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def check_writable(path: Path, device: bool = True) -> None:
    """Find out before the work, not after it. Raises OSError. `device`: may it be one?"""
    folder = path.resolve().parent
    reason = "no permission"
    if path.is_dir():
        reason = "it is a folder"
    elif not device and path.exists() and not path.is_file():
        reason = "it is not a file"
    elif not folder.exists():
        reason = f"no folder {folder}"
    elif os.access(path if path.exists() else folder, os.W_OK):
        return
    raise OSError(f"cannot write {path}: {reason}")


def check_folder(path: Path) -> Path:
    """The same for a folder of outputs, there or yet to be made, and what lies in it: a folder that
    was received may hold links, and none may lead what is written out of it. Raises OSError."""
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OSError(f"cannot write {path}: no permission, or {there} is not a folder")
    home = path.resolve()
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            link = Path(folder, name)
            if link.is_symlink() and not link.resolve().is_relative_to(home):
                raise OSError(f"cannot write {path}: {link} is a link that leads out of it")
    return path


# ---------------------------------------------------------------- one writer at a time

_held: WeakValueDictionary = WeakValueDictionary()  # locks of this process, by folder


class Lock:
    """Keeps other processes out of a run folder for as long as this object lives.

    The system holds the lock and drops it when the process ends, however it ends, so that none is
    ever stale. FOLDER/.lock stays, and says who had it last.
    """

    def __init__(self, file):
        self.file = file

    def __del__(self):
        self.file.close()


def lock(folder: Path) -> Lock:
    """Raises UserError if another process has it. Within a process it may be taken again."""
    key = str(folder.resolve())
    if key in _held:
        return _held[key]
    file = open(folder / ".lock", "a+b")  # noqa: SIM115 - open until the run ends
    try:
        _lock_file(file)
    except BlockingIOError:
        with file:
            file.seek(0)
            who = file.read(20).decode("ascii", "replace").strip() or "unknown"
        told = f"{folder} is in use by another process ({who}): wait for it, or stop it"
        raise UserError(told) from None
    except OSError:
        pass  # a file system without locks
    file.truncate(0)
    file.write(b"%d\n" % os.getpid())
    file.flush()
    _held[key] = held = Lock(file)
    return held


def _lock_file(file) -> None:
    """Raises BlockingIOError if another process has it, OSError where there are no locks."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    file.seek(1 << 20)  # Windows hides what is locked: the process's number must stay readable
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError:
        raise BlockingIOError from None


# ---------------------------------------------------------------- settings

RENAMED = {  # writers, as run folders of earlier versions name them
    "minir1.tasks.countdown": "plain", "minir1.variants.goal_directed": "goal_directed",
    "minir1.tasks.arithmetic": "plain_sums", "minir1.variants.careful_sums": "careful_sums",
}


def current_settings(values: dict) -> dict:
    """A configuration as a run folder holds it, with the names of today.

    >>> current_settings({"corpus": {"writer": "minir1.variants.goal_directed"}})
    {'corpus': {'writer': 'goal_directed'}}
    """
    corpus = values.get("corpus")
    if not isinstance(corpus, dict):
        return values
    named = {name: corpus[name] for name in ("writer", "sums") if isinstance(corpus.get(name), str)}
    return values | {"corpus": corpus | {name: RENAMED.get(v, v) for name, v in named.items()}}


def read_object(path: Path) -> dict:
    """The JSON object in a file. Raises FileNotFoundError, or UserError if it cannot be read."""
    try:
        return _object(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{path} cannot be read ({fault})") from fault


@contextmanager
def checked_read(path: Path):
    """What a file holds is taken apart in here: UserError if it is not of the shape for that."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as fault:
        said = f"{type(fault).__name__}: {fault}"
        raise UserError(f"{path} cannot be read: it is not of the right shape ({said})") from fault


def read_settings(path: Path) -> dict:
    """A run folder's config.json; raises as read_object does."""
    return current_settings(read_object(path))


# ---------------------------------------------------------------- reading lines


def read_objects(
    path: Path, build: Callable[[dict, int], object]
) -> tuple[list[tuple[int, object]], list[str]]:
    """(line number, build(object, line number)) of each JSON line; a message for each bad line.

    `build` raises ValueError or TypeError for what it cannot take. Raises UserError if there is no
    such file.
    """
    if not path.exists():
        raise UserError(f"no file {path}")
    rows, faults = [], []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig", "replace").split("\n"), 1):
        try:
            if line.strip():
                rows.append((number, build(_object(line), number)))
        except json.JSONDecodeError as fault:
            faults.append(f"{path}: line {number}: not JSON ({fault.msg} at column {fault.colno})")
        except UnicodeEncodeError:
            faults.append(f"{path}: line {number}: holds a character that is not Unicode text")
        except (ValueError, TypeError, RecursionError) as fault:
            faults.append(f"{path}: line {number}: {fault}")
    return rows, faults


def _object(text: str) -> dict:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    json.dumps(value, ensure_ascii=False).encode()  # raises for an unpaired surrogate
    return value
