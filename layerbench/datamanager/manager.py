"""The data manager: an iteration over batches that are made while earlier ones are computed on."""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from queue import Empty
from types import TracebackType
from typing import Any, Self

import numpy as np

from layerbench.datamanager import arguments
from layerbench.datamanager.device import Device, Fetched
from layerbench.datamanager.failures import nothing_left, reason
from layerbench.datamanager.pipeline import Pipeline
from layerbench.datamanager.slots import Skipped, Slot
from layerbench.datamanager.source import Source
from layerbench.errors import DataError, LayerbenchError, UsageError
from layerbench.timeline import Timeline

CLOSE_SECONDS = 2.0
"""How long :meth:`DataManager.close` waits for a stage to return."""

HUNG_SECONDS = 0.2
"""How long it waits once a stage is known to hang."""

FETCH = "fetch"
"""The lane and name of what comes from the device: not ``transfer``, because both go on at once."""


class Batch(tuple[Any, ...]):
    """A batch: of each field of its source an array on the device, all of as many samples.

    The arrays are a slot's memory. They are valid until the next batch is asked for; what is to stay is copied.

    Attributes
    ----------
    index
        Which batch of the source's plan it is, counted from 0. A batch of which every piece was skipped is not
        delivered, so that an index can be missing.
    samples
        How many samples it has: fewer than others where pieces were skipped, or where the source says so.
    """

    # It takes the place of tuple's search for a value, which among arrays finds nothing.
    index: int  # type: ignore[assignment]
    samples: int

    def __new__(cls, arrays: Iterable[Any], index: int, samples: int) -> Self:
        batch = super().__new__(cls, arrays)
        batch.index = index
        batch.samples = samples
        return batch


