"""Tasks in one registry: what can be asked, how it is asked, and how an answer is verified.

A problem is data with a question and a verifier. A task draws problems and reads them from JSON.
`find_task("countdown")` gives a shipped one, `find_task("mine.py")` the `TASK` of a user's file,
and `parse_tasks` reads a mixture such as ("countdown:cpu=0.8", "mine.py:easy=0.2").
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module, util
from itertools import product
from math import inf
from pathlib import Path
from random import Random
from typing import Protocol, runtime_checkable

from minir1.config import UserError


@runtime_checkable
class Problem(Protocol):
    """What is put to a model. Immutable; the same content is the same problem."""

    task: str  # the name of its Task
    lang: str  # "en" or "zh"
    id: str  # of a line in a file; "" elsewhere

    def question(self) -> str:
        """The text that a model is asked."""

    def verify(self, answer: str) -> bool:
        """Whether an answer is right. Total: never raises, never hangs, never evaluates code."""

    def split(self) -> str:
        """train, validation or test: decided by the content, so that nothing leaks."""

    def to_json(self) -> dict:
        """A flat object that the task's `read` takes back."""


@dataclass(frozen=True)
class Task:
    """One entry of the registry.

    sample      rng, kind, split, lang -> a problem of that split
    read        a JSON object -> a problem; raises ValueError with the reason
    document    rng, lang -> what a base reads about the task (`minir1 teach`); None: nothing
    observe     problem, response -> metrics of one response; None: none
    references  name -> baseline; see measure/baselines.py; empty: none is shown
    """

    name: str
    kinds: tuple[str, ...]
    sample: Callable[[Random, str, str, str], Problem]
    read: Callable[[dict], Problem]
    document: Callable[[Random, str], str] | None = None
    observe: Callable[[Problem, str], Mapping[str, float]] | None = None
    references: Mapping[str, Callable[..., dict]] = field(default_factory=dict)


SPLITS = ("train", "validation", "test")


def check_split(split: str) -> None:
    """Raises ValueError: no problem of a split that does not exist is ever found."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")


GENERAL = ("fact", "self", "instruction", "json", "dialogue", "decline")
SHIPPED = {
    "countdown": "minir1.tasks.countdown",
    "arithmetic": "minir1.tasks.arithmetic",
    "file": "minir1.tasks.lines",
    **dict.fromkeys(GENERAL, "minir1.r1.tasks.general"),
}
_registry: dict[str, Task] = {}


def register(task: Task) -> None:
    """Add a task, or put it in the place of the one of that name."""
    _registry[task.name] = task


def complete(name: str, **parts) -> None:
    """Add to a shipped task what only upper rooms know: complete("countdown", observe=...)."""
    register(replace(find_task(name), **parts))


def find_task(name: str) -> Task:
    """A task by its name or by the path of a Python file. Raises UserError if there is none.

    It is loaded when it is asked for, so that spawned processes find it, too.
    """
    if name.endswith(".py"):
        name = str(Path(name).resolve())
        if name not in _registry:
            _registry[name] = _task_of_file(name)
    elif name not in _registry and name in SHIPPED:
        for task in import_module(SHIPPED[name]).TASKS:
            _registry.setdefault(task.name, task)
    if name not in _registry:
        raise UserError(f"no task {name!r}; there are {', '.join(SHIPPED)}, or a file mine.py")
    return _registry[name]


def _task_of_file(path: str) -> Task:
    if not Path(path).is_file():
        raise UserError(f"no task file {path}")
    try:
        task = getattr(import_module(FROM_FILE + path.encode().hex()), "TASK", None)
    except Exception as fault:
        raise UserError(f"{path}: {type(fault).__name__}: {fault}") from fault
    if not isinstance(task, Task):
        raise UserError(f"{path} has no TASK = minir1.tasks.Task(...)")
    if task.name in _registry or task.name in SHIPPED:
        raise UserError(f"{path}: there is another task {task.name!r}; choose another name")
    register(task)
    return task


FROM_FILE = "minir1_task_"  # and the path, in hexadecimal digits: the name of a file's module


class _TaskFiles:
    """Lets any process import a task's module by its name, as pickle does with its problems."""

    @staticmethod
    def find_spec(name: str, path=None, target=None):
        if not name.startswith(FROM_FILE):
            return None
        file = bytes.fromhex(name.removeprefix(FROM_FILE)).decode()
        return util.spec_from_file_location(name, file)


