"""What exchanges take: measured where measured, else by formulas; over one link, and over nodes of several ranks."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import hockney
from layerbench.collective_times import crossover_bytes, link_seconds, seconds
from layerbench.errors import UsageError
from layerbench.machine import Exchanged, Fit, Link, Machine, exact
from layerbench.machine.read import OPERATIONS
from layerbench.records import Operation
from tests.machine.made import MACHINE, exchanged, link

SLOW = link()
"""A millisecond a message, a megabyte a second: sums that can be done by hand."""

QUICK = link(1e-6, 1e9)


def machine(between: Link | None = SLOW, within: Link | None = None, ranks_per_node: int = 1) -> Machine:
    return msgspec.structs.replace(
        MACHINE, between=between, within=within, ranks_per_node=ranks_per_node, no_network="one core"
    )


@pytest.mark.parametrize(
    ("operation", "ranks", "size", "taken"),
    [
        ("all_reduce", 1, 10**9, 0.0),
        ("all_reduce", 2, 1_000, 2e-3),
        ("all_reduce", 8, 1_000_000, 1.756),  # halving: 6 ms + 1.75 s
        ("all_gather", 8, 1_000_000, 0.878),  # 3 ms + 0.875 s
        ("reduce_scatter", 8, 1_000_000, 0.878),
        ("reduce_scatter", 9, 900, 6.8e-3),  # halving: 5 ms + 1.8 ms; pairwise exchange would take 8.8 ms
        ("point_to_point", 8, 1_000, 2e-3),
        ("point_to_point", 1, 1_000, 0.0),
    ],
)
def test_on_nominal_figures_by_hand(operation: Operation, ranks: int, size: int, taken: float) -> None:
    assert link_seconds(SLOW, operation, ranks, size) == pytest.approx(taken)
    assert seconds(machine(), operation, ranks, size) == pytest.approx(taken)


def measured(*points: Exchanged, alpha: float = 1e-3, beta: float = 1e-6) -> Link:
    """A link on which some exchanges were measured, with a fit of each operation."""
    fits = [
        Fit(operation=operation, alpha=exact(alpha), beta=exact(beta))
        for operation in dict.fromkeys(point.operation for point in points)
    ]
    return msgspec.structs.replace(SLOW, sweeps=list(points), fits=fits)


def test_what_was_measured_is_what_is_said() -> None:
    found = measured(
        # In whatever order, and others among them.
        exchanged("all_reduce", 4, 10_000, 0.5),
        exchanged("all_reduce", 4, 100, 0.3),
        exchanged("all_reduce", 2, 100, 0.1),
        exchanged("all_gather", 4, 100, 0.2),
    )
    assert link_seconds(found, "all_reduce", 4, 100) == 0.3
    assert link_seconds(found, "all_reduce", 4, 10_000) == 0.5
    assert link_seconds(found, "all_reduce", 2, 100) == 0.1
    assert link_seconds(found, "all_gather", 4, 100) == 0.2


def test_between_two_sizes_it_is_interpolated_on_logarithmic_scales() -> None:
    found = measured(exchanged("all_gather", 4, 100, 0.2), exchanged("all_gather", 4, 10_000, 0.8))
    assert link_seconds(found, "all_gather", 4, 1_000) == pytest.approx(0.4)


def test_beyond_the_sizes_that_were_measured_beta_is_that_of_the_end() -> None:
    found = measured(exchanged("all_reduce", 2, 100, 2e-3), exchanged("all_reduce", 2, 10_000, 5e-3))
    # At the upper end α + β n is 5 ms, of which α is 1 ms: β is 0.4 µs.
    assert link_seconds(found, "all_reduce", 2, 20_000) == pytest.approx(9e-3)
    assert link_seconds(found, "all_reduce", 2, 10) == pytest.approx(1.1e-3)


def test_over_other_ranks_beta_is_that_of_the_size_over_the_most_ranks() -> None:
    found = measured(
        exchanged("all_gather", 2, 100, 9.0),
        exchanged("all_gather", 4, 100, 2e-3 + 75e-6),  # β 1 µs
        exchanged("all_gather", 4, 10_000, 2e-3 + 75e-3),  # β 10 µs: it leaves the cache
    )
    for size, beta in ((100, 1e-6), (10_000, 1e-5), (20_000, 1e-5)):
        wanted = 3e-3 + 7 / 8 * beta * size
        assert link_seconds(found, "all_gather", 8, size) == pytest.approx(wanted)


def test_what_was_not_measured_is_taken_to_be_as_quick_as_an_all_reduce() -> None:
    found = measured(exchanged("all_reduce", 2, 100, 1.2e-3), exchanged("all_reduce", 2, 10_000, 5e-3))
    # β is 0.4 µs at 10 000 B.
    assert link_seconds(found, "all_gather", 4, 10_000) == pytest.approx(2e-3 + 0.75 * 4e-3)
    assert link_seconds(found, "point_to_point", 2, 10_000) == pytest.approx(1e-3 + 4e-3)


def test_a_fit_without_a_sweep_is_used_as_it_is() -> None:
    found = msgspec.structs.replace(SLOW, fits=[Fit(operation="all_reduce", alpha=exact(1.0), beta=exact(2.0))])
    assert link_seconds(found, "all_reduce", 2, 10) == 21.0
    assert link_seconds(found, "all_gather", 2, 10) == 11.0


sizes = st.integers(1, 2**33)
counts = st.integers(1, 5000)
operations = st.sampled_from(OPERATIONS)


@given(operations, counts, sizes)
def test_a_larger_exchange_takes_no_less_time_on_nominal_figures(operation: Operation, ranks: int, size: int) -> None:
    assert link_seconds(SLOW, operation, ranks, size + 1) >= link_seconds(SLOW, operation, ranks, size) * (1 - 1e-9)


POWERS = range(1, 15)


@given(
    operation=operations,
    ranks=st.integers(2, 64),
    others=st.integers(2, 5000),
    power=st.sampled_from(POWERS),
    beyond=st.sampled_from([1, 3, 2**29, 2**32]),
)
def test_a_sweep_that_the_formulas_gave_gives_what_they_give(
    operation: Operation, ranks: int, others: int, power: int, beyond: int
) -> None:
    alpha, beta = 1e-5, 1e-9

    def formula(count: int, size: int) -> float:
        return hockney.seconds(operation, count, size, alpha, beta)

    ranks = 2 if operation == "point_to_point" else ranks
    points = [exchanged(operation, ranks, 4**each, formula(ranks, 4**each)) for each in POWERS]
    found = measured(*points, alpha=alpha, beta=beta)
    for count in (ranks, others):
        for size in (4**power, beyond):
            assert link_seconds(found, operation, count, size) == pytest.approx(formula(count, size), rel=1e-6)


def test_nodes_of_several_ranks_share_the_work() -> None:
    found = machine(SLOW, QUICK, ranks_per_node=4)
    size = 4_000_000
    # Within: (4 ranks) 2 µs + 3 ms, twice. Between: 2 nodes exchange a quarter of it each.
    inside = 2e-6 + 0.75 * size * 1e-9
    assert seconds(found, "reduce_scatter", 1, size) == pytest.approx(inside)
    assert seconds(found, "all_reduce", 1, size) == pytest.approx(2 * inside)
    assert seconds(found, "all_reduce", 2, size) == pytest.approx(2 * inside + 1e-3 + 1.0)
    assert seconds(found, "all_gather", 2, size) == pytest.approx(inside + 1e-3 + 0.5)
    assert seconds(found, "reduce_scatter", 2, size) == pytest.approx(inside + 1e-3 + 0.5)
    assert seconds(found, "point_to_point", 2, size) == pytest.approx(1e-3 + 4.0), "one message is of one rank"
    assert seconds(found, "point_to_point", 1, size) == pytest.approx(1e-6 + 4e-3)


def test_the_number_of_ranks_on_a_node_may_be_given() -> None:
    found = machine(SLOW, QUICK, ranks_per_node=4)
    assert seconds(found, "all_reduce", 2, 1_000, 1) == pytest.approx(2e-3)
    assert seconds(found, "all_reduce", 1, 1_000, 1) == 0.0
    assert seconds(found, "all_reduce", 1, 1_000, 2) == pytest.approx(2e-6)


def test_without_a_link_of_their_own_all_ranks_are_joined_alike() -> None:
    assert seconds(machine(SLOW), "all_reduce", 2, 1_000, 2) == pytest.approx(
        link_seconds(SLOW, "all_reduce", 4, 1_000)
    )


def test_on_a_machine_without_a_network_one_rank_has_nothing_to_exchange_and_two_are_refused() -> None:
    alone = machine(None)
    assert seconds(alone, "all_reduce", 1, 1_000) == 0.0
    with pytest.raises(UsageError) as caught:
        seconds(alone, "all_reduce", 2, 1_000)
    for word in ("made has no network", "(one core)", "--machine"):
        assert word in str(caught.value)
    inside = machine(None, QUICK, ranks_per_node=2)
    assert seconds(inside, "all_reduce", 1, 1_000) > 0, "the ranks of one node need none"


@given(operations, st.integers(2, 1000))
def test_the_crossover_is_by_the_fit_or_by_the_links_own_figures(operation: Operation, ranks: int) -> None:
    assert crossover_bytes(SLOW, operation, ranks) == hockney.crossover_bytes(operation, ranks, 1e-3, 1e-6)
    fitted = msgspec.structs.replace(SLOW, fits=[Fit(operation=operation, alpha=exact(2e-3), beta=exact(1e-6))])
    found = crossover_bytes(fitted, operation, ranks)
    nominal = crossover_bytes(SLOW, operation, ranks)
    assert (found is None) == (nominal is None)
    if found is not None and nominal is not None:
        assert math.isclose(found, 2 * nominal, abs_tol=2)
