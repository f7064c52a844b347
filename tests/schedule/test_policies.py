from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from layerbench.schedule import planner, policies
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Plan
from layerbench.schedule.solve import solve

#: Fast on many nodes; slower again on many; one count only; superlinear.
JOBS = [
    Job("near ideal", "conv", (1, 2, 4, 8), (80.0, 41.0, 21.0, 11.0)),
    Job("slower again", "fc", (1, 2, 4, 8), (10.0, 6.0, 9.0, 12.0)),
    Job("fixed", "lstm", (3,), (7.0,)),
    Job("superlinear", "conv", (1, 4), (40.0, 8.0)),
]
GIVEN = instance(JOBS, 8)


def nodes(choice: list[int]) -> list[int]:
    return [counts[place][0] for counts, place in zip(GIVEN.counts, choice, strict=True)]


def test_one_count_for_all_or_the_next_below() -> None:
    assert nodes(policies.uniform_choice(GIVEN, 1)) == [1, 1, 3, 1]
    assert nodes(policies.uniform_choice(GIVEN, 4)) == [4, 2, 3, 4]
    assert nodes(policies.uniform_choice(GIVEN, 8)) == [8, 2, 3, 4]


@pytest.mark.parametrize("objective", ["makespan", "mean-completion", "node-hours", "deadline"])
def test_the_one_count_for_all_is_the_best_for_the_objective(objective: str) -> None:
    deadline = 60.0 if objective == "deadline" else math.inf
    count, start = planner.uniform(GIVEN, objective, deadline)
    plans = {
        each: planner.planned(GIVEN, planner.listing(objective)(GIVEN, policies.uniform_choice(GIVEN, each)))
        for each in (1, 2, 3, 4, 8)
    }
    measures: dict[str, Callable[[Plan], float]] = {
        "makespan": lambda plan: plan.makespan,
        "mean-completion": lambda plan: plan.mean_completion,
        "node-hours": lambda plan: plan.node_seconds,
        "deadline": lambda plan: plan.node_seconds if plan.makespan <= deadline else math.inf,
    }
    measure = measures[objective]
    assert measure(planner.planned(GIVEN, start)) == measure(plans[count]) == min(map(measure, plans.values()))


def test_of_a_deadline_that_no_one_count_meets_the_quickest_is_told() -> None:
    assert planner.uniform(GIVEN, "deadline", 1.0) == planner.uniform(GIVEN, "makespan", math.inf)


def test_fastest_and_most_efficient() -> None:
    assert nodes(policies.fastest_choice(GIVEN)) == [8, 2, 3, 4]
    assert nodes(policies.efficient_choice(GIVEN)) == [1, 1, 3, 4]


def test_of_equally_efficient_counts_the_quickest() -> None:
    ideal = instance([Job("a", "t", (1, 2, 4), (4.0, 2.0, 1.0))], 4)
    assert policies.efficient_choice(ideal) == [2]


def test_marginal_gain_steps_over_what_is_flat() -> None:
    # A node more saves nothing, three more save the half.
    flat = instance([Job("a", "t", (1, 2, 4), (10.0, 9.99, 5.0)), Job("b", "t", (1, 2), (4.0, 3.9))], 6)
    assert [flat.counts[i][place][0] for i, place in enumerate(policies.marginal_choice(flat))] == [4, 2]
    # Of eight nodes six are taken by the smallest counts. The second job's next saves 4 s for one, the first one's 39.
    assert nodes(policies.marginal_choice(GIVEN)) == [2, 2, 3, 1]


def test_where_not_all_fit_side_by_side_marginal_takes_the_smallest() -> None:
    many = instance([Job(f"{i}", "t", (2, 4), (4.0, 2.0)) for i in range(5)], 8)
    assert policies.marginal_choice(many) == [0] * 5


def test_first_come_first_served_is_in_the_order_given() -> None:
    plan = solve(JOBS, 8, policy="fifo")
    begins = [placement.start for placement in plan.placements]
    assert begins == sorted(begins)
    assert [placement.nodes for placement in plan.placements] == [8, 2, 3, 4]
