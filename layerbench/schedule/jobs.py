"""A job, and its time on each node count that it may take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from layerbench.errors import UsageError
from layerbench.suite_format import printable

MOST_NODES = 10**9
"""Of a job, and of all there are."""

SHORTEST, LONGEST = 1e-12, 1e12
"""Seconds; what is beyond is no time of a job, and sums of it would be no numbers."""


def check_names(names: Iterable[str], remedy: str) -> None:
    """Refuse two of one name.

    Raises
    ------
    UsageError
        That names it, and tells the remedy.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"two jobs are called {printable(name)}: {remedy}")
        seen.add(name)


@dataclass(frozen=True)
class Job:
    """Work that is done on one of several node counts, chosen when it starts.

    Attributes
    ----------
    name
        Of the job; different from all others'.
    type
        What it is one of: a layer type, a network.
    nodes, seconds
        The counts that it may take, ascending, and its time on each. Times need not fall as counts grow, and counts may
        be missing.

    Raises
    ------
    UsageError
        If there is no count, a count is below 1 or given twice, or a time is not from :data:`SHORTEST` to
        :data:`LONGEST`.
    """

    name: str
    type: str
    nodes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        called = f"job {printable(self.name)}"
        if not self.nodes or len(self.nodes) != len(self.seconds):
            raise UsageError(
                f"{called}: expected a time for each of at least one node count, not {len(self.nodes)} counts and "
                f"{len(self.seconds)} times"
            )
        for count, seconds in zip(self.nodes, self.seconds, strict=True):
            if count < 1:
                raise UsageError(f"{called}: a node count must be at least 1, not {count}")
            if not 0 < seconds < math.inf:
                raise UsageError(f"{called}: its time on {count} nodes must be positive and finite, not {seconds} s")
            if not SHORTEST <= seconds <= LONGEST:
                raise UsageError(
                    f"{called}: its time on {count} nodes must be from {SHORTEST:g} to {LONGEST:g} s, not {seconds:g} s"
                )
        for one, two in zip(self.nodes, self.nodes[1:], strict=False):
            if one >= two:
                raise UsageError(f"{called}: its node counts must ascend, each once, not {one} before {two}")

    @classmethod
    def of(cls, name: str, type_: str, curve: Iterable[tuple[int, float]]) -> Job:
        """A job from (node count, seconds) pairs in any order."""
        ordered = sorted(curve)
        return cls(name, type_, tuple(count for count, _ in ordered), tuple(seconds for _, seconds in ordered))

    @cached_property
    def _times(self) -> dict[int, float]:
        return dict(zip(self.nodes, self.seconds, strict=True))

    def on(self, count: int) -> float:
        """Seconds on a node count that it may take."""
        return self._times[count]

    def useful(self, most: int) -> list[tuple[int, float]]:
        """The counts up to ``most``, with their seconds, that are quicker than every smaller one.

        A count on which the job is not quicker takes more nodes for nothing; no plan needs it.
        """
        found: list[tuple[int, float]] = []
        for count, seconds in zip(self.nodes, self.seconds, strict=True):
            if count <= most and (not found or seconds < found[-1][1]):
                found.append((count, seconds))
        return found
