from __future__ import annotations

import importlib.util
import time

import pytest
from hypothesis import given, settings

from layerbench.errors import UsageError
from layerbench.schedule import exact, policies
from layerbench.schedule.bounds import bounds
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job
from tests.schedule.instances import realistic, workloads
from tests.schedule.test_bounds import optimum


@given(workloads(jobs=4, nodes=4))
@settings(max_examples=40, deadline=None)
def test_it_proves_the_optimum(workload: tuple[list[Job], int]) -> None:
    of_jobs = instance(*workload)
    bound = max(bounds(of_jobs).values())
    solved = exact.solve(of_jobs, policies.fastest(of_jobs), bound, 5.0, 0)
    assert solved.proven
    assert solved.start.value == pytest.approx(optimum(of_jobs), rel=1e-5)
    assert solved.bound <= optimum(of_jobs) * (1 + 1e-9)
    assert solved.bound == pytest.approx(optimum(of_jobs), rel=1e-5)


def test_without_time_it_says_what_it_knows() -> None:
    of_jobs = instance(realistic(1, 30, 32), 32)
    bound = max(bounds(of_jobs).values())
    begin = policies.uniform(of_jobs)[1]
    solved = exact.solve(of_jobs, begin, bound, 0.05, 0)
    assert not solved.proven
    assert bound <= solved.bound <= solved.start.value <= begin.value


def test_what_is_proven_is_the_same_every_time() -> None:
    of_jobs = instance(realistic(2, 5, 4), 4)
    begin = policies.uniform(of_jobs)[1]
    one, two = (exact.solve(of_jobs, begin, 0.0, 30.0, 7) for _ in range(2))
    assert one.proven
    assert one == two


def test_it_ends_when_its_time_is_over() -> None:
    of_jobs = instance(realistic(2, 30, 32), 32)
    begin = time.monotonic()
    assert not exact.solve(of_jobs, policies.uniform(of_jobs)[1], 0.0, 0.5, 7).proven
    assert time.monotonic() - begin < 10


def test_what_is_not_installed_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    of_jobs = instance(realistic(3, 3, 4), 4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs ortools, not installed here: pip install 'layerbench\[schedule\]'"):
        exact.solve(of_jobs, policies.fastest(of_jobs), 0.0, 1.0, 0)
