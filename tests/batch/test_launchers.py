"""A job of each batch system whose launcher starts real ranks: the whole way from submit to one run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from layerbench import store
from tests.batch.conftest import SOON, make_site
from tests.conftest import SMALL_SUITE

QUICK = ("--kernels", "numpy", "--max-time", "0.1", "--batch", "8", "--threads-per-rank", "1", "--filter", "fc")

LINES = {
    "torque": "aprun -n 2 -N 1 -d 1 -cc none -b -- bwpy-environ --",
    "slurm": "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none",
    "lsf": "jsrun -n 2 -r 1 -a 1 -c 1",
    "flux": "flux run -N 2 -n 2 -c 1",
}

PROFILES = {
    "torque": 'launcher = "aprun"\nlauncher_args = "-cc none -b --"\ncores_per_node = 1\nwrapper = "bwpy-environ --"\n',
    "slurm": 'launcher = "srun"\n',
    "lsf": 'launcher = "jsrun"\n',
    "flux": 'launcher = "flux"\n',
}


@pytest.mark.mpi
@pytest.mark.parametrize("family", sorted(LINES))
def test_ranks_are_started_in_the_allocation_of_a_job(family: str, tmp_path: Path, mpiexec: str) -> None:
    site = make_site(tmp_path, family)
    site.set("mpiexec", mpiexec)
    (site.folder / "small.toml").write_text(SMALL_SUITE)
    profile = f'scheduler = "{family}"\npython = "{sys.executable}"\n{PROFILES[family]}'
    (site.folder / "real.toml").write_text(profile)
    options = ("--suite", "small.toml", "--nodes", "1,2", "--walltime", "00:10:00", "--output", "run", *QUICK)
    submitted = site("submit", "--system", "real.toml", *options)
    assert submitted.returncode == 0, submitted.stderr
    collected = site("collect", *SOON)
    (log,) = (site.folder / "run" / "batch").glob("*.log")
    assert collected.returncode == 0, collected.stderr + log.read_text()
    run = store.load(site.folder / "run")
    assert {(record.nodes, record.placement) for record in run.records} == {(1, "measured"), (2, "measured")}
    (launch,) = (launch for launch in run.manifest.launches if launch.nodes == 2)
    line = LINES[family].split()
    assert launch.command[: len(line)] == line
    assert len(launch.hosts) == 2
    assert run.manifest.options.allocated == 2
    assert run.manifest.environment["started_from"] == run.manifest.environment["hostname"]