sys.meta_path.append(_TaskFiles)


def problem_from_json(line: dict) -> Problem:
    """Raises ValueError with a reason for anything that is not a problem.

    "task" is the name of a task, or the path of a task's file, which is run.
    """
    if not isinstance(line, dict):
        raise ValueError("not a JSON object")
    name, lang = line.get("task"), line.get("lang", "en")
    try:
        task = find_task(name if isinstance(name, str) else repr(name))
    except UserError as fault:
        raise ValueError(f'"task": {fault}') from None
    if lang not in ("en", "zh"):
        raise ValueError(f'"lang" must be en or zh, not {lang!r}')
    return task.read(line)


# ---------------------------------------------------------------- mixtures


def parse_tasks(tasks: tuple[str, ...], flag: str = "--rl.tasks") -> list[tuple[str, str, float]]:
    """("countdown:3to4=0.8", "mine.py:easy=0.2", ...) as (task, kind, share).

    The last colon separates the kind, so that paths may hold others; "file:" takes a whole path.
    Raises UserError, which begins with `flag`.
    """
    parsed = []
    for text in tasks:
        try:
            parsed.append(_parse_task(text))
        except UserError as fault:
            raise UserError(f"{flag}: {fault}") from None
    return parsed


def check_tasks(
    tasks: tuple[str, ...], languages: tuple[str, ...], flag: str = "--rl.tasks"
) -> None:
    """Raises UserError if a task of a mixture cannot draw a problem of each split and language."""
    for name, kind, _ in parse_tasks(tasks, flag):
        for split, lang in product(SPLITS, languages):
            try:
                find_task(name).sample(Random(0), kind, split, lang)
            except UserError as fault:
                raise UserError(f"{flag}: {fault}") from None
            except Exception as fault:  # of a user's file
                why = f"{type(fault).__name__}: {fault}"
                raise UserError(f"{flag}: {name}:{kind} draws no {split} problem ({why})") from None


def _parse_task(text: str) -> tuple[str, str, float]:
    name, equals, share = text.rpartition("=")
    name, share = (name, share) if equals else (text, "1")
    try:
        weight = float(share)
    except ValueError:
        weight = -1.0
    if not 0 < weight < inf:
        raise UserError(f"{text!r} should read like countdown:3to4=0.8, with a share above 0")
    if name.startswith("file:"):
        task, kind = "file", name.removeprefix("file:")
        for split in SPLITS:  # a file that will not do is told at once
            find_task(task).sample(Random(0), kind, split, "en")
        return task, kind, weight
    task, _, kind = name.rpartition(":")
    if name.endswith(".py"):
        task, kind = name, find_task(name).kinds[0]
    try:
        kinds = find_task(task or name).kinds
    except UserError as fault:
        raise UserError(str(fault).replace(repr(task), repr(name))) from None
    if kind not in kinds or not task:
        raise UserError(f"no task {name!r}; there are {task or name}:{'|'.join(kinds)}")
    return task, kind, weight


def draw_problems(
    tasks: tuple[str, ...], languages: tuple[str, ...], split: str, key: str, count: int
) -> list[Problem]:
    """`count` problems of a mixture; `key` is the seed."""
    rng, parsed = Random(key), parse_tasks(tasks)
    weights = [share for _, _, share in parsed]
    problems = []
    for _ in range(count):
        task, kind, _ = rng.choices(parsed, weights)[0]
        lang = rng.choice(languages)
        problems.append(find_task(task).sample(rng, kind, split, lang))
    return problems
