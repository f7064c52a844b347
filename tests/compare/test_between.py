import math

import numpy as np
import pytest

from layerbench.compare import between

SEED = 11


def normal(count: int, deviation: float = 1.0) -> np.ndarray:
    return np.random.default_rng(SEED + count).normal(0.0, deviation, count)


@pytest.mark.parametrize("count", [50, 51, 400])
def test_scatter_is_the_standard_deviation_of_a_normal_sample(count: int) -> None:
    generator = np.random.default_rng(count)
    found = [between.scatter(generator.normal(7.0, 0.03, count)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.03, rel=0.1)


def test_scatter_is_not_blinded_by_what_the_ratios_have_in_common() -> None:
    values = normal(80)
    assert between.scatter(values + 100) == pytest.approx(between.scatter(values))
    half = values + 8 * (np.arange(80) % 2)
    assert between.scatter(half) == pytest.approx(1, rel=0.25)
    few = values.copy()
    few[:10] += 50
    assert between.scatter(few) == pytest.approx(1, rel=0.3)


def test_scatter_of_one_normal_sample_is_not_taken_for_two_clusters() -> None:
    generator = np.random.default_rng(2)
    split = [between._within_clusters(np.sort(generator.standard_normal(count))) for count in [12, 20, 60] * 200]
    assert sum(found is not None for found in split) <= 6


def test_scatter_of_equal_values_is_nothing() -> None:
    assert between.scatter(np.zeros(12)) == 0
    assert between.scatter(np.repeat([0.0, 1.0], 10)) == 0


def test_single_runs_vary_by_what_their_samples_do_not_say() -> None:
    ratios = normal(200, 0.05)
    found, degrees = between.single_run_variance(ratios, np.full(200, 0.03**2))
    assert found == pytest.approx(0.04**2, rel=0.3)
    assert degrees == 8
    assert between.single_run_variance(ratios, np.full(200, 0.1**2)) == (0.0, 8)
    assert between.single_run_variance(ratios[:10], np.zeros(10))[1] == pytest.approx(0.37 * 9)
    assert between.single_run_variance(ratios[:9], np.zeros(9))[0] == 0


def test_moderation_is_smyths_with_a_fixed_prior() -> None:
    degrees = np.full(11, 4.0)
    variances = np.arange(1.0, 12.0)
    typical = 6.0 / (1 - 2 / 36) ** 3
    mixed, freedom = between.moderated(variances, degrees)
    np.testing.assert_allclose(mixed, (4 * typical + 4 * variances) / 8)
    assert freedom.tolist() == [8] * 11
    same, own = between.moderated(variances[:9], degrees[:9])
    assert same.tolist() == variances[:9].tolist()
    assert own.tolist() == [4] * 9


def test_paired_runs_do_not_feel_drift() -> None:
    drift = [0.0, 0.5, 1.0, 1.5]
    new = [value + 0.1 + wobble for value, wobble in zip(drift, [0.01, -0.01, 0.01, -0.01], strict=True)]
    variance, degrees = between.variance_of_runs(drift, new, paired=True)
    assert variance == pytest.approx(4 * 0.01**2 / 3 / 4)
    assert degrees == 3
    pooled, more = between.variance_of_runs(drift, new, paired=False)
    assert pooled > 100 * variance
    assert more == 6


def test_unequal_numbers_of_runs_are_pooled() -> None:
    variance, degrees = between.variance_of_runs([1.0, 3.0], [2.0, 2.0, 5.0], paired=False)
    assert degrees == 3
    assert variance == pytest.approx((2.0 + 6.0) / 3 * (1 / 2 + 1 / 3))
    assert between.variance_of_runs([1.0], [2.0], paired=False) == (0.0, 0)
    assert math.isclose(between.variance_of_runs([1.0], [2.0, 4.0], paired=False)[0], 2.0 * 1.5)
