"""The times of a layer in one layout, at any node counts and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerbench.layers import PASSES, AnyLayer, DType, Pass
from layerbench.partition import Exchange, exchanges, relayout
from layerbench.predict.exchanges import ExchangeTimes
from layerbench.predict.pass_times import PassTimes
from layerbench.predict.shard import Largest, largest
from layerbench.predict.work import Computed
from layerbench.records import Layout, Scaling


@dataclass(frozen=True)
class Place:
    """A node count, and the batch that is asked for there."""

    nodes: int
    batch: int


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of a layer's parts; arrays are (1 + replicas, places), the estimate first.

    Attributes
    ----------
    shares
        What the busiest rank has, at each place.
    passes
        Of each pass.
    exchange
        What is exchanged in a step.
    own
        What of it can be hidden behind the layer's own passes.
    waiting
        What ``communication`` is charged with besides, for the slowest rank; it is in the passes too, so the step has
        it once.
    """

    layer: AnyLayer
    layout: Layout
    shares: tuple[Largest, ...]
    passes: dict[Pass, np.ndarray]
    exchange: np.ndarray
    own: np.ndarray
    waiting: np.ndarray

    @property
    def in_step(self) -> np.ndarray:
        """Seconds of the passes that a step has."""
        return _sum([self.passes[pass_] for pass_ in passes_in_step(self.layer)])

    @property
    def backward(self) -> np.ndarray:
        """The same of its backward passes."""
        return _sum([self.passes[pass_] for pass_ in passes_in_step(self.layer) if pass_ != "forward"])


def _sum(arrays: Sequence[np.ndarray]) -> np.ndarray:
    total: np.ndarray = np.sum(arrays, axis=0)
    return total


def passes_in_step(layer: AnyLayer) -> list[Pass]:
    """A network's first layer needs no ``backward_data``."""
    return [pass_ for pass_ in PASSES if pass_ != "backward_data" or layer.backward_data_in_step]


class Model:
    """What passes and exchanges take, put together by layer.

    Parameters
    ----------
    passes, communication
        Of one machine and dtype.
    scaling
        What a batch means.
    """

    def __init__(self, passes: PassTimes, communication: ExchangeTimes, dtype: DType, scaling: Scaling) -> None:
        self.passes = passes
        self.communication = communication
        self._dtype: DType = dtype
        self._scaling: Scaling = scaling

    @property
    def ranks_per_node(self) -> int:
        return self.communication.network.ranks_per_node

    def layer(
        self, layer: AnyLayer, layout: Layout, places: Sequence[Place], *, exchanged: bool | None = None
    ) -> LayerTimes:
        """A layer's times.

        Parameters
        ----------
        exchanged
            Whether passes are those of ranks that exchange something in every step, which slows them; by default where
            there is more than one rank. False for shards that are timed alone, as emulated counts are.
        """
        shares = [
            largest(layer, layout, place.nodes, self.ranks_per_node, place.batch, self._scaling) for place in places
        ]
        kept = {pass_: self._pass(layer, pass_, shares, exchanged) for pass_ in PASSES}
        of_place = [self._exchanged(layer, layout, share) for share in shares]
        exchange = np.stack([whole for whole, _ in of_place], axis=1)
        hidden = np.stack([own for _, own in of_place], axis=1)
        in_step = _sum([kept[pass_] for pass_ in passes_in_step(layer)])
        waited = [self.communication.waited(layer, layout, share.nodes) * (share.ranks > 1) for share in shares]
        waiting = np.stack(waited, axis=1) * in_step
        return LayerTimes(
            layer, layout, tuple(shares), kept, exchange, np.minimum(hidden, kept["backward_weights"]), waiting
        )

    def _pass(self, layer: AnyLayer, pass_: Pass, shares: Sequence[Largest], exchanged: bool | None) -> np.ndarray:
        """Seconds of a pass; places where the same is computed are asked for together."""
        alike: dict[Computed, list[int]] = {}
        for place, share in enumerate(shares):
            alike.setdefault(share.computed, []).append(place)
        found: np.ndarray | None = None
        for computed, where in alike.items():
            several = [shares[place].ranks > 1 if exchanged is None else exchanged for place in where]
            seconds = self.passes.seconds(layer, computed, pass_, [shares[at].local_batch for at in where], several)
            if found is None:
                found = np.empty((len(seconds), len(shares)))
            found[:, where] = seconds
        assert found is not None
        return found

    def _exchanged(self, layer: AnyLayer, layout: Layout, share: Largest) -> tuple[np.ndarray, np.ndarray]:
        """What a step exchanges, and what of it a layer's own passes can hide."""
        found = exchanges(layer, share.batch, share.ranks, layout, self._dtype)
        whole = self.communication.seconds(layer, found, layout, share.nodes)
        last = found[-1:] if layout == "model" else []
        behind = [exchange for exchange in last if exchange.pass_ == "backward_data"]
        return whole, np.minimum(whole, self.communication.plain(layer, behind, share.nodes))

    def change(self, layer: AnyLayer, place: Place, layouts: tuple[Layout, Layout]) -> np.ndarray:
        """Seconds of changing the layout before a layer, (1 + replicas,)."""
        samples = largest(layer, "data", place.nodes, self.ranks_per_node, place.batch, self._scaling).batch
        found: list[Exchange] = relayout(layer, samples, place.nodes * self.ranks_per_node, layouts, self._dtype)
        return self.communication.plain(layer, found, place.nodes)
