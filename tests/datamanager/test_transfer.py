"""Transfer to a device with memory of its own, and back: the real classes on simulated streams and events."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.cuda import Cuda, CudaSlot
from layerbench.datamanager.device import Device
from layerbench.datamanager.manager import Batch, DataManager
from layerbench.datamanager.source import Field, SkippedError
from layerbench.errors import DataError, OutOfMemoryError, UnavailableError, UsageError
from layerbench.timeline import Timeline
from tests.datamanager.made import FIELDS, Made, Tiny, dawdle, expected, raises, workers_alive
from tests.datamanager.simulated_cupy import CUDARuntimeError, Stream, simulated_cupy

Install = Callable[..., Any]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def instead(**options: Any) -> Any:
        module = simulated_cupy(**options)
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    return instead


@pytest.fixture
def cupy(install: Install) -> Any:
    return install()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert workers_alive(before, besides="simulated stream") == []


Seen = list[tuple[int, int, list[bytes]]]


def consume(cupy: Any, batches: DataManager, stream: Stream | None = None) -> Seen:
    """A loop whose computation is queued, and sees the batch when its turn comes."""
    seen: Seen = []
    stream = stream or Stream(non_blocking=True)

    def kernel(batch: Batch) -> None:
        arrays = [array.memory for array in batch]
        index, samples = batch.index, batch.samples
        stream.queue(lambda: seen.append((index, samples, [array.tobytes() for array in arrays])))

    with batches, cupy.cuda.Device(1), stream.current():
        for batch in batches:
            kernel(batch)
    stream.synchronize()
    return seen


def wanted(sizes: list[list[int]]) -> Seen:
    return [
        (index, sum(parts), [array.tobytes() for array in expected(index, sum(parts))])
        for index, parts in enumerate(sizes)
    ]


SIZES = [[3, 1, 4], [8], [1] * 8, [2, 5]] * 30


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_bit_for_bit_however_late_copies_and_kernels_are(
    cupy: Any, depth: int, workers: int
) -> None:
    source = Made(SIZES, before=dawdle(depth))
    assert consume(cupy, DataManager(source, depth=depth, device="cuda:1", workers=workers)) == wanted(SIZES)
    assert source.closed == 1


@pytest.mark.parametrize("left_out", ["ready", "consumed", "finish"])
def test_each_hand_over_is_needed(cupy: Any, left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it batches are wrong, so that the test above shows that it is there."""
    monkeypatch.setattr(CudaSlot, left_out, lambda slot: None)
    assert consume(cupy, DataManager(Made(SIZES), depth=2, device="cuda:1")) != wanted(SIZES)


def test_the_device_is_the_current_one_unless_it_is_named(cupy: Any) -> None:
    assert Cuda().name == "cuda:1"
    assert Cuda(0).name == "cuda:0"
    assert isinstance(Cuda(), Device)


def test_batches_lie_on_the_device_and_slots_are_reused_there(cupy: Any) -> None:
    places = []
    with DataManager(Tiny(9), depth=3, device="cuda") as batches, cupy.cuda.Device(1):
        assert batches.slots_bytes == 3 * 2 * 4 * 4
        for batch in batches:
            assert isinstance(batch[0], cupy.ndarray)
            places.append(batch[0].data.ptr)
    assert len(set(places)) == 3
    assert places == places[:3] * 3


def test_skipped_pieces_leave_no_holes_there_either(cupy: Any) -> None:
    sizes = [[2, 1, 2]] * 8
    at = [("decode", 1, 0), ("cast", 2, 2), ("read", 5, 3), ("read", 6, 0), ("read", 6, 2), ("read", 6, 3)]
    batches = DataManager(Made(sizes, before=raises(SkippedError("gone"), *at)), depth=2, device="cuda:1")
    found = {index: (samples, arrays) for index, samples, arrays in consume(cupy, batches)}
    keep = {index: [0, 1, 2, 3, 4] for index in range(8)} | {1: [2, 3, 4], 2: [0, 1, 3, 4], 5: [0, 1, 2]}
    del keep[6]
    assert found == {
        index: (len(samples), [array[samples].tobytes() for array in expected(index, 5)])
        for index, samples in keep.items()
    }
    assert [skipped.batch for skipped in batches.skipped] == [1, 2, 5, 6, 6, 6]


def test_a_copy_is_queued_while_the_last_one_goes_on(cupy: Any) -> None:
    """The copy stream is held up: three batches reach it, one for each slot, though none has been copied."""
    device = Cuda(1)
    held = threading.Event()
    device._copies.queue(held.wait)
    with DataManager(Tiny(9), depth=3, device=device) as batches, cupy.cuda.Device(1):
        going = iter(batches)
        assert [next(going).index for _ in range(3)] == [0, 1, 2], "the consumer only queues work behind copies"
        held.set()
        assert [batch.index for batch in going] == list(range(3, 9))


