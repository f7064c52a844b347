from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerbench.kernel_times import transfer

PLACES = np.log([[10.0, 5.0], [10.3, 5.0], [11.0, 5.4], [6.6, 3.3], [6.8, 2.9], [15.7, 9.0], [12.2, 4.8]])


def excess_of(places: np.ndarray, slope: tuple[float, float] = (-0.4, 0.2)) -> np.ndarray:
    """A hundred shapes, each with an excess of its own, and one slope in the devices' places."""
    shapes = np.random.default_rng(0).uniform(0.1, 1.0, 100)
    return shapes[:, None] + (places - places.mean(axis=0)) @ np.array(slope)


def test_weighted_medians_by_hand() -> None:
    values = np.array([[3.0, 1.0, 2.0], [np.nan, 5.0, 7.0], [np.nan, np.nan, np.nan]])
    found = transfer.weighted_medians(values, np.array([[1.0, 1.0, 1.0], [100.0, 1.0, 1.0]]))
    np.testing.assert_allclose(found[0], [2.0, 6.0, np.nan])
    # Up to 2 there are 1.5 of 102, up to 3 there are 52.
    assert found[1, 0] == pytest.approx(2 + (51 - 1.5) / (52 - 1.5))


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-5, 5)),
    st.lists(st.floats(0.1, 2.0), min_size=6, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_a_weighted_median_lies_among_the_values_and_is_the_median_of_equal_weights(
    values: np.ndarray, weights: list[float]
) -> None:
    count = values.shape[1]
    weighted, equal = transfer.weighted_medians(values, np.array([weights[:count], [0.7] * count]))
    assert (weighted >= values.min(axis=1) - 1e-12).all()
    assert (weighted <= values.max(axis=1) + 1e-12).all()
    np.testing.assert_allclose(equal, np.median(values, axis=1), atol=1e-9)


@pytest.mark.parametrize("device", range(len(PLACES)))
def test_a_law_that_is_the_same_everywhere_is_found(device: int) -> None:
    others = np.arange(len(PLACES)) != device
    excess = excess_of(PLACES, (0.0, 0.0))
    found = transfer.fit(excess[:, others], PLACES[others])
    np.testing.assert_allclose(found.at(PLACES[device]), excess[:, device], atol=1e-9)
    assert found.spread(PLACES[device]) == pytest.approx(0.0, abs=1e-9)


def test_a_slope_is_carried_to_a_device_beyond_the_others() -> None:
    device = int(np.argmax(PLACES[:, 0]))
    others = np.arange(len(PLACES)) != device
    excess = excess_of(PLACES)
    found = transfer.fit(excess[:, others], PLACES[others]).at(PLACES[device])
    plain = np.median(excess[:, others], axis=1)
    assert np.abs(found - excess[:, device]).max() < 0.3 * np.abs(plain - excess[:, device]).max()


def test_a_slope_is_carried_no_farther_than_it_is_supported() -> None:
    found = transfer.fit(excess_of(PLACES), PLACES)
    top = PLACES.max(axis=0)
    by_distance = [found.at(top + math.log(factor))[0] - found.at(top)[0] for factor in (2, 1e3, 1e6)]
    # Only weights change from then on, and far away all devices weigh alike.
    assert abs(by_distance[2] - by_distance[0]) < 0.5
    assert by_distance[2] == pytest.approx(by_distance[1], abs=0.05)


def test_a_device_unlike_all_others_does_not_draw_its_neighbours_after_it() -> None:
    excess = excess_of(PLACES, (0.0, 0.0))
    spoilt = excess.copy()
    spoilt[:, 6] += 3.0
    others = np.arange(len(PLACES)) != 2
    found = transfer.fit(spoilt[:, others], PLACES[others])
    assert np.abs(found.at(PLACES[2]) - excess[:, 2]).max() < 0.15


def test_a_shape_that_some_were_not_given_is_found_from_the_others() -> None:
    excess = excess_of(PLACES, (0.0, 0.0))
    holed = excess.copy()
    holed[::2, :3] = np.nan
    holed[0] = np.nan
    found = transfer.fit(holed, PLACES).at(PLACES[0])
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], excess[1:, 0], atol=1e-9)


def test_intervals_widen_with_the_distance() -> None:
    noisy = excess_of(PLACES) + np.random.default_rng(1).normal(0, 0.1, (100, len(PLACES)))
    found = transfer.fit(noisy, PLACES)
    away = [PLACES[5] + np.array([distance, distance]) for distance in (0.0, 3.0, 12.0)]
    near, far, farther = map(found.spread, away)
    assert near < far
    # The device in the sixth place is the nearest to both.
    assert farther == pytest.approx(2 * far)


def test_one_device_is_taken_as_it_is_and_the_error_as_unknown() -> None:
    excess = excess_of(PLACES[:1])
    found = transfer.fit(excess, PLACES[:1])
    np.testing.assert_allclose(found.at(PLACES[3]), excess[:, 0])
    assert found.spread(PLACES[3]) == transfer.UNKNOWN_SPREAD


def test_intervals_hold_nine_of_ten_times_where_devices_differ_at_random() -> None:
    random = np.random.default_rng(2)
    held = []
    for _ in range(40):
        places = np.log([10.0, 5.0]) + random.normal(0, 0.4, (9, 2))
        excess = random.uniform(0.1, 1.0, 60)[:, None] + random.normal(0, 0.1, 9) + random.normal(0, 0.1, (60, 9))
        found = transfer.fit(excess[:, 1:], places[1:])
        held.append(np.abs(found.at(places[0]) - excess[:, 0]) <= found.spread(places[0]))
    assert 0.85 <= np.mean(held) <= 0.96
