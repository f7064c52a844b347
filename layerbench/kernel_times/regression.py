"""From shapes that were measured to one that was not: a Gaussian process over what shapes are like.

The excess of a pass is its mean plus a function of the shape's features, of which no more is supposed than that it is
smooth (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5). With the features
scaled by their spread over the measured shapes, and r the distance of two shapes, its covariance is in proportion to

    ((1 + √3 r / l) exp(-√3 r / l) + s x · x' / q) × (1 for the same pass, else c)

(Matérn 3/2 and a line, q the number of features), and what no feature explains has the variance n. Lengths l, couplings
c and variances n are averaged over with the weights of their marginal likelihood. A feature beyond the measured range
counts as at its end, so that far away the efficiency stays what it is there, and times grow as the roofline does; what
the line might have added, s times the mean square of what the features are beyond, is added to the variance, up to as
much again as the process has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from layerbench.kernel_times.shapes import Shape
from layerbench.kernel_times.times import Values

LENGTHS = (2.0, 4.0)
COUPLINGS = (0.3, 0.8)
UNEXPLAINED = (0.01, 0.05, 0.2)
LINE = 0.3

SETTINGS = tuple(itertools.product(LENGTHS, COUPLINGS, UNEXPLAINED))

UNHEARD = 0.01
"""A setting less likely than the likeliest by this factor is left out."""

_LEAST_SPREAD = 1e-9
"""Of a feature that all measured shapes share: it then tells nothing, whatever it is scaled by."""


@dataclass(frozen=True)
class Measured:
    """The shapes that were measured, ready for values at them.

    Attributes
    ----------
    passes
        Distinct passes.
    low, high, centre, spread
        Of each feature.
    features, of_pass
        Scaled features, shapes × features, and each shape's place in ``passes``.
    inverses, log_roots
        Of each setting's covariance: its inverse, and half the logarithm of its determinant.
    """

    passes: tuple[str, ...]
    low: Values
    high: Values
    centre: Values
    spread: Values
    features: Values
    of_pass: NDArray[np.intp]
    inverses: Values
    log_roots: Values

    def scaled(self, shapes: Sequence[Shape]) -> tuple[Values, Values]:
        """Features of any shapes within the measured range, and how far beyond they are: each shapes × features.

        What all measured shapes share is left out: how far a shape is from it, nothing says.
        """
        told = np.array([shape.features for shape in shapes])
        within = np.clip(told, self.low, self.high)
        differs = self.spread > _LEAST_SPREAD
        return (within - self.centre) / self.spread, differs * (told - within) / self.spread


@lru_cache(maxsize=8)
def measured(shapes: tuple[Shape, ...]) -> Measured:
    """Ready measured shapes, at least one; kept, since devices were mostly given the same."""
    told = np.array([shape.features for shape in shapes])
    centre, spread = told.mean(axis=0), np.maximum(told.std(axis=0), _LEAST_SPREAD)
    features = (told - centre) / spread
    passes = tuple(dict.fromkeys(shape.pass_ for shape in shapes))
    of_pass = np.array([passes.index(shape.pass_) for shape in shapes])
    inverses, log_roots = [], []
    # The matrices are small: threads would wait for each other longer than they compute.
    with threadpoolctl.threadpool_limits(1):
        for length, coupling, unexplained in SETTINGS:
            covariance = _covariance(features, of_pass, features, of_pass, length, coupling)
            covariance += unexplained * np.eye(len(shapes))
            log_roots.append(float(np.log(np.diag(np.linalg.cholesky(covariance))).sum()))
            inverses.append(np.linalg.inv(covariance))
    low, high = told.min(axis=0), told.max(axis=0)
    return Measured(passes, low, high, centre, spread, features, of_pass, np.array(inverses), np.array(log_roots))


@dataclass(frozen=True)
class Fitted:
    """Values at measured shapes, and what they say elsewhere.

    Attributes
    ----------
    measured
        The shapes.
    means
        Of each pass.
    coefficients
        Settings × shapes: covariances with the measured shapes times these give the value over the pass's mean.
    scales
        Variance that each setting's covariance is in proportion to.
    weights
        Of :data:`SETTINGS`.
    """

    measured: Measured
    means: Values
    coefficients: Values
    scales: Values
    weights: Values

    def at(self, shapes: Sequence[Shape]) -> tuple[Values, Values]:
        """Value and standard deviation at each shape; of a pass that was not measured, by those that were."""
        features, beyond = self.measured.scaled(shapes)
        of_pass = np.array(
            [self.measured.passes.index(shape.pass_) if shape.pass_ in self.measured.passes else -1 for shape in shapes]
        )
        base = np.where(of_pass >= 0, self.means[of_pass], self.means.mean())
        unsupported = np.minimum(1.0, LINE * (beyond**2).mean(axis=1))
        alone = 1 + LINE * (features**2).mean(axis=1) + unsupported
        values, variances = [], []
        heard = np.flatnonzero(self.weights > 0)
        for index in heard:
            length, coupling, unexplained = SETTINGS[index]
            inverse, coefficients, scale = self.measured.inverses[index], self.coefficients[index], self.scales[index]
            shared = _covariance(features, of_pass, self.measured.features, self.measured.of_pass, length, coupling)
            left = alone + unexplained - ((shared @ inverse) * shared).sum(axis=1)
            values.append(base + shared @ coefficients)
            variances.append(scale * np.maximum(left, unexplained))
        weights = self.weights[heard]
        mean = weights @ np.array(values)
        # Settings that disagree add to the variance.
        spread = weights @ (np.array(variances) + (np.array(values) - mean) ** 2)
        return mean, np.sqrt(spread)


def fit(shapes: tuple[Shape, ...], values: Values) -> Fitted:
    """Fit to values at measured shapes, none of them NaN."""
    ready = measured(shapes)
    means = np.array([values[ready.of_pass == place].mean() for place in range(len(ready.passes))])
    over = values - means[ready.of_pass]
    coefficients = ready.inverses @ over
    # No less than rounding: the values may be all alike.
    scales = np.maximum(coefficients @ over / len(over), np.finfo(np.float64).eps)
    likelihoods = -0.5 * len(over) * np.log(scales) - ready.log_roots
    weights = np.exp(likelihoods - likelihoods.max())
    weights[weights < UNHEARD] = 0.0
    return Fitted(ready, means, coefficients, scales, weights / weights.sum())


def _covariance(
    features: Values,
    of_pass: NDArray[np.intp],
    others: Values,
    of_others: NDArray[np.intp],
    length: float,
    coupling: float,
) -> Values:
    """Of shapes with others, without what no feature explains."""
    product = features @ others.T
    squares = (features**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * product
    near = math.sqrt(3) / length * np.sqrt(np.maximum(squares, 0.0))
    like: Values = (1 + near) * np.exp(-near) + LINE * product / features.shape[1]
    return like * np.where(of_pass[:, None] == of_others[None], 1.0, coupling)
