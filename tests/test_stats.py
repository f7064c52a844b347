import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import stats
from layerbench.stats import Interval, _order_statistic_rank, interval, median, ratio_of, sum_of

times = st.floats(min_value=1e-9, max_value=1e5)


def coverage(count: int, rank: int) -> float:
    """Exact probability that the median lies between the rank-th smallest and the rank-th largest sample."""
    return 1 - 2 * sum(math.comb(count, k) for k in range(rank)) / 2**count


@pytest.mark.parametrize("count", [*range(6, 120), 500, 1001])
def test_rank_is_the_largest_that_covers(count: int) -> None:
    rank = _order_statistic_rank(count, 0.95)
    assert coverage(count, rank) >= 0.95
    assert 2 * (rank + 1) > count or coverage(count, rank + 1) < 0.95


@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6), (50, 18), (100, 40)])
def test_ranks_of_the_printed_tables(count: int, rank: int) -> None:
    assert _order_statistic_rank(count, 0.95) == rank


def test_six_samples_give_their_range_at_96_9_percent() -> None:
    samples = [3.0, 1.0, 2.0, 6.0, 5.0, 4.0]
    assert interval(samples) == Interval(3.5, 1.0, 6.0, "order-statistics")
    assert coverage(6, 1) == pytest.approx(0.96875)
    assert interval(samples, confidence=0.97).method == "range"


@pytest.mark.parametrize("count", range(1, 6))
def test_fewer_samples_give_the_range_and_say_so(count: int) -> None:
    samples = [float(i) for i in range(count)]
    assert interval(samples) == Interval((count - 1) / 2, 0.0, count - 1.0, "range")


def test_no_samples_give_nothing() -> None:
    found = interval([])
    assert found.method == "none"
    assert math.isnan(found.median)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("count", [6, 7, 15, 40])
def test_interval_covers_a_skewed_distribution_as_often_as_it_says(count: int) -> None:
    generator = random.Random(count)
    runs = 4000
    hits = 0
    for _ in range(runs):
        found = interval([generator.expovariate(1.0) for _ in range(count)])
        hits += found.low <= math.log(2) <= found.high
    expected = coverage(count, _order_statistic_rank(count, 0.95))
    assert abs(hits / runs - expected) < 4 * math.sqrt(expected * (1 - expected) / runs)


@given(st.lists(times, min_size=1, max_size=60))
def test_median_lies_within_its_interval_and_the_interval_within_the_samples(samples: list[float]) -> None:
    found = interval(samples)
    assert min(samples) <= found.low <= found.median <= found.high <= max(samples)
    assert found.median == median(samples)
    assert found.relative_half_width >= 0


@given(st.lists(times, min_size=1, max_size=60), st.randoms())
def test_order_of_samples_does_not_matter(samples: list[float], generator: random.Random) -> None:
    shuffled = list(samples)
    generator.shuffle(shuffled)
    assert interval(shuffled) == interval(samples)


def test_a_median_of_nothing_to_do_has_no_relative_width() -> None:
    assert interval([0.0] * 6).relative_half_width == 0


def normal_interval(median_: float, sigma: float) -> Interval:
    return Interval(median_, median_ - 1.96 * sigma, median_ + 1.96 * sigma, "order-statistics")


def test_sum_has_the_width_that_simulation_finds() -> None:
    parts = [(10.0, 0.3), (4.0, 0.4), (1.0, 0.05)]
    generator = random.Random(1)
    sums = sorted(sum(generator.gauss(m, s) for m, s in parts) for _ in range(40_000))
    found = sum_of([normal_interval(m, s) for m, s in parts])
    assert found.median == pytest.approx(15.0)
    assert found.low == pytest.approx(sums[1_000], abs=0.02)
    assert found.high == pytest.approx(sums[39_000], abs=0.02)
    assert found.method == "order-statistics"


def test_ratio_has_the_width_that_simulation_finds() -> None:
    generator = random.Random(2)
    ratios = sorted(generator.gauss(8.0, 0.4) / generator.gauss(2.0, 0.06) for _ in range(40_000))
    found = ratio_of(normal_interval(8.0, 0.4), normal_interval(2.0, 0.06))
    assert found.median == pytest.approx(4.0)
    assert found.low == pytest.approx(ratios[1_000], abs=0.03)
    assert found.high == pytest.approx(ratios[39_000], abs=0.03)


def test_sum_keeps_each_side_to_itself() -> None:
    lopsided = Interval(1.0, 1.0, 1.5, "order-statistics")
    found = sum_of([lopsided, lopsided])
    assert found.low == 2.0
    assert found.high == pytest.approx(2.0 + 0.5 * math.sqrt(2))


def test_sum_of_different_methods_is_no_better_than_the_range() -> None:
    assert sum_of([interval([1.0] * 6), interval([1.0] * 3)]).method == "range"
    assert sum_of([]).method == "none"
    assert sum_of([]).median == 0.0


positive_intervals = st.tuples(times, times, times).map(sorted).map(lambda t: Interval(t[1], t[0], t[2], "range"))


@given(positive_intervals, positive_intervals)
def test_ratio_is_never_negative_and_inverts(a: Interval, b: Interval) -> None:
    ratio, inverse = ratio_of(a, b), ratio_of(b, a)
    assert 0 <= ratio.low <= ratio.median <= ratio.high
    assert ratio.median * inverse.median == pytest.approx(1)
    assert ratio.low * inverse.high == pytest.approx(1)


@given(st.lists(positive_intervals, min_size=1, max_size=10))
def test_sum_lies_within_the_sums_of_the_ends(parts: list[Interval]) -> None:
    found = sum_of(parts)
    slack = 1e-9 * max(part.high for part in parts) * len(parts)
    assert sum(part.low for part in parts) - slack <= found.low <= found.median <= found.high
    assert found.high <= sum(part.high for part in parts) + slack


def test_ratio_with_a_wide_denominator_stays_positive() -> None:
    assert ratio_of(Interval(1.0, 1.0, 1.0, "range"), Interval(1.0, 0.5, 3.0, "range")).low == pytest.approx(1 / 3)


def test_ratio_of_nothing_and_by_nothing() -> None:
    nothing, something = Interval(0.0, 0.0, 0.0, "range"), Interval(2.0, 1.0, 3.0, "range")
    assert ratio_of(nothing, something)[:3] == (0.0, 0.0, 0.0)
    assert math.isnan(ratio_of(something, nothing).median)
    assert ratio_of(something, Interval(2.0, 0.0, 3.0, "range")).high == math.inf


@pytest.mark.parametrize("at_once", [1, 50, 2**21])
def test_intervals_of_many_records_are_those_of_each(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_VALUES_AT_ONCE", at_once)
    generator = np.random.default_rng(1)
    counts = np.array([0, 1, 2, 5, 6, 7, 7, 20, 0, 21, 6, 300])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    values = generator.lognormal(size=counts.sum())
    median, low, high = stats.intervals(values, starts, counts)
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        expected = stats.interval(values[start : start + count].tolist())
        np.testing.assert_array_equal([median[row], low[row], high[row]], expected[:3])
