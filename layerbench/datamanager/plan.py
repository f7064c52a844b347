"""Hands out the pieces of a source's plan, one at a time, to any number of threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from layerbench.datamanager.failures import ORIGIN, Doing, failed
from layerbench.datamanager.slots import Slot, Token
from layerbench.datamanager.source import Out, Piece, Source
from layerbench.errors import DataError
from layerbench.suite_format import flat, printable

_END = object()
"""What is taken from a plan that has ended."""


class Work(NamedTuple):
    """A piece on its way through the stages.

    Attributes
    ----------
    slot
        What it is a piece of.
    start, stop, origin
        As in the plan.
    out
        Its place in the slot.
    value
        What the next stage is given.
    """

    slot: Slot
    start: int
    stop: int
    origin: str
    out: Out
    value: Any


class Taker(Protocol):
    """A thread that takes pieces."""

    doing: Doing | None
    """What it is at, for a message should it never come back."""


class PlanReader:
    """Reads a source's plan, one thread at a time, and no further than there are slots.

    Parameters
    ----------
    source
        Its plan is begun by the first call of :meth:`take`.
    slots
        The batches' places, in turn.
    """

    def __init__(self, source: Source, slots: Sequence[Slot]) -> None:
        self._over = False
        self._source: Source | None = source
        self._batches = source.batches
        self._slots = slots
        self._slot = slots[0]
        self._pieces: deque[Piece] = deque()
        self._plan: Iterator[Sequence[Piece]] | None = None
        self._index = 0
        self._stopped = False
        self._turn: Token = SimpleQueue()
        self._turn.put(None)

    def take(self, taker: Taker) -> Work | None:
        """The next piece; None when there are no more, or the pipeline stops.

        Waits for an empty slot where a batch begins. If the plan was asked, ``taker.doing`` says so, and since when.
        """
        self._turn.get()
        try:
            if not self._pieces and not self._next_batch(taker):
                return None
            if self._stopped:
                return None
            # Taken out, so that nothing keeps what the source gave for it once it is in its place.
            piece, slot = self._pieces.popleft(), self._slot
        finally:
            self._turn.put(None)
        return Work(slot, piece.start, piece.stop, piece.origin, slot.place(piece.start, piece.stop), piece.item)

    def stop(self) -> None:
        """Let every thread that waits here go."""
        self._stopped = True
        self._turn.put(None)
        for slot in self._slots:
            slot.empty.put(None)

    def close(self) -> None:
        """Close the plan, if it is a generator, once no thread is in it; let go of it, and of the source."""
        plan, self._plan, self._source = self._plan, None, None
        if (close := getattr(plan, "close", None)) is not None:
            close()

    def _next_batch(self, taker: Taker) -> bool:
        """Ask the plan for a batch and make the next slot its place; whether there is one."""
        if self._over or self._stopped:
            return False
        index = self._index
        slot = self._slots[index % len(self._slots)]
        slot.empty.get()
        if self._stopped:
            return False
        taker.doing = Doing(index, *ORIGIN, time.perf_counter_ns())
        try:
            if self._plan is None:
                assert self._source is not None, "no plan is asked for once it is closed"
                self._plan = iter(self._source.plan())
            found: Any = next(self._plan, _END)
            if found is _END:
                self._end(slot, index)
                taker.doing = None
                return False
            self._pieces.extend(found)
            del found
            if self._batches is not None and index >= self._batches:
                raise DataError(f"the source has more than the {self._batches} batches it tells of")
            slot.begin(index, samples_of(self._pieces, slot.capacity), len(self._pieces))
        except BaseException as error:
            self._over = True
            self._pieces.clear()
            slot.end(index, failed(index, *ORIGIN, error))
            taker.doing = None
            return False
        self._slot = slot
        self._index = index + 1
        return True

    def _end(self, slot: Slot, index: int) -> None:
        self._over = True
        early = self._batches is not None and index < self._batches
        slot.end(index, DataError(f"source ended after {index} of {self._batches} batches") if early else None)


def samples_of(pieces: Sequence[Piece] | deque[Piece], room: int) -> int:
    """The samples of a batch, whose pieces must follow each other without gaps from 0.

    Raises
    ------
    DataError
        If they do not, are empty, or more than there is room for.
    """
    at = 0
    for piece in pieces:
        if piece.start != at or piece.stop <= at:
            raise DataError(
                f"its pieces must follow each other from 0, and {printable(flat(piece.origin))} is samples "
                f"{piece.start} to {piece.stop} where {at} was expected to begin"
            )
        at = piece.stop
    if not at:
        raise DataError("it has no pieces")
    if at > room:
        raise DataError(f"a batch larger than a slot: it has {at} samples, and a slot has room for {room}")
    return at
