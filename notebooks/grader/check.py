"""The grader of the notebooks' puzzles: check("06.advantages", my_advantages).

It says at once right or wrong, and where. A function is compared with a specification in plain
loops (specs.py: spoilers) on random arguments from a fixed seed, and on those that chance seldom
draws.
"""

import copy
import inspect
from collections.abc import Callable
from random import Random

import numpy
import torch

from grader.hints import HELP
from grader.specs import PUZZLES
from minir1.config import UserError

ROUNDS = 40
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
NOTHING = "not done yet (it returns None)"


def check(name: str, function: Callable, hint: int = 0) -> None:
    """Print whether `function` solves the puzzle, and if not, a case where it differs.

    hint=1 also says where to look, hint=2 how to go on. A right answer earns the puzzle's stars.
    Raises UserError for an unknown puzzle or hint.

    >>> check("00.response_probability", lambda logp_T: logp_T.sum().exp())
    00.response_probability: right (40 cases) ★
    >>> check("02.step_bias", lambda bias_E, load_E, rate: None)
    02.step_bias: not done yet (it returns None)
    >>> check("02.step_bias", lambda bias_E, load_E, rate: None, hint=1)
    02.step_bias: not done yet (it returns None)
    Hint 1 of 2 (★): Only the sign of (load - mean) counts.
    """
    fault = first_fault(name, function)
    stars, hints = "★" * HELP[name].stars, HELP[name].hints
    print(f"{name}: {fault or f'right ({len(cases(name))} cases) {stars}'}")
    if hint not in range(len(hints) + 1):
        raise UserError(f"no hint {hint}: there are hint=1 and hint=2")
    if hint:
        print(f"Hint {hint} of {len(hints)} ({stars}): {hints[hint - 1]}")
    elif fault and fault != NOTHING:
        print(f'    For a hint: check("{name}", ..., hint=1)')


def cases(name: str) -> list[tuple[str, tuple]]:
    """(what is odd in them, arguments) of a puzzle: ROUNDS that are drawn, then the edges."""
    puzzle, rng = PUZZLES[name], Random(name)
    return [("", puzzle.draw(rng)) for _ in range(ROUNDS)] + list(puzzle.edges.items())


def first_fault(name: str, function: Callable) -> str | None:
    """What is wrong with `function` in the first case where it differs; None if it never does."""
    if name not in PUZZLES:
        raise UserError(f"no puzzle {name!r}; there are {', '.join(PUZZLES)}")
    puzzle, answered = PUZZLES[name], False
    names = inspect.signature(puzzle.specification).parameters
    for odd, arguments in cases(name):
        expected = puzzle.specification(*copy.deepcopy(arguments))
        where = "".join(f"\n    {n} = {_show(a)}" for n, a in zip(names, arguments))
        where += f"\n    ({odd})" if odd else ""
        try:
            got = function(*copy.deepcopy(arguments))
        except (Exception, SystemExit) as fault:  # whatever a student's function may raise
            return f"wrong, it raises {type(fault).__name__}: {fault}; with{where}"
        if got is None and expected is not None:
            return f"wrong, it returns None; with{where}" if answered else NOTHING
        answered = answered or got is not None
        difference = _difference(expected, got)
        if difference:
            return f"wrong, {difference}; with{where}"
    return None


def _difference(expected, got) -> str | None:
    if isinstance(expected, tuple):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            return f"{len(expected)} results are expected, got {_show(got)}"
        for i, (e, g) in enumerate(zip(expected, got)):
            if text := _difference(e, g):
                return f"result {i}: {text}"
        return None
    message = f"expected {_show(expected)}, got {_show(got)}"
    if isinstance(expected, (torch.Tensor, float)):
        return _far(expected, got, message)
    return None if _equal(expected, got) else message


def _far(expected, got, message: str) -> str | None:
    """The message, with the worst place in a tensor, if numbers are not close."""
    try:
        e = torch.as_tensor(expected, dtype=torch.float64)
        g = torch.as_tensor(got, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return message
    if e.shape != g.shape:
        return f"{message} (shape {list(e.shape)} expected, not {list(g.shape)})"
    if torch.allclose(e, g, **CLOSE):
        return None
    if e.dim() == 0:
        return message
    place = (e - g).abs().nan_to_num(torch.inf).argmax()
    index = tuple(int(i) for i in numpy.unravel_index(int(place), e.shape))
    return f"{message} (most at {list(index)}: {e[index]:.4g} expected, not {g[index]:.4g})"


def _equal(expected, got) -> bool:
    """Exactly equal. True and 1 are not the same answer; a tensor holding one number is that
    number, and where a list is expected a tensor is the list of its numbers."""
    if isinstance(got, torch.Tensor) and (got.numel() == 1 or isinstance(expected, list)):
        got = got.tolist() if isinstance(expected, list) else got.item()
    if isinstance(expected, bool) != isinstance(got, bool):
        return False
    try:
        return bool(expected == got)
    except (TypeError, ValueError, RuntimeError):
        return False


def _show(value) -> str:
    if isinstance(value, torch.Tensor):
        if not value.is_floating_point():
            return str(value)
        rounded = torch.round(value.detach() * 1e4) / 1e4
        return str(rounded).replace("\n", "\n        ")
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
