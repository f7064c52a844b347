"""What a source of batches is to the data manager: a plan of pieces, and the stages that bring a piece into a batch.

A batch is some arrays of equally many samples: images and labels, say. A source says what one sample of each looks like
(:class:`Field`), which pieces make up each batch (:meth:`Source.plan`), and by which stages a piece gets there
(:attr:`Source.stages`). All stages are given the piece's own place in the batch's memory, so that what is decoded and
cast ends where it is needed, and memory does not grow with the number of stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np


class Field(NamedTuple):
    """One array of a batch: the shape and dtype of a sample, and its name."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Of one sample."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


class Piece(NamedTuple):
    """Some samples of a batch that go through the stages together.

    Attributes
    ----------
    start, stop
        Which samples of the batch they are. The pieces of a batch follow each other without gaps, from 0.
    item
        What the first stage is given.
    origin
        What to call it in a message: a file's name, or samples of an array.
    """

    start: int
    stop: int
    item: Any
    origin: str


Out = tuple[np.ndarray, ...]
"""A piece's place in the batch: of each field's array the samples ``start`` to ``stop``."""


@dataclass(frozen=True)
class Stage:
    """One stage of the way.

    Attributes
    ----------
    name
        ``read``, ``decode``, ``cast``.
    run
        Given what the stage before returned (the first: the piece's item) and the piece's place in the batch; returns
        what the next stage is given. The last one has filled the place when it returns. Called by several threads at
        once.
    workers
        Threads that run it; the data manager may be told otherwise.
    """

    name: str
    run: Callable[[Any, Out], Any]
    workers: int = 1


class SkippedError(Exception):
    """A stage raises it to leave a piece out of its batch instead of failing: ``raise SkippedError("why")``."""


class Source(Protocol):
    """Where batches come from."""

    fields: Sequence[Field]
    """The arrays of a batch."""

    batch_size: int
    """The most samples of a batch; a slot has room for so many."""

    batches: int | None
    """How many batches the plan has; None where that is not known, or has no end."""

    stages: Sequence[Stage]
    """At least one, in order."""

    def plan(self) -> Iterator[Sequence[Piece]]:
        """The pieces of each batch, batch after batch.

        Iterated by one thread at a time. Where asking for the next batch is itself slow (any iterable), that time is
        the first stage's.
        """
        ...

    def close(self) -> None:
        """Let go of files. Nothing is asked of the source afterwards but, by another data manager, a new plan."""
        ...
