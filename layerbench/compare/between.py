"""What differs between two runs of one thing: clock, memory layout, neighbours. Samples within a run do not know of it.

With repetitions the run is the unit, and its variance is seen. With a single run on a side it is not; how far the
ratios of all records lie apart is then the only thing that tells of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from layerbench.compare.statistics import Values, digamma, inverse_trigamma, trigamma

LEAST_RECORDS = 10
"""Fewer records say too little of what they have in common."""

LARGE_FACTOR = 1.5
"""A significant ratio beyond this is a difference also where nothing tells how far single runs lie apart.

Single runs minutes apart differed by 7 % in the median on a shared virtual machine; half as long again is the most that
such a machine does for a while, when it shares a core.
"""

SINGLE_RUN_DEGREES = 5
"""Degrees of freedom of a difference between single runs.

Runs differ with longer tails than a normal variable, and nothing shows how long those of one record are. Where a fifth
of 81 identical records varies by 10 % between runs and the others by 1 %, one in 30 is called different with five, and
one in 18 with eight.
"""

TRIMMED = 0.2
"""Of runs, at either end: one of five to nine, none of fewer."""

_LEAST_OF_MEDIAN = 1e-5

_SHORTEST_HALF_EFFICIENCY = 0.37
"""Degrees of freedom, for each value, of the scale that a shortest half gives (Rousseeuw and Leroy 1988)."""

_HALF_OF_NORMAL = 2 * 0.674489750196082
"""Length, in standard deviations, of the shortest interval that holds half of a normal distribution."""

_NINE_TENTHS_OF_NORMAL = 1.6448536269514722
"""Standard deviations about the mean within which nine tenths of a normal distribution lie."""


def moderated(variances: Values, degrees: Values) -> tuple[Values, NDArray[np.intp]]:
    """Variances of few degrees of freedom, drawn towards what is typical of all of them.

    See Smyth, Linear models and empirical Bayes methods (2004): the typical variance has the weight of some degrees of
    freedom, both of which follow from the mean and the variance of the logarithms (section 6.2). Where records vary
    unequally the weight is next to nothing, and each record is left to its own runs.

    Returns
    -------
    variances, degrees
        Moderated variances, and degrees of freedom of Student's t with them, in whole numbers. As they came where fewer
        than ``LEAST_RECORDS`` are above 0.
    """
    positive = variances > 0
    if np.count_nonzero(positive) < LEAST_RECORDS:
        return variances, degrees.astype(np.intp)
    typical, weight = _prior(variances[positive], degrees[positive])
    mixed = (weight * typical + degrees * variances) / (weight + degrees)
    return mixed, (degrees + weight).astype(np.intp)


def _prior(variances: Values, degrees: Values) -> tuple[float, float]:
    """The typical variance, and its weight in degrees of freedom.

    At most as many as all the variances together have, also where they are as alike as chance makes equal ones.
    """
    # A variance that ticks of a clock made all but 0 would count for more than all others on a logarithmic scale.
    seen = np.maximum(variances, _LEAST_OF_MEDIAN * float(np.median(variances)))
    chance = {half: (digamma(half) - math.log(half), trigamma(half)) for half in np.unique(degrees / 2).tolist()}
    logs = np.log(seen) - np.array([chance[half][0] for half in (degrees / 2).tolist()])
    spread = float(logs.var(ddof=1)) - math.fsum(chance[half][1] for half in (degrees / 2).tolist()) / len(logs)
    most = float(degrees.sum())
    weight = min(most, 2 * inverse_trigamma(spread)) if spread > 0 else most
    return math.exp(float(logs.mean()) + digamma(weight / 2) - math.log(weight / 2)), weight


def scatter(log_ratios: Values) -> float:
    """Standard deviation of at least three log ratios, whatever they have in common: a slow-down of all or of half.

    That of the shortest half. Where the values are two clusters that lie clearly apart, that within the clusters:
    the shortest half would be the *range* of one of them.
    """
    ordered = np.sort(log_ratios)
    within = _within_clusters(ordered)
    return _shortest_half(ordered) if within is None else within


def _shortest_half(ordered: Values) -> float:
    """Length of the shortest interval that holds half of the values, as the standard deviation of a normal variable.

    Of few values it is too short; the factor for that is from simulation, right for even counts and generous for odd.
    """
    count = len(ordered)
    half = -(-count // 2)
    shortest = float(np.min(ordered[half - 1 :] - ordered[: count - half + 1]))
    return shortest / _HALF_OF_NORMAL * (1 + 9 / count)


def _within_clusters(ordered: Values) -> float | None:
    """Standard deviation about the centres of two clusters; None where there are no two.

    Clusters have a quarter of the values at least. They are two where their centres lie further apart than those of
    the best split of one normal sample do once in a thousand times, which simulation puts at 3 + 50/n of this standard
    deviation.
    """
    count = len(ordered)
    least = max(3, -(-count // 4))
    if count < 2 * least:
        return None
    centred = ordered - ordered.mean()
    sizes = np.arange(least, count - least + 1)
    lower = np.cumsum(centred)[sizes - 1]
    explained = lower**2 / sizes + lower**2 / (count - sizes)
    best = int(np.argmax(explained))
    size = int(sizes[best])
    within = math.sqrt(max(0.0, float(centred @ centred - explained[best])) / (count - 2))
    apart = -float(lower[best]) * (1 / size + 1 / (count - size))
    return within if apart > (3 + 50 / count) * within else None


def single_run_variance(log_ratios: Values, within: Values) -> tuple[float, float]:
    """Variance between single runs: that of the log ratios beyond what the samples within runs account for.

    The larger of what most ratios show and what their tails show, as some records may vary more than most. It is one
    for all records, so those that vary most are still called different more often than others; and where some records
    became faster and as many slower, by less than ``LARGE_FACTOR``, that is taken for such a variation.

    Returns
    -------
    variance, degrees
        And its degrees of freedom; a variance of 0 where there are fewer than ``LEAST_RECORDS``.
    """
    count = len(log_ratios)
    degrees = min(SINGLE_RUN_DEGREES, max(1.0, _SHORTEST_HALF_EFFICIENCY * (count - 1)))
    if count < LEAST_RECORDS:
        return 0.0, degrees
    variance = scatter(log_ratios) ** 2 - float(np.median(within))
    return max(0.0, variance, _tail_variance(log_ratios, within)), degrees


def _tail_variance(log_ratios: Values, within: Values) -> float:
    """The variance between runs with which nine ratios in ten lie as near the centre as those of normal variables do.

    On the side where the smaller one does: a slow-down of some records makes one tail longer, unequal variation both.
    The centre is that of the shortest half, and ratios that no variation explains are left out. Nothing where there are
    two clusters, whose scatter has its tails in it.
    """
    ordered = np.sort(log_ratios)
    if _within_clusters(ordered) is not None:
        return 0.0
    half = -(-len(ordered) // 2)
    first = int(np.argmin(ordered[half - 1 :] - ordered[: len(ordered) - half + 1]))
    away = log_ratios - (ordered[first] + ordered[first + half - 1]) / 2
    beyond = (away / _NINE_TENTHS_OF_NORMAL) ** 2 - within
    largest = math.log(LARGE_FACTOR)
    tails = [beyond[side] for side in ((away <= 0) & (away >= -largest), (away >= 0) & (away <= largest))]
    return min(float(np.quantile(tail, 0.9)) if len(tail) else 0.0 for tail in tails)


def location(values: Sequence[float]) -> float:
    """Trimmed mean of runs' log medians, or of differences of them: without the fifth at either end, rounded down.

    A machine that is slow for some seconds spoils all of one run's record, by half where a core is shared. One run in
    five may be spoilt without a trace.
    """
    cut = _cut(len(values))
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)


def _cut(count: int) -> int:
    return int(TRIMMED * count)


def _squares(values: Sequence[float]) -> tuple[float, int]:
    """Sum of squares about the mean of values whose trimmed ends are drawn in, and how many are not trimmed.

    The variance of a trimmed mean is ``squares / (kept (kept - 1))``, and Student's t with ``kept - 1`` degrees of
    freedom follows: see Yuen, The two-sample trimmed t for unequal population variances (1974).
    """
    cut = _cut(len(values))
    ordered = np.sort(np.asarray(values, np.float64))
    drawn = np.clip(ordered, ordered[cut], ordered[len(ordered) - 1 - cut])
    return float(drawn.var()) * len(drawn), len(drawn) - 2 * cut


def variance_of_runs(base: Sequence[float], new: Sequence[float], *, paired: bool) -> tuple[float, int]:
    """Variance of the difference of two sides' :func:`location`, and its degrees of freedom.

    Of the pairs' differences where runs were taken in turns, which drift does not touch; else pooled. (0, 0) where
    neither side has two runs.
    """
    if paired:
        squares, kept = _squares(np.subtract(new, base).tolist())
        return squares / (kept * (kept - 1)), kept - 1
    (squares, kept), (more, of_new) = _squares(base), _squares(new)
    degrees = kept + of_new - 2
    return (0.0, 0) if degrees == 0 else ((squares + more) / degrees * (1 / kept + 1 / of_new), degrees)
