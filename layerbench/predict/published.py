"""Kernel times of whatever was not measured, smooth in the batch: by published devices, or by an assumed efficiency."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from layerbench.layers import DType, Pass
from layerbench.predict.work import Ceilings, Computed, seconds


class Estimated(Protocol):
    """As :func:`layerbench.kernel_times.estimate` gives it: median seconds, and the standard deviation of their log."""

    @property
    def seconds(self) -> float: ...
    @property
    def log_sigma(self) -> float: ...


Estimator = Callable[[Computed, Pass, int, DType, float, float], Estimated]
"""Of (layer, pass, batch, dtype, FLOP/s, bytes a second)."""


class _Fraction(NamedTuple):
    seconds: float
    log_sigma: float = 0.0


def estimator(device: str, efficiency: float | None = None) -> Estimator | None:
    """Of kernels of which nothing was measured: what published devices say, or that all reach a part of the roofline.

    None for a processor (``host``), of which published devices, nearly all GPUs, say nothing.
    """
    if efficiency is not None:
        return at_fraction(efficiency)
    if device == "host":
        return None
    from layerbench.kernel_times import estimate

    return estimate


def at_fraction(efficiency: float) -> Estimator:
    """Kernels that all reach one part of the roofline and launch in no time: an assumption, without an error."""

    def estimate(layer: Computed, pass_: Pass, batch: int, dtype: DType, flops: float, bandwidth: float) -> Estimated:
        arithmetic, memory, _ = seconds(layer, pass_, [batch], dtype, Ceilings(flops, bandwidth, 0.0))[:, 0]
        return _Fraction(float(max(arithmetic, memory)) / efficiency)

    return estimate


class PublishedTimes:
    """Kernel times by a model of published devices.

    The model is asked at powers of two, and between two of them the time follows a power of the batch.
    """

    def __init__(self, estimate: Estimator, dtype: DType, limits: Ceilings) -> None:
        self._estimate, self._dtype, self._limits = estimate, dtype, limits
        self._known: dict[tuple[Computed, Pass, int], tuple[float, float]] = {}

    def at(self, layer: Computed, pass_: Pass, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log seconds, and the standard deviation of their error, over batches."""
        power = np.log2(np.asarray(batches, dtype=np.float64))
        below = np.floor(power).astype(int)
        part = power - below
        low = np.array([self._of_power(layer, pass_, int(k)) for k in below])
        high = np.array([self._of_power(layer, pass_, int(k) + bool(f > 0)) for k, f in zip(below, part, strict=True)])
        between = low * (1 - part[:, None]) + high * part[:, None]
        return between[:, 0], between[:, 1]

    def _of_power(self, layer: Computed, pass_: Pass, power: int) -> tuple[float, float]:
        key = (layer, pass_, power)
        if key not in self._known:
            flops, bandwidth, _ = self._limits
            told = self._estimate(layer, pass_, 2**power, self._dtype, flops, bandwidth)
            self._known[key] = float(np.log(told.seconds)), told.log_sigma
        return self._known[key]
