"""What every command shares: one clear line for each fault, and its exit status."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager

from minir1.config import UserError


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill`, a batch system or a container sends it; handled like Ctrl-C."""


def guard(
    function: Callable[[list[str]], int | None], arguments: list[str], program: str = "minir1"
) -> int:
    """Run a command. Returns its exit status; 2 for a UserError, 130 for Ctrl-C, 143 for SIGTERM,
    and 1 for a fault of the machine (OSError, RuntimeError, out of memory).

    MINIR1_TRACEBACK=1 shows the traceback. Of processes that torchrun has started the first one
    prints; a fault is told once, by whom it strikes first.

    >>> guard(lambda arguments: None, [])
    0
    """
    use_streams()
    try:
        with terminable():
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
        gone = left and unread  # as `minir1 corpus | head` ends: nobody is there to be told
        if not gone and first_to_tell():
            below = "\n" if rank() else ""  # the first process's progress bar
            print(f"{below}{program}: {describe(fault)}", file=sys.stderr, flush=True)
        if isinstance(fault, KeyboardInterrupt):
            return 143 if isinstance(fault, Terminated) else 130
        return 2 if isinstance(fault, UserError) else 1


def rank() -> int | None:
    """The number of this process among those that torchrun has started, if it has."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def first_to_tell() -> bool:
    """Whether no other process of a run by torchrun has told yet why it ends."""
    if rank() is None:
        return True
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # a store that ends with rank 0
        return rank() == 0
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return store.add(f"told {os.environ['TORCHELASTIC_RESTART_COUNT']}", 1) == 1


def use_streams() -> None:
    """Any text can be printed: what a stream's encoding lacks is written as an escape, and a closed
    stream swallows all. (A file opened later would else get its number, and be written into.)"""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if rank():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextmanager
def terminable():
    """SIGTERM raises Terminated here, unless somebody handles it already. torchrun sends more than
    one to each process: what comes after the first, or after a fault, cuts no goodbye short."""

    def handle(handler) -> None:
        signal.signal(signal.SIGTERM, handler)
        if rank() is not None:
            signal.signal(signal.SIGINT, handler)

    def stop(number, _):
        if rank() is not None:
            handle(signal.SIG_IGN)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual = threading.current_thread() is threading.main_thread()
    usual = usual and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if usual:
        handle(stop)
    try:
        yield
    finally:
        if usual:
            handle(signal.SIG_DFL if rank() is None else signal.SIG_IGN)


def _output_fails(probe: str) -> bool:
    """Whether stdout refuses its buffer and the probe; if so, the rest goes nowhere instead."""
    try:
        print(end=probe, flush=True)
        return False
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True


def out_of_memory(fault: BaseException) -> bool:
    """Whether a GPU or the machine had no memory left: each allocator has its own words."""
    words = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")
    said = any(word in str(fault).lower() for word in words)
    return isinstance(fault, MemoryError) or (isinstance(fault, OSError | RuntimeError) and said)


def describe(fault: BaseException) -> str:
    """A fault in one line.

    >>> describe(RuntimeError("first\\nsecond")), describe(KeyboardInterrupt())
    ('first', 'interrupted')
    >>> describe(MemoryError())
    'no memory left: lower --batch, --budget, --problems or --max-tokens, if the command has them'
    """
    if isinstance(fault, KeyboardInterrupt):
        return str(fault) or ("terminated" if isinstance(fault, Terminated) else "interrupted")
    if out_of_memory(fault):
        less = "--batch, --budget, --problems or --max-tokens, if the command has them"
        return f"no memory left: lower {less}"
    text = str(fault).strip()
    gone = ("closed by peer", "reset by peer", "remote process exited")
    if rank() is not None and any(words in text for words in gone):
        return "another process of this run has ended"
    return text.splitlines()[0] if text else type(fault).__name__


def make_parser(name: str, about: str, **how) -> tuple[argparse.ArgumentParser, Callable]:
    """The parser of `minir1 NAME`, and what adds an argument to it."""
    parser = argparse.ArgumentParser(f"minir1 {name}", description=about, **how)
    return parser, parser.add_argument


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse; a wrong flag becomes a UserError of one line instead of argparse's exit."""
    given, unknown = parse_some(parser, arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return given


def parse_some(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace, list[str]]:
    """The same, and what the parser does not know."""

    def error(message: str):
        raise UserError(f"{message} (see {parser.prog} --help)")

    parser.error = error
    return parser.parse_known_args(arguments)
