"""What was measured, and what lies so far beyond that it is extrapolated."""

from __future__ import annotations

from dataclasses import dataclass, field

from layerbench.layers import AnyLayer
from layerbench.predict.evidence import anonymous, of_kernels, of_records
from layerbench.predict.question import Question
from layerbench.predict.shard import Largest

BEYOND = 8
"""Times the measured range from which on a prediction is marked."""


@dataclass(frozen=True)
class Range:
    """The range of a calibration.

    Attributes
    ----------
    nodes
        The largest count that was measured, or else over which the network was; None where nothing was.
    macs
        Of each layer that was timed, without its name: the least and most MACs of a pass.
    """

    nodes: int | None = None
    macs: dict[AnyLayer, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, question: Question) -> Range:
        """What was measured for a question: of a run, or by calibrating a machine."""
        observations = of_kernels(question.machine.kernels, question.dtype)
        counts = []
        if question.run is not None:
            records = question.run.records
            observations += of_records(question.run.manifest, records, question.dtype)
            counts = [one.nodes for one in records if one.status == "ok" and one.placement == "measured"]
        if not counts and question.machine.between is not None:
            counts = [-(-one.ranks // question.ranks_per_node) for one in question.machine.between.sweeps]
        macs: dict[AnyLayer, tuple[int, int]] = {}
        for one in observations:
            there = one.layer.macs(one.batch)
            low, high = macs.get(one.origin, (there, there))
            macs[one.origin] = min(low, there), max(high, there)
        return cls(max(counts, default=None), macs)

    def is_beyond(self, layer: AnyLayer, nodes: int, share: Largest) -> bool:
        """Whether a share of a layer lies beyond: there are more nodes, or a rank has less or more to do."""
        if self.nodes is not None and nodes > BEYOND * self.nodes:
            return True
        if (known := self.macs.get(anonymous(layer))) is None:
            return False
        there = share.computed.macs(share.local_batch)
        return there * BEYOND < known[0] or there > BEYOND * known[1]
