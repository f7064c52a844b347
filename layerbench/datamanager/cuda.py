"""A CUDA device: pinned slots on the host, slots on the device, copies each way on a stream of their own.

Copies to the device and from it each have a non-blocking stream, so that neither waits for the legacy default stream
and both copy engines work at once. Memory is handed over by events, in both directions:

* ``ready`` is recorded behind a copy; the consumer's current stream waits for it before it reads the slot;
* ``consumed`` is recorded on the consumer's current stream when it asks for the next batch; the copy stream waits for
  it before it writes to the slot again.

Only CuPy's public interface is used, as of version 14.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerbench.datamanager.source import Field, Out
from layerbench.errors import OutOfMemoryError, UnavailableError, UsageError
from layerbench.suite_format import printable, shown
from layerbench.units import size

NUMBERS = "biufc"
"""The kinds of dtype that CuPy has arrays of."""


class Cuda:
    """One CUDA device, by CuPy.

    Parameters
    ----------
    index
        Which; None for the current one.

    Raises
    ------
    UnavailableError
        If CuPy is not installed, or there is no such device.
    """

    def __init__(self, index: int | None = None) -> None:
        self._cupy, count = _cupy_and_devices()
        if index is None:
            index = int(self._cupy.cuda.runtime.getDevice())
        if index >= count:
            raise UnavailableError(f"device 'cuda:{index}' is not here: the last one is 'cuda:{count - 1}'")
        self.name = f"cuda:{index}"
        self._device = self._cupy.cuda.Device(index)
        with self._device:
            self._copies = self._cupy.cuda.Stream(non_blocking=True)
            self._fetches = self._cupy.cuda.Stream(non_blocking=True)
        self._slots: list[CudaSlot] = []
        self._fetching: list[CudaFetched] = []
        self._clock: CudaClock | None = None

    def memory(self, fields: Sequence[Field], samples: int) -> Out:
        """Pinned memory: a copy from pageable memory would be synchronous."""
        with self._device:
            arrays = tuple(self._pinned((samples, *field.shape), field.dtype) for field in fields)
        for array in arrays:
            array.fill(0)
        return arrays

    def slot(self, fields: Sequence[Field], samples: int, *, timed: bool) -> CudaSlot:
        for field in fields:
            if field.dtype.kind not in NUMBERS:
                raise UsageError(f"field {shown(field.name)} has dtype {field.dtype}; {self.name} takes numbers only")
        nbytes = samples * sum(field.nbytes for field in fields)
        try:
            found = CudaSlot(self._cupy, self._device, self._copies, fields, samples, timed)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"a slot of {size(nbytes)} does not fit {self.name}: use a smaller batch or depth"
            ) from error
        self._slots.append(found)
        if timed and self._clock is None:
            with self._device:
                self._clock = CudaClock(self._cupy, self._fetches)
        return found

    def fetch(self, array: Any) -> CudaFetched:
        """Begin to bring an array to pinned memory, after what is queued on the current stream so far.

        An array of a slot may be fetched too: the slot is written again only behind this copy.
        """
        if not isinstance(array, self._cupy.ndarray):
            raise UsageError(f"fetch takes an array of {self.name}, not a {type(array).__name__}")
        with self._device:
            if not array.flags.c_contiguous:
                # Here, on the current stream, and so ahead of the event; the copy would do it beside both streams.
                array = self._cupy.ascontiguousarray(array)
            made = self._cupy.cuda.Event(disable_timing=True)
            made.record(self._cupy.cuda.get_current_stream())
            out = self._pinned(array.shape, array.dtype)
            self._fetches.wait_event(made)
            begun = None
            if self._clock is not None:
                begun = self._cupy.cuda.Event()
                begun.record(self._fetches)
            array.get(stream=self._fetches, out=out, blocking=False)
            done = self._cupy.cuda.Event(block=True, disable_timing=begun is None)
            done.record(self._fetches)
        for slot in self._slots:
            if slot.holds(array):
                slot.fetched = done
        fetched = CudaFetched(array, out, begun, done, self._clock)
        # A copy does not keep either array alive, and the caller may drop what it was given.
        self._fetching = [one for one in self._fetching if not one.done.done]
        self._fetching.append(fetched)
        return fetched

    def close(self) -> None:
        with self._device:
            self._copies.synchronize()
            self._fetches.synchronize()
            for slot in self._slots:
                slot.wait_consumed()
        self._slots.clear()
        self._fetching.clear()

    def _pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An array in page-locked memory of the host, which begins at a page or 512 bytes after another."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        try:
            memory = self._cupy.cuda.alloc_pinned_memory(max(1, nbytes))
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise OutOfMemoryError(
                f"{size(nbytes)} of pinned memory are not to be had ({printable(str(error))}): use a smaller batch or "
                "depth"
            ) from error
        return np.ndarray(shape, dtype, buffer=memory)


class CudaSlot:
    """A slot in a CUDA device's memory, allocated once and never freed while the data manager is open."""

    def __init__(self, cupy: Any, device: Any, copies: Any, fields: Sequence[Field], samples: int, timed: bool) -> None:
        self._cupy = cupy
        self._device = device
        self._copies = copies
        self.fetched: Any = None
        with device:
            self.arrays: tuple[Any, ...] = tuple(cupy.empty((samples, *field.shape), field.dtype) for field in fields)
            # A thread that waits for an event sleeps (block): it would take a core from the workers otherwise.
            self._ready = cupy.cuda.Event(block=True, disable_timing=not timed)
            self._begun = cupy.cuda.Event() if timed else None
            self._consumed = cupy.cuda.Event(block=True, disable_timing=True)
            # Memory from CuPy's pool may still be read by what its last owner had queued on this stream.
            self._consumed.record(cupy.cuda.get_current_stream())

    def start(self, host: Out, samples: int) -> None:
        with self._device:
            self._copies.wait_event(self._consumed)
            if self.fetched is not None:
                self._copies.wait_event(self.fetched)
                self.fetched = None
            if self._begun is not None:
                self._begun.record(self._copies)
            for here, there in zip(host, self.arrays, strict=True):
                there[:samples].set(here[:samples], stream=self._copies)
            self._ready.record(self._copies)

    def finish(self) -> float | None:
        self._ready.synchronize()
        if self._begun is None:
            return None
        return float(self._cupy.cuda.get_elapsed_time(self._begun, self._ready)) * 1e-3

    def ready(self) -> None:
        with self._device:
            self._cupy.cuda.get_current_stream().wait_event(self._ready)

    def consumed(self) -> None:
        with self._device:
            self._consumed.record(self._cupy.cuda.get_current_stream())

    def wait_consumed(self) -> None:
        """Return when what the consumer had queued on this slot is done."""
        self._consumed.synchronize()

    def holds(self, array: Any) -> bool:
        """Whether an array is part of this slot."""
        return any(ours.data.ptr <= array.data.ptr < ours.data.ptr + ours.nbytes for ours in self.arrays)


