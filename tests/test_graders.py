"""The graders of the notebooks hold: no wrong version of the right answer passes.

Wrong versions are made by machine (mutation.py), of both right answers that there are: the
specification in loops and the solution.
"""

import ast
import inspect
import signal
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest
from mutation import mutants
from test_notebooks import SOLUTIONS, load

from grader.check import first_fault
from grader.specs import PUZZLES

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
SECONDS = 0.5  # of the processor, for one mutant, which may run forever


def solution(name: str):
    return getattr(load(next(path for path in SOLUTIONS if path.stem[:2] == name[:2])), name[3:])


@cache
def wrong_versions(name: str) -> list[tuple[str, str, dict]]:
    """(where and what was changed, source, the names that it may use)."""
    found = []
    for where, right in (("loop", PUZZLES[name].specification), ("solution", solution(name))):
        tree = ast.parse(textwrap.dedent(inspect.getsource(right))).body[0]
        for change, source in mutants(tree):
            found.append((f"{where}: {change}", source, right.__globals__))
    return found


def passes(name: str, source: str, space: dict) -> bool:
    space = dict(space)
    exec(compile(source, name, "exec"), space)  # our own answer, changed in one place

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return first_fault(name, space[name[3:]]) is None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def listed() -> dict[str, str]:
    """Mutants that are no worse than the right answer, and the reason."""
    found, reason = {}, ""
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            found[line] = reason
    return found


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="a mutant may run forever")
@pytest.mark.parametrize("name", PUZZLES)
def test_every_wrong_version_is_turned_down(name):
    versions = wrong_versions(name)
    alive = {f"{name} {where}" for where, *version in versions if passes(name, *version)}
    assert len(versions) >= 20
    assert alive == {line for line in listed() if line.startswith(name)}


def test_equivalent_mutants_have_a_reason():
    assert all(listed().values())
    assert len(listed()) < 0.03 * sum(len(wrong_versions(name)) for name in PUZZLES)


def test_a_mutator_that_finds_nothing_would_be_seen():
    tree = ast.parse("def f(a, b):\n    c = a - 1\n    return max(c, b) if a > b else None")
    found = {change for change, _ in mutants(tree.body[0])}
    assert {"c = a - 1 -> c = b - 1", "c = a - 1 -> c = a + 1", "c = a - 1 -> pass"} <= found
    assert {
        "return max(c, b) if a > b else None -> return min(c, b) if a > b else None",
        "return max(c, b) if a > b else None -> return max(c, b) if a >= b else None",
        "return max(c, b) if a > b else None -> return max(c, b)",
    } <= found


def test_the_sign_of_rounding_is_no_direction():
    def push(reward_G):
        return (reward_G - reward_G.mean()).sign().int().tolist()

    assert first_fault("00.push", push).startswith("wrong, expected [0, 0")


def test_steps_that_cannot_be_taken_are_false_and_raise_nothing():
    def replay(numbers, steps, target):
        there = list(numbers)
        for a, operator, b in steps:
            if a not in there or b not in there:
                return False
            there.remove(a)
            there.remove(b)  # a ValueError where a and b are the same and there once
            there.append({"+": a + b, "-": a - b, "*": a * b}[operator])
        return there == [target]

    assert "raises ValueError" in first_fault("00.replay", replay)


def test_leaving_the_interpreter_is_no_answer():
    assert "raises SystemExit" in first_fault("07.repeats", lambda attempts: sys.exit())
