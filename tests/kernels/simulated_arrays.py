"""The part of CuPy that operands and convolutions use, on the processor, with a clock of its own.

Memory is counted, and gone as soon as nothing refers to it. Signatures are those of CuPy 14.2.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from layerbench.device import Host, Run


class CUDARuntimeError(RuntimeError):
    """An error of CUDA."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    """The pool of device memory is exhausted."""


class ndarray:
    """Memory of the device; ``memory`` is what a kernel would see."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.shape, self.dtype, self.size, self.flags = memory.shape, memory.dtype, memory.size, memory.flags
        self.data = SimpleNamespace(ptr=memory.ctypes.data)

    def set(self, arr: np.ndarray) -> None:
        assert arr.dtype == self.dtype
        assert arr.shape == self.shape
        assert arr.flags.c_contiguous
        self.memory[...] = arr

    def get(self) -> np.ndarray:
        return self.memory.copy()

    def fill(self, value: float) -> None:
        self.memory.fill(value)

    def transpose(self, *axes: int) -> ndarray:
        return ndarray(self.memory.transpose(*axes))

    def reshape(self, *shape: int) -> ndarray:
        assert self.flags.c_contiguous, "it would be a copy"
        return ndarray(self.memory.reshape(*shape))


class Stream:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr
        self.synchronized = 0

    def synchronize(self) -> None:
        self.synchronized += 1


class CuPy:
    """The module; it has ``free`` bytes, ``allocations`` were made, and what ran took until ``clock`` (seconds)."""

    def __init__(self, capability: str = "90", free: float = 2**30) -> None:
        self.free = free
        self.allocations = 0
        self.clock = 0.0
        self.live: dict[int, int] = {}
        self.stream = Stream(0)
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: self.stream,
            Device=lambda: SimpleNamespace(compute_capability=capability),
            runtime=SimpleNamespace(
                getDevice=lambda: 0, runtimeGetVersion=lambda: 13000, CUDARuntimeError=CUDARuntimeError
            ),
            driver=SimpleNamespace(CUDADriverError=CUDARuntimeError),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=SimpleNamespace(CompileException=SyntaxError),
        )

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> ndarray:
        array = np.empty(shape, dtype)
        if array.nbytes > self.free - sum(self.live.values()):
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes")
        array.view(np.uint8).fill(0x77)
        self.allocations += 1
        self.live[array.ctypes.data] = array.nbytes
        weakref.finalize(array, self.live.pop, array.ctypes.data)
        return ndarray(array)

    def copyto(self, dst: ndarray, src: ndarray) -> None:
        assert dst.dtype == src.dtype
        assert dst.shape == src.shape
        dst.memory[...] = src.memory

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before


class Device(Host):
    """The device, timed by the simulated clock."""

    def __init__(self, cupy: CuPy) -> None:
        super().__init__()
        self._cupy = cupy
        self.timed: list[int] = []

    def time_parts(self, parts: Sequence[Run], repetitions: int, before_each: Run | None = None) -> list[float]:
        assert before_each is None
        self.timed.append(repetitions)
        taken = []
        for part in parts:
            start = self._cupy.clock
            for _ in range(repetitions):
                part()
            taken.append((self._cupy.clock - start) / repetitions)
        return taken
