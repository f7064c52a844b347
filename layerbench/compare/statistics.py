"""Is one median larger than another? Bootstrap of the median, Student's t, ranks, and many tests at once.

Medians are compared on a logarithmic scale: a difference is a ratio there, and changes its sign with its direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from layerbench.stats import CONFIDENCE

Values = NDArray[np.float64]

DRAWS = 4000
"""Bootstrap medians of each sample size; a standard deviation from them is known to about one per cent."""

MOST_DEGREES = 10_000
"""Degrees of freedom beyond which Student's t is the normal distribution for all that is asked of it here."""

_ASYMPTOTIC = 10.0
"""From here on the asymptotic series of digamma and trigamma are precise to eleven digits."""

_CELLS_AT_ONCE = 2**22
"""Values that are worked on together; more would only fill the memory."""


@cache
def bootstrap_places(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Values]:
    """Where the bootstrap median of ``count`` samples lies among them in order, and how often.

    A resample of n values is n uniform numbers, each naming the sample at floor(n u), so its k-th smallest value is the
    sample that the k-th smallest uniform number names. That one has a Beta(k, n - k + 1) distribution, and the next one
    lies above it as the least of n - k more (David and Nagaraja, Order Statistics, section 2.5): the median is drawn
    from its exact law, without any resample.

    Returns
    -------
    lower, upper
        Places of the two samples whose mean the median is; equal for an odd count.
    share
        The share of the draws that fell there; sums to 1.
    """
    generator = np.random.default_rng(count)
    rank = (count + 1) // 2
    uniform = generator.beta(rank, count - rank + 1, DRAWS)
    lower = np.minimum((count * uniform).astype(np.intp), count - 1)
    upper = lower
    if count % 2 == 0:
        following = uniform + (1 - uniform) * generator.beta(1, count - rank, DRAWS)
        upper = np.minimum((count * following).astype(np.intp), count - 1)
    places, often = np.unique(np.stack([lower, upper]), axis=1, return_counts=True)
    return places[0], places[1], often / DRAWS


def log_medians(samples: Sequence[Values]) -> tuple[Values, Values]:
    """Logarithm of each sample's median, and its variance by the bootstrap.

    Parameters
    ----------
    samples
        Positive values, at least one in each.

    Returns
    -------
    log_median, variance
        Arrays with one value for each sample.
    """
    counts = np.array([len(values) for values in samples], np.intp)
    log_median, variance = np.empty(len(samples)), np.empty(len(samples))
    for count in np.unique(counts).tolist():
        lower, upper, share = bootstrap_places(count)
        of_count = np.flatnonzero(counts == count)
        at_once = max(1, _CELLS_AT_ONCE // max(count, len(share)))
        for rows in np.array_split(of_count, -(-len(of_count) // at_once)):
            ordered = np.sort(np.array([samples[row] for row in rows]), axis=1)
            middle = (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2
            drawn = np.log((ordered[:, lower] + ordered[:, upper]) / 2)
            mean = drawn @ share
            log_median[rows] = np.log(middle)
            variance[rows] = (drawn - mean[:, None]) ** 2 @ share
    return log_median, variance


def rank_test(a: Values, b: Values) -> float:
    """Two-sided p-value of the test of Mann and Whitney, by its normal approximation with a correction for ties.

    0 where every value of one side lies above every one of the other: ranks have nothing more to say then.
    """
    if a.max() < b.min() or b.max() < a.min():
        return 0.0
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, "left") + np.searchsorted(ordered, b, "right")
    n, m, total = len(a), len(b), len(a) + len(b)
    _, ties = np.unique(np.concatenate([a, b]), return_counts=True)
    tied = float(np.sum(ties.astype(np.float64) ** 3 - ties)) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - tied)
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(float(below.sum()) / 2 - n * m / 2) - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))


def student_tail(t: float, degrees: int) -> float:
    """Two-sided tail probability of Student's t, precise however small it is."""
    if t == 0:
        return 1.0
    if math.isinf(t):
        return 0.0
    degrees = min(degrees, MOST_DEGREES)
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


@cache
def student_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The t that is exceeded, on either side, with probability ``1 - confidence``."""
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > 1 - confidence:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, degrees) > 1 - confidence else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # The fraction converges quickly on this side of the mean only.
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    # Evaluated from the front by the method of Lentz: numerators over denominators, as quotients of successive terms.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for coefficient in (even, odd):
            d = 1 / (1 + coefficient * d)
            c = 1 + coefficient / c
            value *= c * d
        if abs(value - before) <= 1e-14 * abs(value):
            break
    return front * value


def digamma(x: float) -> float:
    """Derivative of the logarithm of the gamma function, for positive arguments (DLMF 5.5.2 and 5.11.2)."""
    value = 0.0
    while x < _ASYMPTOTIC:
        value -= 1 / x
        x += 1
    return value + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def trigamma(x: float) -> float:
    """Second derivative of the logarithm of the gamma function, for positive arguments."""
    value = 0.0
    while x < _ASYMPTOTIC:
        value += 1 / x**2
        x += 1
    return value + 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def inverse_trigamma(value: float) -> float:
    """The positive x whose trigamma is a positive value, by bisection."""
    # 1/x < trigamma(x) < 1/x + 1/x² bounds it.
    low, high = 1 / value, 1 / value + 1 / math.sqrt(value)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return high


def satterthwaite(parts: Sequence[tuple[float, float]]) -> int:
    """Degrees of freedom of a sum of independent variances, rounded down to a whole number of at least 1.

    Parameters
    ----------
    parts
        Each variance with its own degrees of freedom.
    """
    total = math.fsum(variance for variance, _ in parts)
    divided = math.fsum(variance**2 / degrees for variance, degrees in parts if variance > 0)
    if divided == 0:
        return MOST_DEGREES
    return max(1, int(min(total**2 / divided, MOST_DEGREES)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that those of at most q are rejected with a false discovery rate of q.

    See Benjamini and Hochberg, Controlling the false discovery rate (1995).
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)[::-1]
    rank = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(p) / rank))
    return [float(value) for value in adjusted]
