"""Work on all cores, in copies of this process: Python computes on one core at a time.

A copy has all that its parent had read, at no cost. It takes tasks, writes their results to memory that both have, and
ends. It is made by ``fork`` and left by ``_exit``, so that nothing of its parent's is ended, printed or removed twice.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, TypeVar

from layerbench.cgroups import cpu_quota
from layerbench.errors import LayerbenchError

T = TypeVar("T")

MOST_TASKS = 256
"""As many as a byte can number."""


class _Copy(NamedTuple):
    """A copy of this process, and where its results are."""

    pid: int
    results: BinaryIO


def cores() -> int:
    """How many cores this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, round(cpu_quota() or allowed)))


def in_processes(tasks: Sequence[Callable[[], T]], most: int | None = None) -> list[T]:
    """Do tasks side by side.

    Parameters
    ----------
    tasks
        At most 256. Each is taken, in order, by the next process that is free, this one among them. What it returns
        must pickle; what it changes stays with the process that did it.
    most
        How many processes; by default as many as there are cores. Where the system gives fewer, fewer do.

    Returns
    -------
    list
        The tasks' results, in their order.

    Raises
    ------
    Exception
        What a task raised. Others may not have been done then.
    LayerbenchError
        If a process was killed, as it is where memory runs out.
    """
    if len(tasks) > MOST_TASKS:
        raise ValueError(f"at most {MOST_TASKS} tasks, not {len(tasks)}")
    count = min(cores() if most is None else most, len(tasks))
    if count <= 1:
        return [task() for task in tasks]
    left = _numbered(len(tasks))
    copies: list[_Copy] = []
    try:
        with suppress(OSError):
            # No more processes than the system gives: this one is left for what they would have done.
            while len(copies) < count - 1:
                copies.append(_copied(tasks, left))
        results = {index: tasks[index]() for index in _taken(left)}
        failures: dict[int, Exception] = {}
        for copy in [*copies]:
            status = _awaited(copy)
            copies.remove(copy)
            with copy.results:
                if status:
                    raise LayerbenchError("a process that did part of the work was killed: was there enough memory?")
                _collect(copy.results, results, failures)
    finally:
        os.close(left)
        for copy in copies:
            os.kill(copy.pid, signal.SIGKILL)
            _awaited(copy)
            copy.results.close()
    for index in sorted(failures):
        raise failures[index]
    return [results[index] for index in range(len(tasks))]


def _numbered(count: int) -> int:
    """A pipe to read the numbers of tasks from: the system hands each out once, whoever reads."""
    left, right = os.pipe()
    os.write(right, bytes(range(count)))
    os.close(right)
    return left


def _taken(left: int) -> Iterator[int]:
    while number := os.read(left, 1):
        yield number[0]


def _copied(tasks: Sequence[Callable[[], Any]], left: int) -> _Copy:
    results = os.fdopen(os.memfd_create("results"), "w+b")
    parent = os.getpid()
    with warnings.catch_warnings():
        # Of threads that might hold a lock: the numerical libraries see to theirs when they are forked.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
        try:
            pid = os.fork()
        except OSError:
            results.close()
            raise
    if pid:
        return _Copy(pid, results)
    try:
        # Whoever interrupts interrupts the parent, which ends its copies.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _work(tasks, left, results, parent)
        results.flush()
    except BaseException:
        # Nothing of a copy goes on as its parent, whatever happened.
        os._exit(1)
    os._exit(0)


def _work(tasks: Sequence[Callable[[], Any]], left: int, results: BinaryIO, parent: int) -> None:
    for index in _taken(left):
        if os.getppid() != parent:
            # Nobody waits for it any more.
            return
        try:
            told = pickle.dumps((index, tasks[index](), None), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            results.write(pickle.dumps((index, None, _that_pickles(error))))
            return
        results.write(told)


def _that_pickles(error: Exception) -> Exception:
    """An error with where it came from as a note, or its text where it does not survive the way."""
    error.add_note("".join(traceback.format_exception(error)))
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _awaited(copy: _Copy) -> int:
    """How a copy ended; 0 if well."""
    return os.waitpid(copy.pid, 0)[1]


def _collect(file: BinaryIO, results: dict[int, Any], failures: dict[int, Exception]) -> None:
    """Put what a copy wrote with the results of the tasks it did, or with the errors of those that failed."""
    file.seek(0)
    with suppress(EOFError):
        while True:
            index, result, failure = pickle.load(file)
            if failure is None:
                results[index] = result
            else:
                failures[index] = failure
