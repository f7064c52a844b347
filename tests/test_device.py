"""The host as a device: what is timed, what is not, and that a flushed cache is empty."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from layerbench import device
from layerbench.device import Host
from layerbench.environment import last_level_cache_bytes
from layerbench.stats import median


class Clock:
    """A clock that parts move themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nanoseconds = 0
        self.calls: list[str] = []
        monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter_ns=lambda: self.nanoseconds))

    def part(self, name: str, *nanoseconds: int) -> device.Run:
        """A part whose calls take these times in turn."""
        times = iter(nanoseconds)

        def run() -> None:
            self.calls.append(name)
            self.nanoseconds += next(times)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_whole_step_is_repeated_and_each_part_has_its_own_time(clock: Clock) -> None:
    parts = [clock.part("a", 1_000, 2_000, 6_000), clock.part("b", 20_000, 40_000, 30_000), clock.part("c", 0, 0, 0)]
    assert Host().time_parts(parts, 3) == pytest.approx([3e-6, 3e-5, 0.0])
    assert clock.calls == ["a", "b", "c"] * 3


def test_where_one_part_ends_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter_ns=lambda: next(looks)))
    assert Host().time_parts([lambda: None] * 3, 2) == pytest.approx([1e-9] * 3)
    assert next(looks) == 2 * (1 + 3), "one look at the clock between two parts"


def test_what_comes_before_each_call_is_not_timed(clock: Clock) -> None:
    parts = [clock.part("a", 1_000, 3_000), clock.part("b", 20_000, 40_000)]
    flush = clock.part("flush", *[10**9] * 4)
    assert Host().time_parts(parts, 2, before_each=flush) == pytest.approx([2e-6, 3e-5])
    assert clock.calls == ["flush", "a", "flush", "b"] * 2


def test_a_kernel_bound_by_bandwidth_gets_slower_when_the_cache_is_flushed() -> None:
    # Two arrays of 256 KiB fit every last-level cache; copying one to the other computes nothing.
    source = np.ones(2**15)
    target = np.zeros_like(source)
    assert 2 * source.nbytes < last_level_cache_bytes() / 4
    host = Host()

    def seconds(*, flush: bool) -> float:
        parts = [lambda: np.copyto(target, source)]
        before_each = host.flush_cache if flush else None
        return median([host.time_parts(parts, 1, before_each)[0] for _ in range(41)])

    seconds(flush=True)  # the flush buffer's first touch
    ratios = [seconds(flush=True) / seconds(flush=False) for _ in range(3)]
    assert median(ratios) > 1.5, ratios


def test_the_flush_writes_more_than_the_cache_holds() -> None:
    host = Host()
    host.flush_cache()
    written = host._flush_buffer
    assert written is not None
    assert written.nbytes >= 2 * last_level_cache_bytes() - written.itemsize
    host.flush_cache()
    assert (written == 2).all(), "every line is read, changed and written, each time"


def test_free_memory_is_some_of_what_the_machine_has() -> None:
    assert 0 < Host().free_memory() <= psutil.virtual_memory().total
