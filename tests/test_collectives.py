"""What ranks say to each other: alone, as threads, and as real MPI processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from layerbench.collectives import OneRank, agreed
from layerbench.errors import KernelError, LaunchError, MeasurementError
from tests.ranks import ThreadRank, together


def test_one_rank_hears_itself() -> None:
    ranks = OneRank()
    ranks.barrier()
    ranks.rest()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.broadcast("a") == "a"
    assert ranks.gather("a") == ["a"]
    assert ranks.all_gather("a") == ["a"]
    buffer = np.arange(3, dtype=np.float32)
    ranks.all_reduce(buffer)()
    np.testing.assert_array_equal(buffer, [0, 1, 2])
    other = np.empty_like(buffer)
    ranks.all_gather_into(buffer, other, [3])()
    np.testing.assert_array_equal(other, buffer)
    ranks.reduce_scatter_into(2 * buffer, other, [3])()
    np.testing.assert_array_equal(other, [0, 2, 4])
    ranks.broadcast_into(buffer, 0)()
    np.testing.assert_array_equal(buffer, [0, 1, 2])
    ranks.all_to_all_into(buffer, other)()
    np.testing.assert_array_equal(other, buffer)
    assert ranks.first(1) is ranks
    for message in (ranks.send, ranks.receive):
        with pytest.raises(MeasurementError, match="nobody"):
            message(buffer, 0)


def test_one_rank_aborts_with_its_reason() -> None:
    with pytest.raises(SystemExit, match="layerbench: no such thing"):
        OneRank().abort("no such thing")


def test_alone_an_agreed_action_is_the_action() -> None:
    assert agreed(OneRank(), lambda: 3) == 3
    assert agreed(OneRank(), lambda: None) is None
    with pytest.raises(KernelError, match="refused"):
        agreed(OneRank(), lambda: fail(KernelError("refused")))


def fail(error: BaseException) -> None:
    raise error


def test_what_succeeds_on_all_ranks_returns_each_ranks_own_result() -> None:
    assert together(3, lambda ranks: agreed(ranks, lambda: ranks.rank * 10)) == [0, 10, 20]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_fails_on_one_rank_fails_on_all_and_names_it(bad: int) -> None:
    def work(ranks: ThreadRank) -> None:
        agreed(ranks, lambda: fail(KernelError("refused")) if ranks.rank == bad else None)

    for rank, error in enumerate(together(3, work)):
        if rank == bad:
            assert isinstance(error, KernelError), "its own error"
            assert str(error) == "refused"
        else:
            assert type(error) is MeasurementError
            assert str(error) == f"rank {bad}: refused"


def test_every_failing_rank_keeps_its_own_error_and_others_hear_the_first() -> None:
    def work(ranks: ThreadRank) -> None:
        agreed(ranks, lambda: fail(LaunchError(f"from {ranks.rank}")) if ranks.rank else None)

    assert [str(error) for error in together(3, work)] == ["rank 1: from 1", "from 1", "from 2"]


def test_ranks_meet_again_after_a_failure() -> None:
    def work(ranks: ThreadRank) -> int:
        with pytest.raises(MeasurementError):
            agreed(ranks, lambda: fail(KernelError("refused")) if ranks.rank else None)
        return agreed(ranks, lambda: sum(ranks.all_gather(ranks.rank + 1)))

    assert together(2, work) == [3, 3]


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "out of memory"), (MemoryError("2 GiB for x"), "out of memory (2 GiB for x)")],
)
def test_running_out_of_memory_is_a_failure_like_others(error: MemoryError, said: str) -> None:
    def work(ranks: ThreadRank) -> None:
        agreed(ranks, lambda: fail(error) if ranks.rank == 1 else None)

    assert [str(each) for each in together(2, work)] == [f"rank 1: {said}", said]


def test_a_defect_is_not_hidden_as_a_measurement_error() -> None:
    with pytest.raises(ZeroDivisionError):
        agreed(OneRank(), lambda: 1 // 0)


SAY_ALL = """
import numpy as np
from layerbench.collectives import MPIRanks, agreed
from layerbench.errors import KernelError, MeasurementError

ranks = MPIRanks()
me, size = ranks.rank, ranks.size
assert size == 2 and ranks.library, (size, ranks.library)
assert "\\0" not in ranks.library and "\\n" not in ranks.library
ranks.barrier()
assert ranks.broadcast({"from": me}) == {"from": 0}
assert ranks.broadcast(not me) is True, "false on rank 1 only"
assert ranks.gather(f"rank {me}") == (["rank 0", "rank 1"] if me == 0 else [])
assert ranks.all_gather(me * 2) == [0, 2]

buffer = np.arange(5, dtype=np.float32) + me
address = buffer.ctypes.data
reduce_ = ranks.all_reduce(buffer)
reduce_()
assert buffer.tolist() == [1, 3, 5, 7, 9], buffer
reduce_()
assert buffer.tolist() == [2, 6, 10, 14, 18], "in place: a second call sums the sums"
assert buffer.ctypes.data == address

