"""The threads of a data manager, what they share, and their end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Collection, Mapping
from typing import Protocol

from layerbench.datamanager.device import Device
from layerbench.datamanager.failures import Doing, hangs, reason
from layerbench.datamanager.plan import PlanReader
from layerbench.datamanager.slots import Slot
from layerbench.datamanager.source import Source
from layerbench.datamanager.transfer import Transfer
from layerbench.datamanager.workers import Channel, StageWorker
from layerbench.environment import available_memory_bytes
from layerbench.errors import DataError, OutOfMemoryError
from layerbench.timeline import Timeline
from layerbench.units import size

EXIT_SECONDS = 1.0
"""How long the end of the interpreter waits for threads of pipelines that nobody closed."""


class _Worker(Protocol):
    lane: str
    doing: Doing | None

    def work(self) -> None: ...


class Pipeline:
    """Slots, and threads that fill them.

    The threads hold the pipeline, and nothing in it holds the data manager: one that is dropped without being closed is
    collected, and stops them.

    Parameters
    ----------
    source, device, timeline
        As of the data manager.
    depth
        Slots.
    threads
        Workers of each stage, by name.
    cores
        Cores that each thread keeps to; None leaves it those of the thread that starts it.

    Attributes
    ----------
    outlet
        The slots that the consumer is given: those of the device if it has memory of its own, else those that workers
        fill.
    stopped
        Whether the threads have been told to end.
    broken
        The error that ended a thread, if one did.
    not_closed
        The error with which source or device failed to close, if one did.

    Raises
    ------
    OutOfMemoryError
        If there is too little memory for the slots.
    """

    def __init__(
        self,
        source: Source,
        device: Device,
        depth: int,
        threads: Mapping[str, int],
        cores: Collection[int] | None,
        timeline: Timeline | None,
    ) -> None:
        self.stopped = False
        self.broken: BaseException | None = None
        self.not_closed: DataError | None = None
        self._source: Source | None = source
        self._device = device
        self._cores = cores
        self._slots, self.outlet = _slots(source, device, depth, timed=timeline is not None)
        self._reader = PlanReader(source, self._slots)
        self._channels = [
            Channel(threads[before.name], threads[after.name])
            for before, after in zip(source.stages, source.stages[1:], strict=False)
        ]
        takes = [self._reader.take, *(channel.take for channel in self._channels)]
        gives = [*(channel.give for channel in self._channels), None]
        self._workers: list[_Worker] = [
            StageWorker(stage, number, take, give, timeline)
            for stage, take, give in zip(source.stages, takes, gives, strict=True)
            for number in range(threads[stage.name])
        ]
        self._transfer: Transfer | None = None
        if self.outlet is not self._slots:
            self._transfer = Transfer(self._slots, self.outlet, device.name, timeline)
            self._workers.append(self._transfer)
        self._threads: list[threading.Thread] = []
        # A collection of garbage may call abandon in a thread that holds it.
        self._ending = threading.RLock()
        self._alive = 0
        self._let_go = False
        self._gone = False

    def start(self) -> None:
        """Start all threads.

        Raises
        ------
        DataError
            If the system refuses one; those that were started end.
        """
        _RUNNING.add(self)
        for worker in self._workers:
            thread = threading.Thread(target=_thread, args=(self, worker), name=worker.lane, daemon=True)
            with self._ending:
                self._alive += 1
            try:
                thread.start()
            except RuntimeError as error:
                self._leave()
                self.stop()
                raise DataError(
                    f"{len(self._workers)} threads could not be started ({reason(error)}): use fewer workers"
                ) from error
            self._threads.append(thread)

    def stop(self) -> None:
        """Tell all threads to end after what they are at, and wake those that wait, the consumer's too."""
        self.stopped = True
        self._reader.stop()
        for channel in self._channels:
            channel.stop()
        if self._transfer is not None:
            self._transfer.stop()
        for slot in self.outlet:
            slot.full.put(None)

    def close(self, wait: float) -> None:
        """Stop, wait for the threads, and let go of source and device.

        Parameters
        ----------
        wait
            The most seconds to wait. What a thread is still using then is let go of when it ends.
        """
        self.stop()
        self._join(wait)
        self._release()

    def abandon(self) -> None:
        """Stop without waiting, as is due where nobody knows which thread it is that calls."""
        self.stop()
        self._release()

    def hangs(self, batch: int, timeout: float) -> DataError:
        """What to tell of a batch that was waited for in vain: why it failed, if it did, or what it waits for."""
        for slot in self._slots:
            if slot.index == batch and slot.failure is not None:
                return slot.failure
        return hangs(batch, timeout, [doing for worker in self._workers if (doing := worker.doing) is not None])

    def run(self, worker: _Worker) -> None:
        """What a thread does: its worker's part, and when all have done theirs, what is left to do."""
        try:
            if self._cores is not None:
                os.sched_setaffinity(0, self._cores)
            worker.work()
        except BaseException as error:
            self.broken = error
            self.stop()
        finally:
            self._leave()

    def _join(self, wait: float) -> None:
        until = time.monotonic() + wait
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _leave(self) -> None:
        """Count a thread as ended; the last one lets go of what others could not."""
        with self._ending:
            self._alive -= 1
            last = self._let_go and not self._alive
        if last:
            self._release()

    def _release(self) -> None:
        """Let go of source, device and memory, once, when no thread uses them: now or at the end of the last one."""
        with self._ending:
            self._let_go = True
            if self._alive or self._gone:
                return
            self._gone = True
            source, self._source = self._source, None
        _RUNNING.discard(self)
        assert source is not None
        for what, close in (
            ("device", self._device.close),
            ("plan", self._reader.close),
            ("source", source.close),
        ):
            try:
                close()
            except BaseException as error:
                self.not_closed = self.not_closed or DataError(f"closing the {what}: {reason(error)}")
        for slot in (*self._slots, *self.outlet):
            slot.arrays = ()
        self._channels.clear()
        # Their stages are the source's, and a data manager that is kept should not keep what is in memory for it.
        self._workers.clear()


def _thread(pipeline: Pipeline, worker: _Worker) -> None:
    pipeline.run(worker)


def _slots(source: Source, device: Device, depth: int, *, timed: bool) -> tuple[list[Slot], list[Slot]]:
    """The slots that are filled, and those that are delivered; the same ones on a device that computes where it fills.

    Raises
    ------
    OutOfMemoryError
        If there is too little memory.
    """
    fields = tuple(source.fields)
    samples = source.batch_size
    each, free = samples * sum(field.nbytes for field in fields), available_memory_bytes()
    if depth * each > free:
        raise OutOfMemoryError(
            f"{depth} slots of {size(each)} each do not fit the {size(free)} of memory that are free: use a smaller "
            "batch or depth"
        )
    filled = [Slot(device.memory(fields, samples), samples) for _ in range(depth)]
    there = [device.slot(fields, samples, timed=timed) for _ in range(depth)]
    delivered = [Slot(one.arrays, samples, one) for one in there if one is not None]
    return filled, delivered or filled


_RUNNING: weakref.WeakSet[Pipeline] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End the threads before the interpreter takes apart what they use."""
    running = list(_RUNNING)
    for pipeline in running:
        pipeline.abandon()
    until = time.monotonic() + EXIT_SECONDS
    for pipeline in running:
        pipeline._join(max(0.0, until - time.monotonic()))
