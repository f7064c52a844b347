"""Device buffers exchanged by real ranks of MPI: ``mpiexec -n N python exchanging.py NAME ARGUMENTS``."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simulated_collectives as simulated
from mpi4py import MPI

from layerbench.collectives import MPIRanks
from layerbench.cuda import aware, exchange, nccl
from layerbench.device import waits
from layerbench.errors import LayerbenchError, MeasurementError, UnavailableError, UsageError

world = MPI.COMM_WORLD
rank, ranks = world.Get_rank(), world.Get_size()
cupy = simulated.install(f"0000:{rank:02x}:00.0")
Stream = cupy.cuda.Stream

STORED = {"fp64": "f8", "fp32": "f4", "tf32": "f4", "fp16": "f2", "bf16": "u2", "int8": "i1", "int32": "i4"}


def says(aware_: bool | None) -> None:
    aware.awareness = lambda: aware.Awareness(aware_, "so the test says")


def raised(action: Callable[[], object]) -> LayerbenchError:
    with pytest.raises(LayerbenchError) as found:
        action()
    assert "\n" not in str(found.value)
    return found.value


def values(of_rank: int, elements: int) -> np.ndarray:
    """Small whole numbers, whose sums every dtype has."""
    return np.arange(elements) % 5 + of_rank


def bits(numbers: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bf16":
        return (numbers.astype("f4").view("u4") >> 16).astype("u2")
    return numbers.astype(STORED[dtype])


def held(array: Any, dtype: str) -> list[float]:
    """What is in device memory now, whatever is still queued."""
    memory = array.memory
    return ((memory.astype("u4") << 16).view("f4") if dtype == "bf16" else memory).tolist()


def do(run: Callable[[], None], check: Callable[[], None]) -> None:
    """Call it in a stream of its own, after work that is still queued there, and see what came of it."""
    stream = Stream(non_blocking=True)
    for prepare_again in range(3):
        with stream:
            for array, numbers in prepared:
                array.write(numbers + 0 * prepare_again)
            run()
        if not waits(run):
            stream.synchronize()
        check()


prepared: list[tuple[Any, np.ndarray]] = []


def exchanges(method: str, *dtypes: str) -> None:
    for dtype in dtypes:
        exchanged(method, dtype)
    done(method)


def exchanged(method: str, dtype: str) -> None:
    """Every exchange, with equal and unequal counts, none of which may read what is not yet computed."""
    says(True)
    # int32 is what int8 layers may have their results in.
    joined = exchange.connected(MPIRanks(), method, "int8" if dtype == "int32" else dtype)
    adds = method != "mpi" or dtype not in {"fp16", "bf16"}
    stored = STORED[dtype]
    for counts in ([4] * ranks, [3, 0, 5, 1][:ranks], [0] * ranks):
        total, mine, offset = sum(counts), counts[rank], sum(counts[:rank])
        sums = sum(values(each, total) for each in range(ranks))

        whole = cupy.empty(total, stored)
        if adds:
            run = joined.all_reduce(whole)
            prepared[:] = [(whole, bits(values(rank, total), dtype))]
            do(run, lambda whole=whole, sums=sums: same(held(whole, dtype), sums.tolist()))
            part = cupy.empty(mine, stored)
            run = joined.reduce_scatter_into(whole, part, counts)
            do(run, lambda part=part, own=sums[offset : offset + mine]: same(held(part, dtype), own.tolist()))
        else:
            error = raised(lambda whole=whole: joined.all_reduce(whole))
            assert isinstance(error, UnavailableError), error
            assert f"MPI cannot add {dtype}; use --collectives nccl, or staged" in str(error), error

        part, everyone = cupy.empty(mine, stored), cupy.empty(total, stored)
        gathered = np.concatenate([values(each, count) for each, count in enumerate(counts)])
        prepared[:] = [(part, bits(values(rank, mine), dtype)), (everyone, np.zeros(total, stored))]
        run = joined.all_gather_into(part, everyone, counts)
        do(run, lambda everyone=everyone, gathered=gathered: same(held(everyone, dtype), gathered.tolist()))

    buffer = cupy.empty(6, stored)
    for source in range(ranks - 1):
        to = source + 1
        if rank in (source, to):
            run = joined.send(buffer, to) if rank == source else joined.receive(buffer, source)
            prepared[:] = [(buffer, bits(values(rank, 6), dtype))]
            do(run, lambda source=source: same(held(buffer, dtype), values(source, 6).tolist()))
    joined.barrier()
    assert waits(run) == (method != "nccl")


def same(found: list[float], expected: list[float]) -> None:
    assert found == expected, (rank, found, expected)


def done(what: str) -> None:
    nccl.close()
    print(f"{what} {rank} done", flush=True)


def halves(dtype: str) -> None:
    """Sums of halves are those of fp32 in rank order, rounded once, whatever the numbers are."""
    joined = exchange.connected(MPIRanks(), "staged", dtype)
    everyones = [np.random.default_rng(each).integers(0, 2**16, 20_000, "u2") for each in range(ranks)]
    if dtype == "bf16":
        wide = [(each.astype("u4") << 16).view("f4") for each in everyones]
    else:
        wide = [each.view("f2").astype("f4") for each in everyones]
    # Signalling NaNs and overflow are among them.
    assert any(np.isnan(each).any() for each in wide)
    with np.errstate(all="ignore"):
        total = wide[0].copy()
        for each in wide[1:]:
            total = total + each
        expected = nearest(total) if dtype == "bf16" else total.astype("f2").view("u2")
    stored = STORED[dtype]
    buffer = cupy.empty(20_000, stored)
    run = joined.all_reduce(buffer)
    buffer.write(everyones[rank].view(stored))
    run()
    assert same_bits(buffer.memory.view("u2"), expected, dtype)
    counts = [20_000 - 7 * (ranks - 1)] + [7] * (ranks - 1)
    part = cupy.empty(counts[rank], stored)
    run = joined.reduce_scatter_into(buffer, part, counts)
    buffer.write(everyones[rank].view(stored))
    run()
    start = sum(counts[:rank])
    assert same_bits(part.memory.view("u2"), expected[start : start + counts[rank]], dtype)
    done(f"halves {dtype}")


def nearest(numbers: np.ndarray) -> np.ndarray:
    """bf16's bits of float32 numbers: of the two next to each the nearer one, or the even one."""
    lower = numbers.view("u4") >> 16
    ends = [(candidate.astype("u4") << 16).view("f4").astype("f8") for candidate in (lower, lower + 1)]
    # What lies above the largest number counts as the next power of two.
    ends[1] = np.where(np.isinf(ends[1]), np.sign(ends[1]) * 2.0**128, ends[1])
    below, above = (np.abs(numbers.astype("f8") - end) for end in ends)
    up = (above < below) | ((above == below) & (lower % 2 == 1))
    return np.where(np.isfinite(numbers), lower + up, lower).astype("u2")


