"""The sweeps of messages and collectives: which are timed, that values are checked, over threads and real ranks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.calibrate import exchanges
from layerbench.calibrate.exchanges import counts, sizes
from layerbench.collectives import OneRank
from layerbench.device import Run
from layerbench.errors import MeasurementError
from layerbench.machine import Exchanged
from layerbench.machine.read import OPERATIONS
from layerbench.sampling import Rule
from tests.ranks import ThreadRank, together
from tests.values import OPTIONS, options

QUICK = options(max_time=0.01, rel_error=0.5)


@pytest.mark.parametrize(
    ("ranks", "wanted"),
    [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (7, [2, 4, 7]), (16, [2, 4, 8, 16]), (17, [2, 4, 8, 16, 17])],
)
def test_powers_of_two_and_all_ranks_are_timed(ranks: int, wanted: list[int]) -> None:
    assert counts(ranks) == wanted


@given(st.integers(2, 10**5))
def test_every_block_has_as_many_whole_values_of_every_size(ranks: int) -> None:
    found = sizes(ranks)
    assert found == sorted(set(found))
    assert all(size % (4 * ranks) == 0 for size in found)
    assert found[-1] >= 2**28


def test_one_block_is_timed_from_4_bytes_to_256_mib_and_two_from_a_value_each() -> None:
    assert sizes(1) == [4**power for power in range(1, 15)]
    assert sizes(2) == [8, *(4**power for power in range(2, 15))]


def swept(ranks: ThreadRank) -> list[Exchanged]:
    return exchanges.sweep(QUICK, ranks, lambda _: None)


def test_rank_0_has_every_operation_over_every_number_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "SWEEP_BYTES", (4, 100))
    first, *others = together(3, swept)
    assert not isinstance(first, BaseException), first
    assert others == [[], []]
    found = [(point.operation, point.ranks, point.bytes) for point in first]
    assert len(found) == len(set(found))
    collectives = [operation for operation in OPERATIONS if operation != "point_to_point"]
    # What is gathered or scattered has as many values on each rank.
    rounded = {2: (8, 104), 3: (12, 108)}
    of_blocks = {(each, count, size) for each in collectives[1:] for count in (2, 3) for size in rounded[count]}
    whole = {("point_to_point", 2), ("all_reduce", 2), ("all_reduce", 3)}
    assert collectives[0] == "all_reduce"
    assert set(found) == of_blocks | {(*each, size) for each in whole for size in (4, 100)}
    for point in first:
        assert 0 < point.low <= point.seconds <= point.high


def test_a_rank_alone_has_nothing_to_exchange() -> None:
    assert exchanges.sweep(QUICK, OneRank(), lambda _: None) == []


def test_one_message_takes_half_of_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "sample", lambda *_: [2.0, 2.0, 4.0])
    rule = Rule()
    for operation, seconds in (("point_to_point", 1.0), ("all_reduce", 2.0)):
        first, _ = together(2, lambda ranks, op=operation: exchanges._point(op, 8, ranks, rule, lambda _: None))
        assert isinstance(first, Exchanged)
        assert (first.seconds, first.high) == (seconds, 2 * seconds)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("wrong", [0, 1])
def test_wrong_values_end_a_sweep_on_every_rank(operation: str, wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoiling(ThreadRank):
        """The last value of what one rank is given is wrong."""

        def _spoilt(self, run: Run, buffer: np.ndarray, own: str) -> Run:
            def run_and_spoil() -> None:
                run()
                if (self.rank, own) == (wrong, operation):
                    buffer[-1] += 1

            return run_and_spoil

        def all_reduce(self, buffer: Any) -> Run:
            return self._spoilt(super().all_reduce(buffer), buffer, "all_reduce")

        def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
            return self._spoilt(super().all_gather_into(mine, everyone, counts), everyone, "all_gather")

        def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
            return self._spoilt(super().reduce_scatter_into(whole, mine, counts), mine, "reduce_scatter")

        def receive(self, buffer: Any, source: int) -> Run:
            return self._spoilt(super().receive(buffer, source), buffer, "point_to_point")

        def first(self, count: int) -> ThreadRank | None:
            part = super().first(count)
            return None if part is None else Spoiling(part._meeting, part.rank, part.size)

    monkeypatch.setattr(exchanges, "SWEEP_BYTES", (64,))
    for error in together(2, lambda ranks: swept(Spoiling(ranks._meeting, ranks.rank, ranks.size))):
        assert isinstance(error, MeasurementError)
        assert f"{operation.replace('_', '-')} of 64 B over 2 ranks gave wrong values" in str(error)


def test_no_larger_size_is_timed_than_one_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[int, int]] = []

    def point(operation: str, size: int, ranks: ThreadRank, *_: object) -> Exchanged | None:
        timed.append((ranks.rank, size))
        seconds = exchanges.LONGEST * size / 1000
        if ranks.rank:
            return None
        return Exchanged(operation="all_reduce", ranks=2, bytes=size, seconds=seconds, low=seconds, high=seconds)

    monkeypatch.setattr(exchanges, "SWEEP_BYTES", (8, 1000, 1008, 10**6))
    monkeypatch.setattr(exchanges, "_point", point)
    together(2, lambda ranks: exchanges._of_sizes("all_reduce", ranks, Rule(), lambda _: None))
    assert sorted(timed) == [(rank, size) for rank in (0, 1) for size in (8, 1000, 1008)], "both ranks stop together"


def test_no_size_is_timed_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two ranks of one machine share what is free.
    monkeypatch.setattr(exchanges, "available_memory_bytes", lambda: 2 * exchanges.COPIES * 100)
    monkeypatch.setattr(exchanges, "SWEEP_BYTES", (8, 96, 104))
    first, _ = together(2, lambda ranks: exchanges._of_sizes("all_gather", ranks, Rule(max_time=0.01), lambda _: None))
    assert not isinstance(first, BaseException)
    assert [point.bytes for point in first] == [8, 96]


SWEEP = """
import sys
import msgspec
from layerbench.calibrate import exchanges
from layerbench.collectives import MPIRanks
from layerbench.records import Options

exchanges.SWEEP_BYTES = (4, 4096, 2**20)
told = []
found = exchanges.sweep(msgspec.json.decode(sys.argv[1], type=Options), MPIRanks(), told.append)
if found:
    assert told[0] == "point-to-point of 4 B over 2 ranks", told[0]
    print(msgspec.json.encode(found).decode(), flush=True)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_real_ranks_exchange_and_the_values_are_right(mpiexec: str, tmp_path: Path, ranks: int) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP)
    asked = msgspec.structs.replace(OPTIONS, max_time=0.02)
    done = subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, str(script), msgspec.json.encode(asked).decode()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(done.stdout, type=list[Exchanged])
    of_ranks = {count: [point for point in found if point.ranks == count] for count in (2, ranks)}
    assert {point.operation for point in of_ranks[2]} == set(OPERATIONS)
    assert {point.operation for point in of_ranks[ranks]} >= set(OPERATIONS) - {"point_to_point"}
    for count, points in of_ranks.items():
        for operation in {point.operation for point in points}:
            least = 4 * count if operation in ("all_gather", "reduce_scatter") else 4
            assert min(point.bytes for point in points if point.operation == operation) == least
    for operation in OPERATIONS:
        times = {point.bytes: point.seconds for point in of_ranks[2] if point.operation == operation}
        assert times[2**20] > times[min(times)], "a megabyte takes longer than two values"
