from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.errors import UsageError
from layerbench.schedule.jobs import Job

COUNTS = st.integers(1, 10**9)
TIMES = st.floats(min_value=1e-9, max_value=1e9)
CURVES = st.dictionaries(COUNTS, TIMES, min_size=1, max_size=12)


@given(CURVES, st.randoms())
def test_a_job_has_its_times_whatever_their_order(curve: dict[int, float], random: object) -> None:
    pairs = list(curve.items())
    random.shuffle(pairs)
    job = Job.of("a", "conv", pairs)
    assert list(job.nodes) == sorted(curve)
    assert {count: job.on(count) for count in job.nodes} == curve
    assert job == Job.of("a", "conv", curve.items())


def test_on_another_count_it_has_no_time() -> None:
    with pytest.raises(KeyError):
        Job.of("a", "conv", [(1, 2.0), (4, 1.0)]).on(2)


@given(CURVES, COUNTS)
def test_useful_counts_are_those_that_no_smaller_one_equals(curve: dict[int, float], most: int) -> None:
    useful = Job.of("a", "conv", curve.items()).useful(most)
    expected = [
        (count, seconds)
        for count, seconds in sorted(curve.items())
        if count <= most and all(seconds < curve[other] for other in curve if other < count)
    ]
    assert useful == expected


def test_useful_counts_of_a_curve_that_falls_and_rises() -> None:
    job = Job.of("a", "fc", [(1, 4.0), (2, 5.0), (4, 4.0), (8, 3.0), (16, 3.5), (32, 1.0)])
    assert job.useful(32) == [(1, 4.0), (8, 3.0), (32, 1.0)]
    assert job.useful(31) == [(1, 4.0), (8, 3.0)]
    assert job.useful(1) == [(1, 4.0)]
    assert Job.of("a", "fc", [(2, 1.0)]).useful(1) == []


@pytest.mark.parametrize(
    ("nodes", "seconds", "words"),
    [
        ((), (), "at least one node count, not 0 counts and 0 times"),
        ((1, 2), (1.0,), "2 counts and 1 times"),
        ((0,), (1.0,), "at least 1, not 0"),
        ((-3,), (1.0,), "at least 1, not -3"),
        ((1,), (0.0,), "on 1 nodes must be positive"),
        ((1,), (-1.0,), "must be positive"),
        ((1,), (math.nan,), "must be positive and finite, not nan"),
        ((1,), (math.inf,), "must be positive and finite, not inf"),
        ((2, 1), (1.0, 2.0), "ascend, each once, not 2 before 1"),
        ((2, 2), (1.0, 2.0), "ascend, each once, not 2 before 2"),
    ],
)
def test_what_is_no_job_is_refused(nodes: tuple[int, ...], seconds: tuple[float, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Job("a\nb", "conv", nodes, seconds)
    assert str(caught.value).startswith(r"job a\nb: ")
