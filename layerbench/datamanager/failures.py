"""How failures are told: what failed or hangs, for which piece of which batch, on one line."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from layerbench.datamanager.slots import Skipped
from layerbench.datamanager.source import SkippedError
from layerbench.errors import DataError, LayerbenchError
from layerbench.suite_format import flat, printable
from layerbench.units import seconds

LONGEST = 300
"""Characters of another library's message that are told."""

ORIGIN = "plan", "the source"
"""The stage, and of what it is, that asks a source for its next batch."""


class Doing(NamedTuple):
    """What a worker is at.

    Attributes
    ----------
    batch
        For which batch.
    stage, origin
        Which stage, of what: ``decode`` of ``cat/7.jpg``.
    since
        Nanoseconds of ``time.perf_counter_ns``.
    """

    batch: int
    stage: str
    origin: str
    since: int


def failed(batch: int, stage: str, origin: str, error: BaseException) -> DataError:
    """What the consumer is told of an exception in a stage, a plan or a transfer; the exception is its cause."""
    told = DataError(f"{stage} of {printable(flat(origin))} (batch {batch}): {reason(error)}")
    told.__cause__ = error
    return told


def reason(error: BaseException) -> str:
    """An exception on one line, with its type where its words alone may not tell."""
    text = printable(flat(error))
    if len(text) > LONGEST:
        text = text[: LONGEST - 3] + "..."
    if text and isinstance(error, LayerbenchError | SkippedError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def nothing_left(batch: int, timeout: float, last: Skipped) -> DataError:
    """What the consumer is told when it has waited too long, and of each batch meanwhile all was skipped.

    Parameters
    ----------
    batch
        The last of them.
    timeout
        Seconds that it may wait.
    last
        What was skipped last.
    """
    return DataError(
        f"no batch after {seconds(timeout)}: of all up to batch {batch} everything was skipped, at last "
        f"{printable(flat(last.origin))}: {printable(flat(last.reason))}"
    )


def hangs(batch: int, timeout: float, doing: Iterable[Doing]) -> DataError:
    """What the consumer is told when it has waited too long for a batch.

    Parameters
    ----------
    batch
        Which it waits for.
    timeout
        Seconds that it has waited.
    doing
        What the workers are at. The earliest batch is the one that holds up the others, and of its pieces the one that
        was begun first.
    """
    found = sorted(doing, key=lambda one: (one.batch, one.since))
    late = f"batch {batch} was not ready after {seconds(timeout)}"
    if not found:
        return DataError(f"{late}, though no stage is at work: the data manager stands still")
    first = found[0]
    others = sum(one.batch == first.batch for one in found) - 1
    return DataError(
        f"{late}: {first.stage} of {printable(flat(first.origin))} (batch {first.batch}) has not returned for "
        f"{seconds((time.perf_counter_ns() - first.since) * 1e-9)}"
        + (f", nor have {others} more" if others > 1 else ", nor has one more" if others else "")
        + "; if it is only slow, give a longer timeout"
    )
