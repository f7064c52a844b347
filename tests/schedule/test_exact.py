from __future__ import annotations

import importlib.util
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.errors import UsageError
from layerbench.schedule import allotments, completion, exact, policies
from layerbench.schedule.allotments import Start, used
from layerbench.schedule.bounds import bounds
from layerbench.schedule.goals import Completion, Makespan, Usage
from layerbench.schedule.instance import Instance, instance
from layerbench.schedule.jobs import Job
from layerbench.schedule.packing import makespan
from tests.schedule.brute import every_plan, optimum
from tests.schedule.instances import realistic, workloads


def begun(of_jobs: Instance) -> Start:
    return allotments.listed(of_jobs, policies.fastest_choice(of_jobs))


@given(workloads(jobs=4, nodes=4))
@settings(max_examples=40, deadline=None)
def test_it_proves_the_least_makespan(workload: tuple[list[Job], int]) -> None:
    of_jobs = instance(*workload)
    bound = max(bounds(of_jobs).values())
    solved = exact.solve(of_jobs, begun(of_jobs), Makespan(bound), 5.0, 0)
    least = optimum(of_jobs)
    assert solved.proven
    assert solved.start.value == pytest.approx(least, rel=1e-5)
    assert solved.bound <= least * (1 + 1e-9)
    assert solved.bound == pytest.approx(least, rel=1e-5)


@given(workloads(jobs=3, nodes=4))
@settings(max_examples=25, deadline=None)
def test_it_proves_the_least_sum_of_ends(workload: tuple[list[Job], int]) -> None:
    of_jobs = instance(*workload)
    fastest = begun(of_jobs)
    begin = completion.valued(of_jobs, fastest.order, fastest.choice)
    solved = exact.solve(of_jobs, begin, Completion(completion.bound(of_jobs)), 5.0, 0)
    least = min(completion.valued(of_jobs, order, choice).value for order, choice in every_plan(of_jobs))
    assert solved.proven
    assert solved.start.value == pytest.approx(least, rel=1e-5)
    assert solved.bound <= least * (1 + 1e-9)


@given(workloads(jobs=3, nodes=4), st.floats(1.0, 3.0))
@settings(max_examples=25, deadline=None)
def test_it_proves_the_fewest_node_seconds_by_a_deadline(workload: tuple[list[Job], int], slack: float) -> None:
    of_jobs = instance(*workload)
    plans = [
        (makespan(order, allotments.items(of_jobs, choice), of_jobs.nodes), used(of_jobs, choice), order, choice)
        for order, choice in every_plan(of_jobs)
    ]
    quickest = min(plans)
    deadline = slack * quickest[0]
    fewest = min(area for end, area, _, _ in plans if end <= deadline)
    begin = Start(quickest[1], quickest[2], quickest[3])
    solved = exact.solve(of_jobs, begin, Usage(0.0, deadline), 5.0, 0)
    assert solved.start.value >= fewest * (1 - 1e-9)
    assert solved.bound <= fewest * (1 + 1e-9)
    if solved.proven:
        assert solved.start.value == pytest.approx(fewest, rel=1e-5)


def test_what_is_proven_is_the_same_every_time() -> None:
    of_jobs = instance(realistic(2, 5, 4), 4)
    goal = Makespan(max(bounds(of_jobs).values()))
    one, two = (exact.solve(of_jobs, begun(of_jobs), goal, 30.0, 7) for _ in range(2))
    assert one.proven
    assert one == two


def test_without_time_it_says_what_it_knows() -> None:
    of_jobs = instance(realistic(2, 30, 32), 32)
    bound = max(bounds(of_jobs).values())
    begin = begun(of_jobs)
    started = time.monotonic()
    solved = exact.solve(of_jobs, begin, Makespan(bound), 0.3, 7)
    assert time.monotonic() - started < 10
    assert not solved.proven
    assert bound <= solved.bound <= solved.start.value <= begin.value


def test_what_is_not_installed_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    of_jobs = instance(realistic(3, 3, 4), 4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs ortools, not installed here: pip install 'layerbench\[schedule\]'"):
        exact.solve(of_jobs, begun(of_jobs), Makespan(0.0), 1.0, 0)
