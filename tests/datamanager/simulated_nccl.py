"""CuPy's streams and its NCCL on processors, for ranks of MPI: what is queued is done as late as it may be.

A stream does nothing until somebody waits for it, and then only what is waited for: work that ought to have waited for
other work, and does not, finds it undone. Signatures are those of CuPy 14; what is here is what the exchange uses.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from mpi4py import MPI

FIRST_STREAM = 1000


class Stream:
    """Work that waits, in order."""

    numbers = itertools.count(FIRST_STREAM)
    by_pointer: dict[int, Stream] = {}  # noqa: RUF012 - one for all
    current: list[Stream] = []  # noqa: RUF012

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        assert null or non_blocking, "one that does not wait for the default stream is meant"
        self.ptr = next(self.numbers)
        self.by_pointer[self.ptr] = self
        self._work: list[Callable[[], object]] = []
        self._done = 0

    def __enter__(self) -> Stream:
        self.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.current.pop()

    def queue(self, work: Callable[[], object]) -> int:
        self._work.append(work)
        return len(self._work)

    def has_done(self, count: int) -> bool:
        return self._done >= count

    def do(self, count: int) -> None:
        while self._done < count:
            self._done += 1
            self._work[self._done - 1]()
            self._work[self._done - 1] = lambda: None

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        recorded = event.recorded
        if recorded is not None:
            stream, count = recorded
            self.queue(lambda: stream.do(count))

    def synchronize(self) -> None:
        self.do(len(self._work))


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.timed = not disable_timing
        self.recorded: tuple[Stream, int] | None = None
        self.at = 0.0

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or Stream.current[-1]
        self.recorded = (stream, stream.queue(lambda: setattr(self, "at", time.perf_counter())))

    @property
    def done(self) -> bool:
        """Each look lets a piece of work be done."""
        if self.recorded is None:
            return True
        stream, count = self.recorded
        if not stream.has_done(count):
            stream.do(stream._done + 1)
        return stream.has_done(count)

    def synchronize(self) -> None:
        if self.recorded is not None:
            self.recorded[0].do(self.recorded[1])


class Device:
    current: list[int] = [0]  # noqa: RUF012

    def __init__(self, index: int | None = None) -> None:
        self.id = self.current[-1] if index is None else index

    def __enter__(self) -> None:
        self.current.append(self.id)

    def __exit__(self, *_: object) -> None:
        self.current.pop()


class Array:
    """Memory of a device, which only queued work touches; ``memory`` is what that sees."""

    def __init__(self, memory: np.ndarray, device: int) -> None:
        self.memory, self.device = memory, Device(device)
        self.dtype, self.size, self.nbytes, self.flags = memory.dtype, memory.size, memory.nbytes, memory.flags
        self.data = type("Pointer", (), {"ptr": memory.ctypes.data})
        self.__cuda_array_interface__ = {"data": (memory.ctypes.data, False)}

    def _queue(self, work: Callable[[], object]) -> None:
        assert Device.current[-1] == self.device.id, "a kernel is launched on the current device"
        Stream.current[-1].queue(work)

    def reshape(self, shape: int) -> Array:
        return Array(self.memory.reshape(shape), self.device.id)

    def __getitem__(self, key: Any) -> Array:
        return Array(self.memory[key], self.device.id)

    def __setitem__(self, key: Any, value: Array) -> None:
        self._queue(lambda: self.memory.__setitem__(key, value.memory))

    def fill(self, value: Any) -> None:
        self._queue(lambda: self.memory.fill(value))

    def write(self, values: Any) -> None:
        """What a kernel of the backward pass does."""
        self._queue(lambda: self.memory.__setitem__(..., values))


class NcclError(RuntimeError):
    pass


class NcclCommunicator:
    alive = 0
    failing = False

    def __init__(self, ndev: int, commId: bytes, rank: int) -> None:
        self._world = MPI.COMM_WORLD.Dup()
        assert (ndev, rank) == (self._world.size, self._world.rank)
        assert commId == b"made by rank 0"
        type(self).alive += 1

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        if self.failing:
            raise NcclError("NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error")
        assert sendbuf == recvbuf
        assert op == 0
        dtype = np.dtype("iIlLefd"[datatype - 2])
        memory = np.ctypeslib.as_array((ctypes.c_byte * (count * dtype.itemsize)).from_address(recvbuf)).view(dtype)
        Stream.by_pointer[stream].queue(lambda: self._world.Allreduce(MPI.IN_PLACE, memory))

    def check_async_error(self) -> None:
        pass

    def destroy(self) -> None:
        type(self).alive -= 1

    abort = destroy


def install() -> Any:
    """Make it what ``import cupy`` finds; returned too."""
    cupy, cuda, nccl, runtime = (ModuleType(name) for name in ("cupy", "cupy.cuda", "cupy.cuda.nccl", "runtime"))
    Stream.current.append(Stream(null=True))
    runtime.CUDARuntimeError = type("CUDARuntimeError", (RuntimeError,), {})  # type: ignore[attr-defined]
    numbers = {"INT32": 2, "UINT32": 3, "INT64": 4, "UINT64": 5, "FLOAT16": 6, "FLOAT32": 7, "FLOAT64": 8}
    vars(nccl).update({f"NCCL_{name}": number for name, number in numbers.items()})
    vars(nccl).update(
        available=True,
        NCCL_SUM=0,
        NcclError=NcclError,
        NcclCommunicator=NcclCommunicator,
        get_unique_id=lambda: b"made by rank %d" % MPI.COMM_WORLD.rank,
    )
    vars(cuda).update(
        nccl=nccl,
        runtime=runtime,
        Stream=Stream,
        Event=Event,
        Device=Device,
        get_current_stream=lambda: Stream.current[-1],
        get_elapsed_time=elapsed,
    )
    vars(cupy).update(cuda=cuda, empty=empty, divide=divide)
    sys.modules |= {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": nccl}
    return cupy


def elapsed(start: Event, end: Event) -> float:
    assert start.timed
    assert end.timed
    assert start.at > 0
    assert end.at > 0
    return (end.at - start.at) * 1e3


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    return Array(np.full(shape, 77, dtype), Device.current[-1])


def divide(array: Array, divisor: int, out: Array) -> None:
    assert out is array
    array._queue(lambda: np.divide(array.memory, divisor, out=array.memory))
