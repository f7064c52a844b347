"""Broadcasts and all-to-alls of device buffers: ``mpiexec -n N python exchanging_blocks.py METHOD DTYPE...``."""

from __future__ import annotations

import sys

import numpy as np
from exchanging import STORED, bits, cupy, do, done, held, prepared, raised, rank, ranks, same, says, values

from layerbench.collectives import MPIRanks
from layerbench.cuda import exchange
from layerbench.device import waits


def exchanged(method: str, dtype: str) -> None:
    """None of them may read what is not yet computed."""
    says(True)
    joined = exchange.connected(MPIRanks(), method, dtype)
    stored = STORED[dtype]
    given, into = cupy.empty(5 * ranks, stored), cupy.empty(5 * ranks, stored)
    run = joined.all_to_all_into(given, into)
    assert waits(run) == (method != "nccl")
    prepared[:] = [(given, bits(values(rank, 5 * ranks), dtype)), (into, np.zeros(5 * ranks, stored))]
    blocks = np.concatenate([np.split(values(each, 5 * ranks), ranks)[rank] for each in range(ranks)])
    do(run, lambda: same(held(into, dtype), blocks.tolist()))
    for wrong in (cupy.empty(5, stored), cupy.empty(5 * ranks, "f8" if stored != "f8" else "f4")):
        assert "equal blocks" in str(raised(lambda wrong=wrong: joined.all_to_all_into(given, wrong)))
    uneven = cupy.empty(5 * ranks + 1, stored)
    assert "equal blocks" in str(raised(lambda: joined.all_to_all_into(uneven, uneven)))

    buffer = cupy.empty(6, stored)
    for root in range(ranks):
        run = joined.broadcast_into(buffer, root)
        assert waits(run) == (method != "nccl")
        prepared[:] = [(buffer, bits(values(rank, 6), dtype))]
        do(run, lambda root=root: same(held(buffer, dtype), values(root, 6).tolist()))
    joined.barrier()
    names = {
        "nccl": ["ncclBroadcast in place", "ncclSend and ncclRecv, grouped"],
        "mpi": ["MPI_Bcast, of device memory", "MPI_Alltoall, of device memory"],
        "staged": ["MPI_Bcast, staged through pinned memory", "MPI_Alltoall, staged through pinned memory"],
    }
    assert [joined.operation_name(operation, True) for operation in ("broadcast", "all_to_all")] == names[method]


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        exchanged(sys.argv[1], kind)
    done(sys.argv[1])
