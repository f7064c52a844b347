import math

import numpy as np
import pytest

from layerbench.compare import between
from layerbench.compare.statistics import student_quantile

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
    assert degrees == 5
    assert between.single_run_variance(ratios, np.full(200, 0.1**2)) == (0.0, 5)
    assert between.single_run_variance(ratios[:10], np.zeros(10))[1] == pytest.approx(0.37 * 9)
    assert between.single_run_variance(ratios[:9], np.zeros(9))[0] == 0


def test_records_that_vary_more_than_most_are_told_from_a_slow_down_of_some() -> None:
    generator = np.random.default_rng(6)
    some = np.arange(100) % 5 == 0

    def typical(multiply: float = 1.0, add: float = 0.0, faster: float = 0.0, within: float = 0.0) -> float:
        found = []
        for _ in range(60):
            values = generator.normal(0, 0.01, 100) * np.where(some, multiply, 1.0) + np.where(some, add, 0.0)
            values[1::5] -= faster
            noise = np.where(some, within**2, 0.0)
            found.append(math.sqrt(between.single_run_variance(values, noise)[0]))
        return float(np.mean(found))

    assert typical() == pytest.approx(0.01, rel=0.2)
    # Nine tenths of a side lie as near as half of those that vary do; the smaller of two sides is below that.
    assert 0.025 < typical(multiply=10) < 0.1 * 0.674 / 1.645
    # The shortest half of all is then that of five eighths of those that stayed.
    assert typical(add=0.1) < 0.02
    # Beyond what runs may differ by it is no variation, in both directions neither.
    assert typical(add=0.7, faster=0.7) < 0.025
    assert typical(add=0.3, faster=0.3) > 0.1
    # What the samples of the noisy records say of them already is no variation between runs.
    assert typical(multiply=10, within=0.1) < 0.02


def test_moderation_finds_the_prior_that_variances_were_drawn_from() -> None:
    generator = np.random.default_rng(4)
    own, weight, typical = 4, 6.0, 0.03**2
    true = typical * weight / generator.chisquare(weight, 20_000)
    variances = true * generator.chisquare(own, len(true)) / own
    found = between._prior(variances, np.full(len(true), float(own)))
    assert found[0] == pytest.approx(typical, rel=0.03)
    assert found[1] == pytest.approx(weight, rel=0.1)
    mixed, degrees = between.moderated(variances, np.full(len(true), float(own)))
    np.testing.assert_allclose(mixed, (found[1] * found[0] + own * variances) / (found[1] + own))
    assert set(degrees.tolist()) == {int(own + found[1])}


def test_moderation_of_equal_and_of_unequal_variances() -> None:
    generator = np.random.default_rng(5)
    equal = 2.0 * generator.chisquare(4, 400) / 4
    mixed, degrees = between.moderated(equal, np.full(400, 4.0))
    assert degrees[0] > 100
    np.testing.assert_allclose(mixed, 2.0, rtol=0.2)
    unequal = equal * np.where(np.arange(400) % 5 == 0, 100.0, 1.0)
    mixed, degrees = between.moderated(unequal, np.full(400, 4.0))
    assert degrees[0] <= 6
    assert np.median(mixed[::5]) > 40
    alike = between.moderated(np.full(12, 3.0), np.full(12, 4.0))
    assert alike[1].tolist() == [4 + 4 * 12] * 12


def test_moderation_of_few_records_and_of_nothing() -> None:
    variances, degrees = np.arange(0.0, 10.0), np.full(10, 4.0)
    same, own = between.moderated(variances, degrees)
    assert (same.tolist(), own.tolist()) == (variances.tolist(), [4] * 10)
    some, _ = between.moderated(np.append(variances, 10.0), np.full(11, 4.0))
    assert np.isfinite(some).all()
    assert some[0] > 0
    assert between.moderated(np.zeros(12), np.full(12, 1.0))[0].tolist() == [0.0] * 12


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


def test_one_run_in_five_may_be_spoilt_without_a_trace() -> None:
    sound = [0.01, 0.02, 0.03, 0.04]
    assert between.location([*sound, 0.5]) == between.location([*sound, 7.0])
    assert between.location([0.01, 0.02, 0.03]) == pytest.approx(0.02)
    base = [0.0] * 5
    spoilt, degrees = between.variance_of_runs(base, [*sound, 7.0], paired=True)
    assert (spoilt, degrees) == (between.variance_of_runs(base, [*sound, 0.5], paired=True)[0], 2)


def test_the_variance_of_a_trimmed_mean_is_yuens() -> None:
    # Of 1, 2, 4, 8, 90 the ends are drawn in to 2, 2, 4, 8, 8, whose squares about 4.8 are 36.8; three are kept.
    variance, degrees = between.variance_of_runs([0.0] * 5, [1.0, 2.0, 4.0, 8.0, 90.0], paired=True)
    assert variance == pytest.approx(36.8 / (3 * 2))
    assert degrees == 2
    pooled, more = between.variance_of_runs([1.0, 2.0, 4.0, 8.0, 90.0], [3.0] * 5, paired=False)
    assert pooled == pytest.approx(36.8 / 4 * (1 / 3 + 1 / 3))
    assert more == 4


def test_trimmed_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(11)
    missed = 0
    for _ in range(2000):
        values = generator.normal(size=7).tolist()
        variance, degrees = between.variance_of_runs([0.0] * 7, values, paired=True)
        missed += abs(between.location(values)) > student_quantile(degrees) * math.sqrt(variance)
    assert 0.03 < missed / 2000 < 0.07
