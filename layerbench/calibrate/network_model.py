"""Measures the network between two ranks: the all-reduce sweep that a run's network model is fitted to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from layerbench.calibrate.sample import sample
from layerbench.collectives import Ranks
from layerbench.network import HERE, SWEEP_BYTES, fit
from layerbench.records import Network, NetworkPoint, Options
from layerbench.sampling import Rule
from layerbench.stats import interval

SECONDS_A_SIZE = 0.5

LONGEST = 0.3
"""Seconds of an all-reduce after which no larger one is timed."""


def all_reduce_sweep(options: Options, ranks: Ranks, progress: Callable[[str], None]) -> Network | None:
    """Time in-place float32 all-reduces of 4 B to 256 MiB over two ranks, and fit α and β.

    Returns
    -------
    Network or None
        The model on rank 0, None elsewhere.
    """
    rule = Rule(max(options.rel_error, 0.02), min(options.max_time, SECONDS_A_SIZE), options.max_samples)
    points = []
    for size in SWEEP_BYTES:
        point = _point(size, rule, ranks, progress)
        if point is not None:
            points.append(point)
        # On a slow network the largest sizes would take minutes, and its bandwidth shows long before.
        if ranks.broadcast(point is not None and point.seconds > LONGEST):
            break
    if ranks.rank != 0:
        return None
    where = "of two ranks on this machine"
    if options.machines > 1:
        where = f"between {' and '.join(options.hosts[:2]) or 'two nodes of the allocation'}"
    if options.devices:
        where += ", of the host's memory"
    return fit(points, ranks.size, HERE, f"fitted to an all-reduce sweep {where}, {ranks.library}")


def _point(size: int, rule: Rule, ranks: Ranks, progress: Callable[[str], None]) -> NetworkPoint | None:
    values = np.random.default_rng(0).standard_normal(size // 4, dtype=np.float32)
    buffer = values.copy()
    samples = sample(
        ranks.all_reduce(buffer),
        # Sums of sums grow, within one sample of a small buffer to infinity, which adds up as quickly as anything else.
        lambda: np.copyto(buffer, values),
        rule,
        ranks,
        lambda: progress(f"network: all-reduce of {size} B"),
    )
    if samples is None:
        return None
    times = interval(samples)
    return NetworkPoint(bytes=size, seconds=times.median, low=times.low, high=times.high, samples=samples)
