"""The command ``calibrate``, whole: what it measures, prints and writes, and how it fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerbench.calibrate import profile
from layerbench.collective_times import link_seconds, seconds
from layerbench.environment import usable_cores
from layerbench.errors import StoreError, UsageError
from layerbench.machine import load, path_here
from layerbench.machine.read import OPERATIONS
from tests.conftest import Layerbench, assert_one_line
from tests.machine.made import MACHINE

QUICK = ("--max-time", "0.01", "--dtype", "fp64", "--kernels", "numpy")
"""Options of a calibration that takes no longer than it must."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, in which the profile goes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.mpi
@pytest.mark.usefixtures("mpiexec")
def test_this_machine_is_measured_and_its_profile_predicts_what_was_measured(layerbench: Layerbench) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two ranks with a core each need two cores")
    done = layerbench("calibrate", *QUICK, "--ranks", "2")
    assert done.returncode == 0, done.stderr
    found = load("this-machine")
    assert f"profile: {path_here()}" in done.stdout
    assert (found.device, found.nodes, found.ranks_per_node) == ("host", 2, 1)
    assert found.peak.keys() == {"fp64"}
    assert {point.dtype for point in found.kernels} == {"fp64"}
    assert found.memory_bytes is not None
    assert found.within is None
    assert found.between is not None
    assert [fit.operation for fit in found.between.fits] == list(OPERATIONS)
    assert found.between.alpha == found.between.fits[0].alpha
    assert 1e-8 < found.between.alpha.low <= found.between.alpha.value < 1e-2
    assert 1e6 < 1 / found.between.beta.value < 1e12
    for point in found.between.sweeps:
        assert link_seconds(found.between, point.operation, point.ranks, point.bytes) == point.seconds
    assert seconds(found, "all_reduce", 4096, 10**6) > seconds(found, "all_reduce", 2, 10**6)
    for word in ("peak fp64", "bandwidth", "launch", "caches", *(each.replace("_", "-") for each in OPERATIONS)):
        assert word in done.stdout
    assert "messages and collectives over 2 ranks" in done.stderr


@pytest.mark.mpi
@pytest.mark.usefixtures("mpiexec")
def test_a_profile_says_that_ranks_shared_cores(layerbench: Layerbench, tmp_path: Path) -> None:
    path = tmp_path / "crowded.toml"
    threads = len(usable_cores()) // 2 + 1
    asked = ("--ranks", "2", "--threads-per-rank", str(threads), "--oversubscribe", "--output", path)
    done = layerbench("calibrate", *QUICK, *asked)
    assert done.returncode == 0, done.stderr
    assert "oversubscribed: there were more threads than cores, and their times" in done.stderr
    between = load(str(path)).between
    assert between is not None
    assert between.source == "measured over 2 ranks; there were more threads than cores"


def test_without_mpi_the_rest_is_written_and_the_network_is_said_to_be_missing(
    layerbench: Layerbench, tmp_path: Path
) -> None:
    path = tmp_path / "alone.toml"
    done = layerbench("calibrate", *QUICK, "--launcher", "none", "--output", path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("layerbench: no network between nodes: no MPI launcher is used here")
    assert not path_here().exists()
    found = load(str(path))
    assert found.name == "alone"
    assert found.between is None
    assert "MPI" in found.no_network
    assert seconds(found, "all_reduce", 1, 100) == 0.0
    with pytest.raises(UsageError, match="alone has no network"):
        seconds(found, "all_reduce", 2, 100)


@pytest.mark.mpi
@pytest.mark.usefixtures("mpiexec")
def test_a_launcher_that_fails_costs_the_network_alone(layerbench: Layerbench, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    done = layerbench("calibrate", *QUICK, "--ranks", "2", "--launcher-args=--no-such-option", "--output", path)
    assert done.returncode == 0, done.stderr
    assert "layerbench: no network between nodes: the launch ended" in done.stderr
    assert load(str(path)).no_network.startswith("the launch ended")


@pytest.mark.parametrize(
    ("asked", "words", "code"),
    [
        (["--dtype", "fp46"], ["--dtype", "did you mean 'fp64'"], 2),
        (["--dtype", "int8", "--kernels", "numpy"], ["int8", "numpy"], 3),
        (["--threads-per-rank", "100000"], ["--threads-per-rank", "cores"], 2),
        (["--ranks-per-node", "2"], ["--ranks-per-node 2", "--hosts"], 2),
        (["--max-time", "0"], ["--max-time", "above 0"], 2),
        (["--output", "folder"], ["--output folder", "is a folder"], 2),
        (["--output", "profile.txt"], ["profile.txt", ".toml"], 2),
        (["--output", "nowhere/profile.toml"], ["nowhere", "no folder"], 2),
        (["--launcher", "srun"], ["--launcher"], 2),
    ],
)
def test_what_cannot_be_done_is_said_at_once_in_one_line(
    asked: list[str], words: list[str], code: int, layerbench: Layerbench, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    assert_one_line(layerbench("calibrate", *asked, timeout=60), *words, code=code)
    assert not path_here().exists()


def test_a_profile_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = profile.target(None)
    assert path == path_here()
    path.write_text("what was there before")
    profile.write(MACHINE, path)
    assert load("this-machine").peak == MACHINE.peak
    assert [each.name for each in path.parent.iterdir()] == ["this-machine.toml"]
    assert profile.target(tmp_path / "other.toml") == tmp_path / "other.toml"


def test_a_profile_never_takes_the_place_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="a file of a run"):
        profile.target(tmp_path / "run.json")


def test_a_home_that_cannot_be_written_to_is_said_before_anything_is_measured(home: Path) -> None:
    (home / ".config").write_text("a file where a folder is to be")
    with pytest.raises(StoreError, match="--output"):
        profile.target(None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written to"):
        profile.target(tmp_path / "x.toml")
