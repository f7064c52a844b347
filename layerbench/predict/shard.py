"""What the busiest rank has of a layer at a node count, and how many ranks have nothing."""

from __future__ import annotations

from dataclasses import dataclass

from layerbench.layers import AnyLayer
from layerbench.partition import global_batch, narrowed, outputs
from layerbench.predict.work import Computed
from layerbench.records import Layout, Scaling


@dataclass(frozen=True)
class Largest:
    """The largest share of a layer.

    Attributes
    ----------
    computed, local_batch
        The layer as that rank has it, and its samples.
    batch
        Samples over all ranks.
    ranks, nodes
        Those that have something to do.
    idle_ranks
        Those that have not: there are more of them than samples, or than outputs in the model layout.
    """

    computed: Computed
    local_batch: int
    batch: int
    ranks: int
    nodes: int
    idle_ranks: int


def largest(layer: AnyLayer, layout: Layout, nodes: int, ranks_per_node: int, batch: int, scaling: Scaling) -> Largest:
    """The largest share of a layer over ``nodes`` nodes; ``batch`` is what was asked for, as ``scaling`` has it."""
    ranks = nodes * ranks_per_node
    samples = max(1, global_batch(batch, ranks, ranks_per_node, scaling))
    everything = samples if layout == "data" else outputs(layer)
    working = min(ranks, everything)
    share = -(-everything // working)
    return Largest(
        computed=layer if layout == "data" else narrowed(layer, share),
        local_batch=share if layout == "data" else samples,
        batch=samples,
        ranks=working,
        nodes=-(-working // ranks_per_node),
        idle_ranks=ranks - working,
    )
