"""A CUDA device: one GPU, timed by events on CuPy's current stream."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from layerbench.conditions import Conditions
from layerbench.cuda import library, nvml, probes, sources
from layerbench.cuda.graphs import Graphs
from layerbench.cuda.timing import Interval, Stopwatch
from layerbench.device import Connected, Device, Run, waits
from layerbench.layers import DType

SLOW = 0.75
"""Below this part of its default clock a GPU is slowed."""

MOST_SETS = 64
"""Sets of operands to go through in turn, at most."""

QUEUED = 100
"""Calls that the host queues in a row to see how long one takes it."""

ENERGY_SECONDS = 0.6
"""Calls are repeated for so long to see what they use: the counter may move on only every 0.1 s."""

ENERGY_CALLS = 3

ENERGY_LOOK = 0.01
"""Seconds of calls between two looks at the counter."""


class CudaDevice:
    """The GPU that is current when this is first used, and has to be whenever it is.

    Parameters
    ----------
    identifier
        The GPU's UUID or PCI bus id, as :func:`layerbench.cuda.library.visible` names it.
    """

    name = "cuda"
    bandwidth_source = (
        "the better of a = b + s c (12 bytes an element) and of reading alone, "
        "with float32 arrays that exceed four L2 caches each"
    )
    arithmetic_source = "independent multiply-adds in registers, on the cores for single values"

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self._flushed: Any = None

    @functools.cached_property
    def _watch(self) -> Stopwatch:
        return Stopwatch()

    @functools.cached_property
    def _cache_bytes(self) -> int:
        return library.attribute("L2CacheSize")

    def time_parts(self, parts: Sequence[Run], repetitions: int, before_each: Run | None = None) -> list[float]:
        """Time the parts of a step by events, the host's queueing hidden behind a kernel that holds the stream.

        What was never timed before is called once ahead. A call that waits has the time that passes on the stream until
        the host is back from it.
        """
        with library.refusals("timing"):
            found = self._watch.intervals([*parts] * repetitions, before_each)
        return [_mean(found[part :: len(parts)]) for part in range(len(parts))]

    def flush_cache(self) -> None:
        """Queue a read-modify-write of twice the L2 cache on the current stream."""
        with library.refusals("flushing the cache"):
            if self._flushed is None:
                self._flushed = library.load().zeros((math.ceil(2 * self._cache_bytes / 16), 4), np.uint32)
            sources.kernel("flush", "flush")(
                probes.grid(), (probes.THREADS,), (self._flushed, np.int64(len(self._flushed)))
            )

    def synchronize(self) -> None:
        """Wait for the current stream, and with it for what it waits for.

        Batches and gradients that are on their way beside it, on streams of their own, are not waited for.
        """
        with library.refusals("waiting for the GPU"):
            library.load().cuda.get_current_stream().synchronize()

    def free_memory(self) -> int:
        """Bytes that CUDA has free, and those that CuPy's pool keeps for another time."""
        cupy = library.load()
        with library.refusals("asking for the GPU's free memory"):
            return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())

    def bandwidth(self, threads: int) -> list[float]:
        """Bytes a second of the triad and of reading alone; the threads are the host's, and have no part in it."""
        with library.refusals("measuring the bandwidth"):
            rates = probes.bandwidth(self._seconds, self.free_memory(), self._cache_bytes)
            # Others allocate beside CuPy's pool, which would keep these gigabytes.
            library.load().get_default_memory_pool().free_all_blocks()
        return rates

    def arithmetic(self, dtype: DType) -> list[float]:
        """FLOP/s of multiply-adds in registers; only of fp32 and fp64.

        The other types run on tensor cores, whose pace a matrix product shows.
        """
        with library.refusals("measuring arithmetic"):
            return probes.arithmetic(self._seconds, dtype)

    def _seconds(self, run: Run) -> float:
        return CudaDevice.time_parts(self, [run], 1)[0]

    def replayed(self) -> Device:
        return self._replayed

    @functools.cached_property
    def _replayed(self) -> Device:
        return Replayed(self)

    def rotation(self, nbytes: int) -> int:
        """Sets of operands that exceed the L2 cache twice, at most 64; whether so many fit is for the caller to see."""
        return min(MOST_SETS, max(1, math.ceil(2 * self._cache_bytes / max(1, nbytes))))

    def connect(self, ranks: Connected, collectives: str, dtype: DType) -> Connected:
        from layerbench.cuda import exchange

        return cast(Connected, exchange.connected(cast(Any, ranks), collectives, dtype))

    def slowed(self) -> bool:
        """Whether the multiprocessors ran below 75 % of their default clock in the last sample.

        It only says so: a sample is never dropped for it. False where the sample was too short to tell.
        """
        with library.refusals("reading the core clock"):
            clock = self._watch.clock()
        return clock is not None and clock < SLOW * self._default_clock

    @functools.cached_property
    def _default_clock(self) -> float:
        """In Hz."""
        monitor = nvml.monitor(self.identifier)
        told = monitor.default_core_clock() if monitor is not None else None
        # CUDA gives the highest clock, in kHz.
        return told if told is not None else library.attribute("ClockRate") * 1e3

    def conditions(self) -> Conditions | None:
        monitor = nvml.monitor(self.identifier)
        return monitor.conditions() if monitor is not None else None

    def energy(self, run: Run, seconds: float) -> float | None:
        """Joules of one call, of many in a row.

        The GPU's counter moves on in steps of up to 0.1 s. What was used is therefore taken between two of its steps,
        the first and the last that are seen while the calls run. All that the GPU uses counts, also what it would use
        while idle. How many calls are made depends on ``seconds`` alone, so that ranks make as many of an exchange.
        """
        monitor = nvml.monitor(self.identifier)
        if monitor is None or (joules := monitor.energy()) is None:
            return None
        calls = max(ENERGY_CALLS, math.ceil(ENERGY_SECONDS / max(seconds, 1e-6)))
        together = max(1, math.ceil(ENERGY_LOOK / max(seconds, 1e-6)))
        begin, steps = joules, []
        with library.refusals("measuring energy"):
            for made in range(1, calls + 1):
                run()
                if made % together and made < calls:
                    continue
                self.synchronize()
                now = monitor.energy()
                if now is None:
                    return None
                if now != joules:
                    steps.append((made, now))
                joules = now
        if len(steps) < 3:
            return (joules - begin) / calls
        (first, least), (last, most) = steps[0], steps[-1]
        return (most - least) / (last - first)

    def launch_seconds(self, run: Run) -> float | None:
        """Seconds in which the host queues a call, on a stream that is held so that nothing else slows it."""
        if waits(run):
            return None
        with library.refusals("timing launches"):
            return self._watch.queued(run, QUEUED, time.perf_counter)


