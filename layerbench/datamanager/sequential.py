"""The batches of a source one after another on the calling thread: what overlap is compared with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from layerbench.datamanager.failures import ORIGIN, failed
from layerbench.datamanager.host import aligned
from layerbench.datamanager.plan import samples_of
from layerbench.datamanager.slots import close_gaps
from layerbench.datamanager.source import Piece, SkippedError, Source
from layerbench.errors import DataError
from layerbench.timeline import Timeline


def batches(source: Source, *, timeline: Timeline | None = None) -> Iterator[tuple[np.ndarray, ...]]:
    """Make batch after batch in one slot.

    A batch is valid until the next is asked for, which is made in the same memory. Pieces that are skipped leave no
    holes: the samples after them move down, and the arrays are as long as what remains. A batch of which nothing
    remains is passed over. The source is left open, for its owner to close.

    Parameters
    ----------
    source
        Where they come from.
    timeline
        Gets a span for each run of a stage, in lane ``STAGE 0``.

    Yields
    ------
    tuple of np.ndarray
        One array for each of the source's fields, of the batch's samples.

    Raises
    ------
    DataError
        If the source or a stage fails, or its plan is not what it says.
    """
    slot = tuple(aligned(field, source.batch_size) for field in source.fields)
    plan = source.plan()
    number = 0
    while (pieces := _next(plan, number)) is not None:
        if number == source.batches:
            raise DataError(f"source has more than the {source.batches} batches that it says it has")
        try:
            samples_of(pieces, source.batch_size)
        except DataError as error:
            raise failed(number, *ORIGIN, error) from error
        holes = [piece[:2] for piece in pieces if not _make(source, slot, piece, number, timeline)]
        if samples := close_gaps(slot, holes, pieces[-1].stop):
            yield tuple(array[:samples] for array in slot)
        number += 1
    if source.batches is not None and number < source.batches:
        raise DataError(f"source ended after {number} of {source.batches} batches")


def _next(plan: Iterator[Sequence[Piece]], number: int) -> Sequence[Piece] | None:
    try:
        return next(plan, None)
    except DataError:
        raise
    except Exception as error:
        raise failed(number, *ORIGIN, error) from error


def _make(source: Source, slot: tuple[np.ndarray, ...], piece: Piece, number: int, timeline: Timeline | None) -> bool:
    """Run a piece through the stages; whether it is there then."""
    place = tuple(array[piece.start : piece.stop] for array in slot)
    item = piece.item
    for stage in source.stages:
        start = time.perf_counter_ns()
        try:
            item = stage.run(item, place)
        except SkippedError:
            return False
        except Exception as error:
            raise failed(number, stage.name, piece.origin, error) from error
        finally:
            if timeline is not None:
                timeline.add(f"{stage.name} 0", stage.name, start, time.perf_counter_ns(), number)
    return True