def same_bits(found: np.ndarray, expected: np.ndarray, dtype: str) -> bool:
    """The same bits, or both not numbers."""
    infinite = np.uint16(0x7F80 if dtype == "bf16" else 0x7C00)
    nan_found, nan_expected = ((each & 0x7FFF) > infinite for each in (found, expected))
    return bool(((found == expected) | (nan_found & nan_expected)).all())


def streams() -> None:
    """NCCL's exchanges belong to the stream that is current when they are called, and begin after its work."""
    joined = exchange.connected(MPIRanks(), "nccl", "fp32")
    buffer = cupy.empty(5, "f4")
    run = joined.all_reduce(buffer)
    one, other = Stream(non_blocking=True), Stream(non_blocking=True)
    for stream in (one, other):
        with stream:
            buffer.write(rank)
            run()
        assert (buffer.memory == 77).all(), "nothing has begun"
        stream.synchronize()
        same(buffer.memory.tolist(), [sum(range(ranks))] * 5)
        buffer.memory.fill(77)
    part, everyone = cupy.empty(2 + rank, "f4"), cupy.empty(sum(2 + each for each in range(ranks)), "f4")
    counts = [2 + each for each in range(ranks)]
    before = len(one._work)
    with one:
        joined.all_gather_into(part, everyone, counts)()
    assert len(one._work) == before + 1, "a group is queued as one"
    one.synchronize()
    done("streams")


def allocating(method: str, dtype: str) -> None:
    """A call allocates nothing, on the device, pinned, or on the host."""
    says(True)
    joined = exchange.connected(MPIRanks(), method, dtype)
    elements = 1_000_000 * ranks
    whole, mine = cupy.empty(elements, STORED[dtype]), cupy.empty(1_000_000, STORED[dtype])
    whole.memory.fill(1)
    counts = [1_000_000] * ranks
    runs = [
        joined.all_reduce(whole),
        joined.reduce_scatter_into(whole, mine, counts),
        joined.all_gather_into(mine, whole, counts),
    ]
    for run in runs:
        run()
    counted = dict(simulated.counted)
    tracemalloc.start()
    for run in runs:
        run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counted == simulated.counted
    assert peak < whole.nbytes / 8, peak
    cupy.cuda.get_current_stream().synchronize()
    done("allocating")


