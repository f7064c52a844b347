from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from layerbench.schedule import bounds as of
from layerbench.schedule.bounds import bounds
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job
from tests.schedule.brute import optimum
from tests.schedule.instances import realistic, workloads


@given(workloads(jobs=4, nodes=5))
@settings(max_examples=150, deadline=None)
def test_no_bound_is_above_the_optimum_and_none_below_the_one_before(workload: tuple[list[Job], int]) -> None:
    of_jobs = instance(*workload)
    found = bounds(of_jobs)
    assert list(found) == ["L1", "L2", "L3", "L4"]
    assert list(found.values()) == sorted(found.values())
    assert found["L4"] <= optimum(of_jobs) * (1 + 1e-9)


def test_l1_is_the_area_or_the_longest_job() -> None:
    wide = instance([Job("a", "t", (1, 2), (4.0, 3.0)), Job("b", "t", (1,), (6.0,))], 2)
    assert bounds(wide)["L1"] == 6.0
    many = instance([Job(f"{i}", "t", (1,), (2.0,)) for i in range(5)], 2)
    assert bounds(many)["L1"] == 5.0


def test_l2_counts_what_being_quick_costs() -> None:
    # On one node each takes 10 s. In less than 10 s each takes 2 x 8 node-seconds: 4 of them 64, on 4 nodes 16 s.
    jobs = [Job(f"{i}", "t", (1, 2), (10.0, 8.0)) for i in range(4)]
    assert bounds(instance(jobs, 4))["L2"] == pytest.approx(10.0)
    # Five do not end in 10 s either: 50 node-seconds on 4 nodes are 12.5 s.
    five = [Job(f"{i}", "t", (1, 2), (10.0, 8.0)) for i in range(5)]
    assert bounds(instance(five, 4))["L2"] == pytest.approx(12.5)


def test_l3_knows_that_long_jobs_stand_side_by_side() -> None:
    # Three jobs of two nodes on three nodes, 2 s each: one after another, where their area would fit 4 s.
    jobs = [Job(f"{i}", "t", (2,), (2.0,)) for i in range(2)]
    found = bounds(instance(jobs, 3))
    assert found["L2"] == pytest.approx(8 / 3)
    assert found["L3"] == pytest.approx(4.0)


def test_l4_knows_that_three_of_more_than_a_third_do_not_follow_one_another() -> None:
    # Two nodes, five jobs of one node and 1 s: one node has three of them.
    jobs = [Job(f"{i}", "t", (1,), (1.0,)) for i in range(5)]
    found = bounds(instance(jobs, 2))
    assert found["L3"] == pytest.approx(2.5)
    assert found["L4"] == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_relaxed_third_bound_is_the_third_or_less(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of_jobs = instance(realistic(seed, 12, 16), 16)
    exact = bounds(of_jobs)
    monkeypatch.setattr(of, "_EXACT_WORK", 0)
    relaxed = bounds(of_jobs)
    assert relaxed["L2"] <= relaxed["L3"] <= exact["L3"] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_shelves_are_those_of_trying_everything(seed: int) -> None:
    of_jobs = instance(realistic(seed, 5, 8), 8)
    due = 1.3 * bounds(of_jobs)["L1"]
    areas, _ = of.shelf_areas(of_jobs, due)
    tried = np.full(of_jobs.nodes + 1, np.inf)
    for choice in itertools.product(*of_jobs.counts):
        wide = sum(nodes for nodes, seconds in choice if seconds > due / 2)
        if all(seconds <= due for _, seconds in choice) and wide <= of_jobs.nodes:
            tried[wide:] = np.minimum(tried[wide:], sum(nodes * seconds for nodes, seconds in choice))
    assert areas == pytest.approx(tried)
