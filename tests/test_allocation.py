"""Where this process is, by what batch systems set for the processes of a job; who starts ranks there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench import allocation, environment, launch
from layerbench.allocation import Allocation, Place
from layerbench.errors import UnavailableError, UsageError

Install = Callable[..., None]

CORES = 6
"""That this machine is said to have."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put programs on an otherwise empty PATH, each with what it prints by the arguments it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(environment, "usable_cores", lambda: list(range(CORES)))
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_URI"):
        monkeypatch.delenv(name, raising=False)

    def make(program: str, **answers: str) -> None:
        path = folder / program
        told = "".join(f'"{key.replace("_", " ")}"*) echo "{answer}" ;; ' for key, answer in answers.items())
        path.write_text(f'#!/bin/sh\ncase "$*" in {told} esac\n')
        path.chmod(0o755)

    return make


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NUM_NODES": "4",
    "SLURM_JOB_NODELIST": "n[1-4]",
    "SLURM_JOB_CPUS_PER_NODE": "128(x3),64",
}


def test_slurm_counts_nodes_and_the_least_of_their_cpus(install: Install) -> None:
    install("scontrol", show_hostnames="n1 n2 n3 n4")
    assert allocation.find(SLURM) == Allocation("Slurm", "77", "srun", 4, 64, ("n1", "n2", "n3", "n4"))


def test_on_a_node_of_slurms_job_its_own_cores_are_counted(install: Install) -> None:
    """Slurm may count hardware threads; a shell that salloc opens may run elsewhere."""
    found = allocation.find(SLURM | {"SLURMD_NODENAME": "n1"})
    assert found is not None
    assert (found.cores, found.hosts) == (CORES, ()), "without scontrol nobody tells names"


def test_torque_with_alps(install: Install) -> None:
    install("aprun")
    variables = {"PBS_JOBID": "9.bw", "PBS_NUM_NODES": "8", "PBS_NUM_PPN": "16", "PBS_NODEFILE": "/not/here"}
    assert allocation.find(variables) == Allocation("ALPS", "9.bw", "aprun", 8, 16)


def test_openpbs_tells_by_a_file_of_names(install: Install, tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("a.site\na.site\nb.site\nb.site\n")
    variables = {"PBS_JOBID": "9", "PBS_NODEFILE": str(tmp_path / "nodes"), "NCPUS": "4"}
    assert allocation.find(variables) == Allocation("PBS", "9", "mpiexec", 2, 4, ("a.site", "b.site"))
    assert allocation.find({"PBS_JOBID": "9"}) is None, "a job of which nothing is known is none"


def test_lsf_leaves_out_the_host_of_the_script(install: Install) -> None:
    variables = {"LSB_JOBID": "5", "LSB_MCPU_HOSTS": "batch1 1 h1 42 h2 42"}
    assert allocation.find(variables) == Allocation("LSF", "5", "mpiexec", 3, 1, ("batch1", "h1", "h2"))
    install("jsrun")
    assert allocation.find(variables) == Allocation("LSF", "5", "jsrun", 2, 42, ("h1", "h2"))
    assert allocation.find({"LSB_JOBID": "5", "LSB_MCPU_HOSTS": "h1 1"}) == Allocation(
        "LSF", "5", "jsrun", 1, 1, ("h1",)
    )


def test_flux_is_asked(install: Install) -> None:
    variables = {"FLUX_URI": "local:///run/flux/local"}
    assert allocation.find(variables) is None, "no flux answers"
    install("flux", getattr_size="2", resource_list="96", getattr_jobid="f2Xyz")
    assert allocation.find(variables) == Allocation("Flux", "f2Xyz", "flux", 2, 48)


@pytest.mark.parametrize("variables", [{}, {"SLURM_JOB_ID": "1"}, {"SLURM_JOB_ID": "1", "SLURM_NNODES": "many"}])
def test_no_job_is_no_allocation(variables: dict[str, str], install: Install) -> None:
    assert allocation.find(variables) is None


def within_slurm(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (SLURM | changes).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_mpiexec", lambda: "/usr/bin/mpiexec")


@pytest.mark.usefixtures("mpi")
def test_auto_takes_the_launcher_of_the_job_and_says_so(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("srun")
    assert allocation.choose("auto", "") == Place("mpiexec", cores=CORES)
    within_slurm(monkeypatch)
    told = "in Slurm's job 77 of 4 nodes: ranks are started by srun"
    assert allocation.choose("auto", "") == Place("srun", allocated=4, cores=64, told=told)
    assert allocation.choose("srun", "") == Place("srun", allocated=4, cores=64)
    assert allocation.choose("auto", "a,b") == Place("mpiexec", hosts=("a", "b"), cores=CORES), "named hosts win"
    assert allocation.choose("none", "") == Place("none", cores=CORES)


@pytest.mark.usefixtures("mpi")
def test_auto_in_a_job_without_a_launcher_of_its_own_uses_mpiexec_on_its_hosts(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nodes").write_text("a\nb\n")
    monkeypatch.setenv("PBS_JOBID", "9")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    told = "in PBS's job 9 of 2 nodes: ranks are started by mpiexec"
    assert allocation.choose("auto", "") == Place("mpiexec", hosts=("a", "b"), cores=CORES, told=told)
    assert allocation.choose("mpiexec", "") == Place("mpiexec", hosts=("a", "b"), cores=CORES)


@pytest.mark.usefixtures("mpi")
def test_mpiexec_in_a_job_of_one_node_is_that_of_a_machine_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("scontrol", show_hostnames="n1")
    within_slurm(monkeypatch, SLURM_JOB_NUM_NODES="1")
    assert allocation.choose("mpiexec", "") == Place("mpiexec", cores=CORES)


@pytest.mark.parametrize("launcher", ["srun", "aprun", "jsrun", "flux"])
def test_a_launcher_outside_its_allocation_is_refused(
    launcher: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match=f"there is no {launcher} on PATH"):
        allocation.choose(launcher, "")
    install(launcher)
    with pytest.raises(UsageError, match=r"works within an allocation of \w+, and this is no job; .*layerbench submit"):
        allocation.choose(launcher, "")
    with pytest.raises(UsageError, match=f"--hosts: {launcher} puts ranks on the nodes of its allocation"):
        allocation.choose(launcher, "a,b")
    if launcher != "srun":
        within_slurm(monkeypatch)
        with pytest.raises(UsageError, match="this is in Slurm's job 77 of 4 nodes"):
            allocation.choose(launcher, "")


def test_launchers_by_name(install: Install, mpi: None) -> None:
    assert allocation.choose("auto", "").launcher == "mpiexec"
    assert allocation.choose("mpiexec", "").launcher == "mpiexec"
    assert allocation.choose("none", "").launcher == "none"
    with pytest.raises(UsageError, match="known are auto, mpiexec, srun, aprun, jsrun, flux, none"):
        allocation.choose("ssh", "")


def test_without_mpi_a_rank_runs_alone(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert allocation.choose("auto", "") == Place("none", cores=CORES)
    with pytest.raises(UnavailableError, match=r"--launcher mpiexec: .*pip install"):
        allocation.choose("mpiexec", "")
