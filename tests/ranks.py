"""Ranks as threads of one process: what they say to each other is real, what connects them is not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import numpy as np

from layerbench.collectives import mpi_name
from layerbench.device import Run
from layerbench.records import Collective, Operation

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds a rank waits for the others; ranks that are not in step fail instead of hanging."""


class Meeting:
    """Where ranks exchange values: all write, all wait, all read."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._values: list[Any] = [None] * size
        self._boxes: dict[tuple[int, int], queue.Queue[Any]] = {
            (source, to): queue.Queue() for source in range(size) for to in range(size)
        }

    def box(self, source: int, to: int) -> queue.Queue[Any]:
        """Where one rank's messages to another lie."""
        return self._boxes[source, to]

    def exchange(self, rank: int, value: T) -> list[T]:
        self._values[rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values


class ThreadRank:
    """One of several ranks, as :class:`layerbench.collectives.Ranks` has it."""

    library = "threads"

    def __init__(self, meeting: Meeting, rank: int, size: int) -> None:
        self._meeting = meeting
        self.rank = rank
        self.size = size

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        return mpi_name(operation, even)

    def barrier(self) -> None:
        self._meeting.exchange(self.rank, None)

    def rest(self) -> None:
        self.barrier()

    def broadcast(self, value: T) -> T:
        return self._meeting.exchange(self.rank, value)[0]

    def gather(self, value: T) -> list[T]:
        values = self._meeting.exchange(self.rank, value)
        return values if self.rank == 0 else []

    def all_gather(self, value: T) -> list[T]:
        return self._meeting.exchange(self.rank, value)

    def all_reduce(self, buffer: Any) -> Run:
        def run() -> None:
            buffer[...] = sum(self._meeting.exchange(self.rank, buffer.copy()))

        return run

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        def run() -> None:
            everyone[:] = np.concatenate(self._meeting.exchange(self.rank, mine.copy()))

        return run

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        start = sum(counts[: self.rank])

        def run() -> None:
            total = sum(self._meeting.exchange(self.rank, whole.copy()))
            mine[:] = total[start : start + counts[self.rank]]

        return run

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        def run() -> None:
            buffer[...] = self._meeting.exchange(self.rank, buffer.copy())[root]

        return run

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        def run() -> None:
            blocks = [np.split(each, self.size)[self.rank] for each in self._meeting.exchange(self.rank, given.copy())]
            into[:] = np.concatenate(blocks)

        return run

    def send(self, buffer: Any, to: int) -> Run:
        return lambda: self._meeting.box(self.rank, to).put(buffer.copy())

    def receive(self, buffer: Any, source: int) -> Run:
        def run() -> None:
            buffer[:] = self._meeting.box(source, self.rank).get(timeout=PATIENCE)

        return run

    def first(self, count: int) -> ThreadRank | None:
        meeting = self._meeting.exchange(self.rank, Meeting(count))[0]
        return ThreadRank(meeting, self.rank, count) if self.rank < count else None

    def abort(self, reason: str) -> NoReturn:
        raise SystemExit(reason)


def together(size: int, work: Callable[[ThreadRank], T]) -> list[T | BaseException]:
    """What ``work`` returns or raises on each of ``size`` ranks."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as pool:
        running = [pool.submit(work, ThreadRank(meeting, rank, size)) for rank in range(size)]
        return [future.exception() or future.result() for future in running]