def test_both_directions_have_streams_of_their_own(cupy: Any) -> None:
    """A fetch ends though copies to the device are held up."""
    device = Cuda(1)
    held = threading.Event()
    with DataManager(Tiny(9), depth=2, device=device) as batches, cupy.cuda.Device(1):
        going = iter(batches)
        next(going)
        device._copies.queue(held.wait)
        result = cupy.empty((3,), np.float32)
        fetched = batches.fetch(result)
        assert fetched.result().tolist() == [77] * 3
        held.set()
    assert device._copies.non_blocking
    assert device._fetches.non_blocking


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_fetched_is_what_was_computed_by_then(cupy: Any, reverse: bool) -> None:
    """Results, and arrays of the slots themselves, which are not written again before they are fetched."""
    stream = Stream(non_blocking=True)
    fetched = []
    with DataManager(Made(SIZES), depth=2, device="cuda:1") as batches, cupy.cuda.Device(1), stream.current():
        for batch in batches:
            images, labels = batch
            doubled = cupy.empty(images.shape, np.float32)
            stream.queue(
                lambda images=images, doubled=doubled: np.multiply(images.memory, 2, out=doubled.memory)  # type: ignore[misc]
            )
            wished = doubled[::-1] if reverse else doubled
            fetched.append((batches.fetch(wished), batches.fetch(labels), batches.fetch(images[:, ::2])))
    for index, (doubled, labels, part) in enumerate(fetched):
        images, numbers = expected(index, sum(SIZES[index]))
        assert doubled.result().tobytes() == (2 * images)[:: -1 if reverse else 1].tobytes()
        assert labels.result().tobytes() == numbers.tobytes()
        assert part.result().tobytes() == images[:, ::2].tobytes()


def test_a_fetch_is_kept_until_it_has_ended_though_nobody_wants_it(cupy: Any) -> None:
    device = Cuda(1)
    held = threading.Event()
    with cupy.cuda.Device(1):
        device._fetches.queue(held.wait)
        for _ in range(5):
            device.fetch(cupy.empty((2,), np.float32))
        assert len(device._fetching) == 5
        held.set()
        device._fetches.synchronize()
        device.fetch(cupy.empty((2,), np.float32))
        assert len(device._fetching) == 1
        device.close()
    with pytest.raises(UsageError, match="fetch takes an array of cuda:1, not a ndarray"):
        device.fetch(np.zeros(2))


def test_transfers_are_in_the_timeline_one_at_a_time(cupy: Any) -> None:
    timeline = Timeline()
    consume(cupy, DataManager(Made(SIZES), depth=3, device="cuda:1", timeline=timeline))
    spans = [span for span in timeline.spans if span.name == "transfer"]
    assert [span.step for span in spans] == list(range(len(SIZES)))
    assert {span.lane for span in spans} == {"transfer"}
    bounds = [moment for span in spans for moment in (span.start, span.stop)]
    assert bounds == sorted(bounds)


def test_a_copy_is_as_long_as_the_device_says(cupy: Any) -> None:
    """Not as long as the thread waited: this copy stands behind other work for a while."""
    device = Cuda(1)
    timeline = Timeline()
    device._copies.queue(lambda: time.sleep(0.1))
    consume(cupy, DataManager(Tiny(1), device=device, timeline=timeline))
    (span,) = (span for span in timeline.spans if span.name == "transfer")
    assert span.stop - span.start < 50_000_000


def test_a_fetch_is_in_the_timeline_when_the_copy_itself_ran(cupy: Any) -> None:
    """Not from when it was queued, behind a computation, to when somebody came for it."""
    timeline = Timeline()
    stream = Stream(non_blocking=True)
    device = Cuda(1)
    computed: list[int] = []

    def compute() -> None:
        time.sleep(0.05)
        computed.append(time.perf_counter_ns())

    with DataManager(Tiny(3), device=device, timeline=timeline) as batches, cupy.cuda.Device(1), stream.current():
        for batch in batches:
            stream.queue(compute)
            fetched = batches.fetch(batch[0])
            device._fetches.synchronize()
            there = time.perf_counter_ns()
            time.sleep(0.05)
            assert fetched.result()[0, 0] == batch.index
            span = timeline.spans[-1]
            assert (span.lane, span.name, span.step) == ("fetch", "fetch", batch.index)
            # A clock's reading and the event beside it are some microseconds apart.
            assert computed[-1] - 10_000_000 < span.start <= span.stop < there + 10_000_000
    assert len([span for span in timeline.spans if span.lane == "fetch"]) == 3


