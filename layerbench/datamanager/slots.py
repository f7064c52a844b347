"""Slots: memory for a batch each, and how far the batch in it has come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from layerbench.datamanager.device import DeviceSlot
from layerbench.errors import DataError

Token = SimpleQueue[None]
"""A semaphore: ``put`` lets one thread past ``get``, now or later. It is C, and a spare token does no harm."""


class Skipped(NamedTuple):
    """A piece that was left out of its batch.

    Attributes
    ----------
    origin
        What the source calls it.
    reason
        What the stage that skipped it said.
    batch
        The batch it was planned for, counted from 0.
    """

    origin: str
    reason: str
    batch: int


class Slot:
    """Memory for one batch, used over and over; slot ``i`` of ``n`` serves the batches i, i + n, i + 2 n, ...

    Batches are planned, delivered and given back in the same order, so that slots need no list of which is free: each
    has a token for being empty and one for being full, and whoever is to have the slot next waits for it.

    Parameters
    ----------
    arrays
        Of each field an array of as many samples as the slot holds.
    samples
        That many.
    device
        What transfers to it, if it lies in a device's memory.

    Attributes
    ----------
    index
        The batch in it, counted from 0.
    samples
        How many samples that batch has.
    failure
        What the consumer is to be told instead of being given the batch.
    ended
        Whether there is no batch, because the source has no more.
    skipped
        What was left out of the batch, in no order until it is full: with the samples' start and stop.
    """

    def __init__(self, arrays: tuple[Any, ...], samples: int, device: DeviceSlot | None = None) -> None:
        self.arrays = arrays
        self.capacity = samples
        self.device = device
        self.empty: Token = SimpleQueue()
        self.full: Token = SimpleQueue()
        self.empty.put(None)
        self.index = -1
        self.samples = 0
        self.failure: DataError | None = None
        self.ended = False
        self.skipped: list[tuple[int, int, Skipped]] = []
        self._pieces_left = 0
        self._counting = threading.Lock()

    def begin(self, index: int, samples: int, pieces: int) -> None:
        """Make it the place of a batch."""
        self.index = index
        self.samples = samples
        self._pieces_left = pieces

    def end(self, index: int, failure: DataError | None = None) -> None:
        """Say that there is no batch, because the source has ended or failed."""
        self.index = index
        self.samples = 0
        self.failure = failure
        self.ended = failure is None
        self.full.put(None)

    def piece_done(self) -> None:
        """Count a piece as done: in its place, skipped, or failed. The last one makes the slot full."""
        with self._counting:
            self._pieces_left -= 1
            if self._pieces_left:
                return
        if self.skipped:
            self.skipped.sort(key=lambda hole: hole[0])
            self.samples = close_gaps(self.arrays, [hole[:2] for hole in self.skipped], self.samples)
        self.full.put(None)

    def take_over(self, filled: Slot) -> None:
        """Become the place of the batch in another slot, all but its samples."""
        self.index = filled.index
        self.samples = filled.samples
        self.failure = filled.failure
        self.ended = filled.ended
        self.skipped, filled.skipped = filled.skipped, self.skipped

    def batch(self) -> tuple[Any, ...]:
        """The batch's arrays; views where it is shorter than the slot."""
        if self.samples == self.capacity:
            return self.arrays
        return tuple(array[: self.samples] for array in self.arrays)

    def place(self, start: int, stop: int) -> tuple[Any, ...]:
        """Where a piece belongs."""
        if stop - start == self.capacity:
            return self.arrays
        return tuple(array[start:stop] for array in self.arrays)


def close_gaps(arrays: Sequence[Any], holes: Sequence[tuple[int, int]], samples: int) -> int:
    """Move the samples that follow a hole down over it, in all arrays.

    Parameters
    ----------
    arrays
        Their first axis is samples.
    holes
        Start and stop of each, in ascending order, apart from one another.
    samples
        How many samples there are, holes included.

    Returns
    -------
    int
        How many are left.
    """
    kept = position = 0
    for start, stop in (*holes, (samples, samples)):
        for array in arrays:
            _move_down(array, position, start, kept)
        kept += start - position
        position = stop
    return kept


def _move_down(array: Any, start: int, stop: int, to: int) -> None:
    """Move samples down by no more at a time than the distance: NumPy would copy what overlaps to new memory first."""
    distance = start - to
    while distance and start < stop:
        count = min(distance, stop - start)
        array[to : to + count] = array[start : start + count]
        start += count
        to += count
