"""Kernels that take turns sample by sample in one process, so that whatever else the machine does meets all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from layerbench.device import Run

SHORTEST_SAMPLE = 1e-3
"""Seconds that a sample lasts at least."""

Timing = Callable[[int], float]
"""Times so many calls one after another: seconds of one."""


def take_turns(timings: Mapping[str, Timing], least: int, seconds: float) -> dict[str, list[float]]:
    """Samples of each kernel, one after another in turn.

    Parameters
    ----------
    timings
        By the kernels' names, at least one.
    least
        Samples of each, however long they take.
    seconds
        Samples are taken for so long at least.

    Returns
    -------
    dict of list of float
        Seconds of one call, in the order in which they were taken.
    """
    calls = {}
    for name, timing in timings.items():
        timing(1)
        calls[name] = max(1, math.ceil(SHORTEST_SAMPLE / max(timing(1), 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in timings}
    begin, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - begin < seconds:
        for name, timing in timings.items():
            times[name].append(timing(calls[name]))
        rounds += 1
    return times


def both_gradients(prepared: Mapping[str, Any], peer: str) -> dict[str, Sequence[Run]] | None:
    """Calls that leave both gradients of a layer, where a peer computes both whichever is asked for; else None.

    An LSTM's gradients come from one recurrent backward. Asked for either, such a peer does all that leads to both, so
    that only both together can be compared.
    """
    together = getattr(prepared.get(peer), "backward_together", None)
    if together is None:
        return None
    runs: dict[str, Sequence[Run]] = {
        name: [ready.run["backward_data"], ready.run["backward_weights"]] for name, ready in prepared.items()
    }
    return runs | {peer: [together]}
