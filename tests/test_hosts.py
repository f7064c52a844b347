"""A real network between two hosts: what a link of 1 Gbit/s does to data parallelism, measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench import store
from layerbench.environment import usable_cores
from layerbench.stats import median
from tests.conftest import QUICK, Layerbench, assert_one_line, until
from tests.netns import OVER_TCP, hosts

GIGABIT = 125e6
"""Bytes per second of the link."""


@pytest.mark.root
@pytest.mark.mpi
def test_two_hosts_with_a_gigabit_link_are_measured(tmp_path: Path, mpiexec: str) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two hosts with a core each need two cores")
    run = tmp_path / "run"
    with hosts(2, "1gbit", tmp_path) as (addresses, rsh, enter):
        command = [sys.executable, "-m", "layerbench", "run", "--suite", "alexnet", "--filter", "conv5,fc8"]
        command += [
            "--nodes",
            "1,2,4",
            "--batch",
            "8",
            "--max-time",
            "0.5",
            "--threads-per-rank",
            "1",
            "--timeout",
            "60",
        ]
        command += ["--hosts", ",".join(addresses), "--launcher-args", f"-launcher ssh -launcher-exec {rsh}"]
        done = subprocess.run(
            [*enter, *command, "--output", str(run)],
            env={**os.environ, **OVER_TCP},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    stored = store.load(run)
    by = {record.key: record for record in stored.records}
    two = by["fc8", "communication", 2]
    assert two.placement == "measured"
    assert by["fc8", "step", 4].placement == "emulated"
    launch = next(launch for launch in stored.manifest.launches if launch.nodes == 2)
    assert sorted(core for cores in launch.pinned_cores for core in cores) == usable_cores()[:2]

    probe = stored.manifest.launches[0]
    assert (probe.purpose, probe.command[probe.command.index("-hosts") + 1]) == ("roofline", addresses[0])
    assert stored.manifest.roofline is not None
    assert stored.manifest.roofline.flops > 0

    # An all-reduce over two ranks moves the gradient once each way, so it cannot beat the link; nor should it take
    # more than twice as long.
    least = two.bytes / GIGABIT
    assert 0.9 * least < median(two.samples) < 2 * least
    network = stored.manifest.network
    assert network is not None
    assert GIGABIT / 1.5 < 1 / network.beta < GIGABIT * 1.1

    def share(layer: str) -> float:
        return median(by[layer, "communication", 2].samples) / median(by[layer, "step", 2].samples)

    assert share("fc8") > 0.8, "a fully connected layer is bound by communication on this link"
    assert share("conv5") < share("fc8"), "a convolution less so"


def kill_all(namespace: str) -> None:
    """End every process of a host at once, as when it loses power."""
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout
    for pid in found.split():
        os.kill(int(pid), signal.SIGKILL)


def unplug(namespace: str) -> None:
    """Cut a host off: nobody is told, and what it was asked for never comes."""
    subprocess.run(["ip", "-n", namespace, "link", "set", "eth0", "down"], check=True)


def plug(namespace: str) -> None:
    subprocess.run(["ip", "-n", namespace, "link", "set", "eth0", "up"], check=True)


@pytest.mark.root
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("strike", "reason"), [(kill_all, "a rank was ended|exit code"), (unplug, "no rank made progress|exit code")]
)
def test_a_host_that_dies_costs_its_own_count_and_nothing_else(
    strike: Callable[[str], None], reason: str, tmp_path: Path, small_suite: Path
) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two hosts with a core each need two cores")
    run = tmp_path / "run"
    with hosts(2, "10gbit", tmp_path) as (addresses, rsh, enter):
        second = enter[-1].removesuffix("1") + "2"
        command = [*enter, sys.executable, "-m", "layerbench", "run", "--suite", str(small_suite), "--kernels", "numpy"]
        command += [
            "--nodes",
            "1,2",
            "--batch",
            "8",
            "--threads-per-rank",
            "1",
            "--timeout",
            "5",
            "--filter",
            "fc,lstm",
        ]
        command += ["--max-time", "0.7", "--rel-error", "1e-9", "--hosts", ",".join(addresses)]
        command += ["--launcher-args", f"-launcher ssh -launcher-exec {rsh}", "--output", str(run)]
        environment = {**os.environ, **OVER_TCP}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            until((run / "launches" / "nodes-2.findings.json").exists, "the second count starts")
            strike(second)
            assert process.stderr is not None
            told = process.stderr.read()
        assert process.returncode not in (0, 2), told
        first = store.load(run).records
        assert {record.status for record in first if record.nodes == 1} == {"ok"}
        failed = [record for record in first if record.nodes == 2 and record.status != "ok"]
        assert {record.status for record in failed} == {"failed"}
        assert re.search(reason, failed[0].reason), failed[0].reason

        plug(second)
        again = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    last = store.load(run).records
    assert {record.status for record in last} == {"ok"}
    assert [record for record in last if record.nodes == 1] == [record for record in first if record.nodes == 1]


@pytest.mark.mpi
def test_a_run_is_resumed_on_other_hosts_of_the_same_kind_only(
    layerbench: Layerbench, small_suite: Path, tmp_path: Path
) -> None:
    options = ("--suite", small_suite, *QUICK, "--filter", "fc", "--threads-per-rank", "1", "--output", "run")
    assert layerbench("run", *options, "--hosts", "localhost").returncode == 0
    run = tmp_path / "run"
    environment = store.load(run).manifest.environment
    assert environment["started_from"] == environment["hostname"]
    assert environment["cpu_model"]

    (run / "records.jsonl").write_text("")
    again = layerbench("run", *options, "--hosts", "127.0.0.1", "--resume")
    assert again.returncode == 0, again.stderr
    assert store.load(run).manifest.options.hosts == ["127.0.0.1"]

    told = json.loads((run / "run.json").read_text())
    told["environment"]["physical_cores"] = 4711
    (run / "run.json").write_text(json.dumps(told))
    (run / "records.jsonl").write_text("")
    unlike = layerbench("run", *options, "--hosts", "localhost", "--resume")
    assert unlike.returncode == 1, unlike.stderr
    reasons = {record.reason for record in store.load(run).records}
    assert any("is unlike the host of this run's first rank: physical cores is" in reason for reason in reasons)


def test_a_rank_that_does_not_see_the_run_folder_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "layerbench.worker", str(tmp_path / "elsewhere" / "nodes-2.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert_one_line(done, "cannot be read on", "must be on a file system that all nodes share", code=1)
