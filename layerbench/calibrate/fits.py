"""Fits α and β to the sweeps of an operation, over all numbers of ranks and all sizes together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from layerbench import hockney
from layerbench.machine import INTERVAL, Exchanged, Figure, Fit
from layerbench.records import Operation

RESAMPLES = 400

ITERATIONS = 25

TOLERANCE = (0.1, 0.2)
"""A time that is further than this from the fit, as the logarithm of their ratio, does not count: the less where most
times are near to it.

Where a link lets the first bytes of a message pass at once, or ranks share memory, some sizes are several times as
quick as one α and β can have it. These must not draw the fit away from the small messages that are all latency and the
large ones that are all bandwidth."""

BIWEIGHT = 4.685 * 1.4826
"""Median distances from the fit, beyond which a point does not count (Beaton and Tukey's constant, for normal
errors)."""

MODEL_ERROR = 0.1
"""By which a formula is off where a time is known exactly: so no point counts for much more than others."""

LARGE = 5
SMALL = 4
"""Sizes, from either end, that α and β are first taken from."""

REACH = 2.0
"""By what factor α and β may differ from where they begin: else points in the middle, where they decide little, could
trade one of the two for the other."""

LEAST_ALPHA = 1e-10
LEAST_BETA = 1e-15
"""Seconds, and seconds a byte: none is measured to be 0."""

OWN = 0.6
"""How much of its own interval a point is moved by in a resample. That it is weighed anew shows most of the same noise;
with this, the intervals of noisy sweeps of known figures hold these in 90 to 95 of 100 cases."""

NORMAL_90 = 1.645
"""Standard deviations in half of a normal 90 % interval."""


def fit(operation: Operation, points: Sequence[Exchanged], seed: int = 0) -> Fit | None:
    """α and β of an operation, by the formulas of its algorithms, of which the quickest counts at every size.

    Relative errors are made small, because times are from a microsecond to a second, and robustly: by Tukey's biweight
    (Beaton and Tukey, The fitting of power series, 1974), beginning from the smallest and the largest sizes; a point
    counts by how well it is known. The 90 % intervals are by bootstrap: every point is weighed anew (Rubin, The
    Bayesian bootstrap, 1981), so that no resample lacks the large sizes, and moved within its own interval.

    Parameters
    ----------
    operation
        Points of others are left out.
    points
        What was measured.
    seed
        Of the bootstrap.

    Returns
    -------
    Fit or None
        None if fewer than two sizes were measured over the same number of ranks.
    """
    mine = [point for point in points if point.operation == operation]
    if len({(point.bytes, point.ranks) for point in mine}) <= len({point.ranks for point in mine}):
        return None
    costs = _costs(operation, mine)
    times = np.array([point.seconds for point in mine])
    spread = np.array([_spread(point) for point in mine])
    precision = 1 / (np.square(spread) + MODEL_ERROR**2)

    def solved(times: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _solved(costs, times, weights * precision, _begin(operation, mine, times, weights))

    alpha, beta = (float(each[0]) for each in solved(times[None], np.ones((1, len(mine)))))

    random = np.random.default_rng(seed)
    moved = times * np.exp(OWN * spread * random.standard_normal((RESAMPLES, len(mine))))
    drawn = random.standard_exponential((RESAMPLES, len(mine)))
    alphas, betas = solved(moved, drawn)

    ranks = sorted({point.ranks for point in mine})
    fitted = [hockney.seconds(operation, point.ranks, point.bytes, alpha, beta) for point in mine]
    return Fit(
        operation=operation,
        alpha=_figure(alpha, alphas),
        beta=_reciprocal(_figure(beta, betas)),
        crossover={count: hockney.crossover_bytes(operation, count, alpha, beta) for count in ranks},
        residual=float(np.median(np.abs(np.array(fitted) / times - 1))),
    )


class _Costs(NamedTuple):
    """Of each point (rows) and algorithm (columns): messages, and bytes moved."""

    messages: np.ndarray
    moved: np.ndarray


def _costs(operation: Operation, points: Sequence[Exchanged]) -> _Costs:
    rows = [hockney.algorithms(operation, point.ranks) for point in points]
    messages = np.array([[each.messages for each in row] for row in rows], float)
    transfers = np.array([[each.transfers for each in row] for row in rows], float)
    return _Costs(messages, transfers * np.array([[point.bytes] for point in points], float))


def _begin(
    operation: Operation, points: Sequence[Exchanged], times: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """α and β to begin from: β is the median slope between large sizes, α the median of what it leaves of small ones.

    Slopes (Theil, A rank-invariant method of linear and polynomial regression analysis, 1950) do not mind by how much
    the first bytes of a message are quicker than the others, nor one size whose time was disturbed. Each counts the
    more, the larger the sizes it is between, and the better their times are known.

    Parameters
    ----------
    times, weights
        (resamples, points).
    """
    bytes_ = np.array([point.bytes for point in points], float)
    doubts = np.array([_spread(point) * point.seconds for point in points])
    pairs = [pair for count in {point.ranks for point in points} for pair in _pairs(points, count)]
    one, other = (np.array(each) for each in zip(*pairs, strict=True))
    leanest = [min(each.transfers for each in hockney.algorithms(operation, points[i].ranks)) for i in other]
    further = bytes_[other] - bytes_[one]
    doubt = np.hypot(doubts[one], doubts[other]) / np.array([points[i].seconds for i in other])
    known = np.power(further, 0.25) / (np.square(doubt) + MODEL_ERROR**2)
    slopes = (times[:, other] - times[:, one]) / further / np.array(leanest)
    beta = np.maximum(_weighted_medians(slopes, known * (weights[:, one] + weights[:, other])), LEAST_BETA)

    limit = sorted(set(bytes_.tolist()))[:SMALL][-1]
    small = np.flatnonzero(bytes_ <= limit)
    quick = [
        min(hockney.algorithms(operation, points[i].ranks), key=lambda each: (each.messages, each.transfers))
        for i in small.tolist()
    ]
    messages, transfers = (np.array(each) for each in zip(*((q.messages, q.transfers) for q in quick), strict=True))
    left = (times[:, small] - beta[:, None] * transfers * bytes_[small]) / messages
    return np.maximum(_weighted_medians(left, weights[:, small]), LEAST_ALPHA), beta


def _pairs(points: Sequence[Exchanged], ranks: int) -> Iterator[tuple[int, int]]:
    """Every two of the largest sizes over so many ranks, by their places, the smaller one first."""
    places = [i for i, point in enumerate(points) if point.ranks == ranks]
    ascending = sorted(places, key=lambda i: points[i].bytes)
    return itertools.combinations(ascending[-LARGE:], 2)


def _spread(point: Exchanged) -> float:
    """Standard deviation of the logarithm of a time."""
    return math.log(point.high / point.low) / 2 / NORMAL_90


def _weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each row the value at which half of the weight is passed."""
    order = np.argsort(values, axis=1)
    passed = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    places = (passed >= passed[:, -1:] / 2).argmax(axis=1)
    return np.asarray(np.take_along_axis(values, order, axis=1)[np.arange(len(values)), places])


