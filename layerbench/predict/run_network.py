"""A network from a run's own exchanges, where the run needed no network model because all its counts were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from layerbench import hockney
from layerbench.errors import UsageError
from layerbench.layers import PASSES, AnyLayer
from layerbench.machine import Figure, Link, Machine
from layerbench.partition import exchanges
from layerbench.records import Operation, Record

SOURCE = "fitted to what the run's layers exchanged"

_ROUNDS = 20
_LEAST_RATE = 1e-15
"""Seconds a byte at least: no rate is infinite."""


class _Sent(NamedTuple):
    """One kind of exchange, and the seconds of one."""

    operation: Operation
    ranks: int
    size: int
    seconds: float


def with_network(
    machine: Machine, layers: Sequence[AnyLayer], records: Sequence[Record], nodes: int, ranks_per_node: int
) -> Machine:
    """A machine with a network between its nodes, fitted if need be.

    Parameters
    ----------
    layers, records
        Of a run, if there is one.
    nodes, ranks_per_node
        The most over which something is to be predicted.

    Raises
    ------
    UsageError
        If there are several ranks, and nothing to tell what they take to exchange something.
    """
    import msgspec

    within = nodes == 1 and (ranks_per_node == 1 or machine.within is not None)
    if machine.between is not None or within:
        return machine
    sent = _sent({layer.name: layer for layer in layers}, records)
    if not sent:
        raise UsageError(
            f"machine {machine.name} has no network ({machine.no_network or 'its profile names none'}), and no run is "
            "given that measured exchanges: only one rank can be predicted; name another machine with --machine, or "
            "measure this one's network with layerbench calibrate"
        )
    return msgspec.structs.replace(machine, between=_link(sent))


def _sent(layers: dict[str, AnyLayer], records: Sequence[Record]) -> list[_Sent]:
    """What measured records exchanged, of layers that exchange one thing: step - passes where that is something."""
    parts: dict[tuple[str, int], dict[str, Record]] = {}
    for record in records:
        if record.status == "ok" and record.placement == "measured" and record.ranks > 1 and record.samples:
            parts.setdefault((record.layer, record.nodes), {})[record.part] = record
    found = []
    for (name, _), of_step in parts.items():
        charged, step = of_step.get("communication"), of_step.get("step")
        if charged is None or name not in layers:
            continue
        kinds = exchanges(layers[name], charged.batch, charged.ranks, charged.layout, charged.dtype)
        if len(kinds) != 1:
            continue
        taken = float(np.median(charged.samples))
        if step is not None:
            passes = [of_step[pass_] for pass_ in PASSES if pass_ in of_step and of_step[pass_].in_step]
            left = float(np.median(step.samples)) - sum(float(np.median(one.samples)) for one in passes)
            # Of a small exchange nothing is left: then it is a part of what was charged, which includes waiting.
            taken = min(taken, max(left, taken / 4))
        found.append(_Sent(kinds[0].operation, charged.ranks, kinds[0].size, taken / kinds[0].times))
    return found


def _quickest(one: _Sent, alpha: float, beta: float) -> hockney.Algorithm:
    ways = hockney.algorithms(one.operation, one.ranks)
    return min(ways, key=lambda way: way.seconds(one.size, alpha, beta))


def _link(sent: Sequence[_Sent]) -> Link:
    """α and β by least squares of relative errors with Huber's weights, each exchange by its quickest algorithm."""
    taken = np.array([one.seconds for one in sent])
    alpha, beta = float(taken.min()), float(max(one.seconds / one.size for one in sent))
    weight = np.ones(len(sent))
    inverse = np.eye(2)
    for _ in range(_ROUNDS):
        quickest = [_quickest(one, alpha, beta) for one in sent]
        # In units of α and β as they stand, that a ridge may hold what the exchanges do not tell.
        relative = np.array(
            [[way.messages * alpha, way.transfers * one.size * beta] for way, one in zip(quickest, sent, strict=True)]
        )
        relative /= taken[:, None]
        inverse = np.linalg.inv(relative.T @ (weight[:, None] * relative) + 0.01 * np.eye(2))
        change = np.clip(inverse @ (relative.T @ weight + 0.01), 0.25, 4.0)
        alpha, beta = max(alpha * change[0], 1e-9), max(beta * change[1], _LEAST_RATE)
        away = np.abs(relative @ change - 1)
        weight = np.minimum(1.0, 0.15 / np.maximum(away, 1e-9))
    spread = np.sqrt(np.diag(inverse)) * max(0.05, 1.4826 * float(np.median(away)))
    low, high = (np.exp(sign * 1.645 * np.minimum(spread, 1.0)) for sign in (-1, 1))
    return Link(
        alpha=Figure(value=alpha, low=alpha * low[0], high=alpha * high[0], source=SOURCE),
        beta=Figure(value=beta, low=beta * low[1], high=beta * high[1], source=SOURCE),
        source=SOURCE,
    )
