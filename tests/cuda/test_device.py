"""The CUDA device against a GPU in virtual time: what enters a time, and what does not."""

from __future__ import annotations

import gc
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from layerbench.cuda import blocking, library, nvml, probes, sources
from layerbench.cuda import device as devices
from layerbench.cuda.device import CudaDevice
from layerbench.device import Run
from layerbench.errors import OutOfMemoryError
from tests.cuda.simulation import Simulation, real_device


def microseconds(*values: float) -> object:
    return pytest.approx([value * 1e-6 for value in values])


def test_the_host_is_not_timed(sim: Simulation, device: CudaDevice) -> None:
    sim.launch = 20_000
    assert device.time_parts([sim.work(2_000), sim.work(5_000)], 10) == microseconds(2, 5)
    assert sim.stuck == 0


def test_without_the_block_it_would_be(sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    sim.launch = 20_000
    monkeypatch.setattr(blocking, "PATIENCE", 0.0)
    first, second = device.time_parts([sim.work(2_000), sim.work(5_000)], 10)
    assert first > 15e-6
    assert second > 15e-6


def test_every_call_is_made_as_often_as_it_is_repeated(sim: Simulation, device: CudaDevice) -> None:
    calls = []

    def part(name: str):
        work = sim.work(2_000)

        def run() -> None:
            calls.append(name)
            work()

        return run

    parts = [part("a"), part("b")]
    device.time_parts(parts, 3)
    assert calls == ["a", "b", *["a", "b"] * 3], "each once ahead, because CUDA loads kernels at their first launch"
    calls.clear()
    device.time_parts(parts, 500)
    assert calls == ["a", "b"] * 500


def test_a_full_launch_queue_is_found_and_mended(sim: Simulation, device: CudaDevice) -> None:
    # 300 launches: the queue of 1024 has room for three calls.
    many, few = sim.work(900_000, launches=300), sim.work(2_000)
    assert device.time_parts([many, few], 5) == microseconds(900, 2)
    assert sim.stuck == 1, "the first block was too long"
    assert device.time_parts([many, few], 20) == microseconds(900, 2)
    assert device.time_parts([many, few], 20) == microseconds(900, 2)
    assert sim.stuck == 1


def test_a_call_that_was_found_large_is_not_put_behind_others(sim: Simulation, device: CudaDevice) -> None:
    large, other = sim.work(900_000, launches=600), sim.work(800_000, launches=500)
    assert device.time_parts([large], 4) == microseconds(900)
    assert sim.stuck == 1
    assert device.time_parts([other, large], 4) == microseconds(800, 900)
    assert sim.stuck == 1


def test_a_call_that_never_fits_is_timed_without_a_block_and_so_it_stays(sim: Simulation, device: CudaDevice) -> None:
    long = sim.work(30e6, launches=3_000)
    assert device.time_parts([long], 2)[0] == pytest.approx(30e-3, rel=0.05)
    assert sim.stuck == 2, "once, and once more in case the host was only busy"
    assert device.time_parts([long], 2)[0] == pytest.approx(30e-3, rel=0.05)
    assert sim.stuck == 2


def test_a_call_during_which_the_host_was_away_does_not_count_where_others_do(
    sim: Simulation, device: CudaDevice
) -> None:
    work, turns = sim.work(2_000), iter(range(100))

    def run() -> None:
        if next(turns) == 3:
            sim.spend(150e6)
        work()

    assert device.time_parts([run], 5) == microseconds(2)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_calls_that_wait_are_timed_and_block_nothing(sim: Simulation, device: CudaDevice, where: int) -> None:
    parts = [sim.work(40_000), sim.work(60_000)]
    parts.insert(where, sim.waiting(500_000))
    found = device.time_parts(parts, 4)
    waited = found.pop(where)
    assert found == microseconds(40, 60)
    assert waited == pytest.approx(500e-6, abs=10e-6)
    assert sim.stuck == 0


def test_a_call_that_waits_is_not_charged_with_what_was_queued_before_it(sim: Simulation, device: CudaDevice) -> None:
    sim.stamp = 1e6
    found = device.time_parts([sim.work(5e6), sim.waiting(100_000), sim.waiting(200_000)], 3)
    assert found == [pytest.approx(5e-3), pytest.approx(100e-6, abs=10e-6), pytest.approx(200e-6, abs=10e-6)]


def test_flushes_are_queued_before_each_call_and_are_not_timed(sim: Simulation, device: CudaDevice) -> None:
    sim.bytes_per_second = 1e10
    parts = [sim.work(2_000), sim.work(5_000), sim.waiting(50_000), sim.waiting(50_000)]
    device.time_parts(parts, 1)
    first, second, *waited = device.time_parts(parts, 4, before_each=device.flush_cache)
    assert [first, second] == microseconds(2, 5)
    assert waited == pytest.approx([50e-6] * 2, abs=10e-6)
    assert sim.flushed == [2 * sim.cache] * 16


def test_what_comes_before_each_call_may_wait_for_the_device(sim: Simulation, device: CudaDevice) -> None:
    def flush_and_meet() -> None:
        device.flush_cache()
        device.synchronize()
        sim.spend(50_000)

    parts = [sim.work(2_000), sim.work(5_000), sim.waiting(50_000)]
    first, second, waited = device.time_parts(parts, 4, before_each=flush_and_meet)
    assert [first, second] == microseconds(2, 5)
    assert waited == pytest.approx(50e-6, abs=10e-6)
    assert sim.stuck == 0


def test_a_flush_does_not_wait_for_the_device(sim: Simulation, device: CudaDevice) -> None:
    device.flush_cache()
    begin = sim.now
    device.flush_cache()
    assert sim.now - begin == sim.launch


def test_the_memory_of_flushes_is_taken_once(sim: Simulation, device: CudaDevice) -> None:
    device.flush_cache()
    before = sim.allocations
    device.replayed().flush_cache()
    assert sim.allocations == before
    assert len(sim.flushed) == 2


def test_nothing_is_allocated_once_everything_was_timed(sim: Simulation, device: CudaDevice) -> None:
    parts = [sim.work(2_000), sim.waiting(3_000), sim.work(5_000)]
    device.time_parts(parts, 30, before_each=device.flush_cache)
    before = sim.allocations
    device.time_parts(parts, 30, before_each=device.flush_cache)
    device.time_parts(parts, 20)
    device.slowed()
    device.launch_seconds(parts[0])
    assert sim.allocations == before


def test_a_call_that_fails_leaves_the_stream_free(sim: Simulation, device: CudaDevice) -> None:
    turns = iter(range(10))

    def run() -> None:
        if next(turns) == 2:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        device.time_parts([run], 5)
    device.synchronize()
    assert sim.stuck == 0


def test_no_call_is_kept_alive(sim: Simulation, device: CudaDevice) -> None:
    run = sim.work(2_000)
    watched = weakref.ref(run)
    replayed = device.replayed()
    device.time_parts([run], 3)
    replayed.time_parts([run], 3)
    graph = weakref.ref(sim.graphs.pop())
    del run
    gc.collect()
    assert watched() is None, "the operands of a layer would stay with it"
    assert graph() is None


def test_a_slow_clock_is_found(sim: Simulation, device: CudaDevice) -> None:
    work = sim.work(20_000)
    device.time_parts([work], 10)
    assert not device.slowed()
    sim.clock = 0.74 * 1.98e9
    device.time_parts([work], 10)
    assert device.slowed()
    sim.clock = 0.77 * 1.98e9
    device.time_parts([work], 10)
    assert not device.slowed()


def test_the_clock_is_held_against_what_the_monitor_calls_its_default(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "monitor", lambda name: SimpleNamespace(default_core_clock=lambda: 1.2e9))
    sim.clock = 1e9
    device.time_parts([sim.work(20_000)], 10)
    assert not device.slowed()


def test_a_sample_that_is_too_short_is_not_judged(sim: Simulation, device: CudaDevice) -> None:
    sim.clock = 1e9
    device.time_parts([sim.work(20_000)], 2)
    assert not device.slowed()
    device.time_parts([sim.work(20_000)], 3)
    assert device.slowed()


def test_many_short_blocks_are_judged_together(sim: Simulation, device: CudaDevice) -> None:
    sim.clock = 1e9
    device.time_parts([sim.work(20_000)], 10, before_each=device.flush_cache)
    assert device.slowed()


def test_a_multiprocessor_counts_only_where_it_was_met_twice(sim: Simulation, device: CudaDevice) -> None:
    work = sim.work(200_000)
    device.time_parts([work], 1)
    places = iter([[0], [1], [1], [0], [0], [2, 0]])
    sim.clock, sim.stamped = 1e9, lambda: next(places)
    for _ in range(2):
        device.time_parts([work], 1)
        assert not device.slowed(), "the clocks of different multiprocessors have nothing in common"
    device.time_parts([work], 1)
    assert device.slowed()


def test_rotation_exceeds_the_cache_twice(sim: Simulation, device: CudaDevice) -> None:
    assert [device.rotation(nbytes) for nbytes in (2**30, 2**21, 2**21 - 1, 2**18, 1, 0)] == [1, 1, 2, 8, 64, 64]


def test_free_memory_includes_what_the_pool_keeps(sim: Simulation, device: CudaDevice) -> None:
    assert device.free_memory() == sim.memory


@pytest.mark.parametrize("launches", [1, 20, 700])
def test_the_host_s_time_of_a_call(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch, launches: int
) -> None:
    monkeypatch.setattr(devices, "time", SimpleNamespace(perf_counter=lambda: sim.now * 1e-9))
    found = device.launch_seconds(sim.work(1e6, launches=launches))
    assert found == pytest.approx(launches * 3e-6), "room in the queue is not waited for"


def test_a_call_that_waits_or_never_fits_has_no_launch_time(sim: Simulation, device: CudaDevice) -> None:
    assert device.launch_seconds(sim.waiting(1_000)) is None
    assert sim.stuck == 0
    assert device.launch_seconds(sim.work(1e6, launches=2_000)) is None


class Monitor:
    """Of a GPU that draws 300 W, and whose counter of energy moves on every 70 ms."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def energy(self) -> float:
        return 300 * 0.07 * (self._sim.now // 7e7)

    def conditions(self) -> str:
        return "conditions"


@pytest.mark.parametrize("seconds", [50e-6, 3e-3, 9e-3])
def test_energy_does_not_depend_on_the_steps_of_the_counter(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(nvml, "monitor", lambda name: Monitor(sim))
    work = sim.work(seconds * 1e9)
    for _ in range(5):
        sim.spend(23e6)
        assert device.energy(work, seconds) == pytest.approx(300 * seconds, rel=0.03)


def test_energy_of_long_calls_is_that_of_three(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "monitor", lambda name: Monitor(sim))
    begin = sim.now
    assert device.energy(sim.waiting(2e9), 2.0) == pytest.approx(600, rel=0.05)
    assert sim.now - begin == pytest.approx(6e9)


def test_energy_and_conditions_are_unknown_without_a_monitor(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.energy(sim.work(1_000), 1e-6) is None
    assert device.conditions() is None
    monkeypatch.setattr(nvml, "monitor", lambda name: Monitor(sim))
    assert device.conditions() == "conditions"


def test_a_gpu_has_one_device(sim: Simulation, device: CudaDevice) -> None:
    assert devices.current() is device
    assert device.identifier == "0000:00:00.0"
    sim.devices = 2
    library.use("0000:01:00.0")
    assert devices.current().identifier == "0000:01:00.0"


def reading(nbytes: int) -> tuple[Run, object]:
    """A call that reads so many bytes of a real GPU's memory, and the memory."""
    cupy = library.load()
    values, count = cupy.zeros((nbytes // 16, 4), np.float32), np.int64(nbytes // 16)
    kernel, blocks = sources.kernel("triad", "read_only"), probes.grid()

    def run() -> None:
        kernel(blocks, (probes.THREADS,), (values, values, count))

    return run, values


@pytest.mark.gpu
def test_a_real_host_is_not_timed() -> None:
    device = real_device()
    run, _ = reading(2**26)

    def late() -> None:
        time.sleep(1e-3)
        run()

    device.time_parts([run], 50)
    assert device.time_parts([late], 20) == pytest.approx(device.time_parts([run], 20), rel=0.25)


@pytest.mark.gpu
def test_a_real_flush_makes_what_fits_the_cache_slower() -> None:
    device = real_device()
    run, _ = reading(library.attribute("L2CacheSize") // 4)
    device.time_parts([run], 50)
    (hot,) = device.time_parts([run], 50)
    (cold,) = device.time_parts([run], 50, before_each=device.flush_cache)
    assert cold > 1.3 * hot


@pytest.mark.gpu
def test_a_real_graph_takes_as_long_as_its_calls() -> None:
    device = real_device()
    run, _ = reading(2**28)
    device.time_parts([run], 50)
    assert device.replayed().time_parts([run], 50) == pytest.approx(device.time_parts([run], 50), rel=0.1)


@pytest.mark.gpu
def test_a_real_launch_queue_may_be_full() -> None:
    device = real_device()
    run, _ = reading(2**16)

    def many() -> None:
        for _ in range(5_000):
            run()

    for _ in range(3):
        (seconds,) = device.time_parts([many], 2)
        assert 1e-3 < seconds < 0.2
    queued = device.launch_seconds(run)
    assert queued is not None
    assert 1e-7 < queued < 1e-3


@pytest.mark.gpu
def test_a_real_clock_and_memory_are_told() -> None:
    device = real_device()
    run, _ = reading(2**28)
    device.time_parts([run], 50)
    clock = device._watch.clock()
    assert clock is not None
    assert 1e8 < clock < 1.1 * device._default_clock
    assert device.identifier in library.visible()
    library.use(device.identifier)
    assert devices.current() is device
    free = device.free_memory()
    with pytest.raises(OutOfMemoryError, match="do not fit the GPU"), library.refusals("too much"):
        library.load().empty(2 * free, np.uint8)
    device.synchronize()
