"""Measures what one rank has by itself: its ceilings, the launch of a kernel, and layers of every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from layerbench import environment, registry, roofline
from layerbench.assignment import RankFigures
from layerbench.calibrate.probes import LAYERS, launches, probe
from layerbench.errors import LayerbenchError, MeasurementError, UnavailableError
from layerbench.layers import DType
from layerbench.machine import Figure, ceiling
from layerbench.machine.of_run import data_caches
from layerbench.records import Options, Roofline
from layerbench.units import seconds

Progress = Callable[[str], None]

OF_PROBES: DType = "fp32"
"""What layers are timed in, if it is among what was asked for."""


def measure(options: Options, dtypes: Sequence[DType], progress: Progress) -> RankFigures:
    """Measure this rank, as it is pinned.

    Parameters
    ----------
    options
        Kernels and threads; ``max_time`` is for each measurement.
    dtypes
        Those for which there is no kernel are left out.
    progress
        Told what is being done; a watchdog listens.

    Raises
    ------
    UnavailableError
        If no kernel can do any of the dtypes.
    MeasurementError
        If there is no peak or no bandwidth.
    """
    reasons: list[str] = []
    found = _rooflines(options, dtypes, progress, reasons)
    peak = {each.dtype: ceiling(each.flops_samples, each.flops_source) for each in found if each.flops}
    rates = [rate for each in found for rate in each.bandwidth_samples]
    if not peak or not rates:
        raise MeasurementError(f"no {'bandwidth' if peak else 'peak'} could be measured: {'; '.join(reasons)}")
    of_probes = OF_PROBES if OF_PROBES in peak else next(iter(peak))
    launch = _launch(options, of_probes, progress)
    points, without = probe(options, of_probes, peak[of_probes].value, progress)
    device = registry.find(options.kernels, LAYERS[0], of_probes).device()
    return RankFigures(
        device=device.name,
        peak=peak,
        bandwidth=ceiling(rates, next(each.bandwidth_source for each in found if each.bandwidth_source)),
        launch=launch,
        kernels=points,
        memory_bytes=float(device.free_memory()),
        # Of another device than the host nothing is known here.
        caches=data_caches(environment.caches()) if device.name == "host" else [],
        reasons=[*reasons, *without],
    )


def _rooflines(options: Options, dtypes: Sequence[DType], progress: Progress, reasons: list[str]) -> list[Roofline]:
    """The ceilings in each dtype for which there is a kernel; why one is missing is added to the reasons."""
    found = []
    without = []
    for dtype in dtypes:
        progress(f"peak in {dtype}")
        try:
            measured = roofline.measure(msgspec.structs.replace(options, dtype=dtype), LAYERS, progress)
        except UnavailableError as error:
            without.append(str(error))
            continue
        found.append(measured)
        if measured.reason:
            reasons.append(f"{dtype}: {measured.reason}")
    if not found:
        raise UnavailableError(f"no kernel can run here: {'; '.join(without)}")
    return found


def _launch(options: Options, dtype: DType, progress: Progress) -> Figure:
    """The least time of the kind that is quickest to launch; its source names all of them."""
    try:
        times = launches(options, dtype, progress)
    except LayerbenchError as error:
        raise MeasurementError(f"no kernel's launch could be measured: {error}") from error
    told = ", ".join(f"{kind} {seconds(min(each))}" for kind, each in times.items())
    quickest = min((each for kind, each in times.items() if kind in _KINDS), key=min)
    ordered = sorted(quickest)
    return Figure(
        value=ordered[0],
        low=ordered[0],
        high=ordered[len(ordered) // 2],
        source=f"least of {len(ordered)} repetitions of the smallest layers, forward: {told}",
    )


_KINDS = {layer.kind for layer in LAYERS}
