"""What one launch is to find out of its layers, and the records of which all is known but the times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from layerbench.layers import PASSES, AnyLayer
from layerbench.partition import Share, exchanges, global_batch, shares
from layerbench.records import PARTS, Layout, Network, Options, Part, Placement, Record, Status
from layerbench.suite import memory_needed


@dataclass(frozen=True)
class Task:
    """What the ranks of one launch are to measure.

    ``ranks`` is the number of ranks the records are about: those that run, or, if emulated, those that are stood for.
    ``layouts`` has the layout of each layer by name where the options leave it open.
    """

    options: Options
    nodes: int
    ranks: int
    placement: Placement
    network: Network | None
    oversubscribed: bool = False
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Samples over all ranks."""
        options = self.options
        return global_batch(options.batch, self.ranks, options.ranks_per_node, options.scaling)

    def layout(self, layer: AnyLayer) -> Layout:
        """How a layer is split; the data layout where nothing was chosen for it."""
        asked = self.options.layout
        return self.layouts.get(layer.name, "data") if asked == "best" else asked

    def splits_outputs(self, layer: AnyLayer) -> bool:
        """Whether ranks split a layer's outputs: in the model layout, where there are several of them."""
        return self.ranks > 1 and self.layout(layer) == "model"

    def shares(self, layer: AnyLayer) -> list[Share]:
        """What every rank has of a layer."""
        return shares(layer, self.batch, self.ranks, self.layout(layer))


def blank(task: Task, layer: AnyLayer) -> list[Record]:
    """Records of all parts of a layer with all that is known before anything runs."""
    options, batch, layout = task.options, task.batch, task.layout(layer)
    parts = task.shares(layer)
    working = [(share.layer, share.batch) for share in parts if share.layer is not None]

    def record(part: Part) -> Record:
        macs = moved = 0
        reread: int | None = None
        if part == "communication":
            exchanged = exchanges(layer, batch, task.ranks, layout, options.dtype)
            moved = sum(exchange.size * exchange.times for exchange in exchanged)
        else:
            passes = 1 if part != "step" else len(PASSES) - (not layer.backward_data_in_step)
            macs = passes * layer.macs(batch)
            moved = passes * sum(of_rank.bytes(samples, options.dtype) for of_rank, samples in working)
            each = [of_rank.bytes_weights_reread(samples, options.dtype) for of_rank, samples in working]
            if None not in each:
                reread = passes * sum(b for b in each if b is not None)
        return Record(
            layer=layer.name,
            kind=layer.kind,
            part=part,
            nodes=task.nodes,
            ranks=task.ranks,
            threads_per_rank=options.threads_per_rank,
            layout=layout,
            batch=batch,
            local_batch=max((samples for _, samples in working), default=0),
            dtype=options.dtype,
            kernels=options.kernels,
            cache=options.cache,
            in_step=part != "backward_data" or layer.backward_data_in_step,
            oversubscribed=task.oversubscribed,
            placement=task.placement,
            network=task.network.name if task.network and task.placement == "emulated" else "",
            macs=macs,
            bytes=moved,
            bytes_weights_reread=reread,
        )

    return [record(part) for part in PARTS]


def without_result(task: Task, layer: AnyLayer, status: Status, reason: str) -> list[Record]:
    """Records of all parts of a layer that was not measured."""
    return [msgspec.structs.replace(record, status=status, reason=reason) for record in blank(task, layer)]


def share_memory(layer: AnyLayer, share: Share, ranks: int, layout: Layout, options: Options) -> int:
    """Least memory in bytes that timing a rank's share of a layer takes.

    Beside what :func:`layerbench.suite.memory_needed` counts of the share: room for what is gathered of other ranks;
    or, if that is more, the operands of the whole layer, of which the share is cut.
    """
    if share.layer is None:
        return 0
    batch, dtype = share.batch, options.dtype
    gathered = sum(
        exchange.size * exchange.times
        for exchange in exchanges(layer, batch, ranks, layout, dtype)
        if exchange.operation == "all_gather"
    )
    cut = layer.bytes(batch, dtype) if share.layer is not layer else 0
    return max(memory_needed(share.layer, batch, dtype) + gathered, cut + share.layer.bytes(batch, dtype))
