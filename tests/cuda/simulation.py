"""CuPy and a GPU in virtual time: kernels, launches and the host take as long as they are told, to the nanosecond.

The host's time passes in calls of CUDA only. A stream does what is queued in order, none of it before it is queued; a
full launch queue makes the host wait; a kernel that holds a stream reads and writes the memory of the host that it is
given.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerbench.cuda import device, graphs, library, nvml, sources
from tests.cuda.simulated_kernels import Op, RawModule, ndarray

ATTRIBUTES = {"L2CacheSize": 38, "ClockRate": 13, "MultiProcessorCount": 16}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CUDADriverError(CUDARuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


class Stream:
    def __init__(self, sim: Simulation, non_blocking: bool = False) -> None:
        self.sim = sim
        self.pending: deque[Op] = deque()
        self.ends: deque[float] = deque()
        self.free = 0.0
        self.captured: list[Op] | None = None
        self.invalid = False
        self.non_blocking = non_blocking

    def __enter__(self) -> Stream:
        self.sim.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.captured is None, "a stream refuses all else until its capture is ended"
        self.sim.streams.pop()

    def queue(self, op: Op) -> None:
        if self.captured is not None:
            assert op.hold is None, "a stream is held within a capture"
            self.captured.append(op)
            self.sim.spend(self.sim.launch)
            return
        self.resolve()
        while self.unfinished() >= self.sim.depth:
            self._wait_for_room()
        op.queued = self.sim.now
        self.pending.append(op)
        self.sim.spend(self.sim.launch)
        self.resolve()

    def unfinished(self) -> int:
        while self.ends and self.ends[0] <= self.sim.now:
            self.ends.popleft()
        return len(self.pending) + len(self.ends)

    def _wait_for_room(self) -> None:
        if self.ends:
            self.sim.now = self.ends[0]
        else:
            self._wait_for_hold()
        self.resolve()

    def _wait_for_hold(self) -> None:
        """The host waits for a stream that waits for the host."""
        hold = self.pending[0].hold
        assert hold is not None
        self.sim.now = max(self.free, self.pending[0].queued) + hold[3]
        self.sim.stuck += 1

    def resolve(self) -> None:
        """Do what can be done by now."""
        while self.pending:
            op = self.pending[0]
            start = max(self.free, op.queued)
            end = start + op.duration
            if op.hold is not None:
                released, gave_up, turn, patience = op.hold
                if self.sim.now > start + patience:
                    end = start + patience
                    ctypes.c_int.from_address(gave_up).value = turn
                elif ctypes.c_int.from_address(released).value >= turn:
                    end = max(start, self.sim.now)
                elif self.sim.now == start + patience:
                    end = start + patience
                    ctypes.c_int.from_address(gave_up).value = turn
                else:
                    return
            self.pending.popleft()
            self.free = end
            self.ends.append(end)
            op.effect(start, end)

    def synchronize(self) -> None:
        self.refuse_in_capture()
        self.resolve()
        while self.pending:
            self._wait_for_hold()
            self.resolve()
        self.sim.now = max(self.sim.now, self.free)

    def refuse_in_capture(self) -> None:
        if self.captured is not None:
            self.invalid = True
            text = "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            raise CUDARuntimeError(900, text)

    def begin_capture(self, mode: int | None = None) -> None:
        assert self.non_blocking, "a blocking stream would be waited for by the legacy one"
        self.captured, self.invalid = [], False

    def end_capture(self) -> Graph:
        ops, self.captured = self.captured, None
        assert ops is not None
        if self.invalid:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        self.sim.captures += 1
        return Graph(self.sim, ops)


class Graph:
    def __init__(self, sim: Simulation, ops: list[Op]) -> None:
        self._sim, self.ops = sim, ops
        self.uploaded = False
        self.graph = id(self)
        sim.graphs.append(self)

    def upload(self, stream: Stream | None = None) -> None:
        self.uploaded = True

    def launch(self, stream: Stream | None = None) -> None:
        assert self.uploaded, "the first launch would upload it"

        def all_of_them(start: float, end: float) -> None:
            for op in self.ops:
                op.effect(start, start + op.duration)
                start += op.duration

        (stream or self._sim.stream).queue(Op(sum(op.duration for op in self.ops), all_of_them))


class Event:
    def __init__(self, sim: Simulation, block: bool = False, disable_timing: bool = False) -> None:
        assert not block, "a thread that is woken is late"
        assert not disable_timing
        sim.allocate()
        self.sim = sim
        self.at: float | None = None

    def record(self, stream: Stream) -> None:
        self.at = None

        def reach(start: float, end: float) -> None:
            self.at = end

        stream.queue(Op(0, reach))


@dataclass
class Simulation:
    """What it takes: nanoseconds, bytes, and rates in SI units.

    Attributes
    ----------
    now
        The host's time.
    launch
        What the host takes to queue anything.
    depth
        Launches that a stream has room for.
    stuck
        How often the host waited for a stream that waited for it.
    stamped
        The multiprocessors that blocks of one launch come to run on.
    """

    now: float = 0
    launch: float = 3_000
    depth: int = 1024
    memory: int = 2**28
    cache: int = 2**20
    bytes_per_second: float = 1e12
    flops: float = 1e13
    clock: float = 1.98e9
    stamp: float = 2_000
    multiprocessors: int = 4
    stamped: Callable[[], list[int]] = lambda: [0, 1, 2, 3]
    devices: int = 1
    toolkit: int = 13020
    driver: int = 13020
    refused: tuple[int, str] | None = None
    stuck: int = 0
    allocations: int = 0
    captures: int = 0
    flushed: list[float] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)
    using: int = 0

    def __post_init__(self) -> None:
        self.streams = [Stream(self)]
        self.cupy = self._module()

    @property
    def stream(self) -> Stream:
        return self.streams[-1]

    def spend(self, nanoseconds: float) -> None:
        """The host is busy for so long."""
        self.now += nanoseconds
        self.streams[0].resolve()

    def allocate(self) -> None:
        self.stream.refuse_in_capture()
        self.allocations += 1

    def load(self) -> None:
        """Load a kernel, which CUDA does at its first launch; it may wait for the stream."""
        self.stream.refuse_in_capture()
        self.streams[0].synchronize()

    def work(self, nanoseconds: float, launches: int = 1) -> Callable[[], None]:
        """A call that queues kernels which together take so long."""

        loaded = []

        def run() -> None:
            if not loaded:
                self.load()
                loaded.append(True)
            for _ in range(launches):
                self.stream.queue(Op(nanoseconds / launches))

        return run

    def waiting(self, nanoseconds: float) -> Callable[[], None]:
        """A call that waits for the stream and then keeps the host busy for so long."""

        def run() -> None:
            self.stream.synchronize()
            self.spend(nanoseconds)

        run.waits = True  # type: ignore[attr-defined]
        return run

    def _array(self, shape: Any, dtype: Any) -> ndarray:
        self.allocate()
        return ndarray(self, np.zeros(shape, dtype))

    def _pinned(self, nbytes: int) -> np.ndarray:
        self.allocate()
        return np.full(nbytes, 0xAB, np.uint8)

    def _count(self) -> int:
        if self.refused is not None:
            raise CUDARuntimeError(*self.refused)
        return self.devices

    def _elapsed(self, start: Event, end: Event) -> float:
        for event in (start, end):
            assert event.at is not None
            assert event.at <= self.now, "cudaErrorNotReady"
        return (end.at - start.at) * 1e-6  # type: ignore[operator]

    def _module(self) -> Any:
        values = {"L2CacheSize": self.cache, "ClockRate": 1_980_000, "MultiProcessorCount": self.multiprocessors}
        sim = self

        class Device:
            def __init__(self, index: int | None = None) -> None:
                self.id = sim.using if index is None else index

            def use(self) -> None:
                sim.using = self.id

            def synchronize(self) -> None:
                sim.stream.refuse_in_capture()
                sim.streams[0].synchronize()

        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDevice=lambda: sim.using,
            getDeviceCount=self._count,
            deviceGetPCIBusId=lambda index: f"0000:{index:02x}:00.0",
            deviceGetAttribute=lambda attribute, _: {ATTRIBUTES[name]: value for name, value in values.items()}[
                attribute
            ],
            memGetInfo=lambda: (self.memory - 2**20, self.memory),
            runtimeGetVersion=lambda: self.toolkit,
            driverGetVersion=lambda: self.driver,
            **{f"cudaDevAttr{name}": number for name, number in ATTRIBUTES.items()},
        )
        cuda = SimpleNamespace(
            Device=Device,
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            Event=lambda **options: Event(self, **options),
            alloc_pinned_memory=self._pinned,
            compiler=SimpleNamespace(CompileException=CompileException),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            get_current_stream=lambda: self.stream,
            get_elapsed_time=self._elapsed,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=runtime,
        )
        pool = SimpleNamespace(free_bytes=lambda: 2**20, free_all_blocks=lambda: None)
        return SimpleNamespace(
            __version__="14.2.0",
            cuda=cuda,
            empty=self._array,
            zeros=self._array,
            get_default_memory_pool=lambda: pool,
            RawModule=lambda code, options: RawModule(self, code),
        )


def forget() -> None:
    """What was found with one CuPy is nothing to another."""
    for memoised in (library.load, sources.kernel, sources._module, device._of, graphs._capturing):
        memoised.cache_clear()


def simulated(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Simulation:
    """A simulation that is CuPy for the rest of a test; no monitor tells of its GPU."""
    simulation = Simulation(**options)
    monkeypatch.setitem(sys.modules, "cupy", simulation.cupy)
    monkeypatch.setattr(library, "driver", lambda: None)
    monkeypatch.setattr(nvml, "monitor", lambda name: None)
    forget()
    return simulation


def real_device() -> device.CudaDevice:
    """The real GPU; skips with the reason where there is none."""
    forget()
    found = library.availability()
    if not found.ok:
        pytest.skip(found.reason)
    return device.current()