def names() -> None:
    """What exchanges is told, and ``auto`` takes what there is."""
    says(None)
    kinds = [("all_reduce", True), ("all_gather", True), ("all_gather", False), ("reduce_scatter", False)]

    def told(joined: Any) -> str:
        return "; ".join(joined.operation_name(*kind) for kind in kinds)

    joined: Any = exchange.connected(MPIRanks(), "auto", "fp32")
    assert told(joined) == (
        "ncclAllReduce in place; ncclAllGather; ncclBroadcast of each rank's, grouped; ncclReduce to each rank, grouped"
    )
    assert joined.library.startswith("NCCL 2.32.3; "), joined.library
    assert not joined.why
    again: Any = exchange.connected(joined, "nccl", "bf16")
    assert again.unconnected is joined.unconnected
    assert len(nccl._made) == 1, "one communicator serves all"
    assert not simulated.ended
    part = joined.first(ranks - 1)
    assert (part is None) == (rank == ranks - 1)
    if part is not None:
        assert part.size == ranks - 1
        if ranks > 2:
            buffer = cupy.empty(3, "f4")
            buffer.write(rank)
            part.all_reduce(buffer)()
            cupy.cuda.get_current_stream().synchronize()
            same(buffer.memory.tolist(), [sum(range(ranks - 1))] * 3)
    world.Barrier()
    staged: Any = exchange.connected(joined, "staged", "fp32")
    assert told(staged).split("; ")[0] == "MPI_Allreduce in place, staged through pinned memory"
    assert told(staged).split("; ")[2] == "MPI_Allgatherv, staged through pinned memory"
    by_mpi: Any = exchange.connected(joined, "mpi", "fp32")
    assert told(by_mpi).split("; ")[0] == "MPI_Allreduce in place, of device memory"
    of_halves: Any = exchange.connected(joined, "staged", "bf16")
    assert told(of_halves).startswith("MPI_Alltoallv and MPI_Allgatherv of bf16, added in fp32, staged")
    done("names")


def shared() -> None:
    """Ranks that share a GPU are not for NCCL; MPI is taken if all ranks know that it can, and it can add the dtype."""
    simulated.late.Device.pci_bus_id = "0000:01:00.0"
    error = raised(lambda: exchange.connected(MPIRanks(), "nccl", "fp32"))
    assert isinstance(error, UsageError), error
    assert "ranks 0 and 1 share GPU 0000:01:00.0" in str(error), error
    assert not simulated.NcclCommunicator.used
    for known, dtype, name in (
        ([True] * ranks, "fp32", "MPI_Allreduce in place, of device memory"),
        ([True] * ranks, "fp16", "MPI_Alltoallv and MPI_Allgatherv of fp16, added in fp32, staged"),
        ([True] + [None] * (ranks - 1), "fp32", "MPI_Allreduce in place, staged"),
        ([False] * ranks, "fp32", "MPI_Allreduce in place, staged"),
    ):
        says(known[rank])
        joined: Any = exchange.connected(MPIRanks(), "auto", dtype)
        assert joined.operation_name("all_reduce", True).startswith(name), (known, dtype)
        assert "share GPU" in joined.why
    says([True] * (ranks - 1) + [False] if rank < 0 else rank != ranks - 1)
    error = raised(lambda: exchange.connected(MPIRanks(), "mpi", "fp32"))
    if rank == ranks - 1:
        assert isinstance(error, UnavailableError), error
        assert "takes no memory of a GPU (so the test says); use --collectives nccl, or staged" in str(error), error
    else:
        assert f"rank {ranks - 1}: " in str(error), error
    done("shared")


