"""The link that a run's network model is."""

from __future__ import annotations

from layerbench.machine.figures import INTERVAL, Exchanged, Fit, Link, exact
from layerbench.records import Network, NetworkPoint
from layerbench.stats import interval

LEAST_BETA = 1e-15
"""Seconds a byte where a network model has none: no rate is infinite."""


def link_of(network: Network) -> Link:
    """A run's network model as a link, of which an all-reduce takes what it takes by the model.

    The model's sweep becomes one of all-reduces, and its α and β their fit; what else ranks do is taken to be as quick
    (see :mod:`layerbench.collective_times`).
    """
    # Twice inverted, a β is the same however often it is written as bytes a second and read again.
    alpha, beta = exact(network.alpha), exact(1 / (1 / max(network.beta, LEAST_BETA)))
    if not network.points:
        return Link(alpha=alpha, beta=beta, source=network.source)
    fitted = Fit(operation="all_reduce", alpha=alpha, beta=beta, residual=network.residual)
    sweep = [_exchanged(point, network.fitted_ranks) for point in network.points]
    return Link(alpha=alpha, beta=beta, source=network.source, sweeps=sweep, fits=[fitted])


def _exchanged(point: NetworkPoint, ranks: int) -> Exchanged:
    low, high = point.low, point.high
    if point.samples:
        _, low, high, _ = interval(point.samples, INTERVAL)
    return Exchanged(operation="all_reduce", ranks=ranks, bytes=point.bytes, seconds=point.seconds, low=low, high=high)
