"""When nodes will be free, as far as the planner knows."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator

from layerbench.schedule.state import State


class Ahead:
    """When nodes will be free: from the running jobs' expected ends, and those of jobs that start now.

    The running jobs are read only as far as a question needs.
    """

    def __init__(self, state: State) -> None:
        self.now = state.now
        self.free = state.free
        self._state = state
        self._started: list[tuple[float, int]] = []
        self._forget()

    def _forget(self) -> None:
        self._frees, self._times = [self.free], [self.now]
        running = ((job.expected_end, job.nodes) for job in self._state.running)
        self._coming: Iterator[tuple[float, int]] = heapq.merge(running, self._started)
        self._next = next(self._coming, None)

    def start(self, nodes: int, seconds: float) -> None:
        """Take nodes from now on."""
        self.free -= nodes
        insort(self._started, (self.now + seconds, nodes))
        self._forget()

    def _step(self, nodes: int) -> int:
        """Place of the first step at which so many nodes are free."""
        while self._next and (self._frees[-1] < nodes or self._together(self._next[0])):
            end, freed = self._next
            if self._together(end):
                self._frees[-1] += freed
            else:
                self._frees.append(self._frees[-1] + freed)
                # What overruns its expected end may end at any moment.
                self._times.append(max(end, self.now))
            self._next = next(self._coming, None)
        return bisect_left(self._frees, nodes)

    def _together(self, end: float) -> bool:
        return len(self._times) > 1 and end <= self._times[-1]

    def earliest(self, nodes: int) -> float:
        """When so many nodes are free at once, in seconds."""
        return self._times[self._step(nodes)]

    def reserve(self, nodes: int) -> tuple[float, int]:
        """The same, and how many nodes are left over then."""
        step = self._step(nodes)
        return self._times[step], self._frees[step] - nodes
