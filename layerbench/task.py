"""What one launch is to find out of its layers, and the records of which all is known but the times."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from layerbench.layers import ITEMSIZE, PASSES, AnyLayer
from layerbench.partition import Shard, global_batch, split
from layerbench.records import PARTS, Network, Options, Part, Placement, Record, Status


@dataclass(frozen=True)
class Task:
    """What the ranks of one launch are to measure.

    ``ranks`` is the number of ranks the records are about: those that run, or, if emulated, those that are stood for.
    """

    options: Options
    nodes: int
    ranks: int
    placement: Placement
    network: Network | None
    oversubscribed: bool = False

    def shards(self) -> list[Shard]:
        """Every rank's samples."""
        options = self.options
        return split(global_batch(options.batch, self.ranks, options.ranks_per_node, options.scaling), self.ranks)


def blank(task: Task, layer: AnyLayer) -> list[Record]:
    """Records of all parts of a layer with all that is known before anything runs."""
    options, shards = task.options, task.shards()
    batch = shards[-1].stop
    working = [shard for shard in shards if shard.batch]
    itemsize = ITEMSIZE[options.dtype]

    def record(part: Part) -> Record:
        macs = moved = 0
        reread: int | None = None
        if part == "communication":
            moved = layer.weights * max(itemsize, 4) if task.ranks > 1 else 0
        else:
            passes = 1 if part != "step" else len(PASSES) - (not layer.backward_data_in_step)
            macs = passes * layer.macs(batch)
            moved = passes * sum(layer.bytes(shard.batch, options.dtype) for shard in working)
            each = [layer.bytes_weights_reread(shard.batch, options.dtype) for shard in working]
            if None not in each:
                reread = passes * sum(b for b in each if b is not None)
        return Record(
            layer=layer.name,
            kind=layer.kind,
            part=part,
            nodes=task.nodes,
            ranks=task.ranks,
            threads_per_rank=options.threads_per_rank,
            batch=batch,
            local_batch=max(shard.batch for shard in shards),
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
