"""How ranks fail and end in the tests of gradient exchange."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from exchanging import SMALL, raised, rank, ranks, world
from mpi4py import MPI

from layerbench.datamanager.exchange import GradientExchange
from layerbench.errors import LayerbenchError, UnavailableError, UsageError


def refusals() -> None:
    """What is wrong on one rank is told on all, in one line, and no rank is left waiting."""

    def exchange(gradients: list[Any], **options: Any) -> LayerbenchError:
        return raised(lambda: GradientExchange(gradients, world, **options))

    one = [np.zeros(4, "f4"), np.zeros(9, "f4")]
    error = exchange([np.zeros(4, "f4"), np.zeros(9 - rank, "f4")])
    assert isinstance(error, UsageError)
    assert "rank 1: gradient 1 is 8 elements of float32, of rank 0 9 elements of float32" in str(error), error
    error = exchange(one if rank else one[:1])
    assert "rank 1: the number of gradients is 2, of rank 0 1" in str(error), error
    error = exchange(one, bucket_bytes=1000 + rank)
    assert "rank 1: bucket_bytes is 1001, of rank 0 1000" in str(error), error
    error = exchange(one, method="ordered" if rank else "iallreduce")
    assert "rank 1: method is ordered" in str(error), error
    error = exchange([np.zeros(4)[::2]] if rank else [np.zeros(2)])
    assert "gradient 0: is not contiguous" in str(error), error
    assert str(error).startswith("rank 1: ") == (rank == 0), error
    for method in ("iallreduce", "persistent"):
        error = exchange([np.zeros(4, "f2")], method=method)
        assert isinstance(error, UsageError)
        assert 'MPI cannot add float16; method="ordered"' in str(error), error
    error = exchange([np.zeros(4, bool)], method="ordered")
    assert "expected numbers, not bool" in str(error), error
    threads = threading.active_count()
    error = exchange(one, progress="thread", cores=[10**6] if rank else None)
    assert "cores: expected cores of this machine, not [1000000]" in str(error), error
    assert threading.active_count() == threads, "the thread of the rank that could is gone too"
    error = exchange(one, method="nccl")
    assert "is for gradients on a device" in str(error), error

    error = raised(lambda: GradientExchange(one, MPI.COMM_NULL))
    assert str(error).endswith("not a null one: this rank is no part of it"), error
    assert "expected one of mpi4py" in str(raised(lambda: GradientExchange(one, MPI.Comm)))

    with GradientExchange(one, world) as running:
        running.ready(1)
        error = raised(lambda: running.ready(1))
        assert "gradient 1 is ready already in step 0" in str(error), error
        error = raised(running.wait)
        assert "ready() was not called for 0" in str(error), error
        running.ready(0)
        running.wait()
        assert "not called for 1, 0" in str(raised(running.wait))
        for index in (0, 1):
            running.ready(index)
        running.wait()
    assert "closed" in str(raised(running.wait))
    assert "closed" in str(raised(lambda: running.ready(0)))
    running.close()
    print(f"refusals {rank} done", flush=True)


def single_threaded(_: str) -> None:
    assert MPI.Query_thread() == MPI.THREAD_SERIALIZED
    gradients = [np.ones(3)]
    error = raised(lambda: GradientExchange(gradients, world, progress="thread"))
    assert isinstance(error, UnavailableError)
    assert 'progress="calls"' in str(error)
    with GradientExchange(gradients, world) as exchange:
        exchange.ready(0)
        exchange.wait()
    assert (gradients[0] == ranks).all()
    print(f"serialized {rank} done", flush=True)


def failing(progress: str) -> None:
    """An error of MPI, in whichever thread, reaches the caller."""
    gradients = [np.zeros(100)]
    with GradientExchange(gradients, world, progress=progress) as exchange:
        exchange.ready(0)
        exchange.wait()
        backend: Any = exchange._backend
        sums_of = backend._backend._sums if progress == "thread" else backend._sums
        sums_of._communicator = MPI.COMM_NULL

        def step() -> None:
            exchange.ready(0)
            exchange.wait()

        error = raised(step)
        assert str(error).startswith("the exchange of bucket 0 failed: "), error
        assert "communicator" in str(error).lower(), error
        assert "broken" in str(raised(exchange.wait))
    assert threading.active_count() == 1
    world.Barrier()
    print(f"failing {rank} done", flush=True)


def leaving_together(progress: str) -> None:
    """All ranks break a step off alike: what was started is finished, and they go on."""
    for method in ("iallreduce", "persistent", "ordered"):
        gradients = [np.full(2000, 1.0, "f4"), np.full(2000, 1.0, "f4")]
        try:
            with GradientExchange(gradients, world, method=method, progress=progress, **SMALL) as exchange:
                exchange.ready(1)
                raise KeyError("in backward")
        except KeyError:
            pass
        assert (gradients[1] == ranks).all()
        assert (gradients[0] == 1).all()
        assert threading.active_count() == 1
    world.Barrier()
    print(f"leaving {rank} done", flush=True)


def leaving_alone(progress: str, started: str, closing: str) -> None:
    """One rank fails within a step that the others wait for."""
    from layerbench.datamanager import communicator

    communicator.PATIENCE = 0.5
    gradients = [np.full(2000, 1.0, "f4"), np.full(2000, 1.0, "f4")]
    exchange = GradientExchange(gradients, world, progress=progress, **SMALL)

    def step() -> None:
        if rank != 1 or started == "started":
            exchange.ready(1)
        if rank == 1:
            raise KeyError("in backward")
        exchange.ready(0)
        exchange.wait()

    world.Barrier()
    if closing == "closed":
        with exchange:
            step()
    else:
        step()


def unclosed() -> None:
    """An exchange that nobody closes, with nothing under way, does not keep its rank from ending."""
    gradients = [np.ones(5)]
    exchange = GradientExchange(gradients, world, progress="thread")
    exchange.ready(0)
    exchange.wait()
    print(f"unclosed {rank} done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
