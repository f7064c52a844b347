from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from layerbench.errors import UsageError
from layerbench.schedule import completion
from layerbench.schedule.comparison import Row
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Plan
from layerbench.schedule.solve import OBJECTIVES, POLICIES, Objective, others, solve
from tests.schedule.brute import optimum
from tests.schedule.checker import faults
from tests.schedule.instances import realistic, workloads


@given(workloads())
@settings(max_examples=25, deadline=None)
def test_every_policy_and_objective_makes_a_plan_no_better_than_its_bounds(workload: tuple[list[Job], int]) -> None:
    jobs, nodes = workload
    best = solve(jobs, nodes, seconds=0.05)
    late = 2 * max(row.makespan for row in others(jobs, nodes))
    for policy in (policy for policy in POLICIES if policy != "exact"):
        for objective in OBJECTIVES:
            deadline = late if objective == "deadline" else None
            plan = solve(jobs, nodes, objective, policy, 0.02, deadline=deadline)
            assert faults(plan, jobs, nodes) == []
            assert (plan.nodes, plan.policy, plan.objective) == (nodes, policy, objective)
            assert plan.lower_bound <= plan.makespan
            assert best.lower_bound <= plan.makespan * (1 + 1e-9)
    assert best.makespan <= min(row.makespan for row in others(jobs, nodes)) * (1 + 1e-12)


