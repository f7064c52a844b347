from __future__ import annotations

import gc
import itertools
import os
import threading
import time
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.datamanager.manager import Batch, DataManager
from layerbench.datamanager.slots import Skipped
from layerbench.datamanager.source import Field, Out, Piece, SkippedError, Stage
from layerbench.errors import UsageError
from layerbench.timeline import Timeline
from tests.datamanager.made import Made, Tiny, dawdle, expected, raises, workers_alive


def same(batch: Batch, index: int, samples: int) -> None:
    """Hold a batch against what it is to be, bit for bit."""
    assert (batch.index, batch.samples) == (index, samples)
    for got, wanted in zip(batch, expected(index, samples), strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_bit_for_bit_however_long_each_stage_takes(depth: int, workers: int) -> None:
    sizes = [[3, 1, 4], [8], [1] * 8, [2, 5]] * 75
    source = Made(sizes, before=dawdle(depth * 10 + workers))
    pause = dawdle(7)
    with DataManager(source, depth=depth, workers=workers) as batches:
        for index, batch in enumerate(batches):
            pause("consumer", 0, 0)
            same(batch, index, sum(sizes[index]))
    assert index == len(sizes) - 1
    assert source.closed == 1


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), max_size=8),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_skipped_pieces_leave_no_holes(sizes: list[list[int]], depth: int, workers: int, data: st.DataObject) -> None:
    pieces = [(batch, number) for batch, parts in enumerate(sizes) for number in range(len(parts))]
    left_out = data.draw(st.sets(st.sampled_from(pieces))) if pieces else set()
    starts = [np.cumsum([0, *parts]).tolist() for parts in sizes]
    at = [
        (data.draw(st.sampled_from(["read", "decode", "cast"])), batch, starts[batch][number])
        for batch, number in left_out
    ]
    source = Made(sizes, before=raises(SkippedError("no image"), *at))
    found: dict[int, list[bytes]] = {}
    with DataManager(source, depth=depth, workers=workers) as batches:
        for batch in batches:
            assert [len(array) for array in batch] == [batch.samples] * 2
            found[batch.index] = [array.tobytes() for array in batch]
    kept: dict[int, list[bytes]] = {}
    for batch_index, parts in enumerate(sizes):
        chosen = [
            sample
            for number, part in enumerate(parts)
            if (batch_index, number) not in left_out
            for sample in range(starts[batch_index][number], starts[batch_index][number] + part)
        ]
        if chosen:
            kept[batch_index] = [array[chosen].tobytes() for array in expected(batch_index, sum(parts))]
    assert found == kept
    assert batches.skipped == [
        Skipped(f"{batch}/{starts[batch][number]}.jpg", "no image", batch) for batch, number in sorted(left_out)
    ]


def test_a_batch_has_its_arrays_index_and_samples() -> None:
    with DataManager(Made([[2], [1]]), depth=2) as batches:
        for batch in batches:
            images, labels = batch
            assert isinstance(batch, tuple)
            assert len(images) == len(labels) == batch.samples == 2 - batch.index
    with DataManager(Tiny(1)) as batches:
        ((x,),) = batches
    assert x.shape == (2, 4)


def test_slots_are_reused_in_turn_and_allocated_once() -> None:
    with DataManager(Tiny(9), depth=3) as batches:
        assert batches.slots_bytes == 3 * 2 * 4 * 4
        places = [batch[0].ctypes.data for batch in batches]
    assert len(set(places)) == 3
    assert places == places[:3] * 3
    assert all(place % 64 == 0 for place in places)


def test_a_batch_stays_as_it_is_until_the_next_is_asked_for() -> None:
    source = Tiny(50)
    with DataManager(source, depth=2) as batches:
        for batch in batches:
            time.sleep(0.001)
            assert (batch[0] == batch.index).all()


def test_no_batches_are_no_error() -> None:
    for source in (Made([]), Made([], tells=False)):
        with DataManager(source) as batches:
            assert list(batches) == []
        assert source.closed == 1


def test_the_plan_is_read_no_further_than_there_are_slots() -> None:
    source = Made([[1]] * 100)
    with DataManager(source, depth=3, workers=2) as batches:
        for batch in batches:
            time.sleep(0.002 if batch.index < 10 else 0)
            assert source.planned <= batch.index + 3


def test_decoded_pieces_in_flight_are_few() -> None:
    going = {"read": 0, "cast": 0}
    ahead: list[int] = []

    def before(stage: str, batch: int, start: int) -> None:
        if stage in going:
            going[stage] += 1
            ahead.append(going["read"] - going["cast"])
        if stage == "cast":
            time.sleep(0.001)

    with DataManager(Made([[1] * 100, [1] * 100], before=before), workers=1) as batches:
        assert len(list(batches)) == 2
    # One at each stage, and two between each two.
    assert max(ahead) <= 3 + 2 * 2


