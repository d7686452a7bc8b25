"""Work for several cores: twin of itertools.starmap, computed ahead by spawned processes."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has under taskset or SLURM."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(function: Callable, arguments: Iterable[tuple], workers: int = 0) -> Iterator:
    """function(*a) for each a, in order. `workers`: processes, which begin at once; 1: none, each
    is computed when asked for; 0: one per core (of this rank's, under torchrun), less one.

    Functions and classes of the calling script may be among them from the first a on or never.
    """
    cores = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    workers = workers or max(1, cores - 1)
    if workers == 1:
        return (function(*a) for a in arguments)  # which can be closed
    spawn = multiprocessing.get_context("spawn")  # Windows and macOS have no fork
    pool = ProcessPoolExecutor(workers, spawn, end_with_parent)
    left, pending = iter(arguments), deque()

    def submit(number: int) -> None:
        for a in islice(left, number):
            # a submission may start a process
            with nullcontext() if needs_script(function, a) else script_hidden():
                pending.append(pool.submit(function, *a))

    submit(workers + 2)
    return _results(pool, pending, submit)


def _results(pool: ProcessPoolExecutor, pending: deque, submit: Callable) -> Iterator:
    with pool:
        try:
            while pending:
                submit(1)
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def end_with_parent() -> None:
    """Called in a spawned process: it leaves Ctrl-C to its parent, and does not outlive it, even
    one that was killed. A process that was not spawned stays as it is."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def script_hidden():
    """A process spawned here does not import the script (and torch, which takes seconds)."""
    script = sys.modules["__main__"].__dict__
    hidden = {name: script.pop(name) for name in ("__file__", "__spec__") if name in script}
    script["__spec__"] = None
    try:
        yield
    finally:
        del script["__spec__"]
        script.update(hidden)


def needs_script(*sent) -> bool:
    """Whether something of the script itself is among what a process is sent."""
    return b"__main__" in pickle.dumps(sent)
