"""Gradients summed over ranks: alone, and by real ranks of MPI, which run the programs ``exchanging_*.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from layerbench.datamanager.exchange import BlockingExchange, GradientExchange, exchange_each
from layerbench.errors import UsageError

SUMS, ENDS, DEVICES = (Path(__file__).parent / f"exchanging_{what}.py" for what in ("sums", "ends", "devices"))


def run(
    mpiexec: str, ranks: int, program: Path, *arguments: str, patience: float = 120, together: bool = True
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # mpi4py ends all ranks when one fails, so that what it says is what the test says, not that others waited.
        [mpiexec, "-n", str(ranks), sys.executable, *(["-m", "mpi4py"] if together else []), str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


def assert_done(done: subprocess.CompletedProcess[str], times: int) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == times, done.stdout


@pytest.mark.parametrize("kind", [GradientExchange, BlockingExchange])
def test_a_rank_alone_keeps_its_gradients_and_its_mistakes_are_told(
    kind: type[GradientExchange] | type[BlockingExchange],
) -> None:
    gradients = [np.arange(3.0), None, np.empty(0), np.arange(5.0)]
    with kind(gradients, None, average=True) as exchange:
        assert [index for bucket in exchange.buckets for index in bucket.indices] == [3, 0]
        for _ in range(3):
            for index in (3, 2, 1, 0):
                exchange.ready(index)
                exchange.progress()
            exchange.wait()
        with pytest.raises(UsageError, match=r"^wait\(\) before all gradients are ready in step 3: .* for 3, 0$"):
            exchange.wait()
        exchange.ready(np.int64(3))
        for again in (3, np.int64(3)):
            with pytest.raises(UsageError, match=r"^ready\(3\): gradient 3 is ready already in step 3"):
                exchange.ready(again)
        for unknown in (4, -1, 1.5, "3\n", True):
            with pytest.raises(UsageError, match="there is no such gradient; the 4 there are count from 0") as error:
                exchange.ready(unknown)  # type: ignore[arg-type]
            assert "\n" not in str(error.value)
        exchange.ready(0)
        exchange.wait()
    assert gradients[0].tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert exchange.waited_seconds == 0
    exchange.close()
    with pytest.raises(UsageError, match="closed"):
        exchange.ready(0)
    with pytest.raises(UsageError, match="closed"):
        exchange.wait()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bucket_bytes": 0}, "bucket_bytes: expected a whole number"),
        ({"method": "alreduce"}, "method: expected one of auto, iallreduce, .* not 'alreduce'"),
        ({"method": "allreduce"}, r"not 'allreduce' \(did you mean 'iallreduce'\?\)"),
        ({"method": "nccl"}, 'method="nccl" is for gradients on a device, and these are on the host'),
        ({"progress": "threads"}, r"progress: expected one of calls, thread, not 'threads' \(did you mean 'thread'"),
        ({"average": True}, "gradient 1: average=True needs fractions, and int32 has none"),
    ],
)
def test_a_wrong_option_is_told_even_where_nothing_is_exchanged(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        GradientExchange([np.zeros(2), np.zeros(2, np.int32)], None, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("communicator", ["world", 2, np.zeros(3), object, GradientExchange, True])
def test_what_is_no_communicator_is_told_in_one_line(communicator: object) -> None:
    with pytest.raises(
        UsageError, match=r"^communicator: expected one of mpi4py, such as MPI.COMM_WORLD, or None for"
    ) as error:
        GradientExchange([np.zeros(2)], communicator)
    assert "\n" not in str(error.value)


def test_one_exchange_of_a_rank_alone_does_nothing() -> None:
    gradients = [np.ones(2), None]
    exchange_each(gradients, None)
    assert gradients[0].tolist() == [1, 1]  # type: ignore[union-attr]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_all_dtypes_and_all_sizes_of_buckets_add_up(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, SUMS, "sums"), ranks)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_steps_with_delays_in_any_order_give_the_same_bits_as_without_overlap(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, SUMS, "steps", "100"), 6 * ranks)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_thousand_steps_give_the_same_bits_as_without_overlap(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, SUMS, "steps", "1000", patience=280), 6 * ranks)


@pytest.mark.mpi
def test_what_is_wrong_on_one_rank_is_told_on_all(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, ENDS, "refusals"), 2)


@pytest.mark.mpi
def test_a_thread_needs_an_mpi_that_several_threads_may_call(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, ENDS, "single_threaded", "serialized"), 2)


@pytest.mark.mpi
def test_messages_of_others_do_not_meet_those_of_the_exchange_and_communicators_are_given_back(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, SUMS, "own_messages"), 2)


@pytest.mark.mpi
def test_nothing_grows_with_the_number_of_steps(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, SUMS, "soak", "1500"), 2)


@pytest.mark.mpi
def test_the_timeline_has_every_exchange_and_the_thread_keeps_to_its_cores(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, SUMS, "told"), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("progress", ["calls", "thread"])
def test_exchanges_are_done_before_anybody_waits(mpiexec: str, progress: str) -> None:
    assert_done(run(mpiexec, 2, SUMS, "moving", progress), 2)


@pytest.mark.mpi
def test_the_thread_leaves_its_core_to_others_while_nothing_moves(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, SUMS, "resting"), 2)


@pytest.mark.mpi
def test_sums_in_order_of_ranks_are_gathered_in_one_order(mpiexec: str) -> None:
    assert_done(run(mpiexec, 3, SUMS, "turns"), 3)


@pytest.mark.mpi
@pytest.mark.parametrize("progress", ["calls", "thread"])
def test_an_error_of_mpi_reaches_the_caller(mpiexec: str, progress: str) -> None:
    assert_done(run(mpiexec, 2, ENDS, "failing", progress), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("progress", ["calls", "thread"])
def test_ranks_that_break_a_step_off_alike_go_on(mpiexec: str, progress: str) -> None:
    assert_done(run(mpiexec, 2, ENDS, "leaving_together", progress), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("progress", ["calls", "thread"])
@pytest.mark.parametrize(("started", "closing"), [("started", "closed"), ("started", "unclosed"), ("not", "closed")])
def test_a_rank_that_fails_within_a_step_ends_and_the_others_with_it(
    mpiexec: str, progress: str, started: str, closing: str
) -> None:
    done = run(mpiexec, 3, ENDS, "leaving_alone", progress, started, closing, patience=60, together=False)
    assert done.returncode != 0
    assert "KeyError: 'in backward'" in done.stderr
    assert "layerbench: rank 1: left an exchange of gradients that other ranks wait for" in done.stderr


@pytest.mark.mpi
def test_an_exchange_that_nobody_closed_keeps_no_rank_from_ending(mpiexec: str) -> None:
    assert_done(run(mpiexec, 2, ENDS, "unclosed"), 2)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_streams_of_a_device_wait_for_each_other(mpiexec: str, ranks: int) -> None:
    assert_done(run(mpiexec, ranks, DEVICES, "on_devices"), ranks)
