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
    # There is no count between one node and two.
    assert answers.takeover((1, 2, 4), np.array([0.0, 0.7, 0.8])) == answers.Takeover(2)
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
            assert one.spans == ()
        elif truth > 2 * answers.LARGEST_BATCH:
            assert one.always
        elif one.below is None:
            assert one.always
            assert truth > answers.LARGEST_BATCH
        else:
            assert truth <= one.below <= truth * (1 + 2**-11) + 1


def test_communication_may_take_over_above_a_batch_or_between_two() -> None:
    """Where outputs are split, activations grow with the batch, and the reading of weights does not."""

    def shares(asked: Sequence[tuple[int, int]]) -> np.ndarray:
        taken = [range(1000, 2**30), range(100, 301), [*range(1, 10), *range(700, 2**22)]]
        return np.array([0.9 if batch in taken[place] else 0.1 for place, batch in asked])

    above, between, outside = answers.thresholds((2, 4, 8), [2, 2, 2], shares)
    assert (above.spans, above.below, above.always) == (((1000, None),), None, False)
    assert (between.spans, between.below) == (((100, 301),), None)
    assert outside.spans == ((2, 10), (700, None))
