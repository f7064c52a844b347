"""The formulas of collectives: by hand, against each other, and backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import hockney
from layerbench.hockney import algorithms, beta_of, crossover_bytes

OPERATIONS = ("point_to_point", "all_reduce", "all_gather", "reduce_scatter")

RANKS = st.integers(2, 5000)
ALPHA = st.floats(1e-7, 1e-2)
BETA = st.floats(1e-12, 1e-5)
SIZE = st.integers(1, 2**32)


@pytest.mark.parametrize(
    ("operation", "ranks", "costs"),
    [
        ("point_to_point", 2, [(1, 1)]),
        ("point_to_point", 100, [(1, 1)]),
        ("all_reduce", 2, [(2, 1), (1, 1), (2, 1)]),
        ("all_reduce", 8, [(14, 7 / 4), (3, 3), (6, 7 / 4)]),
        ("all_reduce", 6, [(10, 5 / 3), (3, 3), (6, 7 / 2)]),
        ("all_gather", 8, [(7, 7 / 8), (3, 7 / 8)]),
        ("all_gather", 5, [(4, 4 / 5), (3, 4 / 5)]),
        ("reduce_scatter", 8, [(7, 7 / 8), (3, 7 / 8)]),
        ("reduce_scatter", 5, [(4, 4 / 5), (4, 2)]),
    ],
)
def test_messages_and_transfers_by_hand(operation: str, ranks: int, costs: list[tuple[float, float]]) -> None:
    found = [(each.messages, pytest.approx(each.transfers)) for each in algorithms(operation, ranks)]
    assert found == costs


def test_a_second_of_each_kind_adds_up() -> None:
    # 8 ranks, α = 1 s, β = 1 s/B, 2 bytes: doubling 3 (1 + 2) = 9, halving 6 + 3.5 = 9.5, ring 17.5.
    assert hockney.seconds("all_reduce", 8, 2, 1.0, 1.0) == 9.0
    assert hockney.seconds("all_reduce", 8, 4, 1.0, 1.0) == 13.0
    assert hockney.seconds("all_reduce", 1, 4, 1.0, 1.0) == 0.0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_too_few_ranks_and_unknown_operations_are_refused(operation: str) -> None:
    with pytest.raises(ValueError, match="two ranks"):
        algorithms(operation, 1)
    with pytest.raises(ValueError, match="no operation 'broadcast'"):
        algorithms("broadcast", 2)


@given(ranks=RANKS, alpha=ALPHA, beta=BETA, size=SIZE)
def test_an_all_reduce_takes_no_longer_than_scattering_and_gathering(
    ranks: int, alpha: float, beta: float, size: int
) -> None:
    def taken(operation: str) -> float:
        return hockney.seconds(operation, ranks, size, alpha, beta)

    parts = taken("reduce_scatter") + taken("all_gather")
    assert taken("all_reduce") <= parts * (1 + 1e-9) or ranks & (ranks - 1), "of a power of two"
    assert taken("all_gather") <= taken("all_reduce") * (1 + 1e-9)
    assert taken("all_gather") <= taken("reduce_scatter") * (1 + 1e-9)


@given(operation=st.sampled_from(OPERATIONS), ranks=RANKS, alpha=ALPHA, beta=BETA, size=SIZE)
def test_beta_is_found_again_in_the_time_that_it_gave(
    operation: str, ranks: int, alpha: float, beta: float, size: int
) -> None:
    taken = hockney.seconds(operation, ranks, size, alpha, beta)
    found = beta_of(operation, ranks, size, alpha, taken)
    assert found >= 0
    assert hockney.seconds(operation, ranks, size, alpha, found) == pytest.approx(taken, rel=1e-9)


def test_a_time_that_latency_alone_exceeds_leaves_no_beta() -> None:
    assert beta_of("all_reduce", 4, 1000, 1.0, 0.5) == 0.0


@given(operation=st.sampled_from(OPERATIONS), ranks=RANKS, alpha=ALPHA, beta=BETA)
def test_from_the_crossover_on_the_leanest_algorithm_is_the_quickest(
    operation: str, ranks: int, alpha: float, beta: float
) -> None:
    crossover = crossover_bytes(operation, ranks, alpha, beta)
    least = min(each.transfers for each in algorithms(operation, ranks))

    def quickest(size: float) -> float:
        """What the quickest moves."""
        return min((each.seconds(size, alpha, beta), each.transfers) for each in algorithms(operation, ranks))[1]

    if crossover is None:
        assert {quickest(size) for size in (1, 2**20, 2**40)} == {least}
    else:
        assert quickest(crossover * 1.001 + 1) == least
        assert quickest(crossover * 0.999 - 1) > least or crossover < 2


@pytest.mark.parametrize(
    ("operation", "ranks", "crossover"),
    [
        ("all_reduce", 1, None),
        ("all_reduce", 2, None),  # recursive doubling moves no more than the others over two ranks
        ("all_reduce", 4, 4000),  # 4 α + 1.5 β n = 2 α + 2 β n
        ("all_reduce", 3, 3000),  # ring 4 α + 4 / 3 β n = doubling 2 α + 2 β n
        ("all_gather", 64, None),
        ("reduce_scatter", 8, None),
        ("reduce_scatter", 9, 2700),  # pairwise 8 α + 8 / 9 β n = halving 5 α + 2 β n
        ("point_to_point", 2, None),
    ],
)
def test_crossovers_by_hand(operation: str, ranks: int, crossover: int | None) -> None:
    found = crossover_bytes(operation, ranks, 1e-3, 1e-6)
    assert found == pytest.approx(crossover, abs=1) if crossover else found is None