def _solved(
    costs: _Costs, times: np.ndarray, weights: np.ndarray, begin: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """α and β of each resample, by weighted least squares of relative errors, weighed anew after each.

    Parameters
    ----------
    times, weights
        (resamples, points).
    begin
        Where each begins, and from where neither goes further than :data:`REACH`.
    """
    alpha, beta = begin
    places = np.arange(times.shape[1])
    tolerance = None
    for _ in range(ITERATIONS):
        every = alpha[:, None, None] * costs.messages + beta[:, None, None] * costs.moved
        quickest = every.argmin(axis=2)
        away = np.log(every.min(axis=2) / times)
        if tolerance is None:
            tolerance = np.clip(BIWEIGHT * np.median(np.abs(away), axis=1, keepdims=True), *TOLERANCE)
        off = away / tolerance
        counted = weights * np.square(1 - np.square(off)) * (np.abs(off) < 1)
        latency, transfer = costs.messages[places, quickest] / times, costs.moved[places, quickest] / times
        alpha, beta = _least_squares(latency, transfer, counted, begin)
    return alpha, beta


def _least_squares(
    latency: np.ndarray, transfer: np.ndarray, weights: np.ndarray, begin: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The α and β of each row, within reach, for which ``α latency + β transfer`` is nearest to 1.

    One of which the points that count say nothing stays where it began. If one is out of reach, it goes as far as it
    can, and the other one is found beside it.
    """
    a, b, c = (
        (weights * product).sum(axis=1) for product in (latency * latency, latency * transfer, transfer * transfer)
    )
    d, e = (weights * latency).sum(axis=1), (weights * transfer).sum(axis=1)
    determinant = a * c - b * b
    told = determinant > 1e-9 * a * c
    wanted = _quotient(c * d - b * e, determinant, told, begin[0])
    alpha = np.clip(wanted, begin[0] / REACH, begin[0] * REACH)
    wanted = _quotient(e - b * alpha, c, c > 0, begin[1])
    beta = np.clip(wanted, begin[1] / REACH, begin[1] * REACH)
    beside = np.clip(_quotient(d - b * beta, a, a > 0, begin[0]), begin[0] / REACH, begin[0] * REACH)
    return np.where(beta == wanted, alpha, beside), beta


def _quotient(numerator: np.ndarray, denominator: np.ndarray, known: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.where(known, numerator / np.where(known, denominator, 1.0), otherwise)


def _figure(value: float, resampled: np.ndarray) -> Figure:
    tail = (1 - INTERVAL) / 2
    low, high = (float(each) for each in np.quantile(resampled, [tail, 1 - tail]))
    return Figure(value=value, low=min(low, value), high=max(high, value))


def _reciprocal(figure: Figure) -> Figure:
    """Each number inverted twice: so it is the same however often it is written as bytes a second and read again."""
    value, low, high = (1 / (1 / each) for each in (figure.value, figure.low, figure.high))
    return Figure(value=value, low=low, high=high, source=figure.source)
