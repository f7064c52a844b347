"""A run holds the ceilings of its ranks, and loses nothing else where they cannot be had."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

import layerbench as lb
from layerbench import store, sweep
from layerbench.environment import usable_cores
from layerbench.listener import Listener
from layerbench.records import Manifest, Roofline
from tests.conftest import QUICK, Layerbench

SABOTAGE = """
import importlib, os, signal, time
class Saboteur(type(importlib.import_module('layerbench.kernels.reference').KERNEL)):
    name = 'saboteur'
    preference = None
    def prepare(self, job, tensors, choices):
        if job.layer.name.startswith('product of'):
            {deed}
        return super().prepare(job, tensors, choices)
KERNEL = Saboteur()
"""


def saboteur(folder: Path, deed: str) -> str:
    """A kernel file that does its layers, and does this instead of a roofline's matrix product."""
    path = folder / "saboteur.py"
    path.write_text(SABOTAGE.format(deed=deed))
    return str(path)


def purposes(manifest: Manifest) -> list[str]:
    return [launch.purpose for launch in manifest.launches]


@pytest.mark.mpi
@pytest.mark.parametrize("launcher", ["mpiexec", "none"])
def test_a_run_holds_its_roofline_and_its_resumption_keeps_it(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench, mpiexec: str, launcher: str
) -> None:
    run = tmp_path / "run"
    arguments = ["run", "--suite", small_suite, "--filter", "fc", "--threads-per-rank", "1", *QUICK]
    arguments += ["--launcher", launcher, "--output", run]
    done = layerbench(*arguments)
    assert done.returncode == 0, done.stderr
    assert "roofline of one rank: " in done.stderr
    manifest = store.load(run).manifest
    assert purposes(manifest) == ["roofline", "measure"]
    probe = manifest.launches[0]
    assert (probe.nodes, probe.ranks, probe.placement, probe.outcome) == (1, 1, "measured", "ok")
    assert probe.pinned_cores == [usable_cores()[:1]]
    found = manifest.roofline
    assert found is not None
    assert (found.device, found.dtype, found.threads, found.reason) == ("host", "fp32", 1, "")
    assert 1e9 < found.flops < 1e12
    assert 1e9 < found.bandwidth < 200e9

    lines = (run / store.RECORDS).read_bytes().splitlines(keepends=True)
    (run / store.RECORDS).write_bytes(b"".join(lines[:-1]))
    done = layerbench(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert "roofline of one rank" not in done.stderr
    resumed = store.load(run).manifest
    assert purposes(resumed) == ["roofline", "measure", "measure"]
    assert resumed.roofline == found

    store.write_manifest(run, msgspec.structs.replace(resumed, roofline=None))
    assert layerbench(*arguments, "--resume").returncode == 0
    after = store.load(run).manifest
    assert (after.roofline, purposes(after)) == (None, purposes(resumed)), "nothing was left to measure"


def test_a_probe_that_crashes_costs_one_line(small_suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    kernel = saboteur(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    run = tmp_path / "run"
    quick = ("--kernels", kernel, "--max-time", "0.2", "--launcher", "none", "--filter", "fc")
    done = layerbench("run", "--suite", small_suite, *quick, "--output", run)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "the roofline" in line]
    assert "the roofline could not be measured: a rank was ended by SIGKILL" in line
    assert str(run / store.LAUNCHES / "roofline.log") in line
    stored = store.load(run)
    assert stored.manifest.roofline is None
    assert "SIGKILL" in stored.manifest.launches[0].outcome
    assert {record.status for record in stored.records} == {"ok"}


def test_a_probe_that_hangs_is_given_up(small_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ROOFLINE_TIMEOUT", 2.0)
    begin = time.monotonic()
    run = lb.run(
        str(small_suite),
        kernels=saboteur(tmp_path, "time.sleep(600)"),
        launcher="none",
        filter="fc",
        max_time=0.2,
        output=tmp_path / "run",
    )
    assert time.monotonic() - begin < 60
    assert run.manifest.roofline is None
    assert "no rank made progress for 2 s" in run.manifest.launches[0].outcome
    assert {record.status for record in run.records} == {"ok"}


def test_a_probe_that_fails_leaves_the_figure_it_has(small_suite: Path, tmp_path: Path) -> None:
    kernel = saboteur(tmp_path, "raise OSError('no\\\\nluck')")
    told: list[str] = []

    class Listening(Listener):
        def roofline_known(self, roofline: Roofline) -> None:
            told.append(roofline.reason)

    run = lb.run(
        str(small_suite),
        kernels=kernel,
        dtype="fp64",
        launcher="none",
        filter="fc",
        max_time=0.2,
        listener=Listening(),
        output=tmp_path / "run",
    )
    found = run.manifest.roofline
    assert found is not None
    assert found.flops_source.startswith("numpy"), "another library of the same device has one"
    assert found.bandwidth > 0
    assert told == [found.reason] == [""]
