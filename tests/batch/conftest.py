"""What the tests of batch systems share: the command line with an environment of its own, a cluster, and patience."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.batch.fake import core, flux, launchers, lsf, openpbs, torque
from tests.batch.fake import python as stand_in
from tests.batch.fake import slurm as fake_slurm
from tests.batch.slurm import Cluster, cluster
from tests.conftest import until

Call = Callable[..., "subprocess.CompletedProcess[str]"]

SOON = ("--poll", "0.1", "--lag", "0.3")
"""Options of collect that leave nothing to wait for."""


def call(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command line, in a folder and an environment."""
    return subprocess.run(
        [sys.executable, "-m", "layerbench", *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def jobs_of(cwd: Path, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """What ``layerbench jobs`` says, as values."""
    done = call("jobs", "--format", "json", cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


FAMILIES: dict[str, tuple[str, ...]] = {
    "torque": torque.PROGRAMS,
    "openpbs": openpbs.PROGRAMS,
    "slurm": fake_slurm.PROGRAMS,
    "lsf": lsf.PROGRAMS,
    "flux": flux.PROGRAMS,
}

PROFILES = {
    "torque": 'scheduler = "torque"\nlauncher = "aprun"\ncores_per_node = 16\nfeature = "xk"\n',
    "openpbs": 'scheduler = "openpbs"\nlauncher = "mpiexec"\ncores_per_node = 16\n',
    "slurm": 'scheduler = "slurm"\nlauncher = "srun"\ncores_per_node = 16\n',
    "lsf": 'scheduler = "lsf"\nlauncher = "jsrun"\ncores_per_node = 42\nranks_per_node = 6\n',
    "flux": 'scheduler = "flux"\nlauncher = "flux"\ncores_per_node = 16\n',
}
"""A system of each scheduler, with a Python that stands in for one that has layerbench."""


@dataclass(frozen=True)
class Site:
    """A folder from which jobs are submitted to stand-ins: profiles there are named after their schedulers."""

    folder: Path
    state: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return call(*arguments, cwd=self.folder, env=self.environment, timeout=timeout)

    def submit(self, family: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self("submit", "--system", f"./{family}.toml", *arguments)

    def jobs(self) -> list[dict[str, Any]]:
        return jobs_of(self.folder, self.environment)

    def set(self, name: str, text: str = "") -> None:
        """Have the stand-ins fare in a way: see :mod:`tests.batch.fake.core`."""
        (self.state / name).write_text(text)

    def unset(self, name: str) -> None:
        (self.state / name).unlink()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What the stand-ins have written down."""
        path = self.state / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_site(folder: Path, family: str) -> Site:
    """Programs of a scheduler, launchers, a Python, and a profile of each scheduler."""
    state = folder / "state"
    state.mkdir(parents=True)
    core.install(folder / "bin", family, FAMILIES[family])
    core.install(folder / "bin", "launchers", launchers.PROGRAMS)
    core.install(folder / "bin", "python", stand_in.PROGRAMS)
    (folder / "bin" / "module").symlink_to("/bin/true")
    work = folder / "work"
    work.mkdir()
    for name, profile in PROFILES.items():
        (work / f"{name}.toml").write_text(profile + 'python = "python"\n')
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "FAKE_STATE": str(state),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    return Site(work, state, environment)


@pytest.fixture(params=sorted(FAMILIES))
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, str]]:
    """A site of each scheduler, and its name."""
    site = make_site(tmp_path / "site", request.param)
    yield site, request.param
    _end_jobs(site)


@pytest.fixture
def torque_site(tmp_path: Path) -> Iterator[Site]:
    site = make_site(tmp_path / "site", "torque")
    yield site
    _end_jobs(site)


def _end_jobs(site: Site) -> None:
    """Leave no job behind, whatever a test did."""
    site.set("kill")
    path = site.state / "jobs.json"

    def over() -> bool:
        with contextlib.suppress(ValueError, FileNotFoundError):
            return all(job["state"] != "running" for job in json.loads(path.read_text()))
        return not path.exists()

    until(over, "the stand-ins' jobs end", 10)


@pytest.fixture(scope="session")
def real_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes of a real Slurm."""
    with cluster(4, tmp_path_factory.mktemp("slurm")) as made:
        yield made
