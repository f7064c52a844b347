"""Kernel times of a device that nobody has measured, from its peak and its memory's bandwidth alone.

What is known is what other devices took (``results/deepbench/published_times.csv``, training in single precision). A
time is written as the roofline's, max(2 MACs / peak, bytes / bandwidth), times e to the *excess*, and what is predicted
is the excess:

* at a shape that other devices were given, as the weighted median of theirs: the nearer a device in log peak and log
  bandwidth, the more it weighs, and a slope in both is taken off before (:mod:`layerbench.kernel_times.transfer`);
* at any other shape, by a Gaussian process through those medians over what shapes are like
  (:mod:`layerbench.kernel_times.regression`);
* with a 90 % interval as wide as the errors that are found when measured devices are predicted from one another.

Nothing in it names a device, and nothing that is measured on a device has a part in its own prediction: places, scales,
settings and intervals are those of the other devices. How well it does is seen by leaving each device out in turn, and
with it a fifth of the shapes (:mod:`layerbench.kernel_times.evaluate`); ``layerbench kernel-times`` prints that, beside
the plain way: the roofline times the median excess of the other devices at the same shape.

What a peak and a bandwidth cannot tell is how good a device's library is: two devices of the same figures and of
different vendors take times that differ by a quarter and more, and no model of these two figures can know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerbench.layers import AnyLayer, DType, Pass, SplitLSTM

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """A predicted time: its median in seconds, and the standard deviation of its natural logarithm."""

    seconds: float
    log_sigma: float


def estimate(
    layer: AnyLayer | SplitLSTM, pass_: Pass, batch: int, dtype: DType, peak_flops: float, bytes_per_second: float
) -> Estimate:
    """How long a pass of a layer takes on a device of which no more is known than its peak and bandwidth.

    Parameters
    ----------
    layer, pass_, batch, dtype
        What is computed. All is learnt in single precision; in another, the layer is taken to reach the same fraction
        of that precision's roofline, and the estimate is the less certain.
    peak_flops
        Of the device in this precision, in FLOP/s.
    bytes_per_second
        Of its memory.

    Returns
    -------
    Estimate
        Never less than the roofline's time with every operand read and every result written once: an algorithm that
        needs fewer multiplications may be quicker still. The first call fits the model, which takes under a second.

    Raises
    ------
    UsageError
        If batch, peak or bandwidth is not positive.
    """
    # NumPy and pandas are loaded with the first estimate, not with the commands.
    from layerbench.kernel_times.layer_time import of_layer

    return of_layer(layer, pass_, batch, dtype, peak_flops, bytes_per_second)
