"""From devices that were measured to one that was not, at the shapes that were measured.

What is carried over is a time's *excess*: the logarithm of the time over its roofline's, which is minus the logarithm
of the fraction of the roofline. Of a device at the place x = (log peak, log bandwidth), the excess at a shape is the
weighted median over the measured devices i of

    excess_i + b · (x - x_i),    with the weights 1 / (1 + |x - x_i|² / h²)

that is inverse squares of distances (Shepard, A two-dimensional interpolation function for irregularly-spaced data,
1968), and a median because a device whose library is unlike the others' must not draw the result after it. The slope b
is one for all shapes of an operation: the ridge regression, with the penalty λ |b|², of the devices' typical excess
(their median over shapes of what they have over the shape's median over devices) on their places. It is carried a
limited way beyond the measured devices, since nothing there supports it.

h and λ are not chosen but averaged over. Each measured device is in turn predicted from the others, once by all of
them and once by those that are not near it, because a new device may have no relative among those measured; settings
weigh exp(-e / :data:`TEMPERATURE`), with e the median absolute error in the logarithm.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from layerbench.kernel_times.times import Values

BANDWIDTHS = (0.03, 0.05, 0.1, 0.2)
"""Distances h, in natural logarithms: 0.1 is a device faster by a tenth."""

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)

SETTINGS = tuple(itertools.product(PENALTIES, BANDWIDTHS))

TEMPERATURE = 0.01

APART = (0.0, 0.25)
"""Within these distances of a device, others are left out with it when settings are judged."""

BEYOND = math.log(2.0)
"""How far beyond the measured places the slope is carried: to twice the highest peak, or half the lowest."""

COVERAGE = 0.9

NORMAL_QUANTILE = 1.6449
"""Standard deviations on each side of an interval of that coverage, of the normal distribution."""

LIKENESS = math.log(2.0)
"""Errors found at half or twice a distance tell less about an error at it, with a Gaussian weight of this width."""

UNLIKE = 0.1
"""Weight of errors at any distance: a device whose library is unlike the others' may be anywhere."""

LEAST_DISTANCE = 0.02
"""Places nearer than this are as good as the same: data sheets are no more exact."""

UNKNOWN_SPREAD = math.log(2.0)
"""Where there is one measured device only, from which no error can be found: within a factor of two."""


@dataclass(frozen=True)
class Transfer:
    """What measured devices of an operation say about others.

    Attributes
    ----------
    excess
        Of the measured devices, shapes × devices; NaN where there is none.
    places
        Of the devices, devices × 2.
    weights
        Of :data:`SETTINGS`.
    distances, errors
        Of the predictions that settings were judged by: the distance to the nearest device used, and the absolute
        error of the logarithm.
    """

    excess: Values
    places: Values
    weights: Values
    distances: Values
    errors: Values

    def at(self, place: Values) -> Values:
        """The excess at each shape of a device at a place; NaN where no measured device was given the shape."""
        return self.weights @ _expected(self.excess, self.places, place)

    def spread(self, place: Values) -> float:
        """Half the width of a 90 % interval of the excess: the quantile of errors found at like distances.

        It is widened for how few devices they were found on, as Student's quantile is over the normal one (Abramowitz
        and Stegun, Handbook of Mathematical Functions, 26.7.5, to the first order), and grows with the root of the
        distance beyond those at which errors were found.
        """
        if not len(self.errors):
            return UNKNOWN_SPREAD
        distance = max(LEAST_DISTANCE, float(np.min(np.linalg.norm(self.places - place, axis=1))))
        known = np.maximum(self.distances, LEAST_DISTANCE)
        farthest = float(known.max())
        likeness = UNLIKE + np.exp(-0.5 * (np.log(known / min(distance, farthest)) / LIKENESS) ** 2)
        order = np.argsort(self.errors)
        share = np.cumsum(likeness[order]) / likeness.sum()
        quantile = float(self.errors[order][np.searchsorted(share, COVERAGE)])
        few = 1 + (NORMAL_QUANTILE**2 + 1) / (4 * (len(self.places) - 1))
        return quantile * few * math.sqrt(max(1.0, distance / farthest))