MEASURES: dict[Objective, Callable[[Plan | Row], float]] = {
    "makespan": lambda plan: plan.makespan,
    "mean-completion": lambda plan: plan.mean_completion,
    "node-hours": lambda plan: plan.node_seconds,
    "deadline": lambda plan: plan.node_seconds,
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_best_serves_its_objective_best_and_a_proof_at_least_as_well(objective: Objective) -> None:
    for seed in range(3):
        jobs = realistic(seed, 6, 8)
        deadline = 1.5 * solve(jobs, 8, seconds=0.3).makespan if objective == "deadline" else None
        best = solve(jobs, 8, objective, seconds=0.5, deadline=deadline)
        exact = solve(jobs, 8, objective, "exact", 1.0, deadline=deadline)
        measure = MEASURES[objective]
        assert faults(exact, jobs, 8) == []
        assert measure(exact) <= measure(best) * (1 + 1e-9)
        assert deadline is None or max(best.makespan, exact.makespan) <= deadline * (1 + 1e-9)
        for row in others(jobs, 8, objective=objective, deadline=deadline):
            if deadline is None or row.makespan <= deadline:
                assert measure(best) <= measure(row) * (1 + 1e-9)


@given(workloads(jobs=4, nodes=5))
@settings(max_examples=60, deadline=None)
def test_best_finds_the_optimum_of_few_jobs_and_never_less(workload: tuple[list[Job], int]) -> None:
    plan = solve(*workload, seconds=0.1)
    least = optimum(instance(*workload))
    assert plan.makespan >= least * (1 - 1e-9)
    assert plan.makespan == pytest.approx(least, rel=1e-9)
    assert not plan.proven or plan.makespan == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_best_is_never_below_what_is_proven_and_near_it(seed: int) -> None:
    jobs = realistic(seed, 9, 16)
    exact, best = solve(jobs, 16, policy="exact", seconds=3.0), solve(jobs, 16)
    assert faults(exact, jobs, 16) == []
    assert exact.bounds["CP-SAT"] <= exact.makespan
    assert exact.bounds["CP-SAT"] <= best.makespan * (1 + 1e-9)
    assert best.makespan <= exact.makespan * 1.02
    if exact.proven:
        assert exact.gap < 1e-5


def test_a_mix_is_planned_better_than_with_one_count_for_all() -> None:
    gains = []
    for seed in range(4):
        jobs = realistic(seed, 20, 32)
        plan = solve(jobs, 32, seconds=0.5)
        (uniform,) = [row for row in others(jobs, 32) if row.policy == "uniform"]
        assert faults(plan, jobs, 32) == []
        assert plan.makespan <= uniform.makespan
        gains.append(uniform.makespan / plan.makespan)
    assert sum(gains) / len(gains) > 1.1


def test_the_same_seed_finds_the_same_plan_and_seconds_are_about_seconds() -> None:
    jobs = realistic(5, 30, 32)
    begin = time.process_time()
    plan = solve(jobs, 32, seconds=0.5, seed=3)
    assert time.process_time() - begin < 10
    assert solve(jobs, 32, seconds=0.5, seed=3) == plan


def test_mean_completion_is_smaller_than_with_the_least_makespan_and_above_its_bound() -> None:
    for seed in range(3):
        jobs = realistic(seed, 20, 16)
        plan = solve(jobs, 16, "mean-completion", seconds=0.3)
        assert plan.mean_completion < solve(jobs, 16, seconds=0.3).mean_completion
        assert all(plan.mean_completion <= row.mean_completion for row in others(jobs, 16))
        assert plan.mean_completion >= completion.bound(instance(jobs, 16)) / 20
        assert "No plan has a mean completion below" in plan.notes[0]


@given(workloads(jobs=3, nodes=4))
@settings(max_examples=40, deadline=None)
def test_the_bound_on_completion_holds(workload: tuple[list[Job], int]) -> None:
    of_jobs = instance(*workload)
    plan = solve(*workload, objective="mean-completion", seconds=0.02)
    assert plan.mean_completion * len(of_jobs.jobs) >= completion.bound(of_jobs) * (1 - 1e-9)


def test_the_fewest_node_hours_are_those_of_each_job() -> None:
    jobs = realistic(4, 12, 16)
    plan = solve(jobs, 16, "node-hours", seconds=0.2)
    least = sum(min(n * t for n, t in zip(job.nodes, job.seconds, strict=True)) for job in jobs)
    assert plan.node_seconds == pytest.approx(least)
    (efficient,) = [row for row in others(jobs, 16, objective="node-hours") if row.policy == "efficient"]
    assert plan.makespan <= efficient.makespan


def test_a_later_deadline_takes_no_more_node_hours() -> None:
    jobs = realistic(6, 12, 16)
    shortest = solve(jobs, 16)
    used = []
    for factor in (1.0 + 1e-9, 1.2, 2.0, 100.0):
        plan = solve(jobs, 16, "deadline", deadline=factor * shortest.makespan, seconds=1.0)
        assert plan.makespan <= factor * shortest.makespan
        used.append(plan.node_seconds)
    assert used == sorted(used, reverse=True)
    assert used[0] <= shortest.node_seconds * (1 + 1e-12)
    assert "which is this one's" in solve(jobs, 16, "deadline", deadline=1e6, seconds=0.2).notes[0]


@pytest.mark.parametrize("seed", range(4))
def test_what_the_makespans_search_finds_is_a_deadline_that_is_met(seed: int) -> None:
    jobs = realistic(seed, 25, 16)
    least = solve(jobs, 16, seconds=0.3).makespan
    assert solve(jobs, 16, "deadline", deadline=least, seconds=0.3).makespan <= least * (1 + 1e-9)


def test_a_deadline_that_is_met_but_for_rounding_is_met() -> None:
    jobs = [Job("a", "t", (1,), (0.1,)), Job("b", "t", (1,), (0.2,))]
    assert solve(jobs, 1, "deadline", deadline=0.3).makespan == pytest.approx(0.3)


def test_very_many_counts_are_planned_in_time() -> None:
    begin = time.process_time()
    plan = solve([Job.of("a", "t", [(n, 4e4 / n) for n in range(1, 40_001)])], 40_000, seconds=0.1)
    assert plan.proven
    jobs = [Job.of(f"{i}", "t", [(n, 4e3 / n) for n in range(1, 4_001)]) for i in range(5)]
    assert faults(solve(jobs, 4_000, seconds=0.1), jobs, 4_000) == []
    assert time.process_time() - begin < 30


def test_one_count_for_all_is_the_best_for_the_objective() -> None:
    jobs = realistic(3, 20, 32)
    by_makespan, by_completion = (
        others(jobs, 32, objective=objective)[0] for objective in ("makespan", "mean-completion")
    )
    assert by_completion.mean_completion <= by_makespan.mean_completion
    assert by_makespan.makespan <= by_completion.makespan
    assert solve(jobs, 32, "mean-completion", seconds=0.2).mean_completion <= by_completion.mean_completion


def test_a_deadline_that_cannot_be_met_is_told_with_the_least_that_can() -> None:
    jobs = [Job("a", "t", (1, 2), (10.0, 6.125)), Job("b", "t", (1,), (3.0,))]
    with pytest.raises(UsageError, match=r"--deadline 6: no plan ends before 6\.12 s; .* is 6\.125 seconds") as raised:
        solve(jobs, 4, "deadline", deadline=6.0)
    assert "\n" not in str(raised.value)
    assert solve(jobs, 4, "deadline", deadline=6.125).makespan == 6.125


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"seconds": 0.0}, "--seconds must be positive and finite, not 0.0"),
        ({"seconds": math.nan}, "--seconds must be positive and finite, not nan"),
        ({"objective": "deadline"}, "belong together"),
        ({"deadline": 5.0}, "belong together"),
        ({"objective": "deadline", "deadline": -1.0}, "--deadline must be positive"),
        ({"objective": "deadline", "deadline": math.nan}, "--deadline must be positive"),
        ({"objective": "deadline", "policy": "fifo", "deadline": 0.1}, "no plan ends before"),
    ],
)
def test_what_does_not_fit_together_is_refused(asked: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        solve(realistic(0, 3, 4), 4, **asked)  # type: ignore[arg-type]


def test_a_million_nodes_are_as_many_as_can_be_used() -> None:
    jobs = realistic(8, 40, 64)
    plan = solve(jobs, 1_000_000, seconds=0.1)
    assert faults(plan, jobs, 1_000_000) == []
    assert plan.makespan == max(min(job.seconds) for job in jobs)
    assert plan.proven


def test_a_scheme_that_misses_a_deadline_is_told() -> None:
    jobs = realistic(0, 12, 8)
    least = solve(jobs, 8).makespan
    rows = {row.policy: row for row in others(jobs, 8, objective="deadline", deadline=least * 1.01)}
    assert rows["fifo"].makespan > least * 1.01
    assert rows["fifo"].description.endswith(", misses the deadline")
    with pytest.raises(UsageError, match="no plan of --policy fifo was found that ends by then, though none is ruled"):
        solve(jobs, 8, "deadline", "fifo", deadline=least * 1.01)


def test_every_scheme_is_compared_but_the_plans_own() -> None:
    jobs = realistic(0, 6, 8)
    assert [row.policy for row in others(jobs, 8)] == ["uniform", "fastest", "efficient", "marginal", "fifo"]
    assert "marginal" not in [row.policy for row in others(jobs, 8, "marginal")]
    assert OBJECTIVES[0] == "makespan"
