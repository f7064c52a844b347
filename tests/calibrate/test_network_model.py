"""The all-reduce sweep that a network model is fitted to, over real ranks and as threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from layerbench.calibrate import network_model
from layerbench.errors import MeasurementError
from layerbench.network import HERE, all_reduce_seconds
from layerbench.records import Network, NetworkPoint
from layerbench.sampling import Rule
from tests.ranks import ThreadRank, together
from tests.values import OPTIONS, options

SIZES = (4, 4096, 65536, 2**20, 2**22)

SWEEP = """
import sys
import msgspec
from layerbench.calibrate import network_model
from layerbench.collectives import MPIRanks
from layerbench.records import Options

network_model.SWEEP_BYTES = {sizes}
network_model.SECONDS_A_SIZE = 0.2
told = []
found = network_model.all_reduce_sweep(msgspec.json.decode(sys.argv[1], type=Options), MPIRanks(), told.append)
if found is not None:
    assert told[0] == "network: all-reduce of 4 B", told[0]
    print(msgspec.json.encode(found).decode(), flush=True)
"""


@pytest.mark.mpi
def test_two_real_ranks_give_a_model_that_predicts_its_own_points(mpiexec: str, tmp_path: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP.format(sizes=SIZES))
    done = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, str(script), msgspec.json.encode(OPTIONS).decode()],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    network = msgspec.json.decode(done.stdout, type=Network)
    assert network.name == HERE
    assert network.fitted_ranks == 2
    assert "two ranks on this machine" in network.source
    assert [point.bytes for point in network.points] == list(SIZES)
    assert 1e-8 < network.alpha < 1e-2
    assert 1e6 < 1 / network.beta < 1e12
    assert network.residual is not None
    for point in network.points:
        assert point.low <= point.seconds <= point.high
        assert len(point.samples) >= 6
        assert 1 / 3 < all_reduce_seconds(network, 2, point.bytes) / point.seconds < 3, point.bytes


def test_the_model_is_on_rank_0_and_hosts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_model, "SWEEP_BYTES", (4, 4096))
    monkeypatch.setattr(network_model, "SECONDS_A_SIZE", 0.01)

    def work(ranks: ThreadRank) -> Network | None:
        return network_model.all_reduce_sweep(options(hosts=["n1", "n2", "n3"]), ranks, lambda _: None)

    first, second = together(2, work)
    assert isinstance(first, Network)
    assert "between n1 and n2" in first.source
    assert second is None


def test_the_buffer_is_filled_anew_for_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sums of sums would double with every call and be infinite after 128 of them.
    monkeypatch.setattr(network_model, "SWEEP_BYTES", (4, 64))
    seen: list[float] = []

    class Watching(ThreadRank):
        def gather(self, value):  # type: ignore[no-untyped-def]
            seen.append(max(abs(float(x)) for x in self.buffer))
            return super().gather(value)

        def all_reduce(self, buffer):  # type: ignore[no-untyped-def]
            self.buffer = buffer
            return super().all_reduce(buffer)

    def work(ranks: ThreadRank) -> Network | None:
        watched = Watching(ranks._meeting, ranks.rank, ranks.size)
        return network_model.all_reduce_sweep(
            options(max_samples=200, rel_error=1e-9, max_time=0.2), watched, lambda _: None
        )

    first, _ = together(2, work)
    assert isinstance(first, Network)
    assert 0 < max(seen) < 1e30


def test_a_sweep_over_one_rank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_model, "SWEEP_BYTES", (4, 64))
    (error,) = together(1, lambda ranks: network_model.all_reduce_sweep(options(max_time=0.01), ranks, lambda _: None))
    assert isinstance(error, MeasurementError)
    assert "two ranks" in str(error)


def test_a_slow_network_is_not_timed_with_larger_sizes_than_show_its_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[int, int]] = []

    def point(size: int, rule: Rule, ranks: ThreadRank, progress: object) -> NetworkPoint | None:
        timed.append((ranks.rank, size))
        seconds = network_model.LONGEST * size / 1000
        return None if ranks.rank else NetworkPoint(bytes=size, seconds=seconds, low=seconds, high=seconds)

    monkeypatch.setattr(network_model, "SWEEP_BYTES", (10, 1000, 1001, 10**6, 10**7))
    monkeypatch.setattr(network_model, "_point", point)
    first, second = together(2, lambda ranks: network_model.all_reduce_sweep(OPTIONS, ranks, lambda _: None))
    assert isinstance(first, Network)
    assert [each.bytes for each in first.points] == [10, 1000, 1001]
    assert second is None
    assert sorted(timed) == [(rank, size) for rank in (0, 1) for size in (10, 1000, 1001)], "both ranks stop together"
