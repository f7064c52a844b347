"""Ranks as threads of one process: what they say to each other is real, what connects them is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

from layerbench.device import Run

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds a rank waits for the others; ranks that are not in step fail instead of hanging."""


class Meeting:
    """Where ranks exchange values: all write, all wait, all read."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._values: list[Any] = [None] * size

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

    def barrier(self) -> None:
        self._meeting.exchange(self.rank, None)

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

    def abort(self, reason: str) -> NoReturn:
        raise SystemExit(reason)


def together(size: int, work: Callable[[ThreadRank], T]) -> list[T | BaseException]:
    """What ``work`` returns or raises on each of ``size`` ranks."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as pool:
        running = [pool.submit(work, ThreadRank(meeting, rank, size)) for rank in range(size)]
        return [future.exception() or future.result() for future in running]
