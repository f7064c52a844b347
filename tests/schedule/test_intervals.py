from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.schedule.intervals import assign
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from tests.schedule import made


def check(plan: Plan) -> list[int]:
    """Each placement has its nodes, and none of them at a time at which another has it; how many pieces there are."""
    found = assign(plan.placements, plan.nodes)
    for placement, pieces in zip(plan.placements, found, strict=True):
        taken = [node for low, high in pieces for node in range(low, high)]
        assert len(taken) == len(set(taken)) == placement.nodes
        assert set(taken) <= set(range(plan.nodes))
        assert pieces == sorted(pieces)
    for (one, of_one), (two, of_two) in combinations(zip(plan.placements, found, strict=True), 2):
        if min(one.end, two.end) - max(one.start, two.start) > 1e-9 * plan.makespan:
            assert all(a[1] <= b[0] or b[1] <= a[0] for a in of_one for b in of_two)
    return [len(pieces) for pieces in found]


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 30), nodes=st.integers(1, 40), seed=st.integers(0, 1000))
def test_every_job_has_its_nodes_for_itself(number: int, nodes: int, seed: int) -> None:
    check(made.listed(made.jobs(number, ["a", "b"], nodes, seed=seed), nodes, seed))


def test_most_jobs_are_whole() -> None:
    for plan in (made.three(), made.twelve(), made.forty()):
        assert set(check(plan)) == {1}
    thousand = made.thousand()
    pieces = assign(thousand.placements, thousand.nodes)
    assert sum(len(of_job) > 1 for of_job in pieces) <= 50


def placement(name: str, nodes: int, start: float, seconds: float) -> Placement:
    return Placement(Job.of(name, "t", [(nodes, seconds)]), nodes, start)


def test_a_job_is_in_pieces_only_where_nothing_else_is_possible() -> None:
    # Whichever of a, b, c is in the middle: d, e, f need its neighbours in turn.
    plan = Plan(
        3,
        (
            *(placement("a", 1, 0, 2), placement("b", 1, 0, 4), placement("c", 1, 0, 6)),
            *(placement("d", 1, 2, 6), placement("e", 1, 4, 1), placement("f", 2, 6, 1)),
        ),
        "made",
    )
    assert sum(check(plan)) <= 7


def test_rounding_of_a_start_is_no_overlap() -> None:
    third = 0.1 + 0.2
    plan = Plan(2, (placement("a", 2, 0, third), placement("b", 2, 0.3, 1)), "made")
    assert third > 0.3
    assert assign(plan.placements, 2) == [[(0, 2)], [(0, 2)]]


def test_more_nodes_than_there_are() -> None:
    with pytest.raises(ValueError, match="1 nodes more than there are"):
        assign([placement("a", 2, 0, 1), placement("b", 1, 0, 1)], 2)
