"""Broadcasts and all-to-alls of device buffers, by real ranks of MPI on simulated devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda.test_exchange import assert_done, run

PROGRAM = Path(__file__).parent / "exchanging_blocks.py"


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("method", ["nccl", "mpi", "staged"])
def test_blocks_and_broadcasts_come_after_what_is_computed_and_are_right(mpiexec: str, ranks: int, method: str) -> None:
    assert_done(run(mpiexec, ranks, method, "fp32", "fp64", "fp16", "bf16", program=PROGRAM), ranks)
