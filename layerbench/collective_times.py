"""What an exchange takes on a machine: measured where it was measured, else by the formulas of the algorithms.

On one link, in order of nearness:

* The operation was measured over this number of ranks. Between two sizes the time is interpolated, both on logarithmic
  scales.
* It was measured, over other numbers of ranks. α is that of its fit. β depends on the size, because ranks that share
  memory exchange what fits their caches ten times as quickly as what does not: it is the one with which the formulas
  give what was measured at this size over the most ranks there are. Beyond the smallest and the largest size that were
  measured it is the one at that end; so it is for the same number of ranks too.
* Only an all-reduce was measured, as in the network model of a run: the same with its α and β.
* Nothing was measured: the formulas with the link's own α and β.

The formulas are those of :mod:`layerbench.hockney`. Where nodes have several ranks and these a link of their own, the
ranks of a node share the work: an all-reduce is a reduce-scatter within each node, all-reduces between the nodes by the
ranks of each place, every one of its own share and all at once, and an all-gather within. A link's figures are what one
rank has of it while the others use theirs.
"""

from __future__ import annotations

import math

from layerbench import hockney
from layerbench.errors import UsageError
from layerbench.machine import Fit, Link, Machine
from layerbench.records import Operation


def seconds(machine: Machine, operation: Operation, nodes: int, size: int, ranks_per_node: int | None = None) -> float:
    """Seconds of one exchange over all ranks of so many nodes; 0 for one rank, which has nothing to exchange.

    Parameters
    ----------
    machine
        Where. Of one that has no link within a node, all ranks are taken to be joined as nodes are.
    operation
        What the ranks do.
    nodes, ranks_per_node
        How many there are; the machine's own number of ranks if none is given.
    size
        Bytes of the whole vector: what is reduced, what an all-gather leaves on every rank, what a reduce-scatter
        starts from, or what one message carries.

    Raises
    ------
    UsageError
        If the machine has no network.
    """
    each = machine.ranks_per_node if ranks_per_node is None else ranks_per_node
    ranks = nodes * each
    if ranks <= 1:
        return 0.0
    if machine.within is None:
        return link_seconds(_between(machine), operation, ranks, size)
    if nodes == 1:
        return link_seconds(machine.within, operation, each, size)
    between = _between(machine)
    if each == 1:
        return link_seconds(between, operation, nodes, size)
    share = math.ceil(size / each)
    outside = link_seconds(between, operation, nodes, size if operation == "point_to_point" else share)
    if operation == "point_to_point":
        return outside
    inside: tuple[Operation, ...] = ("reduce_scatter", "all_gather") if operation == "all_reduce" else (operation,)
    return outside + sum(link_seconds(machine.within, each_, each, size) for each_ in inside)


def link_seconds(link: Link, operation: Operation, ranks: int, size: int) -> float:
    """Seconds of one exchange over ranks that one link joins; 0 for one rank.

    Parameters
    ----------
    link
        What joins them.
    operation, size
        As :func:`seconds` has them.
    ranks
        How many; of a message there are two, whatever the number.
    """
    if ranks <= 1:
        return 0.0
    ranks = 2 if operation == "point_to_point" else ranks
    measured = _sweep(link, operation, ranks)
    if measured and measured[0][0] <= size <= measured[-1][0]:
        return hockney.interpolated(measured, size)
    alpha, beta = alpha_and_beta(link, operation, ranks, size)
    return hockney.seconds(operation, ranks, size, alpha, beta)


def alpha_and_beta(link: Link, operation: Operation, ranks: int, size: int) -> tuple[float, float]:
    """The α and β with which the formulas give the time of an exchange of this size; see the module."""
    basis, fitted = _basis(link, operation)
    if fitted is None:
        return link.alpha.value, link.beta.value
    alpha = fitted.alpha.value
    counts = {point.ranks for point in link.sweeps if point.operation == basis}
    if not counts or size <= 0:
        return alpha, fitted.beta.value
    nearest = ranks if ranks in counts else max(counts)
    measured = _sweep(link, basis, nearest)
    inside = min(max(size, measured[0][0]), measured[-1][0])
    return alpha, hockney.beta_of(basis, nearest, inside, alpha, hockney.interpolated(measured, inside))


def crossover_bytes(link: Link, operation: Operation, ranks: int) -> int | None:
    """The bytes from which the algorithm that moves the least is the quickest; None where one always is.

    It is by the fitted α and β, or by the link's own where there is no fit.
    """
    _, fitted = _basis(link, operation)
    alpha, beta = (fitted or link).alpha.value, (fitted or link).beta.value
    return hockney.crossover_bytes(operation, ranks, alpha, beta)


def _basis(link: Link, operation: Operation) -> tuple[Operation, Fit | None]:
    """The operation whose measurements stand for one: itself, or else the all-reduce; and its fit."""
    fits = {fit.operation: fit for fit in link.fits}
    basis: Operation = operation if operation in fits else "all_reduce"
    return basis, fits.get(basis)


def _sweep(link: Link, operation: Operation, ranks: int) -> list[tuple[int, float]]:
    """Bytes and seconds of an operation over so many ranks, in ascending order of size; empty if not measured."""
    found = [(each.bytes, each.seconds) for each in link.sweeps if (each.operation, each.ranks) == (operation, ranks)]
    return sorted(found)


def _between(machine: Machine) -> Link:
    if machine.between is None:
        reason = f" ({machine.no_network})" if machine.no_network else ""
        raise UsageError(
            f"{machine.name} has no network{reason}: only one rank can be predicted on it; name another with --machine"
        )
    return machine.between
