"""What differs between two runs of one thing: clock, memory layout, neighbours. Samples within a run do not know of it.

With repetitions the run is the unit, and its variance is seen. With a single run on a side it is not; how far the
ratios of all records lie apart is then the only thing that tells of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from layerbench.compare.statistics import Values

LEAST_RECORDS = 10
"""Fewer records say too little of what they have in common."""

PRIOR_DEGREES = 4
"""Weight, in degrees of freedom, of what all records have in common against a record's own few runs.

Smyth (2004) estimates it from the variances' own spread, for which a sweep has too few records. Four lets a record's
variance be ten times the typical one once in sixty.
"""

SINGLE_RUN_DEGREES = 8
"""Degrees of freedom of a difference between single runs.

Runs differ with longer tails than a normal variable, and nothing shows how long those of one record are. Where they
differ as Student's t of three degrees does, by 3 %, one identical record in 200 is called different with eight, and one
in 50 with as many as the scatter of 81 ratios has.
"""

_SHORTEST_HALF_EFFICIENCY = 0.37
"""Degrees of freedom, for each value, of the scale that a shortest half gives (Rousseeuw and Leroy 1988)."""

_HALF_OF_NORMAL = 2 * 0.674489750196082
"""Length, in standard deviations, of the shortest interval that holds half of a normal distribution."""


def moderated(variances: Values, degrees: Values) -> tuple[Values, NDArray[np.intp]]:
    """Variances of few degrees of freedom, drawn towards what is typical of all of them.

    The moderated variance of Smyth, Linear models and empirical Bayes methods (2004), with a fixed prior weight. The
    typical one is the median, each variance divided by what the median of its distribution is.

    Returns
    -------
    variances, degrees
        Moderated variances, and degrees of freedom of Student's t with them. As they came where there are fewer than
        ``LEAST_RECORDS``.
    """
    if len(variances) < LEAST_RECORDS:
        return variances, degrees.astype(np.intp)
    # The median of a chi-squared variable over its degrees of freedom (Wilson and Hilferty 1931).
    typical = float(np.median(variances / (1 - 2 / (9 * degrees)) ** 3))
    mixed = (PRIOR_DEGREES * typical + degrees * variances) / (PRIOR_DEGREES + degrees)
    return mixed, (degrees + PRIOR_DEGREES).astype(np.intp)


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

    Returns
    -------
    variance, degrees
        And its degrees of freedom; a variance of 0 where there are fewer than ``LEAST_RECORDS``.
    """
    count = len(log_ratios)
    degrees = min(SINGLE_RUN_DEGREES, max(1.0, _SHORTEST_HALF_EFFICIENCY * (count - 1)))
    if count < LEAST_RECORDS:
        return 0.0, degrees
    return max(0.0, scatter(log_ratios) ** 2 - float(np.median(within))), degrees


def variance_of_runs(base: Sequence[float], new: Sequence[float], *, paired: bool) -> tuple[float, int]:
    """Variance of the difference of two means of runs' log medians, and its degrees of freedom.

    Of the pairs' differences where runs were taken in turns, which drift does not touch; else pooled. (0, 0) where
    neither side has two runs.
    """
    if paired:
        differences = np.subtract(new, base)
        return float(differences.var(ddof=1)) / len(differences), len(differences) - 1
    degrees = len(base) + len(new) - 2
    if degrees == 0:
        return 0.0, 0
    squares = math.fsum(float(np.var(side)) * len(side) for side in (base, new))
    return squares / degrees * (1 / len(base) + 1 / len(new)), degrees
