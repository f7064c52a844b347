"""Device buffers exchanged on a real GPU: ``mpiexec -n N python exchanging_gpu.py NAME``."""

from __future__ import annotations

import sys

import numpy as np

from layerbench.collectives import MPIRanks
from layerbench.cuda import exchange, library, nccl
from layerbench.cuda.exchange_nccl import NCCLExchanges
from layerbench.device import waits

ranks = MPIRanks()
cupy = library.load()


def alone() -> None:
    """NCCL with one rank, whose sums are what it had: queued, and captured in a graph."""
    made = nccl.communicator(ranks)
    exchanges = NCCLExchanges(made, 0, "bf16")
    for dtype in ("f8", "f4", "f2", "u2", "i1", "i4"):
        numbers = (np.arange(1000) % 100).astype(dtype)
        buffer, other = cupy.asarray(numbers), cupy.zeros(1000, dtype)
        runs = (
            exchanges.all_reduce(buffer),
            exchanges.all_gather_into(buffer, other, [1000]),
            exchanges.reduce_scatter_into(buffer, other, [1000]),
        )
        for run in runs:
            run()
        assert (other.get() == numbers).all(), dtype
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with stream:
            stream.begin_capture()
            for run in runs:
                run()
            graph = stream.end_capture()
            other.fill(0)
            graph.launch()
            stream.synchronize()
        assert (other.get() == numbers).all(), dtype
        # NCCL would wait for it at its end.
        del graph
    made.check()
    nccl.close()
    print("done", flush=True)


def together() -> None:
    """Ranks that share the GPUs there are, however that is done, and by way of pinned memory."""
    cupy.cuda.Device(ranks.rank % cupy.cuda.runtime.getDeviceCount()).use()
    counts = [3 + 2 * each for each in range(ranks.size)]
    for method in ("auto", "staged"):
        joined = exchange.connected(ranks, method, "fp16")
        for dtype in ("f8", "f4", "f2", "i4"):
            buffer = cupy.full(1000, ranks.rank + 1, dtype)
            run = joined.all_reduce(buffer)
            run()
            assert (buffer.get() == sum(range(1, ranks.size + 1))).all(), (method, dtype)
            mine = cupy.full(counts[ranks.rank], ranks.rank, dtype)
            everyone = cupy.zeros(sum(counts), dtype)
            joined.all_gather_into(mine, everyone, counts)()
            assert (everyone.get() == np.repeat(np.arange(ranks.size), counts)).all(), (method, dtype)
        joined.barrier()
        assert waits(run) != joined.operation_name("all_reduce", True).startswith("nccl")
    nccl.close()
    print("done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
