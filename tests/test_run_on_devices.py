"""Runs whose kernels run on devices: one for each rank, and what a device tells besides times.

The devices are simulated (``tests/on_devices.py``), all else is real: the command, the ranks, the journal, the report.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench import store
from tests.conftest import Layerbench, assert_one_line

LIBRARY = Path(__file__).parent / "on_devices.py"

OPTIONS = ("--kernels", LIBRARY, "--max-time", "0.2", "--batch", "8", "--threads-per-rank", "1", "--filter", "fc")

RunOn = Callable[..., store.StoredRun]


@pytest.fixture
def run_on(layerbench: Layerbench, small_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOn:
    """Run the small suite on so many devices."""

    def run(devices: int, *options: str, environment: dict[str, str] | None = None) -> store.StoredRun:
        monkeypatch.setenv("DEVICES", str(devices))
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        done = layerbench("run", "--suite", small_suite, *OPTIONS, *options, "--output", tmp_path / "run", "--quiet")
        assert done.returncode == 0, done.stderr
        return store.load(tmp_path / "run")

    return run


def test_what_a_device_tells_is_recorded_and_tabulated(run_on: RunOn, layerbench: Layerbench, tmp_path: Path) -> None:
    run = run_on(1, "--nodes", "1")
    passes = [record for record in run.records if record.part not in ("communication", "step")]
    assert len(passes) == 3
    for record in run.records:
        before, after = record.conditions
        assert before.power is not None
        assert after.power is not None
        assert before.power < after.power
        assert after.throttle_reasons == ["sw_power_cap"]
        assert (record.retaken, record.throttled, record.device) == (0, False, "simulated")
    for record in passes:
        assert record.energy_joules == 0.25
        assert record.launch_seconds is not None
        assert record.launch_seconds > 0
    assert all(record.energy_joules is None for record in run.records if record not in passes)
    assert run.manifest.options.devices == 1
    done = layerbench("export", tmp_path / "run", "--format", "csv")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    for row, record in zip(rows, run.records, strict=True):
        assert float(row["core_clock"]) == 1.5e9
        assert row["throttle_reasons"] == "sw_power_cap"
        if record.macs and record.energy_joules:
            assert float(row["joules_per_gmac"]) == pytest.approx(0.25e9 / record.macs)


def test_energy_is_told_also_of_calls_whose_launch_cannot_be(run_on: RunOn) -> None:
    records = run_on(1, "--nodes", "1", environment={"UNTOLD": "1"}).records
    passes = [record for record in records if record.macs and record.part != "step"]
    assert {(record.energy_joules, record.launch_seconds) for record in passes} == {(0.25, None)}


def test_samples_of_a_slow_device_are_taken_again(run_on: RunOn) -> None:
    records = run_on(1, "--nodes", "1", environment={"SLOW": "16"}).records
    # Some of the sixteen may have been met while it warmed up.
    assert 0 < records[0].retaken <= 16
    assert {(record.retaken, record.throttled) for record in records} == {(records[0].retaken, False)}


def test_a_device_that_stays_slow_is_measured_all_the_same_and_said_to_be_throttled(
    run_on: RunOn,
) -> None:
    records = run_on(1, "--nodes", "1", environment={"SLOW": "1000000"}).records
    assert {(record.retaken, record.throttled, record.status) for record in records} == {(20, True, "ok")}
    assert all(record.samples for record in records)


@pytest.mark.mpi
def test_each_rank_has_a_device_and_more_ranks_than_devices_are_emulated(run_on: RunOn, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    run = run_on(2, "--nodes", "1,2,3")
    assert [launch.devices for launch in run.manifest.launches if launch.purpose == "measure"] == [
        ["GPU-0"],
        ["GPU-0", "GPU-1"],
        ["GPU-0"],
    ]
    placement = {record.nodes: record.placement for record in run.records}
    assert placement == {1: "measured", 2: "measured", 3: "emulated"}
    of_two = [record for record in run.records if record.nodes == 2 and record.part == "forward"]
    assert of_two[0].energy_joules == 0.5, "of all ranks"
    assert all(record.energy_joules is None for record in run.records if record.nodes == 3)


@pytest.mark.mpi
def test_fewer_devices_than_cores_decide_what_is_emulated(run_on: RunOn) -> None:
    run = run_on(1, "--nodes", "2", "--network", "gigabit-ethernet")
    assert {record.placement for record in run.records} == {"emulated"}


@pytest.mark.mpi
def test_the_network_of_emulated_counts_is_measured_by_more_ranks_than_there_are_devices(run_on: RunOn) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    run = run_on(1, "--nodes", "1,2")
    assert {(record.nodes, record.placement, record.status) for record in run.records} == {
        (1, "measured", "ok"),
        (2, "emulated", "ok"),
    }
    assert run.manifest.network is not None
    assert "of the host's memory" in run.manifest.network.source


@pytest.mark.mpi
def test_ranks_keep_the_devices_that_a_launcher_gave_them(run_on: RunOn) -> None:
    run = run_on(2, "--nodes", "2", environment={"SEEN": "GPU-7,GPU-8;GPU-7"})
    (launch,) = [launch for launch in run.manifest.launches if launch.purpose == "measure"]
    assert launch.devices == ["GPU-8", "GPU-7"]


def test_a_graph_is_repeated_on_several_sets_of_operands_where_caches_are_cold(
    run_on: RunOn,
) -> None:
    records = run_on(1, "--nodes", "1", "--cuda-graph", "--cache", "cold").records
    assert {record.status for record in records} == {"ok"}
    assert all(record.inner % 3 == 0 for record in records if record.part != "communication")


def test_the_limit_of_scratch_memory_reaches_the_search(run_on: RunOn, tmp_path: Path) -> None:
    log = tmp_path / "budget"
    run_on(1, "--nodes", "1", "--workspace", "16MiB", environment={"BUDGET": str(log)})
    assert log.read_text() == str(16 * 2**20)


def test_what_only_a_gpu_has_is_refused_on_the_processor(
    layerbench: Layerbench, small_suite: Path, tmp_path: Path
) -> None:
    plain = ("run", "--suite", small_suite, "--kernels", "numpy", "--filter", "fc", "--quiet", "--output")
    assert_one_line(layerbench(*plain, tmp_path / "a", "--cuda-graph"), "--cuda-graph", "GPU", code=2)
    assert_one_line(layerbench(*plain, tmp_path / "b", "--collectives", "nccl"), "--collectives nccl", "GPU", code=2)
    done = layerbench(*plain, tmp_path / "c", "--workspace", "lots")
    assert done.returncode == 2
    assert "--workspace" in done.stderr
    assert "4GiB" in done.stderr
    assert not list(tmp_path.glob("[abc]"))
