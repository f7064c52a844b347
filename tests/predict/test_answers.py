from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.predict import answers


def test_the_best_count_is_the_smallest_of_least_time_for_the_same_work() -> None:
    seconds = np.array([[8.0, 5.0, 3.0, 3.0]])
    assert answers.best((1, 2, 4, 8), seconds, "strong") == (4, 1.0)
    assert answers.best((1, 2, 4, 8), np.array([[1.0, 1.1, 2.5, 8.0]]), "weak")[0] == 2


def test_how_sure_the_best_count_is_is_its_part_of_the_replicas() -> None:
    replicas = np.array([[4.0, 3.0], [4.0, 3.0], [3.0, 4.0], [4.0, 3.9], [4.0, 3.9]])
    assert answers.best((1, 2), replicas, "strong") == (2, 0.75)


def test_the_knee_is_the_largest_count_that_is_efficient_enough() -> None:
    seconds = np.array([8.0, 4.4, 3.0, 2.5])
    assert answers.knee((1, 2, 4, 8), seconds, "strong", answers.KNEE) == 4
    assert answers.knee((1, 2, 4, 8), seconds, "strong", answers.HIGHER_KNEE) == 2
    assert answers.knee((1, 2, 4), np.array([1.0, 1.2, 2.5]), "weak", answers.KNEE) == 2


def test_where_communication_takes_over_is_interpolated_between_counts() -> None:
    found = answers.takeover((1, 2, 8), np.array([0.0, 0.25, 0.75]))
    assert found.between
    assert found.nodes == pytest.approx(4.0)
    assert answers.takeover((2, 4), np.array([0.6, 0.8])) == answers.Takeover(2)
    assert answers.takeover((1, 2, 4), np.array([0.0, 0.5, 0.8])) == answers.Takeover(2)
    assert answers.takeover((1, 2), np.array([0.0, 0.4])) == answers.Takeover(None)


@given(st.lists(st.integers(1, 3_000_000), min_size=1, max_size=5), st.integers(1, 64))
def test_thresholds_are_found_to_a_sample_or_nearly(truths: list[int], least: int) -> None:
    """Communication takes over half below each truth."""

    def shares(asked: Sequence[tuple[int, int]]) -> np.ndarray:
        return np.array([0.6 if batch < truths[place] else 0.4 for place, batch in asked])

    found = answers.thresholds(range(2, 2 + len(truths)), [least] * len(truths), shares)
    for truth, one in zip(truths, found, strict=True):
        if truth <= least:
            assert one.least
        elif truth > answers.LARGEST_BATCH:
            assert one.batch is None
        else:
            assert one.batch is not None
            assert not one.least
            assert truth <= one.batch <= truth * (1 + 2**-11) + 1


def test_the_batch_is_that_beyond_which_communication_never_takes_over_again() -> None:
    def shares(asked: Sequence[tuple[int, int]]) -> np.ndarray:
        return np.array([0.9 if batch in range(100, 301) else 0.1 for _, batch in asked])

    assert answers.thresholds((2,), [2], shares)[0].batch == 301
