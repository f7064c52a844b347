"""What sizes count, and both bandwidths, against figures worked out by hand."""

from __future__ import annotations

import pytest

from layerbench.collective_bench.formulas import SIZE_OF, algbw, bus_factor, busbw, exchanged_bytes
from layerbench.records import COLLECTIVE_OPERATIONS, Collective


@pytest.mark.parametrize(
    ("operation", "of_2", "of_4", "of_1"),
    [
        ("all_reduce", 1.0, 1.5, 0.0),
        ("all_gather", 0.5, 0.75, 0.0),
        ("reduce_scatter", 0.5, 0.75, 0.0),
        ("all_to_all", 0.5, 0.75, 0.0),
        ("broadcast", 1.0, 1.0, 1.0),
    ],
)
def test_bus_factors(operation: Collective, of_2: float, of_4: float, of_1: float) -> None:
    assert [bus_factor(operation, ranks) for ranks in (2, 4, 1)] == [of_2, of_4, of_1]
    assert algbw(1_000_000, 0.5) == 2e6
    assert busbw(operation, 1_000_000, 4, 0.5) == of_4 * 2e6


def test_every_operation_says_what_its_size_counts() -> None:
    assert sorted(SIZE_OF) == sorted(COLLECTIVE_OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "size", "ranks", "itemsize", "exchanged"),
    [
        ("all_reduce", 1, 3, 4, 4),
        ("all_reduce", 1024, 3, 4, 1024),
        ("broadcast", 1023, 3, 8, 1024),
        ("all_gather", 4, 3, 4, 12),
        ("all_gather", 12, 3, 4, 12),
        ("reduce_scatter", 1024, 3, 4, 1032),
        ("all_to_all", 1024, 4, 2, 1024),
    ],
)
def test_sizes_are_rounded_up_to_whole_elements_and_equal_blocks(
    operation: Collective, size: int, ranks: int, itemsize: int, exchanged: int
) -> None:
    assert exchanged_bytes(operation, size, ranks, itemsize) == exchanged
