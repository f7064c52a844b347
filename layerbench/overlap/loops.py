"""A training loop without and with overlap: the same work, step by step.

*Implicit*: the batch is read, decoded, cast and copied; then the step is computed; then each layer's gradient is
all-reduced, and nothing begins before what is before it has ended. *Explicit*: a data manager prepares the next batches
meanwhile, and gradients are exchanged in buckets while the backward passes of earlier layers still run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from layerbench.datamanager import DataManager
from layerbench.datamanager.exchange import BlockingExchange, GradientExchange
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Source
from layerbench.overlap.upload import pageable
from layerbench.timeline import Timeline


class Work(Protocol):
    """What is computed on a batch."""

    @property
    def gradients(self) -> Sequence[Any]:
        """Flat arrays that ranks add up, in the order of the layers."""
        ...

    def run(
        self, arrays: Sequence[Any], ready: Callable[[int], None], between: Callable[[], None], number: int = -1
    ) -> None:
        """Compute one step, and return when it is done.

        Parameters
        ----------
        arrays
            The batch.
        ready
            Told the number of each gradient as soon as it is complete.
        between
            Called between the parts of the computation.
        number
            Of the batch, for a timeline.
        """
        ...

    def synchronize(self) -> None:
        """Return when all that is queued on the device is done."""
        ...


class Seconds(NamedTuple):
    """Of one step: in all, waiting for the batch, and waiting for gradients to be exchanged.

    ``busy`` is how long the thread kept its core busy while it waited for the batch: where it makes the batch itself,
    all but what it waited for files or a device.
    """

    step: float
    transfer: float
    communication: float
    busy: float = 0.0


class Loop(Protocol):
    """A training loop that can be gone through step by step."""

    def step(self) -> Seconds:
        """One step."""
        ...

    def close(self) -> None:
        """End what runs beside it."""
        ...


class Observed:
    """Work whose gradients' times are noted.

    Parameters
    ----------
    work
        Whose.
    waiting
        Whether each gradient is waited for: on a device it may only be queued when it is told of. The computation
        takes a little longer for that.

    Attributes
    ----------
    before_end
        For each gradient, how many seconds before the end of the computation it was complete, step by step.
    """

    def __init__(self, work: Work, *, waiting: bool = False) -> None:
        self._work = work
        self._waiting = waiting
        self.gradients = work.gradients
        self.before_end: list[list[float]] = [[] for _ in work.gradients]

    def run(
        self, arrays: Sequence[Any], ready: Callable[[int], None], between: Callable[[], None], number: int = -1
    ) -> None:
        """One step; see :class:`Work`."""
        complete: dict[int, int] = {}

        def noted(index: int) -> None:
            if self._waiting:
                self._work.synchronize()
            complete[index] = time.perf_counter_ns()
            ready(index)

        self._work.run(arrays, noted, between, number)
        end = time.perf_counter_ns()
        for index, at in complete.items():
            self.before_end[index].append((end - at) * 1e-9)

    def synchronize(self) -> None:
        """As of the work."""
        self._work.synchronize()


def _nothing(_: int = 0) -> None:
    """Nobody is told."""


class Implicit:
    """One thing after another.

    Parameters
    ----------
    work, source
        What is computed on which batches.
    communicator
        Of mpi4py, over which gradients are summed; None for a rank alone.
    device
        Where the work is done, as its kernels name it.
    timeline
        Is given the spans of all stages and exchanges.
    """

    def __init__(
        self, work: Work, source: Source, communicator: Any, *, device: str, timeline: Timeline | None = None
    ) -> None:
        self._work = work
        self._source = source
        self._batches = batches(source, timeline=timeline)
        self._upload = pageable(device, source, timeline)
        self._exchange = BlockingExchange(
            work.gradients, communicator, method=method_for(work.gradients), timeline=timeline
        )
        self._number = -1

    def step(self) -> Seconds:
        """Batch, computation, exchange."""
        clock = time.perf_counter_ns
        self._number += 1
        begin, before = clock(), time.thread_time_ns()
        arrays = self._upload(next(self._batches), self._number)
        there, busy = clock(), time.thread_time_ns() - before
        self._work.run(arrays, self._exchange.ready, _nothing, self._number)
        computed = clock()
        self._exchange.wait()
        self._work.synchronize()
        return _seconds(begin, there, computed, clock())._replace(busy=busy * 1e-9)

    def close(self) -> None:
        """Let go of the source."""
        self._exchange.close()
        self._source.close()


class Explicit:
    """Batches and gradients on their way while others are computed.

    Parameters
    ----------
    work, source, communicator, timeline
        As of the implicit loop.
    depth, workers, bucket_bytes
        Of the data manager and the exchange.
    cores
        To spare: the data manager's threads and the exchange's keep to them. Without any, exchanges go on between the
        parts of the computation only.
    timeout
        Seconds that a batch may take.
    """

    def __init__(
        self,
        work: Work,
        source: Source,
        communicator: Any,
        *,
        depth: int,
        workers: int,
        bucket_bytes: int,
        cores: Sequence[int],
        timeout: float,
        device: Any = None,
        timeline: Timeline | None = None,
    ) -> None:
        self._work = work
        spare = sorted(cores) or None
        self.exchange = GradientExchange(
            work.gradients,
            communicator,
            bucket_bytes=bucket_bytes,
            method=method_for(work.gradients),
            progress=progress_by(cores),
            cores=spare,
            timeline=timeline,
        )
        self._manager = DataManager(
            source, depth=depth, device=device, timeout=timeout, workers=workers, cores=spare, timeline=timeline
        )
        self._batches = iter(self._manager)

    def step(self) -> Seconds:
        """The batch that is ready, computation with exchanges beside it, and what is left of them."""
        clock = time.perf_counter_ns
        begin = clock()
        batch = next(self._batches)
        there = clock()
        self._work.run(batch, self.exchange.ready, self.exchange.progress, batch.index)
        computed = clock()
        self.exchange.wait()
        self._work.synchronize()
        return _seconds(begin, there, computed, clock())

    def close(self) -> None:
        """End all threads."""
        self._manager.close()
        self.exchange.close()


def method_for(gradients: Sequence[Any]) -> str:
    """How gradients are summed: MPI cannot add half precision on the host, so that ranks add it themselves there."""
    half = any(isinstance(gradient, np.ndarray) and gradient.dtype == np.float16 for gradient in gradients)
    return "ordered" if half else "auto"


def progress_by(cores: Sequence[int]) -> str:
    """What drives exchanges while computation goes on: a thread where a core is to spare, else calls in between."""
    return "thread" if cores else "calls"


def _seconds(begin: int, there: int, computed: int, end: int) -> Seconds:
    return Seconds((end - begin) * 1e-9, (there - begin) * 1e-9, (end - computed) * 1e-9)
