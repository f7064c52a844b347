"""A real Slurm: submit, follow, collect, cancel, jobs that fail, run out of time, and wait for their scheduler."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench import store
from tests.batch.conftest import SOON, call, jobs_of
from tests.batch.slurm import Cluster
from tests.conftest import SMALL_SUITE, assert_one_line, until

# One cluster for all of them, where tests run several at once.
pytestmark = [pytest.mark.xdist_group("slurm"), pytest.mark.slurm, pytest.mark.slow, pytest.mark.root]

# All nodes share this machine's cores: the launcher stays within one of them, and other counts are emulated.
PROFILE = """
scheduler = "slurm"
launcher = "mpiexec"
nodes = 2
exclusive = false
queue = "gpuA100x4"
walltime_most = "01:00:00"

[environment]
HYDRA_RMK = "user"
HYDRA_LAUNCHER = "fork"
"""

# Real ranks on every node, joined by Slurm itself.
ACROSS = PROFILE.partition("[environment]")[0].replace("mpiexec", "srun") + 'launcher_args = "--mpi=pmi2"\n'

QUICK = ("--kernels", "numpy", "--max-time", "0.1", "--batch", "8", "--network", "gemini", "--threads-per-rank", "1")
ENDLESS = (*QUICK[:2], "--max-time", "600", "--rel-error", "1e-9", "--max-samples", "100000000", *QUICK[4:])

Lb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lb(real_slurm: Cluster, tmp_path: Path) -> Lb:
    """The command line where the cluster is at hand, in a folder with a suite and a profile."""
    (tmp_path / "small.toml").write_text(SMALL_SUITE)
    (tmp_path / "tested.toml").write_text(PROFILE)
    (tmp_path / "across.toml").write_text(ACROSS)

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return call(*arguments, cwd=tmp_path, env=real_slurm.environment)

    return run


def submit(lb: Lb, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = lb("submit", "--system", "tested.toml", "--suite", "small.toml", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def running(folder: Path, cluster: Cluster) -> bool:
    return [job["state"] for job in jobs_of(folder, cluster.environment)] == ["running"]


def test_a_job_is_submitted_followed_and_collected(lb: Lb, tmp_path: Path) -> None:
    submit(lb, "--nodes", "1,2", "--filter", "fc,lstm", "--walltime", "00:05:00", "--output", "run", *QUICK)
    collected = lb("collect", *SOON)
    assert collected.returncode == 0, collected.stderr
    assert "done" in collected.stderr
    assert "report run" in collected.stdout
    run = store.load(tmp_path / "run")
    assert {(record.layer, record.nodes) for record in run.records} == {
        (layer, n) for layer in ("fc", "lstm") for n in (1, 2)
    }
    assert lb("report", "run", "--no-html").returncode == 0


def test_folders_have_the_names_they_have(lb: Lb, tmp_path: Path) -> None:
    """Slurm takes %j for the job's number and a backslash for the end of such signs, in folders too."""
    names = ["a %j b", "back\\slash", "it's;$(touch pwned)", "new\nline"]
    for name in names:
        submit(lb, "--nodes", "1", "--filter", "fc", "--walltime", "00:05:00", "--output", name, *QUICK)
    for name in names:
        collected = lb("collect", name, *SOON)
        assert collected.returncode == 0, collected.stderr
        (log,) = (tmp_path / name / "batch").glob("*.log")
        assert "  fc: " in log.read_text()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("system", ["tested.toml", "across.toml"])
def test_jobs_of_an_array_become_one_run(system: str, lb: Lb, tmp_path: Path) -> None:
    """Each has hosts, or an allocation, of its own."""
    options = ("--nodes", "1,2", "--filter", "fc", "--array", "--walltime", "00:05:00", "--output", "run", *QUICK)
    done = lb("submit", "--system", system, "--suite", "small.toml", *options)
    assert done.returncode == 0, done.stderr
    collected = lb("collect", "run", *SOON)
    assert collected.returncode == 0, collected.stderr
    run = store.load(tmp_path / "run")
    assert run.manifest.options.nodes == [1, 2]
    assert {record.nodes for record in run.records} == {1, 2}
    assert run.manifest.outcome == "complete"


