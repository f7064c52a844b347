"""Exchanges of device buffers, by real ranks of MPI on simulated devices: the program ``exchanging.py``."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerbench.collectives import OneRank, mpi_name
from layerbench.cuda.aware import Awareness, asked, judged
from layerbench.cuda.exchange import connected
from layerbench.cuda.library import availability
from layerbench.cuda.nccl import version
from layerbench.errors import UsageError

PROGRAM = Path(__file__).parent / "exchanging.py"
ON_GPU = Path(__file__).parent / "exchanging_gpu.py"


def run(
    mpiexec: str, ranks: int, *arguments: str, patience: float = 100, program: Path = PROGRAM
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # mpi4py ends all ranks when one fails, so that what it says is what the test says, not that others waited.
        [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


def assert_done(done: subprocess.CompletedProcess[str], times: int) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == times, done.stdout


def test_a_rank_alone_stays_as_it_is_and_needs_no_gpu() -> None:
    alone = OneRank()
    for method in ("auto", "nccl", "mpi", "staged"):
        assert connected(alone, method, "bf16") is alone
    with pytest.raises(UsageError, match="--collectives ncll: unknown; known are auto, nccl, mpi, staged"):
        connected(alone, "ncll", "fp32")


def test_exchanges_of_the_host_are_called_as_mpi_calls_them() -> None:
    assert OneRank().operation_name("all_reduce", True) == "MPI_Allreduce in place"
    assert [mpi_name("all_gather", even) for even in (True, False)] == ["MPI_Allgather", "MPI_Allgatherv"]
    assert [mpi_name("reduce_scatter", even) for even in (True, False)] == [
        "MPI_Reduce_scatter_block",
        "MPI_Reduce_scatter",
    ]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("method", ["nccl", "mpi", "staged"])
def test_all_exchanges_come_after_what_is_computed_and_are_right(mpiexec: str, ranks: int, method: str) -> None:
    assert_done(run(mpiexec, ranks, "exchanges", method, "fp32"), ranks)


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["nccl", "mpi", "staged"])
def test_all_dtypes_are_exchanged_or_refused(mpiexec: str, method: str) -> None:
    assert_done(run(mpiexec, 3, "exchanges", method, "fp64", "tf32", "fp16", "bf16", "int8", "int32"), 3)


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_halves_are_added_in_single_precision_in_rank_order_and_rounded_once(mpiexec: str, dtype: str) -> None:
    assert_done(run(mpiexec, 3, "halves", dtype), 3)


@pytest.mark.mpi
def test_nccl_is_queued_on_the_stream_that_is_current_when_it_is_called(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, "streams"), 2)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("method", "dtype"), [("nccl", "fp32"), ("mpi", "fp32"), ("staged", "fp32"), ("staged", "bf16")]
)
def test_a_call_allocates_nothing(mpiexec: str, method: str, dtype: str) -> None:
    assert_done(run(mpiexec, 2, "allocating", method, dtype), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_what_exchanges_is_told_and_connected_once(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, "names"), ranks)


@pytest.mark.mpi
def test_ranks_that_share_a_gpu_exchange_otherwise(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, "shared"), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_what_cannot_be_on_one_rank_is_told_on_all(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, "refusing"), ranks)


@pytest.mark.mpi
def test_ranks_that_wait_to_be_connected_to_one_that_cannot_are_ended(mpiexec: str) -> None:
    done = run(mpiexec, 2, "hanging", patience=30)
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("layerbench: ")]
    assert len(told) == 1, done.stderr
    assert "rank 1: NCCL cannot connect the ranks: NCCL_ERROR_SYSTEM_ERROR" in told[0]


@pytest.mark.mpi
def test_an_exchange_that_fails_is_told_and_its_communicator_given_up(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, "failing"), 2)


@pytest.mark.mpi
@pytest.mark.parametrize(("failing", "given_back"), [("", 2), ("end hangs", 0)])
def test_communicators_are_given_back_at_exit_and_nothing_hangs(mpiexec: str, failing: str, given_back: int) -> None:
    done = run(mpiexec, 2, "unclosed", failing, patience=30)
    assert_done(done, 2)
    assert done.stdout.count("destroyed") == given_back, done.stdout


@pytest.mark.mpi
def test_an_mpi_that_says_it_takes_no_device_memory_is_given_none(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, "unaware"), 2)


@pytest.fixture
def gpu() -> None:
    told = availability()
    if not told.ok:
        pytest.skip(told.reason)


@pytest.mark.gpu
@pytest.mark.mpi
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("name", "ranks"), [("alone", 1), ("together", 2)])
def test_a_real_gpu_exchanges(mpiexec: str, name: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, name, program=ON_GPU), ranks)


@pytest.mark.parametrize(
    ("library", "environment", "answer", "expected"),
    [
        ("Open MPI v5.0.6, package: ...", {}, True, True),
        ("Open MPI v5.0.6, package: ...", {}, False, False),
        ("Open MPI v4.1.6", {"OMPI_MCA_opal_cuda_support": "0"}, True, False),
        ("Open MPI v4.1.6", {"OMPI_MCA_opal_cuda_support": "true"}, True, True),
        ("MPICH Version:      4.2.0", {}, True, True),
        ("MPICH Version:      4.2.0", {"MPIR_CVAR_ENABLE_GPU": "0"}, True, False),
        ("MPI VERSION    : CRAY MPICH version 8.1.28.2 (ANL base 3.4a2)", {}, True, False),
        ("MPI VERSION    : CRAY MPICH version 8.1.28.2", {"MPICH_GPU_SUPPORT_ENABLED": "1"}, None, True),
        ("MVAPICH2 Version      :	2.3.7", {}, None, False),
        ("MVAPICH2 Version      :	2.3.7", {"MV2_USE_CUDA": "1"}, None, True),
        ("Intel(R) MPI Library 2021.13 for Linux* OS", {}, None, None),
    ],
)
def test_whether_mpi_takes_device_memory_follows_from_what_it_says(
    library: str, environment: dict[str, str], answer: bool | None, expected: bool | None
) -> None:
    told = judged(library, environment, answer)
    assert told.aware is expected
    assert bool(told.why) == (expected is not True)
    assert isinstance(told, Awareness)


class Answering:
    """A library with some of MPI's functions, as ctypes has them."""

    def __init__(self, gpu: tuple[int, int] | None = None, cuda: int | None = None) -> None:
        if gpu is not None:
            status, supported = gpu

            def query(kind: ctypes.c_int, into: Any) -> int:
                assert kind.value == 0, "CUDA"
                into._obj.value = supported
                return status

            self.MPIX_GPU_query_support = query
        if cuda is not None:
            self.MPIX_Query_cuda_support = lambda: cuda


@pytest.mark.parametrize(
    ("library", "answer"),
    [
        (Answering(), None),
        (Answering(gpu=(0, 1)), True),
        (Answering(gpu=(0, 0), cuda=1), False),
        (Answering(gpu=(1, 1), cuda=0), False),
        (Answering(gpu=(1, 1)), None),
        (Answering(cuda=1), True),
    ],
)
def test_mpi_is_asked_by_the_function_that_it_has(library: Answering, answer: bool | None) -> None:
    assert asked(library) is answer


def test_the_version_of_nccl_is_read_in_both_ways_it_was_ever_written() -> None:
    class Old:
        get_version = staticmethod(lambda: 2708)

    class New:
        get_version = staticmethod(lambda: 23203)

    assert [version(each) for each in (Old, New)] == ["NCCL 2.7.8", "NCCL 2.32.3"]