class DataManager:
    """Makes a source's batches ahead of the loop that consumes them.

    ::

        with DataManager(source, depth=3) as batches:
            for images, labels in batches:
                step(images, labels)

    Entering it starts the threads, and so does iterating over it without ``with``. It is iterated over once: a source
    knows of epochs itself. Batches come in the order of the source's plan. When the loop asks for the next batch, the
    slot of the last one is refilled, so nothing may use that batch's arrays any more; work that was queued on the
    current stream of a CUDA device by then is waited for.

    All threads end when the batches do, when the loop is left, by an error, by :meth:`close`, and when the data manager
    is no longer referred to.

    Parameters
    ----------
    source
        Where batches come from; it is closed in the end.
    depth
        Slots, each with room for a batch: one that is consumed, and others that are filled meanwhile. They are
        allocated here, once; a device with memory of its own has as many again.
    device
        Where the batch is needed: None or ``"host"``, ``"cuda"`` or ``"cuda:N"``, or a device of another kind.
    timeout
        Seconds that the loop waits for a batch before that is an error; None to wait for ever. Batches of which nothing
        is left, because all was skipped, do not count as one.
    workers
        Threads of each stage, by the stage's name, or of every stage; those left out have the stage's own number.
    cores
        Cores that the threads keep to; None leaves them those of the thread that starts them.
    timeline
        Kept with what each worker does: lane ``decode 0``, name ``decode``, step the batch's index; a transfer's lane
        and name are ``transfer``, those of what is fetched ``fetch``.

    Attributes
    ----------
    skipped
        What stages left out of the batches that have been asked for so far, in order: each origin once, with the first
        reason and batch, however many epochs leave it out.
    skips
        How often something was left out of them.
    slots_bytes
        Bytes of all slots, on the host and on the device each.
    waited_seconds
        How long the loop has waited for batches.

    Raises
    ------
    UsageError
        If what is asked for makes no sense.
    UnavailableError
        If the device is not here.
    OutOfMemoryError
        If the slots do not fit.
    """

    def __init__(
        self,
        source: Source,
        depth: int = 3,
        device: Device | str | None = None,
        timeout: float | None = arguments.TIMEOUT,
        workers: Mapping[str, int] | int | None = None,
        cores: Collection[int] | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        arguments.check_source(source)
        slots = arguments.check_depth(depth)
        self._timeout = arguments.check_timeout(timeout)
        threads = arguments.threads_of(source, workers)
        kept_to = arguments.check_cores(cores)
        self._device = arguments.device_for(device)
        self._skipped: dict[str, Skipped] = {}
        self.skips = 0
        self.slots_bytes = slots * source.batch_size * sum(field.nbytes for field in source.fields)
        self.waited_seconds = 0.0
        self._timeline = timeline
        self._index = -1
        self._pipeline = Pipeline(source, self._device, slots, threads, kept_to, timeline)
        self._started = self._iterated = self._closed = False
        self._patience = CLOSE_SECONDS
        # The pipeline ends the threads at the end of the interpreter itself, and waits for them there.
        weakref.finalize(self, self._pipeline.abandon).atexit = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(error)

    def __iter__(self) -> Iterator[Batch]:
        """The batches, each of them an error instead where making it failed.

        Raises
        ------
        UsageError
            If it is iterated over already, or has been.
        DataError
            While iterating: a batch could not be made, or was not ready in time. Batches before it have been delivered.
        """
        if self._iterated:
            raise UsageError("a data manager is iterated over once: give the source epochs, or make another one")
        self._start()
        self._iterated = True
        return self._batches()

    @property
    def skipped(self) -> list[Skipped]:
        """See above; a list of the caller's own."""
        return list(self._skipped.values())

    def fetch(self, array: Any) -> Fetched:
        """Begin to bring an array of the device to the host; ``result()`` of what is returned waits for it.

        On a CUDA device it is copied to pinned memory on a stream of its own, after what is queued on the current
        stream, while batches are copied the other way. On the host it is a copy. A timeline is told by the first
        ``result()`` of each, of the time that the copy itself took.
        """
        fetched = self._device.fetch(array)
        return fetched if self._timeline is None else _Told(fetched, self._timeline, self._index)

    def close(self) -> None:
        """Stop the threads and close the source. A stage that does not return soon is left to end by itself.

        Raises
        ------
        DataError
            If the source fails to close.
        """
        self._end()
        failure, self._pipeline.not_closed = self._pipeline.not_closed, None
        if failure is not None:
            raise failure

    def _end(self) -> None:
        self._closed = True
        self._pipeline.close(self._patience)

    def _close(self, error: BaseException | None) -> None:
        """Close, but let an error that is on its way keep its place."""
        if error is None:
            self.close()
            return
        try:
            self.close()
        except LayerbenchError as other:
            error.add_note(str(other))

    def _start(self) -> None:
        if self._closed:
            raise UsageError("this data manager is closed: make another one")
        if self._started:
            return
        self._started = True
        try:
            self._pipeline.start()
        except LayerbenchError as error:
            self._close(error)
            raise

    def _batches(self) -> Iterator[Batch]:
        try:
            slots, index = self._pipeline.outlet, 0
            asked = time.perf_counter()
            while True:
                slot = slots[index % len(slots)]
                self._wait(slot, index)
                for _, _, last in slot.skipped:
                    self._skipped.setdefault(last.origin, last)
                    self.skips += 1
                slot.skipped.clear()
                if slot.failure is not None:
                    raise slot.failure
                if slot.ended:
                    break
                if slot.samples:
                    self._index = index
                    yield from _lent(slot)
                    asked = time.perf_counter()
                elif self._timeout is not None and time.perf_counter() - asked > self._timeout:
                    # Of a source without an end, of which all is damaged, batches would be passed over for ever.
                    raise nothing_left(index, self._timeout, last)
                slot.empty.put(None)
                index += 1
        except GeneratorExit:
            # The loop was left. An error that is on its way, or a source that fails to close, is the with block's.
            self._end()
            raise
        except BaseException as error:
            self._close(error)
            raise
        self.close()

    def _wait(self, slot: Slot, index: int) -> None:
        """Wait until a slot is full.

        Raises
        ------
        DataError
            If it is not full in time, or will never be.
        """
        if slot.full.empty():
            began = time.perf_counter_ns()
            try:
                slot.full.get(timeout=self._timeout)
            except Empty:
                self._patience = HUNG_SECONDS
                error = self._pipeline.hangs(index, self._timeout or 0.0)
                raise error from error.__cause__
            finally:
                self.waited_seconds += (time.perf_counter_ns() - began) * 1e-9
        else:
            slot.full.get()
        if self._pipeline.stopped:
            broken = self._pipeline.broken
            if broken is None:
                raise UsageError("the data manager was closed while it was iterated over")
            if isinstance(broken, DataError):
                raise broken
            raise DataError(f"a thread of the data manager failed: {reason(broken)}") from broken


class _Told:
    """What is fetched, and told to a timeline once it is there."""

    def __init__(self, fetched: Fetched, timeline: Timeline, step: int) -> None:
        self._fetched = fetched
        self._timeline: Timeline | None = timeline
        self._step = step

    def result(self) -> np.ndarray:
        array = self._fetched.result()
        timeline, self._timeline = self._timeline, None
        if timeline is not None and (span := self.span()) is not None:
            timeline.add(FETCH, FETCH, *span, self._step)
        return array

    def span(self) -> tuple[int, int] | None:
        return self._fetched.span()


def _lent(slot: Slot) -> Iterator[Batch]:
    """The batch in a slot, and the slot's hand-over to the consumer and back."""
    if slot.device is None:
        yield Batch(slot.batch(), slot.index, slot.samples)
        return
    slot.device.ready()
    try:
        yield Batch(slot.batch(), slot.index, slot.samples)
    finally:
        slot.device.consumed()
