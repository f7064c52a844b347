"""From samples of both modes to a row: speed-up, what could be attained, and how much of it was."""

from __future__ import annotations

import math
from typing import Any

from layerbench.overlap.sampling import Samples
from layerbench.overlap_records import Mode, OneMode, Row
from layerbench.sampling import converged
from layerbench.stats import Interval, interval, median, ratio_of

LEAST = 1e-3
"""Of a step: where overlap can save less, the part of it that is saved cannot be said."""


def _unsure(one: Interval, two: Interval) -> float:
    """Seconds by which the difference of two medians may be wrong."""
    return math.hypot((one.high - one.low) / 2, (two.high - two.low) / 2)


def attainable(transfer: float, computation: float, communication: float, lanes: int = 1) -> float:
    """The most that overlap can gain: all stages one after another over the longest one, Σ / max.

    Parameters
    ----------
    transfer, computation, communication
        Seconds of a step's stages, each by itself on one thread's worth of resources.
    lanes
        Cores that transfer is spread over when it is overlapped.
    """
    return (transfer + computation + communication) / longest(transfer, computation, communication, lanes)


def longest(transfer: float, computation: float, communication: float, lanes: int = 1) -> float:
    """Seconds of the stage that a pipeline cannot be quicker than."""
    return max(transfer / lanes, computation, communication)


def both(
    implicit: Samples,
    explicit: Samples,
    *,
    lanes: int,
    rel_error: float,
    **known: Any,
) -> Row:
    """A row of both modes.

    Parameters
    ----------
    implicit, explicit
        Their samples.
    lanes
        Cores that transfer is spread over.
    rel_error
        How narrow intervals were to become.
    known
        The row's other fields.
    """
    one, two = interval(implicit.step), interval(explicit.step)
    gain = ratio_of(one, two)
    transfer, communication = median(implicit.transfer), median(implicit.communication)
    computation = max(0.0, one.median - transfer - communication)
    stages = transfer, computation, communication
    bound = longest(*stages, lanes)
    saved = one.median - bound
    return Row(
        implicit_seconds=one.median,
        implicit_low=one.low,
        implicit_high=one.high,
        explicit_seconds=two.median,
        explicit_low=two.low,
        explicit_high=two.high,
        speedup=gain.median,
        speedup_low=gain.low,
        speedup_high=gain.high,
        attainable=attainable(*stages, lanes),
        eta=(one.median - two.median) / saved if saved > max(LEAST * one.median, _unsure(one, two)) else None,
        ratio=transfer / computation if computation else None,
        transfer_seconds=transfer,
        compute_seconds=computation,
        communication_seconds=communication,
        exposed_transfer_seconds=median(explicit.transfer),
        exposed_communication_seconds=median(explicit.communication),
        implicit_samples=implicit.step,
        explicit_samples=explicit.step,
        noisy=not all(converged(samples.step, rel_error) for samples in (implicit, explicit)),
        **known,
    )


def alone(mode: Mode, samples: Samples, *, rel_error: float, **known: Any) -> OneMode:
    """What was measured of one mode; arguments as of :func:`both`."""
    of_step = interval(samples.step)
    return OneMode(
        mode=mode,
        seconds=of_step.median,
        low=of_step.low,
        high=of_step.high,
        transfer_seconds=median(samples.transfer),
        communication_seconds=median(samples.communication),
        samples=samples.step,
        noisy=not converged(samples.step, rel_error),
        **known,
    )
