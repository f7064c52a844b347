"""The measured efficiency of a class of kernels, as a function of the shard's size.

A class is a layer type and a pass. With C, M and L the seconds of arithmetic, of memory traffic and of launches at the
machine's ceilings (:mod:`layerbench.predict.work`), a pass takes

    log t = log(C exp(u_c + v_c x) + M exp(u_m + v_m x) + L exp(u_l)) + g

where x is 1 if ranks exchanged something in every iteration, and 0 for a kernel by itself. exp(-u_c) and exp(-u_m) are
the parts of peak and bandwidth that are reached, and exp(u_l) is how many of the quickest kernel's times a launch
takes. exp(v_c) and exp(v_m) are what it takes more not to be alone: exchanges take weights out of the caches, and ranks
of one node share its memory and its clock. The efficiency at a size is the roofline max(C, M) over t.

The u and v are normal: those of the class about :data:`CLASS_MEAN`, those of a layer about its class's. g is what a
layer's times deviate from this shape. Near sizes deviate alike (an Ornstein-Uhlenbeck process in log MACs), and each
size has a deviation of its own besides, because a library chooses an algorithm for each. So a layer measured at two
sizes is not drawn as a line through two noisy points: it is pulled to the roofline's shape, and to what other layers of
its class show. This is Bayesian regression with normal priors (Rasmussen and Williams, Gaussian processes for machine
learning, 2006, chapter 2), linearised at the class's most probable values. Deviations of single sizes have heavy tails
(Student's t, by reweighting): one size at which a library does badly must not bend the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from layerbench.layers import AnyLayer, DType, Pass
from layerbench.predict.evidence import Observation
from layerbench.predict.work import Ceilings, Computed, seconds

CLASS_MEAN = {
    "forward": np.array([0.3, 0.1, 1.0, 0.1, 0.0]),
    "backward_data": np.array([0.3, 0.1, 1.0, 0.1, 0.0]),
    "backward_weights": np.array([0.3, 0.3, 1.0, 0.1, 0.0]),
}
"""Of u_c, u_m, u_l, v_m and v_c, before anything is known: three quarters of peak, nine tenths of bandwidth.

Memory is slower where it is mostly written, as weight gradients are: a processor reads a line before it writes to it.
"""

CLASS_SPREAD = np.array([0.4, 0.4, 1.5, 0.2, 0.1])
"""Standard deviations of a class's values about their mean; least is known of launches."""

LAYER_SPREAD = np.array([0.12, 0.2, 0.4, 0.3, 0.05])
"""Of a layer's values about its class's."""

DRIFT = 0.06
"""Standard deviation of the deviation that near sizes share."""

REACH = math.log(8)
"""In log MACs: how far that deviation reaches."""

OWN = 0.03
"""Standard deviation of the deviation of each size by itself."""

LASTING = 0.8
"""Part of its variance that comes again when the same size is measured again."""

OTHER_SHAPE = 0.5
"""Of a layer's shared deviation, the part that holds also where it has fewer outputs."""

TAIL = 4.0
"""Degrees of freedom of Student's t."""

LEAST_ERROR = 0.01
"""Of the model in log seconds, also at a size that was measured."""

MOST = 400
"""Observations of a class that are used; of more, these are chosen evenly."""

ROUNDS = 15


