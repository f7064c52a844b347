"""A thousand batches with overlap and without, on one to four real ranks, give the same bits: a race would show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("stepping.py")

STEPS = 250
"""Of each depth from 1 to 4: a thousand batches."""


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "method", "progress"),
    [
        (1, "auto", "calls"),
        (2, "iallreduce", "thread"),
        # Over more ranks MPI may add in another order where a message has another size; in the order of ranks it is
        # always the same.
        (3, "ordered", "calls"),
        (4, "ordered", "thread"),
    ],
)
def test_explicit_steps_are_implicit_ones_bit_for_bit(ranks: int, method: str, progress: str, mpiexec: str) -> None:
    done = subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, str(PROGRAM), str(STEPS), method, progress],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # Ranks of more threads than there are cores would wait for each other's turns.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == ranks