def test_it_is_iterated_over_once() -> None:
    with DataManager(Tiny(3)) as batches:
        going = iter(batches)
        assert next(going).index == 0
        with pytest.raises(UsageError, match="a data manager is iterated over once"):
            iter(batches)
        assert [batch.index for batch in going] == [1, 2]
    with pytest.raises(UsageError, match="iterated over once"):
        list(batches)


def test_without_with_it_closes_itself_at_the_end() -> None:
    before = set(threading.enumerate())
    source = Made([[2, 2]] * 5)
    assert [batch.index for batch in DataManager(source)] == [0, 1, 2, 3, 4]
    assert source.closed == 1
    assert workers_alive(before) == []


def test_workers_keep_to_their_cores_and_leave_the_callers_alone() -> None:
    mine = os.sched_getaffinity(0)
    core = max(mine)
    seen: set[frozenset[int]] = set()
    source = Made([[1, 1]] * 20, before=lambda stage, batch, start: seen.add(frozenset(os.sched_getaffinity(0))))
    with DataManager(source, cores=[core], workers=2) as batches:
        assert len(list(batches)) == 20
    assert seen == {frozenset({core})}
    assert os.sched_getaffinity(0) == mine


def test_waiting_is_counted() -> None:
    def slow(stage: str, batch: int, start: int) -> None:
        if stage == "read":
            time.sleep(0.02)

    with DataManager(Made([[1]] * 5, before=slow)) as batches:
        begin = time.perf_counter()
        assert len(list(batches)) == 5
        took = time.perf_counter() - begin
    assert 0.05 < batches.waited_seconds <= took


def test_every_stage_of_every_piece_is_in_the_timeline() -> None:
    sizes = [[1, 2], [3], [1, 1, 1]] * 10
    timeline = Timeline()
    with DataManager(Made(sizes, before=dawdle(1)), workers={"decode": 3}, timeline=timeline) as batches:
        assert len(list(batches)) == len(sizes)
    for name in ("read", "decode", "cast"):
        steps = sorted(span.step for span in timeline.spans if span.name == name)
        assert steps == [batch for batch, pieces in enumerate(sizes) for _ in pieces]
    lanes = {span.lane for span in timeline.spans}
    assert lanes == {"read 0", "decode 0", "decode 1", "decode 2", "cast 0"}
    for lane in lanes:
        spans = sorted((span.start, span.stop) for span in timeline.spans if span.lane == lane)
        assert all(start <= stop for start, stop in spans)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans)), "one thing at a time"


def test_asking_the_source_is_the_first_stages_time() -> None:
    def slow(stage: str, batch: int, start: int) -> None:
        if stage == "plan":
            time.sleep(0.01)

    timeline = Timeline()
    with DataManager(Made([[1, 1]] * 3, before=slow), timeline=timeline) as batches:
        assert len(list(batches)) == 3
    read = [span.stop - span.start for span in timeline.spans if span.name == "read"]
    assert sum(length >= 10_000_000 for length in read) == 3


def test_fetch_on_the_host_is_a_copy() -> None:
    with DataManager(Tiny(5), depth=1) as batches:
        fetched = [batches.fetch(batch[0]) for batch in batches]
    assert [one.result()[0, 0] for one in fetched] == [0, 1, 2, 3, 4]


def test_a_fetch_on_the_host_is_in_the_timeline_for_as_long_as_it_took() -> None:
    timeline = Timeline()
    with DataManager(Tiny(3), depth=1, timeline=timeline) as batches:
        for batch in batches:
            began = time.perf_counter_ns()
            fetched = batches.fetch(batch[0])
            ended = time.perf_counter_ns()
            assert fetched.result()[0, 0] == batch.index
            fetched.result()
            spans = [span for span in timeline.spans if span.lane == "fetch"]
            assert [(span.name, span.step) for span in spans] == [("fetch", step) for step in range(batch.index + 1)]
            assert began <= spans[-1].start <= spans[-1].stop <= ended


class Filled:
    """Large batches, each written in place; every second one has holes."""

    def __init__(self, batches: int, batch_size: int) -> None:
        self.fields = (Field("x", (2**16,), np.dtype(np.float32)),)
        self.batch_size = batch_size
        self.batches: int | None = batches
        self.stages = [Stage("cast", self._cast, 2)]

    def plan(self) -> Iterator[Sequence[Piece]]:
        for batch in range(self.batches or 0):
            yield [Piece(start, start + 1, (batch, start), "x") for start in range(self.batch_size)]

    def close(self) -> None:
        pass

    def _cast(self, item: tuple[int, int], out: Out) -> None:
        batch, start = item
        if batch % 2 and start in (1, 5):
            raise SkippedError("left out")
        out[0].fill(batch)