def test_ranks_on_two_nodes_are_one_world(lb: Lb, tmp_path: Path) -> None:
    options = ("--nodes", "1,2", "--filter", "fc,lstm", "--walltime", "00:05:00", "--output", "run", *QUICK)
    done = lb("submit", "--system", "across.toml", "--suite", "small.toml", *options)
    assert done.returncode == 0, done.stderr
    collected = lb("collect", *SOON)
    assert collected.returncode == 0, collected.stderr
    run = store.load(tmp_path / "run")
    assert {(record.nodes, record.placement) for record in run.records} == {(1, "measured"), (2, "measured")}
    (launch,) = (launch for launch in run.manifest.launches if launch.nodes == 2)
    assert launch.command[:5] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpu-bind=none"]
    assert len(launch.hosts) == 2
    assert run.manifest.options.allocated == 2
    assert run.manifest.environment["started_from"]


@pytest.mark.mpi
def test_within_an_allocation_the_launcher_is_found_and_separate_worlds_are_told(
    tmp_path: Path, real_slurm: Cluster
) -> None:
    """This cluster's srun knows no MPI unless told: each rank then is a world of its own."""
    (tmp_path / "small.toml").write_text(SMALL_SUITE)
    command = ["salloc", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "layerbench", "run"]
    command += ["--suite", "small.toml", "--filter", "fc", "--nodes", "2", "--output", "run", *QUICK]
    done = subprocess.run(
        command, cwd=tmp_path, env=real_slurm.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert re.search(r"in Slurm's job \d+ of 2 nodes: ranks are started by srun", done.stderr), done.stderr
    assert done.returncode not in (0, 2), done.stderr
    (step, *_) = (record for record in store.load(tmp_path / "run").records if record.part == "step")
    assert step.status == "failed"
    assert "this rank sees 1 ranks, 2 were asked for: srun started separate worlds" in step.reason
    assert "--launcher-args=--mpi=pmi2" in step.reason


def test_a_cancelled_job_keeps_what_it_measured(lb: Lb, tmp_path: Path, real_slurm: Cluster) -> None:
    submit(lb, "--nodes", "1", "--filter", "fc", "--output", "run", *ENDLESS)
    until((tmp_path / "run" / "launches" / "nodes-1.json").exists, "the run starts")
    assert running(tmp_path, real_slurm)
    assert lb("cancel", "run").returncode == 0
    collected = lb("collect", *SOON)
    assert collected.returncode == 143, collected.stderr
    assert "cancelled" in collected.stderr
    # The script passed the signal on, and the run ended in its own way.
    (log,) = (tmp_path / "run" / "batch").glob("*.log")
    assert "stopped by SIGTERM" in log.read_text()
    assert (tmp_path / "run" / "run.json").exists()


def test_a_job_that_fails_says_how(lb: Lb, tmp_path: Path, real_slurm: Cluster) -> None:
    kernel = tmp_path / "broken.py"
    kernel.write_text("raise SystemError('no such luck')\n")
    submit(lb, "--nodes", "1", "--kernels", "broken.py", "--output", "run")
    collected = lb("collect", *SOON)
    assert collected.returncode not in (0, 4), collected.stderr
    (job,) = jobs_of(tmp_path, real_slurm.environment)
    assert job["state"] == "failed"
    assert job["exit_code"] == collected.returncode
    assert "batch" in job["note"]


SLOW = ("--nodes", "1", "--filter", "fc,lstm", "--output", "run", "--kernels", "slow.py", *QUICK[2:])


def slow_kernel(folder: Path) -> None:
    """A kernel whose second layer takes for ever as long as there is a file: no job ends in time until it is gone."""
    (folder / "slow.py").write_text(
        "import importlib, pathlib, time\n"
        f"mark = pathlib.Path({str(folder / 'slow')!r})\n"
        "class Slow(type(importlib.import_module('layerbench.kernels.reference').KERNEL)):\n"
        "    name = 'slow'\n"
        "    preference = None\n"
        "    def prepare(self, job, *arguments):\n"
        "        while job.layer.kind == 'lstm' and mark.exists():\n"
        "            time.sleep(0.1)\n"
        "        return super().prepare(job, *arguments)\n"
        "KERNEL = Slow()\n"
    )
    (folder / "slow").touch()


def test_a_job_whose_time_is_up_is_gone_on_with(lb: Lb, tmp_path: Path) -> None:
    """A walltime of a minute, the least Slurm has, is warned of after 15 to 45 s: it looks every half a minute."""
    slow_kernel(tmp_path)
    submit(lb, *SLOW, "--walltime", "00:01:00")
    # Collecting asks less often the longer nothing changes, and would notice some time later.
    until(lambda: any((tmp_path / "run" / "batch").glob("*.exit")), "the job is warned and ends", 120)
    collected = lb("collect", *SOON)
    assert collected.returncode == 143, collected.stderr
    assert "submit --resume run" in collected.stderr
    first = store.load(tmp_path / "run").records
    assert {record.layer for record in first} == {"fc"}

    (tmp_path / "slow").unlink()
    again = lb("submit", "--resume", "run", "--walltime", "00:05:00")
    assert again.returncode == 0, again.stderr
    collected = lb("collect", *SOON)
    assert collected.returncode == 0, collected.stderr
    last = store.load(tmp_path / "run").records
    assert {record.layer for record in last} == {"fc", "lstm"}
    assert [record for record in last if record.layer == "fc"] == first


def test_a_refusal_is_shown_and_leaves_nothing(lb: Lb, tmp_path: Path) -> None:
    done = lb("submit", "--system", "tested.toml", "--suite", "small.toml", "--queue", "nowhere", "--output", "run")
    assert_one_line(done, "sbatch refused it", "invalid partition")
    assert not (tmp_path / "run").exists()


def test_a_controller_that_is_down_says_nothing_of_the_job(lb: Lb, tmp_path: Path, real_slurm: Cluster) -> None:
    submit(lb, "--nodes", "1", "--filter", "fc", "--output", "run", *ENDLESS)
    until((tmp_path / "run" / "launches" / "nodes-1.json").exists, "the run starts")
    assert running(tmp_path, real_slurm)
    real_slurm.stop_controller()
    try:
        done = lb("jobs", "--scheduler-timeout", "0.5")
        assert done.returncode == 0, done.stderr
        assert "does not answer" in done.stderr
        assert "running" in done.stdout
        waited = lb("collect", "--timeout", "1", "--scheduler-timeout", "0.5", *SOON)
        assert waited.returncode == 4, waited.stderr
        assert "asked again" in waited.stderr
    finally:
        real_slurm.start_controller()
        real_slurm.do("sinfo")
    assert lb("cancel", "run").returncode == 0
    assert lb("collect", *SOON).returncode == 143


def test_a_lost_id_is_found_by_name(lb: Lb, tmp_path: Path, real_slurm: Cluster) -> None:
    submit(lb, "--nodes", "1", "--filter", "fc", "--output", "run", *QUICK)
    path = tmp_path / "run" / "batch" / "job.json"
    (job,) = jobs_of(tmp_path, real_slurm.environment)
    path.write_text(path.read_text().replace(f'"id": "{job["id"]}"', '"id": ""'))
    (again,) = jobs_of(tmp_path, real_slurm.environment)
    assert again["id"] == job["id"]
    assert lb("collect", *SOON).returncode == 0
