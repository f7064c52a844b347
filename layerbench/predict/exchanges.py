"""Communication as a run measured it: how much longer exchanges take than the network's figures say.

A measured exchange at p ranks is that of the network, and waiting. Of each part of a step the slowest rank counts, so
the time that ``communication`` is charged with includes waiting for it; the step does not, for there the slowest rank
does not wait. A measured count therefore tells two things:

* the exchange itself, step - passes, of which a factor for each operation is fitted: measured = factor · network. It is
  a least-squares fit with Huber's weights, in which an error counts beside a tenth of the network's time and a
  hundredth of the passes', and which holds a factor to 1 ± 0.5 where little is measured;
* the waiting, communication - exchange, as a part of the passes' time: its median over layers and counts.

Only measured records count: what an emulated count communicates was computed, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from layerbench.layers import PASSES, AnyLayer
from layerbench.partition import Exchange, exchanges
from layerbench.predict.draws import Draws, with_estimate
from layerbench.predict.evidence import anonymous
from layerbench.predict.network_times import GROWTH, NetworkTimes
from layerbench.records import Layout, Manifest, Operation, Record

FACTOR_SPREAD = 0.5
"""Standard deviation of a factor about 1, before anything is measured."""

FACTORS = (0.05, 20.0)
"""Least and greatest."""

UNKNOWN_WAITING = 0.02
"""How much of the passes is waited, where nothing was measured: so much at most in two of three cases."""

_OF_NETWORK, _OF_PASSES = 0.1, 0.01
_HUBER = 1.345
_LEAST_MISFIT = 0.05
_OWN_SPREAD = 0.25
"""How far a layer's exchange at one count may be from the factor's, in log seconds."""


@dataclass(frozen=True)
class Measured:
    """A layer's communication at a measured count of more than one rank, in seconds.

    Attributes
    ----------
    network
        What the network's figures say, by operation.
    exchange
        Step - passes, between 0 and what was charged; then its replicas, (1 + replicas,).
    charged, passes
        Medians of ``communication`` and of the passes in the step together.
    """

    origin: AnyLayer
    layout: Layout
    nodes: int
    network: dict[Operation, float]
    exchange: np.ndarray
    charged: float
    passes: float

    @property
    def waiting(self) -> float:
        """As a part of the passes."""
        return max(0.0, self.charged - float(self.exchange[0])) / self.passes


def of_run(manifest: Manifest, records: Iterable[Record], network: NetworkTimes, draws: Draws) -> list[Measured]:
    """What a run measured of communication, of the counts where ranks exchanged something."""
    layers = {layer.name: layer for layer in manifest.layers}
    parts: dict[tuple[str, int], dict[str, Record]] = {}
    for record in records:
        if record.status == "ok" and record.placement == "measured" and record.ranks > 1 and record.samples:
            parts.setdefault((record.layer, record.nodes), {})[record.part] = record
    found = []
    for (name, nodes), of_step in parts.items():
        passes = [of_step.get(pass_) for pass_ in PASSES]
        if name not in layers or not {"communication", "step"} <= set(of_step) or None in passes:
            continue
        within = [record for record in passes if record is not None and record.in_step]
        found.append(_measured(layers[name], nodes, of_step["communication"], of_step["step"], within, network, draws))
    return found


def _measured(
    layer: AnyLayer,
    nodes: int,
    communication: Record,
    step: Record,
    passes: Sequence[Record],
    network: NetworkTimes,
    draws: Draws,
) -> Measured:
    by_operation: dict[Operation, float] = {}
    for exchange in exchanges(layer, step.batch, step.ranks, step.layout, step.dtype):
        taken = network.of(exchange, nodes).seconds
        by_operation[exchange.operation] = by_operation.get(exchange.operation, 0.0) + taken
    charged = float(np.median(communication.samples))
    if len({len(record.samples) for record in (step, communication, *passes)}) == 1:
        # Samples of one iteration stand in one place.
        left = np.asarray(step.samples) - np.sum([record.samples for record in passes], axis=0)
    else:
        left = np.asarray(communication.samples)
    medians = np.concatenate([[np.median(left)], draws.medians(left, "exchange", layer.name, nodes)])
    return Measured(
        origin=anonymous(layer),
        layout=step.layout,
        nodes=nodes,
        network=by_operation,
        exchange=np.clip(medians, 0.0, charged),
        charged=charged,
        passes=sum(float(np.median(record.samples)) for record in passes),
    )


class ExchangeTimes:
    """Seconds of a step's exchanges at any count, from the network's figures and what was measured.

    Attributes
    ----------
    factors
        Of each operation that was measured.
    waiting
        Part of the passes that is waited for the slowest rank; (1 + replicas,).
    """

    def __init__(self, network: NetworkTimes, measured: Sequence[Measured], draws: Draws) -> None:
        self.network = network
        self._draws = draws
        self._measured = {(one.origin, one.layout, one.nodes): one for one in measured}
        self._most = max((one.nodes for one in measured), default=1)
        self._factors: dict[Operation, np.ndarray] = {}
        self._misfit = 0.0
        if measured:
            self._factors, self._misfit = _fitted(measured, draws)
        self.waiting = _waiting(measured, draws)

    @property
    def factors(self) -> dict[Operation, float]:
        return {operation: float(values[0]) for operation, values in self._factors.items()}

    def seconds(self, layer: AnyLayer, found: Sequence[Exchange], layout: Layout, nodes: int) -> np.ndarray:
        """Seconds of a layer's exchanges together, (1 + replicas,); without waiting."""
        total = self.plain(layer, found, nodes)
        own = self._measured.get((anonymous(layer), layout, nodes))
        if own is None or total[0] <= 0:
            return total
        # A count that was measured is that of its measurement, as far as this tells it from noise.
        taken = max(float(own.exchange[0]), 1e-2 * total[0])
        noise = _OF_PASSES * own.passes / taken
        trust = _OWN_SPREAD**2 / (_OWN_SPREAD**2 + noise**2)
        drawn = self._draws.normal("own exchange", layer.name, nodes) * noise * trust
        moved: np.ndarray = total[0] * (taken / total[0]) ** trust * np.exp(np.concatenate([[0.0], drawn]))
        return moved

    def waited(self, layer: AnyLayer, layout: Layout, nodes: int) -> np.ndarray:
        """Part of the passes that is waited for the slowest rank, (1 + replicas,): a measured count's own."""
        own = self._measured.get((anonymous(layer), layout, nodes))
        return self.waiting if own is None else np.full_like(self.waiting, own.waiting)

    def plain(self, layer: AnyLayer, found: Sequence[Exchange], nodes: int) -> np.ndarray:
        """The same by the factors alone."""
        total = np.zeros(1 + self._draws.replicas)
        for exchange in found:
            timed = self.network.of(exchange, nodes)
            error, factor = timed.error, np.ones(1 + self._draws.replicas)
            if exchange.operation in self._factors:
                factor = self._factors[exchange.operation]
                error = math.hypot(self._misfit, GROWTH * math.sqrt(max(0.0, math.log2(nodes / self._most))))
            drawn = self._draws.nested("network", exchange.operation, layer.name)
            total += timed.seconds * factor * np.exp(np.concatenate([[0.0], error * drawn]))
        return total


