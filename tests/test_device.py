"""The host as a device: what is timed, what is not, and that a flushed cache is empty."""

from __future__ import annotations

import itertools
import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from layerbench import device
from layerbench.device import Host
from layerbench.environment import last_level_cache_bytes, usable_cores
from layerbench.errors import OutOfMemoryError
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


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "cache", "elements"),
    [
        (100 * GIB, 8 * 2**20, 4 * 2**20),  # four times the cache each
        (100 * GIB, 260 * 2**20, GIB // 3 // 8),  # 1 GiB in all
        (GIB, 32 * 2**20, GIB // 4 // 3 // 8),  # a quarter of what is free
    ],
)
def test_bandwidth_arrays_exceed_the_cache_within_bounds(free: int, cache: int, elements: int) -> None:
    assert device.stream_elements(free, cache) == elements


@pytest.mark.parametrize(("free", "cache"), [(4 * 63 * 2**20, 32 * 2**20), (0, 2**20), (100 * GIB, 600 * 2**20)])
def test_bandwidth_that_a_cache_would_take_part_in_is_refused(free: int, cache: int) -> None:
    with pytest.raises(OutOfMemoryError, match="to exceed the last-level cache of"):
        device.stream_elements(free, cache)


def test_bandwidth_of_one_thread_is_plausible() -> None:
    rates = Host().bandwidth(1)
    assert len(rates) >= 3
    assert all(1e9 < rate < 200e9 for rate in rates)


def test_reading_reads_every_element_of_every_array() -> None:
    generator = np.random.default_rng(0)
    large = [generator.standard_normal(2**20) for _ in range(3)]

    def seconds(work: list[np.ndarray]) -> float:
        return min(_taken(work) for _ in range(5))

    # Time grows with what is read, so nothing is skipped.
    assert seconds(large) > 2 * seconds([array[: 2**17] for array in large])


def _taken(share: list[np.ndarray]) -> float:
    begin = time.perf_counter()
    device._read(share, 3)
    return time.perf_counter() - begin


def test_every_share_is_added_by_a_thread_that_keeps_to_its_core(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[tuple[int, frozenset[int]]]] = {}
    sums: list[bool] = []
    add = device._add

    def watched(share: list[np.ndarray], times: int) -> int:
        here = threading.get_native_id(), frozenset(os.sched_getaffinity(0))
        seen.setdefault(share[0].__array_interface__["data"][0], set()).add(here)
        add(share, times)
        sums.append(bool((share[0] == share[1] + share[2]).all()))
        return times

    monkeypatch.setattr(device, "_add", watched)
    monkeypatch.setattr(device, "last_level_cache_bytes", lambda: 2**16)
    before = os.sched_getaffinity(0)
    Host().bandwidth(3)
    assert os.sched_getaffinity(0) == before
    assert len(seen) == 3, "three shares"
    assert all(len(who) == 1 for who in seen.values()), "each by one thread, which touched it first"
    cores = usable_cores()
    places = [place for who in seen.values() for _, place in who]
    assert sorted(places, key=sorted) == sorted((frozenset({cores[i % len(cores)]}) for i in range(3)), key=sorted)
    assert all(sums)


def test_bandwidth_counts_24_bytes_an_element(monkeypatch: pytest.MonkeyPatch) -> None:
    # Additions that take 10 ms each, whatever their number: 5 of them fill a repetition of 50 ms.
    added: list[int] = []

    def add(share: list[np.ndarray], times: int) -> int:
        added.append(times)
        time.sleep(0.01 * times)
        return times

    def read(share: list[np.ndarray], times: int) -> int:
        time.sleep(0.02 * times)
        return times

    monkeypatch.setattr(device, "_add", add)
    monkeypatch.setattr(device, "_read", read)
    monkeypatch.setattr(device, "last_level_cache_bytes", lambda: 2**16)
    rates = Host().bandwidth(1)
    elements = device.stream_elements(Host().free_memory(), 2**16)
    assert elements == 2**15
    assert added == [1, *[added[1]] * (len(added) - 1)]
    assert 4 <= added[1] <= 5
    assert max(rates) == pytest.approx(24 * elements / 0.01, rel=0.2)
    assert min(rates) == pytest.approx(24 * elements / 0.02, rel=0.2)


def test_memory_that_comes_slowly_makes_smaller_arrays_that_still_exceed_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = 32 * 2**20
    added: list[int] = []

    def add(share: list[np.ndarray], times: int) -> int:
        added.append(len(share[0]))
        time.sleep(0.01 * times)
        return times

    monkeypatch.setattr(device, "_add", add)
    monkeypatch.setattr(device, "_read", add)
    monkeypatch.setattr(device, "STREAM_TOUCHING", 0.0)
    monkeypatch.setattr(device, "last_level_cache_bytes", lambda: cache)
    rates = Host().bandwidth(2)
    elements = 2 * added[0]
    assert 2 * cache <= 24 * elements < 2.2 * cache
    assert max(rates) == pytest.approx(24 * elements / 0.01, rel=0.2)
