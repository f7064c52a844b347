"""Who did what, from when to when: spans of the stages, the computation and the exchanges of a training loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """One piece of work.

    Attributes
    ----------
    lane
        What does it: a stage and the number of its worker, ``compute``, ``communication``. One lane does one thing at a
        time.
    name
        What is done, such as ``decode``, ``conv1 forward``, ``bucket 0``.
    start, stop
        Nanoseconds of ``time.perf_counter_ns``.
    step
        The batch it is done for, counted from 0; -1 if it is for none.
    """

    lane: str
    name: str
    start: int
    stop: int
    step: int = -1


class Timeline:
    """Collects spans from any number of threads.

    Appending to a list is one operation of the interpreter, so that no lock is needed, and a span costs less than a
    microsecond.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, lane: str, name: str, start: int, stop: int, step: int = -1) -> None:
        """Keep a span; times are those of ``time.perf_counter_ns``."""
        self.spans.append(Span(lane, name, start, stop, step))

    @contextlib.contextmanager
    def span(self, lane: str, name: str, step: int = -1) -> Iterator[None]:
        """Keep the time that a block takes."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(lane, name, start, time.perf_counter_ns(), step)
