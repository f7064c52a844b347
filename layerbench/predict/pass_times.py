"""Seconds of a pass at any size, from the nearest evidence there is, with replicas of its error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from layerbench.layers import PASSES, AnyLayer, DType, Pass
from layerbench.machine import Figure, Machine
from layerbench.predict.draws import Draws, with_estimate
from layerbench.predict.efficiency import ClassFit, prior, replaced_name
from layerbench.predict.evidence import INTERVAL_WIDTH, Observation, anonymous
from layerbench.predict.published import Estimator, PublishedTimes
from layerbench.predict.work import Computed, ceilings, kind_of
from layerbench.predict.work import seconds as at_ceilings

Source = Literal["layer", "class", "published", "processor"]
"""Where a time comes from: the layer and pass itself, others of its type and pass here, published devices, or what
is assumed of a processor before anything is known of it: nearly all published devices are GPUs, whose launches and
libraries are others."""

_PRIOR_SCALE = 10
"""Residuals that the assumed size of errors counts as much as."""

_LARGEST_RESIDUAL = 4.0

CARRIED = 0.33
"""Standard error, in log seconds, of what one machine's kernels reach of their ceilings, taken for another's.

Between the published devices the median error of that is 18 to 22 % (``layerbench kernel-times``, plain).
"""

CARRIED_TO_ANOTHER_KIND = 0.7
"""The same from a processor to a GPU or back, where libraries and launches are others: an estimate."""

_LEAST_POOL = 20
"""Residuals from which errors are drawn; of fewer, they are normal."""


@dataclass(frozen=True)
class _Errors:
    """What the fits' residuals say of errors: how large they are beside what was assumed, and which there were."""

    scale: float
    pool: np.ndarray | None


class PassTimes:
    """Times of passes on a machine.

    Parameters
    ----------
    observations
        What was timed there, in the dtype.
    estimator
        What published devices say of anything else, or an assumption; None for what is assumed of a processor.
    carried
        Standard error, in log seconds, of taking what another machine's kernels reach for this one's; 0 where the
        observations were made on this one.
    """

    def __init__(
        self,
        machine: Machine,
        dtype: DType,
        observations: Sequence[Observation],
        estimator: Estimator | None,
        draws: Draws,
        *,
        carried: float = 0.0,
    ) -> None:
        self._carried = carried
        self._limits, self._dtype = ceilings(machine, dtype), dtype
        self._draws = draws
        self._published = None if estimator is None else PublishedTimes(estimator, dtype, self._limits)
        self._nominal = math.hypot(_log_error(machine.peak[dtype]), _log_error(machine.bandwidth))
        classes: dict[tuple[str, Pass], list[Observation]] = {}
        for one in observations:
            classes.setdefault((kind_of(one.layer), one.pass_), []).append(one)
        self._fits = {
            key: ClassFit(members, self._moved(members), key[1], dtype, self._limits)
            for key, members in classes.items()
        }
        self._layers = {(one.origin, one.pass_) for one in observations}
        self._errors = _errors([fit.left_out for fit in self._fits.values()])

    def _moved(self, observations: Sequence[Observation]) -> np.ndarray:
        """Log of replicas of each median over the median itself, (replicas, n)."""
        columns = []
        for place, one in enumerate(observations):
            name = ("samples", one.origin, one.layer, one.pass_, one.batch, one.exchanged, place)
            if len(one.samples) > 1:
                columns.append(np.log(self._draws.medians(one.samples, *name) / one.seconds))
            else:
                columns.append(one.noise * self._draws.normal(*name))
        return np.stack(columns, axis=1)

    def source(self, layer: AnyLayer, pass_: Pass) -> Source:
        """Where a layer's times come from."""
        if (anonymous(layer), pass_) in self._layers:
            return "layer"
        if (layer.kind, pass_) in self._fits:
            return "class"
        return "processor" if self._published is None else "published"

    def sources(self, layer: AnyLayer) -> set[Source]:
        """The same of all its passes."""
        return {self.source(layer, pass_) for pass_ in PASSES}

    def seconds(
        self,
        layer: AnyLayer,
        computed: Computed,
        pass_: Pass,
        batches: Sequence[int] | np.ndarray,
        exchanged: Sequence[bool] | np.ndarray | bool,
    ) -> np.ndarray:
        """Seconds over batches, (1 + replicas, batches): the estimate, then its replicas.

        Parameters
        ----------
        layer
            The whole layer.
        computed
            What a rank computes of it.
        batches
            Samples of that rank, each at least 1.
        exchanged
            Whether ranks exchange something in every step, for each batch or all.
        """
        sizes = np.asarray(batches)
        fit = self._fits.get((layer.kind, pass_))
        together = np.asarray(exchanged, dtype=np.float64)
        if fit is None:
            if self._published is None:
                mean, _, error = prior(computed, pass_, sizes, together, self._dtype, self._limits)
            else:
                mean, error = self._published.at(replaced_name(computed), pass_, sizes)
            error = np.hypot(error, self._nominal)
            moved = self._draws.nested("published", layer.kind, layer.name, pass_)[:, None] * error
        else:
            told = fit.at(anonymous(layer), replaced_name(computed), sizes, together)
            drawn = self._draws.nested("fit", layer.kind, layer.name, pass_, pool=self._errors.pool)
            mean = told.mean
            moved = told.moved + drawn[:, None] * told.error * self._errors.scale
            if self._carried:
                moved = moved + self._draws.nested("carried", layer.kind, layer.name, pass_)[:, None] * self._carried
        found: np.ndarray = np.maximum(np.exp(with_estimate(mean, mean + moved)), self._limits.launch)
        if fit is None:
            # Of what was not measured no replica is quicker than the roofline; what stays in cache may well be.
            arithmetic, memory, _ = at_ceilings(computed, pass_, sizes, self._dtype, self._limits)
            found = np.maximum(found, np.maximum(arithmetic, memory))
        return found


def _errors(left_out: Sequence[np.ndarray]) -> _Errors:
    residuals = np.clip(np.concatenate([*left_out, np.empty(0)]), -_LARGEST_RESIDUAL, _LARGEST_RESIDUAL)
    scale = math.sqrt((float(residuals @ residuals) + _PRIOR_SCALE) / (len(residuals) + _PRIOR_SCALE))
    if len(residuals) < _LEAST_POOL:
        return _Errors(scale, None)
    return _Errors(scale, residuals / math.sqrt(float(residuals @ residuals) / len(residuals)))


def _log_error(figure: Figure) -> float:
    """Standard error of a figure's log, from its interval; none where it is nominal."""
    return math.log(figure.high / figure.low) / INTERVAL_WIDTH if 0 < figure.low < figure.high else 0.0
