"""Lower bounds on the makespan: what no plan can be quicker than.

Each is the least makespan that a condition, which every plan within a makespan d fulfils, does not rule out. What a
plan within some makespan fulfils it fulfils for every longer one too, so that a d which is ruled out is a bound.

* L1: the jobs' least node-seconds fit the nodes, and the longest job fits at its quickest.
* L2: the same with the least node-seconds among the counts on which a job takes d at most.
* L3: L2, and of two jobs longer than d/2 none can follow the other, so that all of these stand side by side.
* L4: L2 with the extents of jobs in time and nodes mapped by dual feasible functions (Fekete and Schepers, New classes
  of fast lower bounds for bin packing problems, 2001), under which what fits together still does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from layerbench.schedule.instance import Instance

if TYPE_CHECKING:
    import numpy as np

_EXACT_WORK = 30_000_000
"""Counts times nodes up to which the knapsack of L3 is solved; beyond, it is relaxed, which only lowers the bound."""

_STEPS = 45
"""Halvings of an interval: as far as rounding lets it be halved."""

_THIRDS = 60
"""Times that the interval of a price loses a third."""

_SLACK = 1e-9
"""Relative; what is ruled out by less may be so by rounding."""


def bounds(instance: Instance) -> dict[str, float]:
    """L1 to L4 of an instance, in seconds, each at least as large as the one before."""
    found = {"L1": _l1(instance), "L2": 0.0, "L3": 0.0, "L4": 0.0}
    least = found["L1"]
    for name, excluded in (("L2", _no_area), ("L3", _no_shelf), ("L4", _no_mapping)):
        found[name] = least = _least(partial(excluded, instance), least)
    return found


def _l1(instance: Instance) -> float:
    import numpy as np

    modes = instance.modes
    area = np.minimum.reduceat(modes.area, modes.first).sum()
    longest = np.minimum.reduceat(modes.seconds, modes.first).max()
    return float(max(area / instance.nodes, longest))


def _least(excluded: Callable[[float], bool], low: float) -> float:
    """A makespan of at least ``low`` that nothing below, as far as was seen, escapes being excluded."""
    if not excluded(low):
        return low
    high = low
    while excluded(high):
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if excluded(middle):
            low = middle
        else:
            high = middle
    return low


def least_area(instance: Instance, due: float) -> np.ndarray:
    """For each job the least node-seconds of its counts on which it takes ``due`` seconds at most; infinite if none."""
    import numpy as np

    modes = instance.modes
    return np.minimum.reduceat(np.where(modes.seconds <= due, modes.area, np.inf), modes.first)


def _no_area(instance: Instance, due: float) -> bool:
    return bool(least_area(instance, due).sum() > instance.nodes * due * (1 + _SLACK))


def _no_shelf(instance: Instance, due: float) -> bool:
    if instance.size * instance.nodes <= _EXACT_WORK:
        area = shelf_areas(instance, due)[0][-1]
    else:
        area = _relaxed_shelf_area(instance, due)
    return bool(area > instance.nodes * due * (1 + _SLACK))


def shelf_areas(instance: Instance, due: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Least node-seconds of all jobs whose long ones, over half of ``due``, stand side by side.

    Returns
    -------
    areas : numpy.ndarray
        By the nodes that the long ones may take, from none to all; infinite where it cannot be.
    choices : list of numpy.ndarray
        For each job the place of its count among its own, by the nodes left to it and the jobs before it; -1 for none.
    """
    import numpy as np

    areas = np.zeros(instance.nodes + 1)
    choices = []
    for counts in instance.counts:
        short = min(((n * t, i) for i, (n, t) in enumerate(counts) if t <= due / 2), default=(np.inf, -1))
        best = areas + short[0]
        choice = np.full(len(areas), short[1], np.int32)
        for place, (nodes, seconds) in enumerate(counts):
            if due / 2 < seconds <= due:
                with_it = areas[: len(areas) - nodes] + nodes * seconds
                better = with_it < best[nodes:]
                best[nodes:][better] = with_it[better]
                choice[nodes:][better] = place
        areas = best
        choices.append(choice)
    return areas, choices


def _relaxed_shelf_area(instance: Instance, due: float) -> float:
    """A lower bound on the same, at a price for each node of the long ones in place of the limit on them."""
    import numpy as np

    modes = instance.modes
    fits, long = modes.seconds <= due, modes.seconds > due / 2

    def at(price: float) -> float:
        cost = np.where(fits, modes.area + price * np.where(long, modes.nodes, 0.0), np.inf)
        return float(np.minimum.reduceat(cost, modes.first).sum() - price * instance.nodes)

    # Concave in the price, which need not exceed a node's whole time.
    low, high = 0.0, due
    for _ in range(_THIRDS):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        if at(one) < at(two):
            low = one
        else:
            high = two
    return max(at(0.0), at(low))


def _no_mapping(instance: Instance, due: float) -> bool:
    import numpy as np

    modes = instance.modes
    # A hair less than they are: at its steps a function must not take for more what is rounded up.
    times, shares = modes.seconds / due * (1 - _SLACK), modes.nodes / instance.nodes * (1 - _SLACK)
    fits = modes.seconds <= due
    mapped = [function(shares) for function in _functions()]
    for function in _functions():
        of_times = function(np.minimum(times, 1.0))
        for of_shares in mapped:
            weights = np.where(fits, of_times * of_shares, np.inf)
            if np.minimum.reduceat(weights, modes.first).sum() > 1 + _SLACK:
                return True
    return False


def _functions() -> Iterator[Callable[[Any], Any]]:
    for parts in range(1, 6):
        yield partial(_in_parts, parts=parts)
    for threshold in (0.0, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5):
        yield partial(_without_ends, threshold=threshold)


def _in_parts(share: np.ndarray, parts: int) -> np.ndarray:
    """u(k) of Fekete and Schepers: of what is larger than 1/(k + 1) fewer than k + 1 fit."""
    import numpy as np

    whole: np.ndarray = np.floor((parts + 1) * share)
    return whole / parts


def _without_ends(share: np.ndarray, threshold: float) -> np.ndarray:
    """U(ε) of Fekete and Schepers: beside what is larger than 1 - ε only what is smaller than ε fits."""
    import numpy as np

    return np.where(share > 1 - threshold, 1.0, np.where(share < threshold, 0.0, share))
