from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan, usage

WIDE = Job.of("wide", "conv", [(1, 8.0), (2, 4.0), (4, 2.0)])
LONG = Job.of("long", "fc", [(1, 6.0), (2, 5.0)])


def plan(**changes: object) -> Plan:
    """Of 3 nodes, two run wide at once, and one runs long from the first second on."""
    return Plan(3, (Placement(WIDE, 2, 0.0), Placement(LONG, 1, 1.0)), "made", **changes)


def test_a_placement_ends_when_its_time_is_over() -> None:
    placement = Placement(WIDE, 2, 1.5)
    assert placement.end == 5.5
    assert placement.node_seconds == 8.0


def test_what_a_plan_takes() -> None:
    made = plan()
    assert made.makespan == 7.0
    assert made.mean_completion == (4.0 + 7.0) / 2
    assert made.node_seconds == 2 * 4.0 + 1 * 6.0
    assert made.utilisation == pytest.approx(14.0 / 21.0)


def test_the_gap_is_to_the_largest_bound() -> None:
    made = plan(bounds={"L1": 4.0, "L2": 5.0, "L3": 4.5})
    assert made.lower_bound == 5.0
    assert made.gap == pytest.approx(0.4)
    assert plan(bounds={"L1": 7.0}).gap == 0.0


def test_without_a_bound_there_is_no_gap() -> None:
    assert plan().lower_bound == 0.0
    assert plan().gap == math.inf


def test_nodes_in_use_change_at_starts_and_ends() -> None:
    assert usage(plan().placements) == [(0.0, 2), (1.0, 3), (4.0, 1), (7.0, 0)]


def test_what_ends_as_another_starts_is_one_change() -> None:
    placements = (Placement(WIDE, 4, 0.0), Placement(LONG, 2, 2.0))
    assert usage(placements) == [(0.0, 4), (2.0, 2), (7.0, 0)]


def test_nothing_placed_uses_nothing() -> None:
    assert usage([]) == []


PLACEMENTS = st.lists(
    st.builds(
        lambda nodes, seconds, start: Placement(Job.of("a", "conv", [(nodes, float(seconds))]), nodes, float(start)),
        st.integers(1, 9),
        st.integers(1, 20),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=15,
)


@given(PLACEMENTS)
def test_usage_is_what_runs_at_each_time(placements: list[Placement]) -> None:
    steps = usage(placements)
    assert steps[-1] == (max(placement.end for placement in placements), 0)
    for time, busy in steps:
        assert busy == sum(placement.nodes for placement in placements if placement.start <= time < placement.end)
    area = math.fsum(busy * (until - since) for (since, busy), (until, _) in itertools.pairwise(steps))
    assert area == pytest.approx(math.fsum(placement.node_seconds for placement in placements))