def test_without_a_timeline_no_copy_is_timed(cupy: Any) -> None:
    with DataManager(Tiny(1), device="cuda:1") as batches, cupy.cuda.Device(1):
        for batch in batches:
            fetched = batches.fetch(batch[0])
            fetched.result()
            assert fetched.span() is None
            assert not fetched.done.timed  # type: ignore[attr-defined]


def fails(*_: object, **__: object) -> None:
    raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


def test_a_copy_that_cannot_be_queued_is_told_in_its_place(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = CudaSlot.start

    def third(slot: CudaSlot, host: Any, samples: int) -> None:
        if host[1][0] == 3000:
            fails()
        start(slot, host, samples)

    monkeypatch.setattr(CudaSlot, "start", third)
    seen = []

    def loop() -> None:
        with DataManager(Made([[1]] * 9), device="cuda:1") as batches, cupy.cuda.Device(1):
            seen.extend(batch.index for batch in batches)

    with pytest.raises(
        DataError, match=r"^transfer of the batch to cuda:1 \(batch 3\): CUDARuntimeError: cudaErrorIllegalAddress: an"
    ):
        loop()
    assert seen == [0, 1, 2]


def test_a_copy_that_fails_later_is_told_as_soon_as_it_is_known(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaSlot, "finish", fails)
    with pytest.raises(DataError, match=r"^transfer of the batch to cuda:1 \(batch 0\): CUDARuntimeError"):
        consume(cupy, DataManager(Made([[1]] * 9), device="cuda:1"))


def test_an_error_of_a_stage_passes_the_transfer_in_its_place(cupy: Any) -> None:
    seen = []

    def loop() -> None:
        source = Made([[1, 1]] * 20, before=raises(OSError("no"), ("cast", 5, 1)))
        with DataManager(source, device="cuda:1") as batches, cupy.cuda.Device(1):
            seen.extend(batch.index for batch in batches)

    with pytest.raises(DataError, match=r"^cast of 5/1\.jpg \(batch 5\): OSError: no$"):
        loop()
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("after", [0, 4])
def test_leaving_the_loop_ends_the_transfer_too(cupy: Any, after: int) -> None:
    source = Made([[1, 2]] * 100)
    with DataManager(source, device="cuda:1") as batches, cupy.cuda.Device(1):
        for batch in batches:
            if batch.index == after:
                break
    assert source.closed == 1


def test_a_transfer_that_hangs_is_named(cupy: Any) -> None:
    device = Cuda(1)
    held = threading.Event()
    source = Tiny(9)

    def loop() -> None:
        with DataManager(source, depth=1, device=device, timeout=0.2) as batches, cupy.cuda.Device(1):
            for _ in batches:
                device._copies.queue(held.wait)

    with pytest.raises(DataError, match=r"batch 2 was not ready after 200 ms: transfer of the batch to cuda:1"):
        loop()
    assert source.closed == 0
    held.set()


def test_without_cupy_there_is_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        UnavailableError, match=r"^device 'cuda' needs CuPy: pip install cupy-cuda13x, or the"
    ) as caught:
        DataManager(Tiny(1), device="cuda")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("devices", "device", "told"),
    [
        (-1, "cuda", "^device 'cuda': no GPU can be used here: cudaErrorInsufficientDriver"),
        (0, "cuda", "^device 'cuda': there is no GPU here$"),
        (2, "cuda:2", "^device 'cuda:2' is not here: the last one is 'cuda:1'$"),
    ],
)
def test_without_a_gpu_there_is_none_either(install: Install, devices: int, device: str, told: str) -> None:
    install(devices=devices)
    with pytest.raises(UnavailableError, match=told):
        DataManager(Tiny(1), device=device)


@pytest.mark.parametrize(
    ("memory", "told"), [(40, "a slot of 32 B does not fit cuda:1"), (20, "32 B of pinned memory are not to be had")]
)
def test_slots_that_do_not_fit_are_told_in_one_line(install: Install, memory: int, told: str) -> None:
    install(memory=memory)
    with pytest.raises(OutOfMemoryError, match=rf"{told}.*: use a smaller batch or depth"):
        DataManager(Tiny(1), depth=2, device="cuda:1")


def test_a_device_takes_numbers_only(cupy: Any) -> None:
    source = Made([[1]])
    source.fields = (*FIELDS, Field("name", (), np.dtype("U8")))
    with pytest.raises(UsageError, match="field 'name' has dtype <U8; cuda:1 takes numbers only"):
        DataManager(source, device="cuda")