def fit(excess: Values, places: Values) -> Transfer:
    """Judge the settings by the measured devices alone.

    Parameters
    ----------
    excess
        Shapes × devices; NaN where a device was not given a shape.
    places
        Devices × 2.
    """
    measured = ~np.isnan(excess).all(axis=0)
    excess, places = excess[:, measured], places[measured]
    between = np.linalg.norm(places[:, None] - places[None], axis=2)
    distances: list[Values] = []
    errors: list[Values] = []
    losses = []
    for radius in APART:
        found = []
        for device in range(len(places)):
            used = between[device] > radius
            used[device] = False
            if not used.any():
                continue
            error = _expected(excess[:, used], places[used], places[device]) - excess[:, device]
            error = error[:, ~np.isnan(error).any(axis=0)]
            found.append(error)
            distances.append(np.full(error.shape[1], between[device][used].min()))
        if found and (together := np.concatenate(found, axis=1)).size:
            losses.append(np.median(np.abs(together), axis=1))
            errors.append(together)
    if not losses:
        return Transfer(excess, places, np.full(len(SETTINGS), 1 / len(SETTINGS)), np.empty(0), np.empty(0))
    loss = np.mean(losses, axis=0)
    weights = np.exp(-(loss - loss.min()) / TEMPERATURE)
    weights /= weights.sum()
    mixed = np.abs(weights @ np.concatenate(errors, axis=1))
    return Transfer(excess, places, weights, np.concatenate(distances), mixed)


def _expected(excess: Values, places: Values, place: Values) -> Values:
    """By each of :data:`SETTINGS`: settings × shapes."""
    # Beyond what was measured the slope has no support.
    edge = np.clip(place, places.min(axis=0) - BEYOND, places.max(axis=0) + BEYOND)
    distances = ((places - place) ** 2).sum(axis=1)
    weights = 1 / (1 + distances / np.array(BANDWIDTHS)[:, None] ** 2)
    slopes = _slopes(excess, places)
    return np.concatenate([weighted_medians(excess + (edge - places) @ slope, weights) for slope in slopes])


def _slopes(excess: Values, places: Values) -> list[Values]:
    """The slope b with each of :data:`PENALTIES`."""
    compared = excess[~np.isnan(excess).all(axis=1)]
    there = ~np.isnan(compared).all(axis=0)
    over = compared[:, there] - np.nanmedian(compared, axis=1, keepdims=True)
    typical = np.nanmedian(over, axis=0)
    centred = places[there] - places[there].mean(axis=0)
    moments, products = centred.T @ centred, centred.T @ (typical - typical.mean())
    return [np.linalg.solve(moments + penalty * np.eye(2), products) for penalty in PENALTIES]


def weighted_medians(values: Values, weights: Values) -> Values:
    """Weighted medians of each row, of what is not NaN; NaN where nothing is.

    The weight up to a value counts to the middle of its own, and between two values the median is interpolated: it
    moves smoothly with the weights.

    Parameters
    ----------
    values
        Rows × columns.
    weights
        Of the columns, as many times as there are to be medians: medians × columns.

    Returns
    -------
    numpy.ndarray
        Medians × rows.
    """
    there = ~np.isnan(values)
    order = np.argsort(values, axis=1)  # NaN comes last
    row = np.arange(len(values))[:, None]
    ordered = np.where(there, values, 0.0)[row, order]
    weight = weights[:, order] * there[row, order]
    total = np.cumsum(weight, axis=2)
    whole = total[:, :, -1:]
    middle = (total - weight / 2) / np.where(whole > 0, whole, 1.0)
    count = there.sum(axis=1)
    after = np.clip((middle < 0.5).sum(axis=2), 0, np.maximum(count - 1, 0))
    before = np.maximum(after - 1, 0)
    low, high = np.take_along_axis(middle, np.stack([before, after], axis=2), axis=2).transpose(2, 0, 1)
    part = np.where(high > low, (0.5 - low) / np.where(high > low, high - low, 1.0), 0.0)
    below, above = ordered[row[:, 0], before], ordered[row[:, 0], after]
    return np.where(count > 0, below + (above - below) * np.clip(part, 0.0, 1.0), np.nan)
