"""Calibration between two hosts on a link of a known rate: the fit must find its bandwidth.

More rates, and more hosts than were fitted, are in ``tests/bench/links.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerbench.collective_times import link_seconds
from layerbench.environment import usable_cores
from layerbench.machine import load
from layerbench.machine.read import OPERATIONS
from tests.netns import OVER_TCP, hosts

FRAMING = 1448 / 1538
"""TCP's payload of what goes over an Ethernet link: each frame has 1448 bytes of it and 1538 in all."""


@pytest.mark.root
@pytest.mark.mpi
@pytest.mark.usefixtures("mpiexec")
def test_the_bandwidth_of_a_link_is_found_within_a_tenth(tmp_path: Path) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two hosts with a core each need two cores")
    path = tmp_path / "linked.toml"
    with hosts(2, "200mbit", tmp_path) as (addresses, rsh, enter):
        command = [sys.executable, "-m", "layerbench", "calibrate", "--output", str(path), "--max-time", "0.05"]
        command += ["--dtype", "fp32", "--kernels", "numpy", "--hosts", ",".join(addresses), "--timeout", "60"]
        command += ["--launcher-args", f"-launcher ssh -launcher-exec {rsh}"]
        done = subprocess.run(
            [*enter, *command],
            env={**os.environ, **OVER_TCP},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr
    found = load(str(path))
    assert found.nodes == 2
    assert found.between is not None
    known = 25e6 * FRAMING
    assert 1 / found.between.beta.value == pytest.approx(known, rel=0.10)
    # Collectives need the processor as well as the link: it adds, and carries every byte through its own network stack.
    assert {fit.operation for fit in found.between.fits} == set(OPERATIONS)
    for fit in found.between.fits:
        assert 1 / fit.beta.value == pytest.approx(known, rel=0.35), fit.operation
    # Beyond what was measured a large exchange takes what the link needs for it, over four hosts too.
    for ranks, moved in ((2, 0.5), (4, 0.75)):
        taken = link_seconds(found.between, "all_gather", ranks, 10**9)
        assert taken == pytest.approx(moved * 1e9 / known, rel=0.35)