@pytest.mark.parametrize("depth", [1, 3])
def test_peak_memory_is_the_slots(depth: int) -> None:
    tracemalloc.start()
    try:
        with DataManager(Filled(30, 16), depth=depth) as batches:
            for batch in batches:
                assert (batch[0][:, -1] == batch.index).all()
                assert batch.samples == 16 - 2 * (batch.index % 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert batches.slots_bytes == depth * 16 * 2**18
    assert batches.slots_bytes <= peak <= 1.1 * batches.slots_bytes


def test_memory_is_let_go_of_when_it_is_closed() -> None:
    tracemalloc.start()
    try:
        with DataManager(Filled(3, 16), depth=3) as batches:
            for batch in batches:
                del batch
        assert tracemalloc.get_traced_memory()[0] < 0.1 * batches.slots_bytes
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_batches_leave_memory_threads_and_files_as_they_were() -> None:
    def state() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    process = psutil.Process()
    before = state()
    count = 0
    with DataManager(Tiny(100_000), depth=3) as batches:
        for batch in batches:
            assert batch[0][1, 3] == np.float32(batch.index)
            count += 1
            if batch.index == 5_000:
                going, resident = state(), process.memory_info().rss
        assert process.memory_info().rss - resident < 2 * 2**20
    assert count == 100_000
    assert going == (before[0] + 1, before[1])
    assert state() == before


def test_nothing_is_kept_of_a_batch_on_any_stage() -> None:
    resident = {}
    tracemalloc.start()
    try:
        with DataManager(Made([[1, 1, 2]] * 2500), depth=2, workers=2) as batches:
            for batch in batches:
                if batch.index in (500, 2499):
                    gc.collect()
                    resident[batch.index] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Of the 6,000 pieces in between each would have left 100 bytes at least.
    assert resident[2499] - resident[500] < 300_000


def test_what_is_left_out_again_and_again_is_kept_once() -> None:
    class Damaged(Filled):
        def plan(self) -> Iterator[Sequence[Piece]]:
            for batch in range(self.batches or 0):
                yield [Piece(start, start + 1, (batch, start), f"{start}.jpg") for start in range(self.batch_size)]

    source = Damaged(3000, 8)
    source.fields = (Field("x", (1,), np.dtype(np.float32)),)
    resident = {}
    tracemalloc.start()
    try:
        with DataManager(source) as batches:
            for batch in batches:
                if batch.index in (200, 2999):
                    gc.collect()
                    resident[batch.index] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert batches.skipped == [Skipped("1.jpg", "left out", 1), Skipped("5.jpg", "left out", 1)]
    assert batches.skips == 3000
    # Of the 2,800 that were left out in between each would have left 100 bytes at least.
    assert resident[2999] - resident[200] < 100_000


def test_slots_are_touched_before_the_first_batch() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    batches = DataManager(Filled(8, 256), depth=2)
    assert process.memory_info().rss - before > 0.9 * batches.slots_bytes
    batches.close()


class Whole:
    """Its plan gives batches as they are, as an iterable does."""

    def __init__(self, batches: int) -> None:
        self.fields = (Field("x", (), np.dtype(np.float32)),)
        self.batch_size = 4
        self.batches: int | None = batches
        self.stages = [Stage("cast", self._cast), Stage("check", self._check)]
        self.alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()

    def plan(self) -> Iterator[Sequence[Piece]]:
        for batch in range(self.batches or 0):
            yield [Piece(0, 4, self._made(batch), "x")]

    def close(self) -> None:
        pass

    def _made(self, batch: int) -> np.ndarray:
        array = np.full(4, batch).view(Tracked)
        self.alive.add(array)
        return array

    def _cast(self, item: np.ndarray, out: Out) -> np.ndarray:
        out[0][...] = item
        return item

    def _check(self, item: np.ndarray, out: Out) -> None:
        assert (item == out[0]).all()


class Tracked(np.ndarray):
    """An array that a set can tell from others."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_what_the_source_gave_is_not_kept_while_workers_wait() -> None:
    source = Whole(20)
    with DataManager(source, depth=2) as batches:
        for _ in batches:
            until = time.monotonic() + 5
            while len(source.alive) and time.monotonic() < until:
                time.sleep(0.001)
            assert len(source.alive) == 0
