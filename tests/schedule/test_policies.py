from __future__ import annotations

from layerbench.schedule import policies
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job

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


def test_the_one_count_for_all_is_the_best() -> None:
    count, plan = policies.uniform(GIVEN)
    listed = {each: policies.listed(GIVEN, policies.uniform_choice(GIVEN, each), 0.0).value for each in (1, 2, 3, 4, 8)}
    assert plan.value == min(listed.values()) == listed[count]


def test_fastest_and_most_efficient() -> None:
    assert nodes(policies.fastest(GIVEN).choice) == [8, 2, 3, 4]
    assert nodes(policies.most_efficient(GIVEN).choice) == [1, 1, 3, 4]


def test_of_equally_efficient_counts_the_quickest() -> None:
    ideal = instance([Job("a", "t", (1, 2, 4), (4.0, 2.0, 1.0))], 4)
    assert policies.most_efficient(ideal).choice == [2]


def test_marginal_gain_steps_over_what_is_flat() -> None:
    # A node more saves nothing, three more save the half.
    flat = instance([Job("a", "t", (1, 2, 4), (10.0, 9.99, 5.0)), Job("b", "t", (1, 2), (4.0, 3.9))], 6)
    assert [flat.counts[i][place][0] for i, place in enumerate(policies.marginal(flat).choice)] == [4, 2]
    assert nodes(policies.marginal(GIVEN).choice) == [4, 1, 3, 1] or sum(nodes(policies.marginal(GIVEN).choice)) <= 8


def test_where_not_all_fit_side_by_side_marginal_takes_the_smallest() -> None:
    many = instance([Job(f"{i}", "t", (2, 4), (4.0, 2.0)) for i in range(5)], 8)
    assert policies.marginal(many).choice == [0] * 5


def test_first_come_first_served_is_in_the_order_given() -> None:
    assert policies.in_order(GIVEN).order == [0, 1, 2, 3]