class CudaClock:
    """Tells when the device reached an event, in the host's nanoseconds.

    Parameters
    ----------
    cupy
        The module.
    stream
        Of the device that is current, with nothing queued: it is waited for.
    """

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cupy = cupy
        self._zero = cupy.cuda.Event(block=True)
        self._zero.record(stream)
        self._zero.synchronize()
        self._at = time.perf_counter_ns()

    def of(self, event: Any) -> int:
        """The moment at which an event with timing was reached."""
        return self._at + round(float(self._cupy.cuda.get_elapsed_time(self._zero, event)) * 1e6)


class CudaFetched:
    """An array on its way to pinned memory; it holds both ends of the copy.

    Parameters
    ----------
    array, out
        Where it comes from and goes to.
    begun, done
        Events before and behind the copy; the first only where there is a clock.
    clock
        Tells when they were reached; None if nobody wants to know.
    """

    def __init__(self, array: Any, out: np.ndarray, begun: Any, done: Any, clock: CudaClock | None) -> None:
        self._array = array
        self._out = out
        self._begun = begun
        self.done = done
        self._clock = clock

    def result(self) -> np.ndarray:
        self.done.synchronize()
        self._array = None
        return self._out

    def span(self) -> tuple[int, int] | None:
        if self._clock is None:
            return None
        return self._clock.of(self._begun), self._clock.of(self.done)


def _cupy_and_devices() -> tuple[Any, int]:
    """CuPy, and how many devices it finds."""
    try:
        import cupy
    except ImportError as error:
        raise UnavailableError(
            "device 'cuda' needs CuPy: pip install cupy-cuda13x, or the one for your version of CUDA "
            f"({printable(str(error).partition(chr(10))[0])})"
        ) from error
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise UnavailableError(f"device 'cuda': no GPU can be used here: {printable(str(error))}") from error
    if not count:
        raise UnavailableError("device 'cuda': there is no GPU here")
    return cupy, count
