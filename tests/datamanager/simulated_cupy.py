"""CuPy's arrays, streams and events on the processor: each stream is a thread that does what is queued, late.

What CuPy promises holds here, and no more. Work of one stream is done in order, that of several at once and at any
time; an event stands for what was queued when it was recorded; copies read and write when their turn comes, not when
they are queued. Signatures are those of CuPy 14.2.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np

DELAY = 1e-3
"""The longest that a piece of work waits for nothing."""

_seeds = itertools.count()
_here = threading.local()


class CUDARuntimeError(RuntimeError):
    """An error of CUDA."""


class OutOfMemoryError(MemoryError):
    """The pool of device memory is exhausted."""


class Stream:
    """A queue of work and the thread that does it, which ends when the stream is no longer referred to."""

    def __init__(self, *, non_blocking: bool = False) -> None:
        self.non_blocking = non_blocking
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        threading.Thread(target=_do, args=(self._queue, next(_seeds)), name="simulated stream", daemon=True).start()
        weakref.finalize(self, self._queue.put, None)

    def queue(self, work: Callable[[], object]) -> None:
        """What launching a kernel is."""
        self._queue.put(work)

    def wait_event(self, event: Event) -> None:
        self.queue(event.reached.wait)

    def synchronize(self) -> None:
        done = threading.Event()
        self.queue(done.set)
        done.wait()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it the thread's current stream, as CuPy's ``with stream`` does."""
        before, _here.stream = getattr(_here, "stream", None), self
        try:
            yield
        finally:
            _here.stream = before


def _do(queue: SimpleQueue[Callable[[], object] | None], seed: int) -> None:
    chance = random.Random(seed)
    while (work := queue.get()) is not None:
        if chance.random() < 0.3:
            time.sleep(chance.random() * DELAY)
        work()
        del work


class Event:
    """Stands for all that a stream had queued when it was last recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.block = block
        self.timed = not disable_timing
        self.at = 0.0
        self.reached = threading.Event()
        self.reached.set()

    def record(self, stream: Stream | None = None) -> None:
        assert stream is not None, "the legacy default stream is never meant"
        self.reached = reached = threading.Event()

        def reach() -> None:
            self.at = time.perf_counter()
            reached.set()

        stream.queue(reach)

    def synchronize(self) -> None:
        assert self.block, "the thread would spin on a core"
        self.reached.wait()

    @property
    def done(self) -> bool:
        return self.reached.is_set()


class ndarray:
    """Memory of the device; ``memory`` is what a kernel would see."""

    def __init__(self, memory: np.ndarray, pinned: Callable[[np.ndarray], bool]) -> None:
        self.memory = memory
        self.shape = memory.shape
        self.dtype = memory.dtype
        self.nbytes = memory.nbytes
        self.data = SimpleNamespace(ptr=memory.ctypes.data)
        self.flags = memory.flags
        self._pinned = pinned

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self.memory[key], self._pinned)

    def __len__(self) -> int:
        return len(self.memory)

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        assert stream is not None
        assert self._pinned(arr), "a copy from pageable memory is synchronous"
        stream.queue(lambda: np.copyto(self.memory, arr))

    def get(
        self, stream: Stream | None = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        assert stream is not None
        assert out is not None
        assert not blocking
        assert out.shape == self.shape
        assert out.dtype == self.dtype
        assert self.flags.c_contiguous
        assert self._pinned(out), "a copy to pageable memory is synchronous"
        stream.queue(lambda: np.copyto(out, self.memory))
        return out


def simulated_cupy(devices: int = 2, memory: float = float("inf")) -> Any:
    """A module like CuPy, with so many devices, whose pool has so many bytes."""
    null = Stream()
    pinned: list[tuple[int, int]] = []
    left = [memory]

    class Device:
        def __init__(self, index: int) -> None:
            self.id = index
            self._before: list[int] = []

        def __enter__(self) -> None:
            self._before.append(getattr(_here, "device", 0))
            _here.device = self.id

        def __exit__(self, *_: object) -> None:
            _here.device = self._before.pop()

    def alloc_pinned_memory(nbytes: int) -> np.ndarray:
        if nbytes > left[0]:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        buffer = np.full(nbytes, 0xAB, np.uint8)
        pinned.append((buffer.ctypes.data, buffer.ctypes.data + nbytes))
        return buffer

    def is_pinned(array: np.ndarray) -> bool:
        return any(start <= array.ctypes.data <= stop - array.nbytes for start, stop in pinned)

    def empty(shape: tuple[int, ...], dtype: Any) -> ndarray:
        array = np.full(shape, 77, dtype)
        left[0] -= array.nbytes
        if left[0] < 0:
            raise OutOfMemoryError
        return ndarray(array, is_pinned)

    def ascontiguousarray(array: ndarray) -> ndarray:
        copy = empty(array.shape, array.dtype)
        get_current_stream().queue(lambda: np.copyto(copy.memory, array.memory))
        return copy

    def get_current_stream(device_id: int = -1) -> Stream:
        assert getattr(_here, "device", 0) == devices - 1, "each device has current streams of its own"
        return getattr(_here, "stream", None) or null

    def get_elapsed_time(start: Event, end: Event) -> float:
        assert start.timed
        assert end.timed
        return (end.at - start.at) * 1e3

    def get_device_count() -> int:
        if devices < 0:
            raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return devices

    return SimpleNamespace(
        ndarray=ndarray,
        empty=empty,
        ascontiguousarray=ascontiguousarray,
        cuda=SimpleNamespace(
            Device=Device,
            Stream=Stream,
            Event=Event,
            alloc_pinned_memory=alloc_pinned_memory,
            get_current_stream=get_current_stream,
            get_elapsed_time=get_elapsed_time,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError, getDeviceCount=get_device_count, getDevice=lambda: devices - 1
            ),
        ),
    )