class Replayed(CudaDevice):
    """A GPU whose calls are replayed from CUDA graphs: all repetitions of a part in one graph, part after part.

    Calls that wait cannot be captured, and are made as they are.
    """

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device.identifier)
        self._device = device
        self._graphs = Graphs()

    def flush_cache(self) -> None:
        # What it takes for that is there once.
        self._device.flush_cache()

    def time_parts(self, parts: Sequence[Run], repetitions: int, before_each: Run | None = None) -> list[float]:
        """Time graphs of the parts, each of as many calls as there are repetitions, the host's launch hidden.

        With something before each call, a graph has one call.

        Raises
        ------
        MeasurementError
            If CUDA cannot capture a part.
        """
        of_graph = 1 if before_each is not None else repetitions
        launches = repetitions // of_graph
        with library.refusals("timing"):
            self._watch.meet(parts)
            calls = [
                [part] * repetitions if waits(part) else [self._graphs.of(part, of_graph, index)] * launches
                for index, part in enumerate(parts)
            ]
            if before_each is not None:
                found = self._watch.intervals([call for step in zip(*calls, strict=True) for call in step], before_each)
                return [_mean(found[part :: len(parts)]) for part in range(len(parts))]
            found = self._watch.intervals([call for part in calls for call in part])
        of_parts = iter(found)
        return [
            sum(interval.seconds for _, interval in zip(part, of_parts, strict=False)) / repetitions for part in calls
        ]

    def replayed(self) -> Device:
        return self


def current() -> CudaDevice:
    """The GPU that is current now.

    Raises
    ------
    UnavailableError
        If there is none.
    """
    return _of(int(library.load().cuda.runtime.getDevice()))


@functools.cache
def _of(index: int) -> CudaDevice:
    return CudaDevice(library.visible()[index])


def _mean(intervals: Sequence[Interval]) -> float:
    """Seconds of a call: of those whose queueing was hidden, where there are any."""
    seconds = [interval.seconds for interval in intervals if interval.sound]
    return math.fsum(seconds or [interval.seconds for interval in intervals]) / max(1, len(seconds) or len(intervals))
