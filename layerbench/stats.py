"""Statistics of raw samples, computed when they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from layerbench.records import CIMethod

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A median with its 95 % confidence interval, all in the samples' unit."""

    median: float
    low: float
    high: float
    method: CIMethod

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over the median; 0 for a median of 0."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def median(samples: Sequence[float]) -> float:
    """Middle value, or the mean of the two in the middle; NaN of no samples."""
    return _median_of_sorted(sorted(samples))


def _median_of_sorted(ordered: Sequence[float]) -> float:
    if not ordered:
        return math.nan
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@cache
def _order_statistic_rank(count: int, confidence: float) -> int:
    """Largest k for which (x(k), x(count + 1 - k)) covers the median with the confidence asked for; 0 if none.

    The number of samples below the median is binomial(count, 1/2), so the interval misses with probability
    2 P(X < k). See David and Nagaraja, Order Statistics, section 7.1.
    """
    tail, rank = 0.0, 0
    for k in range(count // 2 + 1):
        tail += math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2))
        if 2 * tail > 1 - confidence:
            break
        rank = k + 1
    return rank


def interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Median and its distribution-free interval from order statistics.

    With fewer samples than that needs (6 for 95 %), the interval is the range and ``method`` says so; of no samples
    all is NaN and ``method`` is ``none``.
    """
    if not samples:
        return Interval(math.nan, math.nan, math.nan, "none")
    ordered = sorted(samples)
    rank = _order_statistic_rank(len(ordered), confidence)
    method: CIMethod = "order-statistics" if rank else "range"
    rank = max(rank, 1)
    return Interval(_median_of_sorted(ordered), ordered[rank - 1], ordered[-rank], method)


_VALUES_AT_ONCE = 2**21
"""Samples that are sorted together; more would only fill the memory."""


def intervals(
    values: np.ndarray, starts: np.ndarray, counts: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`interval` of many records at once.

    Parameters
    ----------
    values
        All samples.
    starts, counts
        For each record the place of its first sample, and how many it has.

    Returns
    -------
    median, low, high
        Arrays with one value for each record; NaN where it has no samples.
    """
    import numpy as np

    median, low, high = (np.full(len(counts), np.nan) for _ in range(3))
    for count in np.unique(counts[counts > 0]).tolist():
        rank = max(_order_statistic_rank(count, confidence), 1)
        of_count = np.flatnonzero(counts == count)
        for rows in np.array_split(of_count, -(-len(of_count) * count // _VALUES_AT_ONCE)):
            ordered = np.sort(values[starts[rows, None] + np.arange(count)], axis=1)
            middle = ordered[:, [(count - 1) // 2, count // 2]]
            median[rows] = middle[:, 0] if count % 2 else middle.sum(axis=1) / 2
            low[rows], high[rows] = ordered[:, rank - 1], ordered[:, count - rank]
    return median, low, high


def sum_of(intervals: Sequence[Interval]) -> Interval:
    """Sum of independent medians; half-widths are combined in quadrature, each side by itself.

    See Zou and Donner, Construction of confidence limits about effect measures (2008): the limits of a sum are
    recovered from each term's own, so the terms' intervals may be lopsided. ``method`` is the terms' common one,
    ``range`` where they differ, and ``none`` of no terms.
    """
    total = math.fsum(i.median for i in intervals)
    low = total - math.sqrt(math.fsum((i.median - i.low) ** 2 for i in intervals))
    high = total + math.sqrt(math.fsum((i.high - i.median) ** 2 for i in intervals))
    return Interval(total, low, high, _common_method(intervals))


def ratio_of(numerator: Interval, denominator: Interval) -> Interval:
    """Quotient of independent medians that are not negative.

    The logarithm of a median's interval is the interval of its logarithm, so the difference of the two logarithms is
    taken, and distances combined as in :func:`sum_of`. The lower end is therefore never negative, and the ends of
    ``ratio_of(b, a)`` are those of ``ratio_of(a, b)`` inverted. NaN where the denominator's median is 0; 0 without
    any width where the numerator's is, which has no logarithm.
    """
    method = _common_method((numerator, denominator))
    if not denominator.median:
        return Interval(math.nan, math.nan, math.nan, method)
    value = numerator.median / denominator.median
    if not value:
        return Interval(value, value, value, method)
    down = math.hypot(
        _log_distance(numerator.low, numerator.median), _log_distance(denominator.median, denominator.high)
    )
    up = math.hypot(_log_distance(numerator.median, numerator.high), _log_distance(denominator.low, denominator.median))
    return Interval(value, value * math.exp(-down), value * math.exp(up), method)


def _log_distance(smaller: float, larger: float) -> float:
    return math.inf if smaller <= 0 else math.log(larger / smaller)


def _common_method(intervals: Sequence[Interval]) -> CIMethod:
    methods = {i.method for i in intervals}
    return "none" if not methods else methods.pop() if len(methods) == 1 else "range"