def _fitted(measured: Sequence[Measured], draws: Draws) -> tuple[dict[Operation, np.ndarray], float]:
    """Factors by operation, (1 + replicas,), and the error of a single exchange about them, in log seconds."""
    operations = sorted({operation for one in measured for operation in one.network})
    network = np.array([[one.network.get(operation, 0.0) for operation in operations] for one in measured])
    taken = np.stack([one.exchange for one in measured], axis=1)
    passes = np.array([one.passes for one in measured])
    error = np.hypot(_OF_NETWORK * network.sum(axis=1), _OF_PASSES * passes)
    prior = np.eye(len(operations)) / FACTOR_SPREAD**2
    weight = 1 / error**2

    def solved(values: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(network.T @ (weight[:, None] * network) + prior)
        found: np.ndarray = np.clip((values * weight) @ network @ inverse + prior.sum(axis=0) @ inverse, *FACTORS)
        return found

    for _ in range(20):
        away = np.abs(taken[0] - network @ solved(taken[0])) / error
        weight = np.minimum(1.0, _HUBER / np.maximum(away, 1e-9)) / error**2
    spread = np.sqrt(np.diag(np.linalg.inv(network.T @ (weight[:, None] * network) + prior)))
    found = solved(taken)
    for place, operation in enumerate(operations):
        found[1:, place] += spread[place] * draws.normal("factor", operation)
    found = np.clip(found, *FACTORS)
    said = network @ found[0]
    telling = said > 2 * _OF_PASSES * passes
    away = np.abs(np.log(np.maximum(taken[0][telling], 1e-12) / said[telling]))
    misfit = max(_LEAST_MISFIT, 1.4826 * float(np.median(away))) if len(away) > 1 else _OWN_SPREAD
    return {operation: found[:, place] for place, operation in enumerate(operations)}, misfit


def _waiting(measured: Sequence[Measured], draws: Draws) -> np.ndarray:
    if not measured:
        return np.concatenate([[0.0], np.abs(UNKNOWN_WAITING * draws.normal("waiting"))])
    parts = np.array([one.waiting for one in measured])
    return with_estimate(np.array(np.median(parts)), draws.medians(parts, "waiting"))
