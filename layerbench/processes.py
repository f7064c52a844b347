"""Work on all cores, in copies of this process: Python computes on one core at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from layerbench.cgroups import cpu_quota
from layerbench.errors import LayerbenchError

T = TypeVar("T")

_tasks: list[Callable[[], Any]] = []
"""Of a copy. It is made by fork, and so has them, and all that was read before, at no cost."""


def cores() -> int:
    """How many cores this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, round(cpu_quota() or allowed)))


def in_processes(tasks: Sequence[Callable[[], T]], most: int | None = None) -> list[T]:
    """Do tasks side by side.

    Parameters
    ----------
    tasks
        Each taken by the next process that is free, in order. What it returns must pickle; what it changes stays with
        the copy.
    most
        How many processes; by default as many as there are cores. One does the tasks in this process.

    Returns
    -------
    list
        The tasks' results, in their order.

    Raises
    ------
    Exception
        What the first task that failed did raise.
    LayerbenchError
        If a process was killed, as it is where memory runs out.
    """
    count = min(most or cores(), len(tasks))
    if count <= 1:
        return [task() for task in tasks]
    context = multiprocessing.get_context("fork")
    try:
        with warnings.catch_warnings(), ProcessPoolExecutor(count, context, _begin, (tasks,)) as pool:
            # The threads there may be are the numerical libraries', which see to their locks when they are forked.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
            return list(pool.map(_do, range(len(tasks))))
    except BrokenProcessPool as error:
        raise LayerbenchError("a process that did part of the work was killed: was there enough memory?") from error


def _begin(tasks: Sequence[Callable[[], Any]]) -> None:
    """Make a copy ready, and let it end when its parent does, however that ends."""
    import ctypes

    _tasks[:] = tasks

    die_with_parent = 1
    ctypes.CDLL(None).prctl(die_with_parent, signal.SIGKILL)


def _do(index: int) -> Any:
    return _tasks[index]()
