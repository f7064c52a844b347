from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.schedule.jobs import Job
from layerbench.schedule.packing import lateness, makespan, starts
from layerbench.schedule.plan import Placement, Plan
from tests.schedule.checker import faults

ITEMS = st.lists(st.tuples(st.integers(1, 6), st.floats(0.1, 50.0), st.floats(0.0, 3.0)), min_size=1, max_size=12)


def test_a_job_starts_as_soon_as_its_nodes_are_free() -> None:
    #   job 0 has one of three nodes for 5 s, job 1 two for 2 s, job 2 two when these are free, job 3 all at the end
    items = [(1, 5.0, 1.0), (2, 2.0, 1.0), (2, 4.0, 1.0), (3, 1.0, 1.0)]
    assert starts([0, 1, 2, 3], items, 3) == [0.0, 0.0, 2.0, 6.0]
    assert makespan([0, 1, 2, 3], items, 3) == 7.0
    assert makespan([3, 0, 1, 2], items, 3) == 7.0
    assert makespan([2, 0, 1, 3], items, 3) == 7.0


def test_a_job_may_start_before_one_that_comes_before_it_unless_none_may_overtake() -> None:
    # Job 1 needs more nodes than job 0 leaves, and takes those that are free first; the one of job 2 is then free last.
    items = [(2, 5.0, 1.0), (3, 2.0, 1.0), (1, 1.0, 1.0)]
    assert starts([0, 1, 2], items, 4) == [0.0, 5.0, 5.0]
    assert starts([0, 2, 1], items, 4) == [0.0, 5.0, 0.0]
    # On six nodes the job of four waits for one, and leaves one that is free at 3 s to the job of one.
    items = [(1, 3.0, 1.0), (2, 9.0, 1.0), (3, 4.0, 1.0), (4, 2.0, 1.0), (1, 1.0, 1.0)]
    assert starts([0, 1, 2, 3, 4], items, 6)[3:] == [4.0, 6.0]


@given(ITEMS, st.integers(6, 12), st.randoms(use_true_random=False))
def test_what_is_packed_is_a_plan_of_that_makespan(
    items: list[tuple[int, float, float]], nodes: int, source: random.Random
) -> None:
    order = list(range(len(items)))
    source.shuffle(order)
    jobs = [Job(f"{i}", "any", (need,), (seconds,)) for i, (need, seconds, _) in enumerate(items)]
    for overtake in (True, False):
        begin = starts(order, items, nodes, overtake=overtake)
        plan = Plan(nodes, tuple(Placement(job, job.nodes[0], begin[i]) for i, job in enumerate(jobs)), "")
        assert faults(plan, jobs, nodes) == []
        if overtake:
            assert makespan(order, items, nodes) == pytest.approx(plan.makespan)
            for due in (0.0, plan.makespan / 2, plan.makespan):
                late = math.fsum(
                    weight * max(0.0, begin[i] + seconds - due) for i, (_, seconds, weight) in enumerate(items)
                )
                found, end = lateness(order, items, nodes, due)
                assert found == pytest.approx(late, abs=1e-9)
                assert end == pytest.approx(plan.makespan)
                if late > 0:
                    assert lateness(order, items, nodes, due, late / 2)[1] == math.inf
        else:
            assert [begin[job] for job in order] == sorted(begin)


@given(ITEMS, st.integers(6, 12))
def test_in_the_order_of_its_starts_a_plan_is_found_again_or_a_better_one(
    items: list[tuple[int, float, float]], nodes: int
) -> None:
    strict = starts(range(len(items)), items, nodes, overtake=False)
    order = sorted(range(len(items)), key=strict.__getitem__)
    again = starts(order, items, nodes)
    assert all(new <= old + 1e-9 for new, old in zip(again, strict, strict=True))