assert agreed(ranks, lambda: me + 10) == me + 10

def fails_on_1():
    if me == 1:
        raise KernelError("refused")

try:
    agreed(ranks, fails_on_1)
except KernelError as error:
    said = f"own: {error}"
except MeasurementError as error:
    said = f"told: {error}"
else:
    said = "nothing"
assert said == ("told: rank 1: refused" if me == 0 else "own: refused"), said
assert ranks.all_gather(said)[1] == "own: refused", "the ranks are still in step"
ranks.barrier()
print(f"rank {me} done", flush=True)
"""

MOVE_ALL = """
import time
import numpy as np
from layerbench.collectives import MPIRanks

ranks = MPIRanks()
me, size = ranks.rank, ranks.size
assert size == 3

for dtype in ("float64", "float32", "float16", "int8"):
    for counts in ([2, 2, 2], [3, 2, 1], [0, 4, 0]):
        starts = [sum(counts[:rank]) for rank in range(4)]
        block = slice(starts[me], starts[me + 1])
        whole = np.arange(starts[-1]).astype(dtype)
        everyone = np.full_like(whole, -1)
        mine = whole[block].copy()
        gather = ranks.all_gather_into(mine, everyone, counts)
        for again in range(2):
            gather()
            assert everyone.tolist() == whole.tolist(), (dtype, counts, everyone)
            mine += 1
            whole += 1
        if dtype != "float16":
            summed = np.full_like(mine, -1)
            ranks.reduce_scatter_into((whole * (me + 1)).astype(dtype), summed, counts)()
            assert summed.tolist() == (6 * whole[block]).tolist(), (dtype, counts, summed)

    for root in range(3):
        buffer = np.full(5, me + 1).astype(dtype)
        ranks.broadcast_into(buffer, root)()
        assert buffer.tolist() == [root + 1] * 5, (dtype, buffer)
    given = (np.arange(6) + 10 * me).astype(dtype)
    into = np.full_like(given, -1)
    ranks.all_to_all_into(given, into)()
    assert into.tolist() == [2 * me + one + 10 * rank for rank in range(3) for one in range(2)], (dtype, into)

buffer = np.full(5, me, np.float16)
if me == 1:
    ranks.send(buffer, 2)()
if me == 2:
    ranks.receive(buffer, 1)()
    assert buffer.tolist() == [1] * 5

two = ranks.first(2)
assert (two is None) == (me == 2)
if two is not None:
    assert (two.rank, two.size) == (me, 2)
    total = np.array([me + 1.0])
    two.all_reduce(total)()
    assert total == 3, "of two ranks, not of three"
assert ranks.all_gather(me) == [0, 1, 2], "the whole world is as it was"

begin, busy = time.monotonic(), time.process_time()
if me == 0:
    time.sleep(0.5)
ranks.rest()
assert time.monotonic() - begin > 0.4, "nobody goes on before the last has come"
assert time.process_time() - busy < 0.25, "and nobody is busy until then"
print(f"rank {me} done", flush=True)
"""

ABORT = """
import time
from layerbench.collectives import MPIRanks

ranks = MPIRanks()
ranks.barrier()
if ranks.rank == 1:
    ranks.abort("the shape is impossible")
time.sleep(60)
"""


def mpirun(mpiexec: str, folder: Path, program: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(program)
    return subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.mpi
def test_real_ranks_hear_each_other(mpiexec: str, tmp_path: Path) -> None:
    done = mpirun(mpiexec, tmp_path, SAY_ALL)
    assert done.returncode == 0, done.stderr
    assert "rank 0 done" in done.stdout
    assert "rank 1 done" in done.stdout


@pytest.mark.mpi
def test_real_ranks_gather_scatter_and_send_even_and_uneven_shares(mpiexec: str, tmp_path: Path) -> None:
    done = mpirun(mpiexec, tmp_path, MOVE_ALL, 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 3


def test_threads_as_ranks_move_what_real_ranks_do() -> None:
    def work(ranks: ThreadRank) -> None:
        counts = [2, 0, 1]
        whole = np.arange(3.0)
        block = slice(*((0, 2), (2, 2), (2, 3))[ranks.rank])
        everyone, mine = np.empty(3), whole[block].copy()
        ranks.all_gather_into(mine, everyone, counts)()
        np.testing.assert_array_equal(everyone, whole)
        ranks.reduce_scatter_into(whole, mine, counts)()
        np.testing.assert_array_equal(mine, 3 * whole[block])
        two = ranks.first(2)
        assert (two is None) == (ranks.rank == 2)
        if two is not None:
            (two.send if two.rank else two.receive)(everyone, 1 - two.rank)()

    assert together(3, work) == [None] * 3


@pytest.mark.mpi
def test_a_rank_that_aborts_ends_the_others_and_says_why(mpiexec: str, tmp_path: Path) -> None:
    done = mpirun(mpiexec, tmp_path, ABORT)
    assert done.returncode != 0
    assert "layerbench: rank 1: the shape is impossible" in done.stderr
