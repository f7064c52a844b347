"""What timing needs of a device; the host here, other devices in files of their own.

A sampler asks a device to time the parts of one step and knows nothing of clocks, events or streams.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from layerbench.environment import available_memory_bytes, last_level_cache_bytes

Run = Callable[[], None]


class Device(Protocol):
    """What timing needs of the device a kernel runs on."""

    name: str
    """What the device is, as it is recorded: ``host``, ``cuda``."""

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
        """Return when all work queued on the device is done."""
        ...

    def free_memory(self) -> int:
        """Bytes that could be allocated now."""
        ...


class Host:
    """The processor this rank is pinned to, timed by ``time.perf_counter_ns``."""

    name = "host"

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
