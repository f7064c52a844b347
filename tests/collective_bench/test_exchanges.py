"""Every operation leaves what it must; and where one element is not right, the rank that has it says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from layerbench.collective_bench.exchanges import Exchange, make
from layerbench.collective_bench.formulas import IN_BLOCKS, exchanged_bytes
from layerbench.collectives import OneRank
from layerbench.device import Run
from layerbench.layers import DType
from layerbench.records import COLLECTIVE_OPERATIONS, Collective
from tests.ranks import ThreadRank, together


def done(exchange: Exchange, ranks: Any) -> str | None:
    exchange.prepare()
    ranks.barrier()
    exchange.run()
    return exchange.wrong()


@pytest.mark.parametrize("operation", COLLECTIVE_OPERATIONS)
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize("count", [2, 3])
def test_what_arrives_is_right_again_and_again(operation: Collective, dtype: DType, size: int, count: int) -> None:
    def work(ranks: ThreadRank) -> list[str | None]:
        itemsize = {"fp32": 4, "fp64": 8}[dtype]
        exchange = make(operation, exchanged_bytes(operation, size, count, itemsize), dtype, ranks, np)  # type: ignore[arg-type]
        return [done(exchange, ranks) for _ in range(2)]

    assert together(count, work) == [[None, None]] * count


class Corrupting(ThreadRank):
    """Real exchanges after which rank 1 has one element that is off by one."""

    place = 0

    def _then(self, run: Run, result: Any) -> Run:
        def both() -> None:
            run()
            if self.rank == 1:
                result[self.place] += 1

        return both

    def all_reduce(self, buffer: Any) -> Run:
        return self._then(super().all_reduce(buffer), buffer)

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        return self._then(super().all_gather_into(mine, everyone, counts), everyone)

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        return self._then(super().reduce_scatter_into(whole, mine, counts), mine)

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        return self._then(super().broadcast_into(buffer, root), buffer)

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        return self._then(super().all_to_all_into(given, into), into)


@pytest.mark.parametrize("operation", COLLECTIVE_OPERATIONS)
@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_wrong_element_is_found(operation: Collective, place: int) -> None:
    def work(ranks: ThreadRank) -> str | None:
        corrupting = Corrupting(ranks._meeting, ranks.rank, ranks.size)
        corrupting.place = place
        return done(make(operation, 2400, "fp32", corrupting, np), ranks)  # type: ignore[arg-type]

    right, wrong, third = together(3, work)
    assert (right, third) == (None, None)
    assert str(wrong).startswith("element ")


class Idle(OneRank):
    """Two ranks that exchange nothing."""

    size = 2

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        return lambda: None

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        return lambda: None

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        return lambda: None

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        return lambda: None


@pytest.mark.parametrize("operation", COLLECTIVE_OPERATIONS)
def test_what_was_there_before_is_no_result(operation: Collective) -> None:
    idle = Idle()
    idle.rank = 1
    exchange = make(operation, 800, "fp32", idle, np)
    assert done(exchange, idle) is not None


@pytest.mark.parametrize("operation", IN_BLOCKS)
def test_blocks_in_another_order_are_wrong(operation: Collective) -> None:
    class Swapping(ThreadRank):
        def _swap(self, run: Run, into: Any) -> Run:
            def both() -> None:
                run()
                into[:] = np.concatenate(np.split(into, 2)[::-1])

            return both

        def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
            return self._swap(super().all_gather_into(mine, everyone, counts), everyone)

        def all_to_all_into(self, given: Any, into: Any) -> Run:
            return self._swap(super().all_to_all_into(given, into), into)

        def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
            other = np.empty_like(mine)

            def run() -> None:
                # The block of the other rank.
                total = sum(self._meeting.exchange(self.rank, whole.copy()))
                other[:] = np.split(total, 2)[1 - self.rank]
                mine[:] = other

            return run

    def work(ranks: ThreadRank) -> bool:
        return done(make(operation, 800, "fp32", Swapping(ranks._meeting, ranks.rank, 2), np), ranks) is not None  # type: ignore[arg-type]

    assert together(2, work) == [True, True]


def test_blocks_that_are_not_equal_are_a_defect() -> None:
    with pytest.raises(ValueError, match="no equal blocks"):
        make("all_gather", 4, "fp32", Idle(), np)
