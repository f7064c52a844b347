"""Seconds of the exchanges on a machine's network, and how well they are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from layerbench.machine import Figure, Link, Machine
from layerbench.partition import Exchange
from layerbench.predict.evidence import INTERVAL_WIDTH
from layerbench.records import Operation

Collective = Callable[[Machine, Operation, int, int, int | None], float]
"""Seconds of (machine, operation, nodes, bytes, ranks of a node)."""

FORMULA_ERROR = 0.25
"""Standard error, in log seconds, of formulas of algorithms with α and β of a data sheet."""

FITTED_ERROR = 0.15
"""The same where α and β were fitted to a sweep that tells no residual."""

SWEPT_ERROR = 0.08
"""The same where the collective was measured over this many ranks."""

GROWTH = 0.07
"""What each doubling of the ranks adds, in quadrature, beyond those over which the network was measured."""

_NORMAL_OF_MEDIAN = 1.4826
"""Standard deviation over median deviation, of normal errors."""

End = Literal["value", "low", "high"]


def collective() -> Collective:
    """The cost of a collective on a machine."""
    from layerbench.collective_times import seconds

    return seconds


class Timed(NamedTuple):
    """Seconds, and the standard error of their log."""

    seconds: float
    error: float


class NetworkTimes:
    """What ranks take to exchange something, remembered.

    Parameters
    ----------
    machine
        Its links.
    ranks_per_node
        Ranks of each node.
    collective
        The cost of an operation; by default, that of :mod:`layerbench.collective_times`.
    """

    def __init__(self, machine: Machine, ranks_per_node: int, collective: Collective) -> None:
        self._machines = {
            "value": machine,
            "low": _at_end(machine, "low"),
            "high": _at_end(machine, "high"),
        }
        self._links = [link for link in (machine.between, machine.within) if link is not None]
        self.ranks_per_node = ranks_per_node
        self._collective = collective
        self._known: dict[tuple[str, Operation, int, int], float] = {}

    def one(self, operation: Operation, nodes: int, size: int, end: End = "value") -> float:
        """Seconds of one exchange, with the figures of the machine or with an end of their intervals."""
        key = (end, operation, nodes, size)
        if key not in self._known:
            taken = self._collective(self._machines[end], operation, nodes, size, self.ranks_per_node)
            self._known[key] = taken
        return self._known[key]

    def of(self, exchange: Exchange, nodes: int) -> Timed:
        """Seconds of an exchange as often as a step has it."""
        value = self.one(exchange.operation, nodes, exchange.size)
        low, high = (self.one(exchange.operation, nodes, exchange.size, end) for end in ("low", "high"))
        of_figures = abs(math.log(high / low)) / INTERVAL_WIDTH if low > 0 and high > 0 else 0.0
        return Timed(value * exchange.times, math.hypot(of_figures, self._error(exchange.operation, nodes)))

    def _error(self, operation: Operation, nodes: int) -> float:
        ranks = nodes * self.ranks_per_node
        swept = {point.ranks for link in self._links for point in link.sweeps if point.operation == operation}
        if ranks in swept:
            return SWEPT_ERROR
        fits = [fit for link in self._links for fit in link.fits if fit.operation == operation]
        told = [fit.residual for fit in fits if fit.residual is not None]
        base = max(SWEPT_ERROR, *(_NORMAL_OF_MEDIAN * residual for residual in told)) if told else FITTED_ERROR
        if not swept and not fits:
            base = FORMULA_ERROR
        beyond = max(0.0, math.log2(ranks / max(swept, default=1)))
        return math.hypot(base, GROWTH * math.sqrt(beyond))


def _at_end(machine: Machine, end: Literal["low", "high"]) -> Machine:
    """A machine whose links are as quick, or as slow, as their intervals allow."""
    return msgspec.structs.replace(
        machine, between=_link_at(machine.between, end), within=_link_at(machine.within, end)
    )


def _link_at(link: Link | None, end: Literal["low", "high"]) -> Link | None:
    if link is None:
        return None

    def moved(figure: Figure) -> Figure:
        return msgspec.structs.replace(figure, value=figure.low if end == "low" else figure.high)

    return msgspec.structs.replace(
        link,
        alpha=moved(link.alpha),
        beta=moved(link.beta),
        sweeps=[
            msgspec.structs.replace(point, seconds=point.low if end == "low" else point.high) for point in link.sweeps
        ],
        fits=[msgspec.structs.replace(fit, alpha=moved(fit.alpha), beta=moved(fit.beta)) for fit in link.fits],
    )
