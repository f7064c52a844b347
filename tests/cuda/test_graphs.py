"""Graphs of calls: what they hold, that they take as long as the calls, and what cannot be captured."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from layerbench.cuda import graphs, library
from layerbench.cuda.device import CudaDevice
from layerbench.cuda.graphs import Graphs
from layerbench.errors import MeasurementError
from tests.cuda.simulated_kernels import Op
from tests.cuda.simulation import Simulation


def named(sim: Simulation, name: str, nanoseconds: float, order: list[str]) -> Callable[[], None]:
    """A call whose kernel notes when it runs."""

    def run() -> None:
        sim.stream.queue(Op(nanoseconds, lambda start, end: order.append(name)))

    return run


def test_a_graph_takes_as_long_as_the_calls_on_a_stream(sim: Simulation, device: CudaDevice) -> None:
    parts = [sim.work(2_000, launches=2), sim.work(5_000), sim.work(90_000, launches=30)]
    assert device.replayed().time_parts(parts, 25) == pytest.approx(device.time_parts(parts, 25))
    assert sim.captures == 3, "one graph for each part"


def test_all_repetitions_of_a_part_come_before_the_next_part(sim: Simulation, device: CudaDevice) -> None:
    order: list[str] = []
    parts = [named(sim, "a", 1_000, order), named(sim, "b", 2_000, order)]
    replayed = device.replayed()
    replayed.time_parts(parts, 3)
    order.clear()
    assert replayed.time_parts(parts, 3) == pytest.approx([1e-6, 2e-6])
    assert order == ["a"] * 3 + ["b"] * 3


def test_all_is_captured_by_one_stream_that_stays(sim: Simulation, device: CudaDevice) -> None:
    # A handle of a library still has the stream on which it worked last.
    streams = []

    def noted(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            if sim.stream.captured is not None and sim.stream not in streams:
                streams.append(sim.stream)
            work()

        return run

    device.replayed().time_parts([noted(sim.work(2_000)), noted(sim.work(3_000))], 2)
    assert len(streams) == 1


def test_a_long_graph_is_one_launch(sim: Simulation, device: CudaDevice) -> None:
    # On the stream, 3000 launches would not fit the queue, and the host's gaps would be timed.
    sim.launch = 50_000
    assert device.replayed().time_parts([sim.work(30e6, launches=3_000)], 2) == pytest.approx([30e-3])
    assert sim.stuck == 0


def test_graphs_are_captured_once_for_as_many_repetitions(sim: Simulation, device: CudaDevice) -> None:
    work, replayed = sim.work(2_000), device.replayed()
    for repetitions, captures in ((1, 1), (1, 1), (40, 2), (40, 2), (40, 2)):
        replayed.time_parts([work], repetitions)
        assert sim.captures == captures
    before = sim.allocations
    replayed.time_parts([work], 40)
    assert sim.allocations == before


def test_calls_that_wait_are_made_as_they_are(sim: Simulation, device: CudaDevice) -> None:
    parts = [sim.work(40_000), sim.waiting(500_000), sim.work(60_000)]
    first, waited, last = device.replayed().time_parts(parts, 4)
    assert [first, last] == pytest.approx([40e-6, 60e-6])
    assert waited == pytest.approx(500e-6, abs=10e-6)
    assert sim.captures == 2
    assert sim.stuck == 0


def test_with_a_flush_before_each_call_a_graph_has_one_call(sim: Simulation, device: CudaDevice) -> None:
    order: list[str] = []
    parts = [named(sim, "a", 1_000, order), named(sim, "b", 2_000, order)]

    def flush() -> None:
        order.append("queued")
        device.flush_cache()

    replayed = device.replayed()
    replayed.time_parts(parts, 1, before_each=flush)
    order.clear()
    sim.flushed.clear()
    assert replayed.time_parts(parts, 3, before_each=flush) == pytest.approx([1e-6, 2e-6])
    assert [name for name in order if name != "queued"] == ["a", "b"] * 3
    assert order.count("queued") == len(sim.flushed) == 6


def test_what_cannot_be_captured_is_told_with_its_number_and_cuda_s_reason(sim: Simulation, device: CudaDevice) -> None:
    def waits_and_does_not_say_so() -> None:
        sim.stream.synchronize()

    parts = [sim.work(1_000), waits_and_does_not_say_so]
    with pytest.raises(MeasurementError, match=r"part 1 .*cudaErrorStreamCaptureUnsupported.*--cuda-graph"):
        device.replayed().time_parts(parts, 3)
    assert device.time_parts([sim.work(2_000)], 2) == pytest.approx([2e-6]), "the device can still be used"


def test_what_is_refused_only_at_the_end_of_a_capture_is_told_too(sim: Simulation, device: CudaDevice) -> None:
    def hides_it() -> None:
        try:
            sim.stream.refuse_in_capture()
        except RuntimeError:
            return

    with pytest.raises(MeasurementError, match=r"part 0 .*cudaErrorStreamCaptureInvalidated"):
        device.replayed().time_parts([hides_it], 3)


def test_a_graph_that_holds_nothing_is_not_timed(
    sim: Simulation, device: CudaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Driver:
        def cuGraphGetNodes(self, graph: ctypes.c_void_p, nodes: None, count: Any) -> int:
            (found,) = [one for one in sim.graphs if one.graph == graph.value]
            count._obj.value = len(found.ops)
            return 0

    monkeypatch.setattr(library, "driver", Driver)
    assert device.replayed().time_parts([sim.work(2_000)], 3) == pytest.approx([2e-6])

    def elsewhere() -> None:
        sim.streams[0].queue(Op(2_000))

    with pytest.raises(MeasurementError, match=r"part 1 .*holds nothing.* stream of its own"):
        device.replayed().time_parts([sim.work(2_000), elsewhere], 3)


def test_the_oldest_graph_goes_first(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    calls = [sim.work(1_000) for _ in range(3)]
    for call in calls:
        call()
    kept = Graphs()
    found = [kept.of(call, 1, 0) for call in calls]
    assert len(kept) == 2
    assert kept.of(calls[2], 1, 0) is found[2]
    assert kept.of(calls[1], 1, 0) is found[1]
    assert kept.of(calls[0], 1, 0) is not found[0]