@dataclass(frozen=True)
class Sizes:
    """Where times are known or asked for: one row for each.

    Attributes
    ----------
    ceilings
        Seconds at the ceilings, (3, n).
    exchanged
        0 or 1, (n,).
    origin, shape
        Numbers that are equal where the layer is the same, and where what is computed of it is the same, (n,).
    size
        Log MACs, (n,).
    """

    ceilings: np.ndarray
    exchanged: np.ndarray
    origin: np.ndarray
    shape: np.ndarray
    size: np.ndarray

    def linear(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log seconds at u, (n,), and their derivatives by it, (5, n)."""
        scale = np.vstack(
            [
                np.exp(u[0] + u[4] * self.exchanged),
                np.exp(u[1] + u[3] * self.exchanged),
                np.full(len(self.size), math.exp(u[2])),
            ]
        )
        taken = self.ceilings * scale
        total = taken.sum(axis=0)
        share = taken / total
        return np.log(total), np.vstack([share, share[1] * self.exchanged, share[0] * self.exchanged])


class Shapes:
    """Numbers for layers, so that equal ones are found by comparing arrays."""

    def __init__(self) -> None:
        self._numbers: dict[Computed, int] = {}

    def number(self, layer: Computed) -> int:
        return self._numbers.setdefault(layer, len(self._numbers))

    def sizes(
        self,
        origin: AnyLayer,
        layer: Computed,
        pass_: Pass,
        batches: np.ndarray,
        exchanged: np.ndarray,
        dtype: DType,
        limits: Ceilings,
    ) -> Sizes:
        """A layer's sizes over batches; ``origin`` is anonymous."""
        macs = layer.macs(1) * np.asarray(batches, dtype=np.float64)
        count = len(macs)
        return Sizes(
            ceilings=seconds(layer, pass_, batches, dtype, limits),
            exchanged=np.broadcast_to(np.asarray(exchanged, dtype=np.float64), (count,)),
            origin=np.full(count, self.number(origin)),
            shape=np.full(count, self.number(replaced_name(layer))),
            size=np.log(macs),
        )


def replaced_name(layer: Computed) -> Computed:
    """What is computed, whatever it is called."""
    import msgspec

    return msgspec.structs.replace(layer, name="", backward_data_in_step=True)


class Estimate(NamedTuple):
    """Log seconds at some sizes.

    Attributes
    ----------
    mean
        (n,).
    moved
        What other samples of the same kernels would change, (replicas, n).
    error
        Standard deviation of the model's own error, (n,).
    """

    mean: np.ndarray
    moved: np.ndarray
    error: np.ndarray


def prior(
    layer: Computed, pass_: Pass, batches: np.ndarray, exchanged: np.ndarray, dtype: DType, limits: Ceilings
) -> Estimate:
    """Times before anything of the class is known: a processor's, see :data:`CLASS_MEAN`; no replica moves them."""
    at_ceilings = seconds(layer, pass_, batches, dtype, limits)
    alike = np.zeros(at_ceilings.shape[1])
    sizes = Sizes(at_ceilings, np.broadcast_to(exchanged, alike.shape), alike, alike, alike)
    mean, slope = sizes.linear(CLASS_MEAN[pass_])
    return Estimate(mean, np.zeros((1, len(mean))), np.sqrt(_prior_variance(slope)))


def _prior_variance(slope: np.ndarray) -> np.ndarray:
    found: np.ndarray = (CLASS_SPREAD**2 + LAYER_SPREAD**2) @ slope**2 + DRIFT**2 + OWN**2
    return found


class ClassFit:
    """The efficiency of one class of kernels, fitted to observations of it.

    Parameters
    ----------
    observations
        Of one layer type and pass; at least one.
    moved
        Log of each observation's median in replicas of its samples over the median itself, (replicas, n).
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        moved: np.ndarray,
        pass_: Pass,
        dtype: DType,
        limits: Ceilings,
    ) -> None:
        if len(observations) > MOST:
            chosen = np.linspace(0, len(observations) - 1, MOST).round().astype(int)
            observations, moved = [observations[i] for i in chosen], moved[:, chosen]
        self._pass, self._dtype, self._limits = pass_, dtype, limits
        self._shapes = Shapes()
        self._known = _joined([self._sizes_of(one) for one in observations])
        self._log = np.log([one.seconds for one in observations])
        self._noise = np.array([one.noise for one in observations]) ** 2
        self._moved = moved
        self._mean = CLASS_MEAN[pass_]
        self._weight = np.ones(len(observations))
        self._u = self._fitted()
        inverse, deviation, _ = self._solved(self._weight)
        self._inverse, self._deviation = inverse, deviation

    def _sizes_of(self, one: Observation) -> Sizes:
        exchanged = np.array([one.exchanged], dtype=np.float64)
        return self._shapes.sizes(
            one.origin, one.layer, self._pass, np.array([one.batch]), exchanged, self._dtype, self._limits
        )

    def _fitted(self) -> np.ndarray:
        """The class's most probable u, by Gauss-Newton; sizes that deviate much come to weigh less."""
        u = self._mean.copy()
        precision = np.diag(CLASS_SPREAD**-2)
        for _ in range(ROUNDS):
            log, slope = self._known.linear(u)
            within = self._covariance(self._known, slope, slope, self._weight) + np.diag(self._alone(self._weight))
            weighed = np.linalg.solve(within, slope.T).T
            wanted = np.linalg.solve(
                weighed @ slope.T + precision, weighed @ (self._log - log + slope.T @ u) + precision @ self._mean
            )
            u = u + np.clip(wanted - u, -0.5, 0.5)
            self._u = u
            _, _, left_out = self._solved(np.ones(len(self._log)))
            self._weight = (TAIL + 1) / (TAIL + left_out**2)
        return u

    def _alone(self, weight: np.ndarray) -> np.ndarray:
        """Variance of each observation that nothing else shares."""
        found: np.ndarray = self._noise + (1 - LASTING) * OWN**2 / weight
        return found

    def _covariance(self, sizes: Sizes, slope: np.ndarray, of_known: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Of what a layer's times have in common beside the class, (sizes, known)."""
        known = self._known
        same_layer = sizes.origin[:, None] == known.origin[None, :]
        same_shape = sizes.shape[:, None] == known.shape[None, :]
        apart = np.abs(sizes.size[:, None] - known.size[None, :])
        regime = sizes.exchanged[:, None] == known.exchanged[None, :]
        drift = DRIFT**2 * np.exp(-apart / REACH) * np.where(same_shape, 1.0, OTHER_SHAPE)
        lasting = np.where(same_shape & regime & (apart < 1e-9), LASTING * OWN**2 / weight[None, :], 0.0)
        return np.where(same_layer, slope.T @ np.diag(LAYER_SPREAD**2) @ of_known + drift + lasting, 0.0)

    def _solved(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inverse covariance of the observations, their deviation from the prior, and standardised errors left out.

        The last are those of each observation predicted from all others (Rasmussen and Williams, section 5.4.2).
        """
        log, slope = self._known.linear(self._u)
        covariance = (
            self._covariance(self._known, slope, slope, weight)
            + slope.T @ np.diag(CLASS_SPREAD**2) @ slope
            + np.diag(self._alone(weight))
        )
        inverse = np.linalg.inv(covariance)
        deviation = self._log - log - slope.T @ (self._mean - self._u)
        return inverse, deviation, inverse @ deviation / np.sqrt(np.diag(inverse))

    @cached_property
    def left_out(self) -> np.ndarray:
        """Standardised error of each observation, predicted from all others, also of those that deviate much."""
        return self._solved(np.ones(len(self._log)))[2]

    def at(
        self, origin: AnyLayer, layer: Computed, batches: Sequence[int] | np.ndarray, exchanged: np.ndarray
    ) -> Estimate:
        """Times of a layer of the class over batches; ``origin`` is anonymous."""
        sizes = self._shapes.sizes(origin, layer, self._pass, np.asarray(batches), exchanged, self._dtype, self._limits)
        log, slope = sizes.linear(self._u)
        _, of_known = self._known.linear(self._u)
        shared = self._covariance(sizes, slope, of_known, self._weight)
        common = shared + slope.T @ np.diag(CLASS_SPREAD**2) @ of_known
        weights = common @ self._inverse
        mean = log + slope.T @ (self._mean - self._u) + weights @ self._deviation
        # Noise of the samples is left to their replicas: what they explain is no error of the model.
        error = (
            _prior_variance(slope)
            - np.einsum("ij,ij->i", weights, common)
            - np.einsum("ij,j,ij->i", weights, self._noise, weights)
        )
        return Estimate(mean, self._moved @ weights.T, np.sqrt(np.maximum(error, LEAST_ERROR**2)))


def _joined(sizes: Sequence[Sizes]) -> Sizes:
    return replace(
        sizes[0],
        ceilings=np.concatenate([one.ceilings for one in sizes], axis=1),
        exchanged=np.concatenate([one.exchanged for one in sizes]),
        origin=np.concatenate([one.origin for one in sizes]),
        shape=np.concatenate([one.shape for one in sizes]),
        size=np.concatenate([one.size for one in sizes]),
    )
