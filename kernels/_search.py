"""The race between candidate algorithms that share one process and one device."""

from __future__ import annotations

import math
from collections.abc import Mapping

from layerbench.device import Device, Run
from layerbench.kernel import Budget


def fastest(runs: Mapping[str, Run], device: Device, budget: Budget) -> str:
    """Name of the candidate with the least time.

    Every candidate must have touched its memory before: the first run already counts, and decides whether
    there is a second (``budget.patience``).

    Parameters
    ----------
    runs
        The candidates by name, at least one.
    """
    best, least = next(iter(runs)), math.inf
    if len(runs) == 1:
        return best
    for name, run in runs.items():
        budget.progress(name)
        seconds = device.time_parts([run], 1)[0]
        if seconds > budget.patience * least:
            continue
        for _ in range(budget.runs - 1):
            seconds = min(seconds, *device.time_parts([run], 1))
        if seconds < least:
            best, least = name, seconds
    return best
