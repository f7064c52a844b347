"""What timing needs of a device; the host here, other devices in files of their own.

A sampler asks a device to time the parts of one step and knows nothing of clocks, events or streams.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np

from layerbench.conditions import Conditions
from layerbench.environment import available_memory_bytes, last_level_cache_bytes
from layerbench.errors import OutOfMemoryError, UsageError
from layerbench.layers import DType
from layerbench.topology import one_of_each_core
from layerbench.units import size

Run = Callable[[], None]

Connected = TypeVar("Connected")

STREAM_BYTES = 2**30
"""The most that the three arrays of the host's bandwidth take together."""

STREAM_REPETITION = 0.05
"""Least seconds of a repetition: starting and joining many threads takes a millisecond."""

STREAM_TOUCHING = 0.5
"""Seconds of first touch after which the arrays are large enough as they are."""

STREAM_SECONDS = 0.3
STREAM_REPETITIONS = 3
"""Bandwidth is repeated for so many seconds, and so often at least."""


def waits(run: Run) -> bool:
    """Whether a call returns only when what it does is done, on the device too.

    Such a call (an exchange by MPI, a copy that is waited for) says so by an attribute ``waits = True``. All others may
    only queue their work: a device may have many of them queued before the first one runs, or capture them in a graph.
    """
    return bool(getattr(run, "waits", False))


class Device(Protocol):
    """What timing needs of the device a kernel runs on."""

    name: str
    """What the device is, as it is recorded: ``host``, ``cuda``."""

    bandwidth_source: str
    """What :meth:`bandwidth` times, in words, for the record."""

    arithmetic_source: str
    """What :meth:`arithmetic` times, in words, for the record."""

    def time_parts(self, parts: Sequence[Run], repetitions: int, before_each: Run | None = None) -> list[float]:
        """Run the parts of one step one after another, the whole step ``repetitions`` times, and time each part.

        Parameters
        ----------
        parts
            The timed calls, in order. None of them allocates.
        repetitions
            How often the step is repeated, so that what is too quick for the clock can be timed.
        before_each
            Called before every timed call, outside the timed region; flushes caches, for one.

        Returns
        -------
        list of float
            Seconds of one call of each part.
        """
        ...

    def flush_cache(self) -> None:
        """Evict what the last-level cache holds."""
        ...

    def synchronize(self) -> None:
        """Return when all is done that this thread has queued on the device's current stream."""
        ...

    def free_memory(self) -> int:
        """Bytes that could be allocated now."""
        ...

    def bandwidth(self, threads: int) -> list[float]:
        """How quickly the device reads and writes memory that no cache holds.

        Parameters
        ----------
        threads
            Threads of the rank; a device that has none of its own ignores it.

        Returns
        -------
        list of float
            Bytes a second of each repetition. The best one counts, because it is wanted as a ceiling.

        Raises
        ------
        OutOfMemoryError
            If too little memory is free for arrays that exceed the caches.
        """
        ...

    def arithmetic(self, dtype: DType) -> list[float]:
        """FLOP/s of each repetition of independent multiply-adds in registers; empty where that is not measured."""
        ...

    def replayed(self) -> Device:
        """The same device, which times calls by capturing them in a graph and replaying it.

        Raises
        ------
        UsageError
            If it has no graphs.
        """
        ...

    def rotation(self, nbytes: int) -> int:
        """How many sets of operands, of so many bytes each, it takes to exceed the last-level cache twice; at least 1.

        Where they are used in turn, none of them is found in the cache.
        """
        ...

    def connect(self, ranks: Connected, collectives: str, dtype: DType) -> Connected:
        """Ranks whose exchanges take buffers in this device's memory.

        Parameters
        ----------
        ranks
            Ranks whose exchanges take buffers of the host; every one of them has to ask.
        collectives
            What exchanges: ``auto``, ``nccl``, ``mpi`` or ``staged``.
        dtype
            Of what is in the buffers, whose own dtype may only tell its width.

        Raises
        ------
        UsageError, UnavailableError
            If that makes no sense on this device; if it cannot be had here.
        """
        ...

    def slowed(self) -> bool:
        """Whether the device ran well below its usual clock in the last :meth:`time_parts`, as far as it can tell."""
        ...

    def conditions(self) -> Conditions | None:
        """Clocks, temperature and power of this moment; None where the device has no way to tell."""
        ...

    def energy(self, run: Run, seconds: float) -> float | None:
        """Joules of one call that takes about so many seconds, of many in a row; None where nothing counts them."""
        ...

    def launch_seconds(self, run: Run) -> float | None:
        """Seconds in which the host queues one call; None where calls are not queued."""
        ...


