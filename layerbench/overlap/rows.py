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


SHARED = (
    "No core to spare: batches are made by the cores that compute, so that in what is attainable all that transfer "
    "keeps a core busy for counts as computation, and only what it waits for can be hidden."
)
"""What is to be known of a row whose transfer and computation share cores."""


def attainable(transfer: float, computation: float, communication: float, lanes: int = 1, busy: float = 0.0) -> float:
    """The most that overlap can gain: all stages one after another over the longest one, Σ / max.

    Parameters
    ----------
    transfer, computation, communication
        Seconds of a step's stages, each by itself on one thread's worth of resources.
    lanes
        Cores that transfer is spread over when it is overlapped.
    busy
        Seconds for which transfer keeps busy the cores that compute, where it has none of its own: computation and
        this cannot be at once, so that they are one stage.
    """
    return (transfer + computation + communication) / longest(transfer, computation, communication, lanes, busy)


def longest(transfer: float, computation: float, communication: float, lanes: int = 1, busy: float = 0.0) -> float:
    """Seconds of the stage that a pipeline cannot be quicker than."""
    return max(transfer / lanes, computation + busy, communication)


def both(
    implicit: Samples,
    explicit: Samples,
    *,
    lanes: int,
    rel_error: float,
    shared: int = 0,
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
    shared
        Cores that compute and make batches too; 0 where transfer has cores of its own.
    known
        The row's other fields.
    """
    one, two = interval(implicit.step), interval(explicit.step)
    gain = ratio_of(one, two)
    transfer, communication = median(implicit.transfer), median(implicit.communication)
    computation = max(0.0, one.median - transfer - communication)
    stages = transfer, computation, communication
    # No more than transfer took: clocks of a thread tick more coarsely on some systems.
    busy = min(median(implicit.busy), transfer) / shared if shared else 0.0
    bound = longest(*stages, lanes, busy)
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
        attainable=attainable(*stages, lanes, busy),
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
