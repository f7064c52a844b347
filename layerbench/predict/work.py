"""What a pass takes at a machine's ceilings: seconds of arithmetic, of memory traffic and of launches, each by itself.

In the roofline model (Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, 2009) a pass takes at least the larger of 2 MACs / peak and bytes / bandwidth. The three are kept apart
here because kernels reach a different part of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from layerbench.errors import UsageError
from layerbench.layers import LSTM, AnyLayer, DType, Pass, SplitLSTM
from layerbench.machine import Machine

Computed = AnyLayer | SplitLSTM
"""A layer as a rank has it."""


class Ceilings(NamedTuple):
    """Of one rank: FLOP/s, bytes a second, and the seconds that the quickest kernel takes."""

    flops: float
    bandwidth: float
    launch: float


def ceilings(machine: Machine, dtype: DType) -> Ceilings:
    """A machine's ceilings in a dtype.

    Raises
    ------
    UsageError
        If it has no peak for that dtype.
    """
    if dtype not in machine.peak:
        known = ", ".join(machine.peak) or "none"
        raise UsageError(f"--dtype {dtype}: machine {machine.name} has no peak for it; it has one for {known}")
    return Ceilings(machine.peak[dtype].value, machine.bandwidth.value, machine.launch.value)


def kind_of(layer: Computed) -> str:
    """The layer type whose kernels compute it: a part of an LSTM's units is an LSTM."""
    return "lstm" if isinstance(layer, SplitLSTM) else layer.kind


def launches(layer: Computed, pass_: Pass) -> int:
    """Kernels that have to follow one another.

    An LSTM's time steps wait for each other, but for its weight gradients, which are one product over all steps.
    """
    return layer.time_steps if isinstance(layer, LSTM | SplitLSTM) and pass_ != "backward_weights" else 1


def seconds(
    layer: Computed, pass_: Pass, batches: Sequence[int] | np.ndarray, dtype: DType, limits: Ceilings
) -> np.ndarray:
    """Seconds at the ceilings, of shape (3, batches): arithmetic, memory, launches.

    MACs are proportional to the batch, and compulsory bytes are those of the weights and of each sample.
    """
    batch = np.asarray(batches, dtype=np.float64)
    one, two = layer.bytes(1, dtype), layer.bytes(2, dtype)
    moved = (2 * one - two) + (two - one) * batch
    return np.stack(
        [
            2 * layer.macs(1) * batch / limits.flops,
            moved / limits.bandwidth,
            np.full(batch.shape, limits.launch * launches(layer, pass_)),
        ]
    )