def refusing() -> None:
    """One rank that cannot connect: all are told, in one line, and none hangs."""
    last = rank == ranks - 1
    communicators = simulated.NcclCommunicator
    communicators.failing = "id"
    error = raised(lambda: exchange.connected(MPIRanks(), "nccl", "fp32"))
    assert "NCCL cannot begin: NCCL_ERROR_SYSTEM_ERROR: no network interface" in str(error), error
    assert not simulated.ended
    communicators.failing = "init" if last else "later"
    error = raised(lambda: exchange.connected(MPIRanks(), "nccl", "fp32"))
    assert isinstance(error, MeasurementError), error
    assert "NCCL cannot connect the ranks: NCCL_ERROR_SYSTEM_ERROR" in str(error), error
    assert last or str(error).startswith(f"rank {ranks - 1}: "), error
    assert simulated.ended == ([] if last else ["aborted"]), "what was connected is given up"
    communicators.failing = ""
    cupy.cuda.nccl.available = not last
    error = raised(lambda: exchange.connected(MPIRanks(), "nccl", "fp32"))
    assert "needs NCCL, which CuPy does not find" in str(error), error
    assert isinstance(error, UnavailableError) == last
    joined: Any = exchange.connected(MPIRanks(), "auto", "fp32")
    assert "staged" in joined.operation_name("all_reduce", True)
    assert "needs NCCL" in joined.why
    cupy.cuda.nccl.available = True
    error = raised(lambda: exchange.connected(MPIRanks(), "ncll", "fp32"))
    assert "unknown; known are auto, nccl, mpi, staged" in str(error), error

    joined = exchange.connected(MPIRanks(), "nccl", "fp32")
    for wrong, words in (
        (lambda: joined.all_reduce(np.zeros(3)), "was given ndarray of the host"),
        (lambda: joined.all_reduce(cupy.empty(8, "f4")[::2]), "not contiguous"),
        (lambda: joined.all_reduce(cupy.empty(8, "c8")), "NCCL cannot add complex64"),
        (lambda: joined.all_reduce(cupy.empty(8, "u2")), "NCCL cannot add uint16"),
        (
            lambda: joined.all_gather_into(cupy.empty(2, "f4"), cupy.empty(2 * ranks + 1, "f4"), [2] * ranks),
            f"elements was given 2 of float32 by rank {rank}, and {2 * ranks + 1} of float32 for all",
        ),
    ):
        assert words in str(raised(wrong)), words
    done("refusing")


def hanging() -> None:
    """A rank that cannot connect while the others wait for it within NCCL: it ends all of them."""
    nccl.CONNECTING = 0.5
    simulated.NcclCommunicator.failing = "init" if rank == 1 else "init hangs"
    exchange.connected(MPIRanks(), "nccl", "fp32")


def failing() -> None:
    """An exchange that fails, at once or later, is told in one line; nobody waits for a communicator that is broken."""
    joined = exchange.connected(MPIRanks(), "nccl", "fp32")
    buffer = cupy.empty(3, "f4")
    run = joined.all_reduce(buffer)
    if rank == 0:
        simulated.NcclCommunicator.failing = "allReduce"
        error = raised(run)
        assert isinstance(error, MeasurementError), error
        assert str(error) == (
            "ncclAllReduce failed: NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error (see NCCL_DEBUG)"
        ), error
        simulated.NcclCommunicator.failing = ""
    nccl.close()
    assert simulated.ended == ["aborted"], "on all ranks"

    joined = exchange.connected(MPIRanks(), "nccl", "fp32")
    joined.barrier()
    simulated.NcclCommunicator.failing = "async"
    for look in (joined.barrier, joined.rest, nccl.check):
        error = raised(look)
        assert str(error).startswith("an exchange by NCCL failed: NCCL_ERROR_REMOTE_ERROR"), error
    simulated.NcclCommunicator.failing = ""
    renewed = exchange.connected(MPIRanks(), "nccl", "fp32")
    assert simulated.ended == ["aborted"] * 2, "a broken one is not used again"
    renewed.barrier()

    nccl.LEAVING = 0.3
    if rank == 0:
        started = time.monotonic()
        nccl.close()
        assert 0.2 < time.monotonic() - started < 5
        assert simulated.ended == ["aborted"] * 3, "the others did not come"
    world.Barrier()
    done("failing")


def unclosed(failing: str) -> None:
    """Communicators that nobody has closed are given back at exit; that NCCL then hangs keeps no rank from ending."""
    exchange.connected(MPIRanks(), "nccl", "fp32")
    assert not simulated.ended
    nccl.LEAVING = 0.3
    simulated.NcclCommunicator.failing = failing
    print("done", flush=True)


def unaware() -> None:
    """What this MPI says itself."""
    told = aware.awareness()
    if told.aware is False:
        error = raised(lambda: exchange.connected(MPIRanks(), "mpi", "fp32"))
        assert "--collectives mpi: this MPI takes no memory of a GPU" in str(error), error
    print(f"{told.aware} done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
