"""Gradients in the memory of GPUs, summed by NCCL (or RCCL, which CuPy calls the same) on a stream of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from layerbench.collectives import MPIRanks, agreed
from layerbench.cuda.nccl import failures, load, type_of
from layerbench.datamanager.buckets import Bucket, Packing
from layerbench.errors import UsageError
from layerbench.timeline import Timeline


class NCCLBackend:
    """Sums gradients in device memory.

    The stream of the exchanges waits for what the caller's current stream has queued when a gradient is ready, and at
    the end of a step the caller's current stream waits for the exchanges. The host waits for neither, and nothing has
    to move the exchanges on.

    Parameters
    ----------
    gradients, buckets, names
        As :func:`layerbench.datamanager.buckets.flat` returns them, all on one device; how they are divided; what to
        call each bucket.
    divisor
        What sums are divided by: 1, or the number of ranks.
    timeline
        Where the time of each exchange goes, if anywhere: by the device's clock, some microseconds off the host's. A
        step's is there when a later step has ended, or at the end.
    blocking
        Whether the host waits at the end of what it has started.

    Raises
    ------
    UsageError
        If gradients lie on several devices, or NCCL cannot sum their dtype.
    UnavailableError
        If CuPy has no NCCL.
    """

    def __init__(
        self,
        gradients: Sequence[Any],
        buckets: Sequence[Bucket],
        names: Sequence[str],
        divisor: int,
        timeline: Timeline | None,
        blocking: bool,
    ) -> None:
        self._cupy, self._nccl = load('method="nccl"', "exchange gradients in host memory")
        self._names, self._divisor, self._timeline, self._blocking = names, divisor, timeline, blocking
        present = [(index, gradient) for index, gradient in enumerate(gradients) if gradient is not None]
        for index, gradient in present:
            if gradient.device.id != present[0][1].device.id:
                raise UsageError(
                    f"gradient {index}: is on device {gradient.device.id}, gradient {present[0][0]} on device "
                    f"{present[0][1].device.id}; those of a rank are on one device"
                )
            if type_of(self._nccl, gradient.dtype) is None:
                raise UsageError(f"gradient {index}: NCCL cannot add {gradient.dtype}")
        cuda = self._cupy.cuda
        # Without gradients, the current device: this rank takes part with nothing.
        self._device = present[0][1].device if present else cuda.Device()
        with self._device:
            self._stream = cuda.Stream(non_blocking=True)
            self._computed = cuda.Event(disable_timing=True)
            self._exchanged = cuda.Event(disable_timing=True)
            # In CuPy memory belongs to the stream on which it was allocated.
            with self._stream:
                self._packing = Packing(gradients, buckets, self._cupy.empty)
        self._types = [type_of(self._nccl, buffer.dtype) for buffer in self._packing.buffers]
        self._untold: list[tuple[str, int, Any, Any]] = []
        self._communicator: Any = None

    def connect(self, ranks: MPIRanks, communicator: Any) -> None:
        def name() -> Any:
            with self._failures("NCCL cannot begin"):
                return self._nccl.get_unique_id() if ranks.rank == 0 else None

        with self._device, self._failures("NCCL cannot connect the ranks"):
            # That of rank 0 counts; should it fail there, the others must not wait for it.
            named = ranks.broadcast(agreed(ranks, name))
            self._communicator = self._nccl.NcclCommunicator(ranks.size, named, ranks.rank)
            if self._timeline is not None:
                self._origin = self._cupy.cuda.Event()
                self._origin.record(self._stream)
                self._origin.synchronize()
                self._origin_ns = time.perf_counter_ns()

    def pack(self, index: int) -> None:
        with self._after_computation():
            self._packing.pack(index)

    def start(self, number: int, step: int) -> None:
        buffer = self._packing.buffers[number]
        with self._failures(f"the exchange of {self._names[number]} failed"), self._after_computation():
            begin = self._stamp()
            pointer, add = buffer.data.ptr, self._nccl.NCCL_SUM
            self._communicator.allReduce(pointer, pointer, buffer.size, self._types[number], add, self._stream.ptr)
            if self._timeline is not None:
                self._untold.append((self._names[number], step, begin, self._stamp()))
            if self._divisor != 1:
                self._cupy.divide(buffer, self._divisor, out=buffer)
            self._packing.unpack(number)
            self._exchanged.record(self._stream)

    def progress(self) -> bool:
        with self._failures("an exchange failed"):
            self._communicator.check_async_error()
            done: bool = self._exchanged.done
        return done

    def finish(self) -> None:
        with self._failures("an exchange failed"), self._device:
            self._communicator.check_async_error()
            self._cupy.cuda.get_current_stream().wait_event(self._exchanged)
            if self._blocking:
                self._exchanged.synchronize()
        self._tell()

    def stop(self) -> None:
        """All calls are the caller's."""

    def free(self) -> None:
        self._stream.synchronize()
        self._tell()
        self._communicator.destroy()

    def abandon(self) -> None:
        # It ends the kernels that wait for other ranks, and with them what the streams wait for.
        self._communicator.abort()

    @contextmanager
    def _after_computation(self) -> Iterator[None]:
        """What is queued within comes after what the caller's stream has queued so far.

        An event can be recorded again while a stream waits for its last record: the wait is for that one.
        """
        with self._device:
            self._computed.record(self._cupy.cuda.get_current_stream())
            self._stream.wait_event(self._computed)
            with self._stream:
                yield

    def _stamp(self) -> Any:
        """The device's time when its stream comes here; None if nobody wants it."""
        return None if self._timeline is None else self._stream.record(self._cupy.cuda.Event())

    def _tell(self) -> None:
        """Put into the timeline what has ended."""
        if self._timeline is None:
            return
        elapsed = self._cupy.cuda.get_elapsed_time
        while self._untold and self._untold[0][3].done:
            name, step, *events = self._untold.pop(0)
            # In milliseconds, as a float of single precision: microseconds for the first ten seconds, then coarser.
            start, stop = (self._origin_ns + round(elapsed(self._origin, event) * 1e6) for event in events)
            self._timeline.add("communication", name, start, stop, step)

    def _failures(self, what: str) -> AbstractContextManager[None]:
        """Errors of NCCL and of the device, as measurement errors."""
        return failures(self._cupy, self._nccl, what)
