"""What every command shares: one clear line for each fault, and its exit status."""

import argparse
import os
import sys
from collections.abc import Callable

from minir1.config import UserError


def guard(
    function: Callable[[list[str]], int | None], arguments: list[str], program: str = "minir1"
) -> int:
    """Run a command. Returns its exit status; 2 for a UserError, 130 for Ctrl-C, and 1 for a fault
    of the machine (OSError, RuntimeError, out of memory).

    MINIR1_TRACEBACK=1 shows the traceback.

    >>> guard(lambda arguments: None, [])
    0
    """
    try:
        status = function(arguments) or 0
        sys.stdout.flush()  # a full disk shows here, not in Python's own goodbye
        return status
    except SystemExit as leaving:  # argparse's --help
        code = leaving.code or 0
        return code if isinstance(code, int) else 2
    except (UserError, OSError, RuntimeError, MemoryError, KeyboardInterrupt) as fault:
        if os.environ.get("MINIR1_TRACEBACK") == "1":
            raise
        left = isinstance(fault, BrokenPipeError)
        unread = _output_fails("\n" if left else "")
        if not (left and unread):  # as `minir1 corpus | head` ends: nobody is there to be told
            print(f"{program}: {describe(fault)}", file=sys.stderr)
        if isinstance(fault, KeyboardInterrupt):
            return 130
        return 2 if isinstance(fault, UserError) else 1


def _output_fails(probe: str) -> bool:
    """Whether stdout refuses its buffer and the probe; if so, the rest goes nowhere instead."""
    try:
        print(end=probe, flush=True)
        return False
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True


def describe(fault: BaseException) -> str:
    """A fault in one line.

    >>> describe(RuntimeError("first\\nsecond")), describe(KeyboardInterrupt())
    ('first', 'interrupted')
    """
    if isinstance(fault, KeyboardInterrupt):
        return str(fault) or "interrupted"
    text = str(fault).strip()
    return text.splitlines()[0] if text else type(fault).__name__


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse; a wrong flag becomes a UserError of one line instead of argparse's exit."""

    def error(message: str):
        raise UserError(f"{message} (see {parser.prog} --help)")

    parser.error = error
    return parser.parse_args(arguments)
