import itertools
import math
from collections import Counter

import numpy as np
import pytest

from layerbench.compare import statistics
from layerbench.compare.statistics import Values


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_bootstrap_medians_fall_where_all_resamples_put_them(count: int) -> None:
    exact: Counter[tuple[int, int]] = Counter()
    for resample in itertools.product(range(count), repeat=count):
        ordered = sorted(resample)
        exact[ordered[(count - 1) // 2], ordered[count // 2]] += 1
    lower, upper, share = statistics.bootstrap_places(count)
    found = dict(zip(zip(lower.tolist(), upper.tolist(), strict=True), share.tolist(), strict=True))
    assert found.keys() <= exact.keys()
    for places, often in exact.items():
        probability = often / count**count
        assert found.get(places, 0.0) == pytest.approx(
            probability, abs=4.5 * math.sqrt(probability / statistics.DRAWS) + 1e-3
        )


@pytest.mark.parametrize("count", [1, 2, 3, 50, 5001])
def test_places_are_among_the_samples_and_shares_sum_to_one(count: int) -> None:
    lower, upper, share = statistics.bootstrap_places(count)
    assert lower.min() >= 0
    assert upper.max() < count
    assert (lower <= upper).all()
    assert share.sum() == pytest.approx(1)


def test_log_medians_of_samples_of_several_sizes_at_once() -> None:
    generator = np.random.default_rng(3)
    samples = [generator.lognormal(0, 0.1, count) for count in (5, 40, 5, 41)]
    medians, variances = statistics.log_medians(samples)
    np.testing.assert_allclose(medians, [math.log(np.median(values)) for values in samples])
    for values, variance in zip(samples, variances, strict=True):
        resampled = generator.choice(values, (20_000, len(values)))
        assert variance == pytest.approx(np.var(np.log(np.median(resampled, axis=1))), rel=0.1)
    again, _ = statistics.log_medians(samples[::-1])
    np.testing.assert_array_equal(again[::-1], medians)


# Printed tables of Student's t: the value exceeded on either side with probability 5 %, and 0.1 %.
@pytest.mark.parametrize(
    ("degrees", "five", "thousandth"), [(1, 12.706, 636.619), (2, 4.303, 31.599), (5, 2.571, 6.869), (30, 2.042, 3.646)]
)
def test_student_as_printed(degrees: int, five: float, thousandth: float) -> None:
    assert statistics.student_quantile(degrees) == pytest.approx(five, abs=5e-4)
    assert statistics.student_tail(thousandth, degrees) == pytest.approx(1e-3, rel=1e-3)


def test_student_tail_against_its_closed_forms() -> None:
    for t in (1e-3, 0.5, 2.0, 30.0, 1e6):
        assert statistics.student_tail(t, 1) == pytest.approx(2 / math.pi * math.atan2(1, t), rel=1e-9)
        # 1 - t/sqrt(t² + 2), written without the difference of two numbers that are nearly equal.
        root = math.sqrt(t * t + 2)
        assert statistics.student_tail(t, 2) == pytest.approx(2 / (root * (root + t)), rel=1e-9)
    assert statistics.student_tail(5.0, 10**9) == pytest.approx(math.erfc(5 / math.sqrt(2)), rel=0.03)
    assert 0 < statistics.student_tail(40.0, 1000) < 1e-100
    assert statistics.student_tail(0.0, 3) == 1
    assert statistics.student_tail(math.inf, 3) == 0


def test_rank_test_against_all_orders() -> None:
    generator = np.random.default_rng(8)
    a, b = generator.normal(0, 1, 8), generator.normal(0.8, 1, 9)
    pooled = np.concatenate([a, b])
    ranks = np.argsort(np.argsort(pooled)) + 1
    seen = abs(ranks[:8].sum() - 72)
    sums = [abs(sum(chosen) - 72) for chosen in itertools.combinations(range(1, 18), 8)]
    exact = sum(distance >= seen for distance in sums) / len(sums)
    assert statistics.rank_test(a, b) == pytest.approx(exact, abs=0.01)
    assert statistics.rank_test(b, a) == pytest.approx(statistics.rank_test(a, b))


def test_rank_test_of_ties_and_of_sides_apart() -> None:
    assert statistics.rank_test(np.full(6, 2.0), np.full(9, 2.0)) == 1
    assert statistics.rank_test(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    assert statistics.rank_test(np.array([1.0, 2.0, 2.0]), np.array([2.0, 2.0, 3.0])) > 0.1


def test_digamma_and_trigamma_at_known_arguments() -> None:
    euler = 0.577215664901532861
    assert statistics.digamma(1.0) == pytest.approx(-euler, rel=1e-10)
    assert statistics.digamma(0.5) == pytest.approx(-euler - 2 * math.log(2), rel=1e-10)
    assert statistics.digamma(30.0) == pytest.approx(sum(1 / k for k in range(1, 30)) - euler, rel=1e-10)
    assert statistics.trigamma(1.0) == pytest.approx(math.pi**2 / 6, rel=1e-10)
    assert statistics.trigamma(0.5) == pytest.approx(math.pi**2 / 2, rel=1e-10)


@pytest.mark.parametrize("x", [1e-3, 0.1, 0.5, 2.0, 40.0, 1e5])
def test_inverse_trigamma(x: float) -> None:
    assert statistics.inverse_trigamma(statistics.trigamma(x)) == pytest.approx(x, rel=1e-6)


def test_satterthwaite_lies_between_the_least_degrees_and_their_sum() -> None:
    assert statistics.satterthwaite([(1.0, 5), (0.0, 3)]) == 5
    assert statistics.satterthwaite([(1.0, 5), (1.0, 5)]) == 10
    assert statistics.satterthwaite([(1.0, 5), (1e-9, 5000)]) == 5
    assert statistics.satterthwaite([(1.0, 0.3)]) == 1
    assert statistics.satterthwaite([(0.0, 5)]) == statistics.MOST_DEGREES


def test_benjamini_hochberg_as_in_their_paper() -> None:
    # The fifteen p-values of section 3.2; at 5 % the first four are rejected.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    adjusted = statistics.benjamini_hochberg(p)
    assert [value <= 0.05 for value in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    assert adjusted == sorted(adjusted)
    assert statistics.benjamini_hochberg(p[::-1])[::-1] == adjusted
    assert statistics.benjamini_hochberg([]) == []


def drawn(kind: str, generator: np.random.Generator, shape: tuple[int, int]) -> Values:
    normal = generator.standard_normal(shape)
    match kind:
        case "normal":
            return 1 + 0.05 * normal
        case "lognormal":
            return np.exp(0.5 * normal)
        case "bimodal":
            return np.where(generator.random(shape) < 0.5, 1.0, 1.3) * (1 + 0.01 * normal)
        case _:
            return np.round(10.5 + 0.5 * normal)


@pytest.mark.parametrize("counts", [(3, 3), (6, 6), (20, 20), (6, 2000), (3, 50)], ids=str)
@pytest.mark.parametrize("kind", ["normal", "lognormal", "bimodal", "ticks"])
def test_identical_distributions_are_rarely_told_apart(kind: str, counts: tuple[int, int]) -> None:
    from layerbench.compare.verdict import _effects, _p_value
    from tests.compare import made

    repeats = 1000
    generator = np.random.default_rng(sum(counts))
    sides = [list(drawn(kind, generator, (repeats, count))) for count in counts]
    effects = _effects([made.pair(a, b) for a, b in zip(*sides, strict=True)], in_turns=True)
    p = np.array(
        [_p_value(e, math.sqrt(e.within), statistics.satterthwaite(e.within_degrees)) for e in effects], np.float64
    )
    # Four standard deviations of what 1000 tests of 5 % reject; of 0.1 %, where three samples may all be of one mode.
    assert np.mean(p <= 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / repeats)
    assert np.mean(p <= 0.001) <= (0.04 if counts == (3, 3) else 0.006)
