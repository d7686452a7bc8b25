"""Work for several cores: twin of itertools.starmap, in order, computed ahead by spawned processes."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


def ordered(function: Callable, arguments: Iterable[tuple], workers: int = 0) -> Iterator:
    """function(*a) for each a, in order, computed ahead by spawned processes (0: one per core, less one)."""
    workers = workers or max(1, (os.cpu_count() or 2) - 1)
    if workers == 1:
        yield from (function(*a) for a in arguments)
        return
    spawn = multiprocessing.get_context("spawn")  # Windows and macOS have no fork; workers leave Ctrl-C to the parent
    with ProcessPoolExecutor(workers, spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        pending: deque = deque()
        try:
            for a in arguments:
                with script_hidden(function):  # a submission may start a process
                    pending.append(pool.submit(function, *a))
                if len(pending) > workers + 2:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def script_hidden(function: Callable):
    """A spawned process imports the script that spawned it, torch and all: seconds, unless it needs the script's own function."""
    script = sys.modules["__main__"]
    if getattr(function, "__module__", "__main__") == "__main__" or not hasattr(script, "__file__"):
        yield
        return
    file, spec, script.__spec__ = script.__dict__.pop("__file__"), script.__spec__, None
    try:
        yield
    finally:
        script.__file__, script.__spec__ = file, spec
