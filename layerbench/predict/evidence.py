"""What is known of kernels on a machine: passes of a run's shards, and kernels measured by calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from layerbench.layers import PASSES, AnyLayer, DType, Pass
from layerbench.machine import KernelPoint
from layerbench.partition import narrowed, outputs
from layerbench.predict.work import Ceilings, Computed
from layerbench.predict.work import seconds as at_ceilings
from layerbench.records import Manifest, Record

LEAST_NOISE = 0.005
"""Of a median, in log seconds: two runs of the same differ by that much however many samples each has."""

INTERVAL_WIDTH = 2 * 1.6449
"""Standard deviations between the ends of a 90 % interval."""


@dataclass(frozen=True)
class Observation:
    """A timed pass of a layer on one rank.

    Attributes
    ----------
    origin
        The layer it belongs to, without its name: :func:`anonymous`.
    layer
        What was computed of it: itself, or with fewer outputs.
    exchanged
        Whether ranks exchanged something in every iteration: that takes weights out of the caches, and ranks of one
        node share its memory.
    seconds, noise
        The median, and its standard error in log seconds.
    samples
        What was measured, where it is known.
    """

    origin: AnyLayer
    layer: Computed
    pass_: Pass
    batch: int
    exchanged: bool
    seconds: float
    noise: float
    samples: tuple[float, ...] = ()


def anonymous(layer: AnyLayer) -> AnyLayer:
    """A layer's shape alone, by which it is known again under another name."""
    return msgspec.structs.replace(layer, name="", backward_data_in_step=True)


def of_records(manifest: Manifest, records: Iterable[Record], dtype: DType) -> list[Observation]:
    """Every pass of a run's shards that was timed, measured or emulated: also an emulated count's passes are real."""
    layers = {layer.name: layer for layer in manifest.layers}
    found = []
    for record in records:
        timed = [sample for sample in record.samples if sample > 0]
        layer = layers.get(record.layer)
        if record.status != "ok" or record.part not in PASSES or not timed or record.dtype != dtype or layer is None:
            continue
        computed = layer if record.layout == "data" else narrowed(layer, -(-outputs(layer) // record.ranks))
        found.append(
            Observation(
                origin=anonymous(layer),
                layer=computed,
                pass_=record.part,
                batch=record.local_batch,
                exchanged=record.placement == "measured" and record.ranks > 1,
                seconds=float(np.median(timed)),
                noise=_noise(timed),
                samples=tuple(timed),
            )
        )
    return found


def of_kernels(points: Sequence[KernelPoint], dtype: DType) -> list[Observation]:
    """Kernels that calibration measured, on one rank by itself."""
    return [
        Observation(
            origin=anonymous(point.layer),
            layer=point.layer,
            pass_=point.pass_,
            batch=point.batch,
            exchanged=False,
            seconds=point.seconds,
            noise=max(LEAST_NOISE, math.log(point.high / point.low) / INTERVAL_WIDTH) if point.low > 0 else 0.1,
        )
        for point in points
        if point.dtype == dtype and point.seconds > 0
    ]


def carried(observations: Iterable[Observation], dtype: DType, own: Ceilings, there: Ceilings) -> list[Observation]:
    """What was timed at some ceilings, as it would be at others of which the same part is reached."""
    found = []
    for one in observations:
        before, after = (
            float(at_ceilings(one.layer, one.pass_, [one.batch], dtype, limits).sum()) for limits in (own, there)
        )
        factor = after / before
        samples = tuple(sample * factor for sample in one.samples)
        found.append(replace(one, seconds=one.seconds * factor, samples=samples))
    return found


def _noise(samples: Sequence[float]) -> float:
    """Standard error of the log of a median: that of normal samples, their spread told by the median deviation."""
    logs = np.log(np.asarray(samples))
    spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    return math.hypot(1.2533 * spread / math.sqrt(len(logs)), LEAST_NOISE)
