from __future__ import annotations

import pytest

from layerbench.errors import UsageError
from layerbench.schedule.instance import instance
from layerbench.schedule.jobs import Job

ONE = Job("one", "conv", (1, 2, 4, 8), (8.0, 9.0, 3.0, 3.0))
TWO = Job("two", "fc", (2,), (5.0,))


def test_counts_that_are_no_quicker_than_a_smaller_one_are_left_out() -> None:
    assert instance([ONE, TWO], 16).counts == (((1, 8.0), (4, 3.0)), ((2, 5.0),))
    assert instance([ONE, TWO], 3).counts == (((1, 8.0),), ((2, 5.0),))


def test_nodes_that_all_jobs_together_cannot_use_are_not_counted() -> None:
    assert instance([ONE, TWO], 5).nodes == 5
    assert instance([ONE, TWO], 1_000_000).nodes == 4 + 2


def test_only_leaves_each_job_one_count() -> None:
    assert instance([ONE, TWO], 16).only([1, 0]).counts == (((4, 3.0),), ((2, 5.0),))


@pytest.mark.parametrize(
    ("jobs", "nodes", "told"),
    [
        ([], 4, "no jobs"),
        ([ONE], 0, "--nodes must be from 1 to 1,000,000,000, not 0"),
        ([ONE], -3, "not -3"),
        ([ONE], 10**10, "not 10,000,000,000"),
        ([ONE, ONE], 4, "two jobs are called one"),
        ([ONE, TWO], 1, "job two takes at least 2 nodes, and there are 1"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_in_one_line(jobs: list[Job], nodes: int, told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        instance(jobs, nodes)
    assert "\n" not in str(raised.value)
