"""Ranks of one machine never share a core, unless that was asked for."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.errors import LaunchError
from layerbench.pinning import Seat, assign, seat


def unbound(machine: str, cores: int, ranks: int) -> list[Seat]:
    """Ranks that all may use every core of their machine."""
    return [Seat(machine, tuple(range(cores)))] * ranks


def test_the_seat_of_this_process() -> None:
    assert seat().cores == tuple(sorted(os.sched_getaffinity(0)))
    assert seat() == seat()


def test_cores_are_dealt_in_rank_order() -> None:
    assert assign(unbound("a", 4, 2), 2, oversubscribe=False) == [(0, 1), (2, 3)]
    assert assign(unbound("a", 8, 3), 1, oversubscribe=False) == [(0,), (1,), (2,)]


def test_a_rank_alone_gets_as_many_cores_as_threads() -> None:
    assert assign([Seat("a", (3, 5, 9))], 2, oversubscribe=False) == [(3, 5)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Seat], int]:
    """Ranks over up to three machines, each bound, unbound or bound to overlapping cores, in any order."""
    threads = draw(st.integers(1, 4))
    seats = []
    for machine in range(draw(st.integers(1, 3))):
        ranks = draw(st.integers(1, 4))
        cores = draw(st.lists(st.integers(0, 63), min_size=ranks * threads, max_size=24, unique=True))
        if draw(st.booleans()):
            each = [tuple(sorted(cores))] * ranks
        else:
            each = [tuple(sorted(cores[rank::ranks])) for rank in range(ranks)]
        seats += [Seat(f"machine {machine}", of_rank) for of_rank in each]
    return draw(st.permutations(seats)), threads


@given(worlds())
def test_ranks_of_a_machine_have_disjoint_cores_and_each_its_threads(world: tuple[list[Seat], int]) -> None:
    seats, threads = world
    assigned = assign(seats, threads, oversubscribe=False)
    assert [len(cores) for cores in assigned] == [threads] * len(seats)
    used = Counter((seat.machine, core) for seat, cores in zip(seats, assigned, strict=True) for core in cores)
    assert set(used.values()) == {1}
    for there, cores in zip(seats, assigned, strict=True):
        allowed = {core for other in seats if other.machine == there.machine for core in other.cores}
        assert set(cores) <= allowed


@given(worlds())
def test_oversubscribing_changes_nothing_where_there_is_room(world: tuple[list[Seat], int]) -> None:
    seats, threads = world
    assert assign(seats, threads, oversubscribe=True) == assign(seats, threads, oversubscribe=False)


def test_ranks_that_the_launcher_bound_stay_where_they_are() -> None:
    seats = [Seat("a", (6, 7)), Seat("a", (0, 1)), Seat("a", (4, 5))]
    assert assign(seats, 2, oversubscribe=False) == [(6, 7), (0, 1), (4, 5)]
    assert assign(seats, 1, oversubscribe=False) == [(6,), (0,), (4,)]


def test_ranks_bound_to_overlapping_cores_are_dealt_anew() -> None:
    assert assign([Seat("a", (0, 1, 2)), Seat("a", (2, 3))], 2, oversubscribe=False) == [(0, 1), (2, 3)]


def test_more_ranks_than_cores_are_refused() -> None:
    with pytest.raises(LaunchError) as caught:
        assign(unbound("a", 2, 3), 1, oversubscribe=False)
    assert "3 ranks of 1 threads share the 2 cores" in str(caught.value)
    assert "--oversubscribe" in str(caught.value)
    with pytest.raises(LaunchError):
        assign(unbound("a", 4, 2), 3, oversubscribe=False)
    with pytest.raises(LaunchError):
        assign([Seat("a", (0,)), Seat("a", (1,))], 2, oversubscribe=False)


def test_oversubscribed_cores_are_shared_evenly() -> None:
    assert assign(unbound("a", 2, 4), 1, oversubscribe=True) == [(0,), (1,), (0,), (1,)]
    assert assign(unbound("a", 2, 1), 3, oversubscribe=True) == [(0, 1)]


def test_two_machines_do_not_share_cores() -> None:
    seats = [*unbound("a", 2, 2), *unbound("b", 2, 2)]
    assert assign(seats, 1, oversubscribe=False) == [(0,), (1,), (0,), (1,)]
    interleaved = [seats[0], seats[2], seats[1], seats[3]]
    assert assign(interleaved, 1, oversubscribe=False) == [(0,), (0,), (1,), (1,)]


def test_one_crowded_machine_is_refused_beside_a_roomy_one() -> None:
    with pytest.raises(LaunchError, match="share the 1 cores"):
        assign([*unbound("a", 8, 1), *unbound("b", 1, 2)], 1, oversubscribe=False)