class Host:
    """The processor this rank is pinned to, timed by ``time.perf_counter_ns``."""

    name = "host"
    arithmetic_source = ""
    bandwidth_source = (
        "the better of a = b + c (24 bytes an element) and of reading alone, "
        "with float64 arrays that exceed the last-level cache"
    )

    def __init__(self) -> None:
        self._flush_buffer: np.ndarray | None = None

    def time_parts(self, parts: Sequence[Run], repetitions: int, before_each: Run | None = None) -> list[float]:
        clock = time.perf_counter_ns
        total = [0] * len(parts)
        for _ in range(repetitions):
            before = clock()
            for index, part in enumerate(parts):
                if before_each is not None:
                    before_each()
                    before = clock()
                part()
                after = clock()
                total[index] += after - before
                before = after
        return [nanoseconds / repetitions * 1e-9 for nanoseconds in total]

    def flush_cache(self) -> None:
        """Evict what the last-level cache holds, by writing over twice as much memory."""
        if self._flush_buffer is None:
            self._flush_buffer = np.zeros(2 * last_level_cache_bytes() // 8, dtype=np.int64)
        # A read-modify-write of every line: a plain fill may use stores that bypass the cache and evict nothing.
        np.add(self._flush_buffer, 1, out=self._flush_buffer)

    def synchronize(self) -> None:
        """Nothing to wait for: a call on the host returns when it is done."""

    def free_memory(self) -> int:
        return available_memory_bytes()

    def arithmetic(self, dtype: DType) -> list[float]:
        """None: what a processor's cores reach, its matrix products show."""
        return []

    def replayed(self) -> Device:
        raise UsageError("--cuda-graph needs kernels of a GPU; these run on the processor")

    def rotation(self, nbytes: int) -> int:
        return max(1, math.ceil(2 * last_level_cache_bytes() / max(1, nbytes)))

    def connect(self, ranks: Connected, collectives: str, dtype: DType) -> Connected:
        """The ranks as they are: MPI takes the host's memory."""
        if collectives not in {"auto", "mpi"}:
            raise UsageError(
                f"--collectives {collectives} is for kernels of a GPU; these run on the processor; MPI takes its memory"
            )
        return ranks

    def slowed(self) -> bool:
        return False

    def conditions(self) -> Conditions | None:
        return None

    def energy(self, run: Run, seconds: float) -> float | None:
        return None

    def launch_seconds(self, run: Run) -> float | None:
        return None

    def bandwidth(self, threads: int) -> list[float]:
        """Bytes a second of ``a = b + c`` and of reading float64 arrays, split over threads on cores of their own.

        The first is the sum of STREAM (McCalpin, Memory bandwidth and machine balance in current high performance
        computers, 1995), by its convention: 24 bytes an element, two reads and one write. A processor that reads a line
        before it writes to it moves a third more than that, so reading alone can be the faster; and a pass that reads
        weights does little else. The better of the two is the ceiling for compulsory bytes.

        Each array has four times the last-level cache where memory allows; together they take at most a quarter of
        what is free, and 1 GiB. Where the system is slow to give memory they are smaller, but never less than twice the
        cache together: a virtual machine may need seconds for what a machine has in a tenth of that.
        """
        cache = last_level_cache_bytes()
        elements = stream_elements(self.free_memory(), cache)
        arrays = [np.empty(elements) for _ in range(3)]
        ends = [elements * thread // threads for thread in range(threads + 1)]
        shares = [[array[start:stop] for array in arrays] for start, stop in itertools.pairwise(ends)]
        least = math.ceil(2 * cache / (24 * threads))
        with _threads_on_cores(threads) as workers:

            def on_all(work: Callable[[list[np.ndarray]], int]) -> list[int]:
                running = [worker.submit(work, share) for worker, share in zip(workers, shares, strict=True)]
                return [each.result() for each in running]

            def seconds(work: Callable[[list[np.ndarray], int], int], times: int) -> float:
                begin = time.perf_counter_ns()
                on_all(lambda share: work(share, times))
                return (time.perf_counter_ns() - begin) * 1e-9

            until = time.perf_counter_ns() + round(STREAM_TOUCHING * 1e9)
            touched = on_all(lambda share: _touch(share, least, until))
            shares = [[array[:count] for array in share] for share, count in zip(shares, touched, strict=True)]
            rates: list[float] = []
            for work in (_add, _read):
                times = math.ceil(STREAM_REPETITION / seconds(work, 1))
                taken: list[float] = []
                while len(taken) < STREAM_REPETITIONS or sum(taken) < STREAM_SECONDS:
                    taken.append(seconds(work, times))
                rates += [24 * sum(touched) * times / each for each in taken]
        return rates


def stream_elements(free: int, cache: int) -> int:
    """Elements of each of the three arrays that bandwidth is measured with, of free memory and a cache in bytes.

    Raises
    ------
    OutOfMemoryError
        If together they would not be twice the cache: what it keeps between repetitions would be timed.
    """
    allowed = min(free // 4, STREAM_BYTES)
    elements = min(4 * cache, allowed // 3) // 8
    if 24 * elements < 2 * cache:
        raise OutOfMemoryError(
            f"bandwidth needs arrays of {size(2 * cache)} to exceed the last-level cache of {size(cache)}, and may "
            f"take {size(allowed)} (a quarter of free memory, at most {size(STREAM_BYTES)})"
        )
    return elements


@contextlib.contextmanager
def _threads_on_cores(threads: int) -> Iterator[list[ThreadPoolExecutor]]:
    """Threads that keep to one core each, of those this process may use."""
    cores = one_of_each_core(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        # A pool of one each: a pool of all would give two shares to the thread that happens to be free.
        yield [
            stack.enter_context(
                # To the system, process 0 is the calling thread.
                ThreadPoolExecutor(1, initializer=os.sched_setaffinity, initargs=(0, {cores[thread % len(cores)]}))
            )
            for thread in range(threads)
        ]


def _touch(share: list[np.ndarray], least: int, until: int) -> int:
    """Write to a thread's share for the first time, so that it lies near the thread's core.

    Returns
    -------
    int
        Elements of each array that were written: at least ``least``, all if the clock has not reached ``until`` (ns).
    """
    values = np.random.default_rng(0).standard_normal(2**16)
    for start in range(0, len(share[0]), len(values)):
        if start >= least and time.perf_counter_ns() > until:
            return start
        for array in share:
            part = array[start : start + len(values)]
            part[...] = values[: len(part)]
    return len(share[0])


def _add(share: list[np.ndarray], times: int) -> int:
    """Add up a share so many times; returns how many."""
    total, first, second = share
    for _ in range(times):
        np.add(first, second, out=total)
    return times


def _read(share: list[np.ndarray], times: int) -> int:
    """Read a share so many times; returns how many."""
    for _ in range(times):
        for array in share:
            array.max()
    return times
