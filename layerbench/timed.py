"""What one rank times in each step: its own calls, or, where ranks are emulated, those of one share of each shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from layerbench import step as steps
from layerbench.collectives import Ranks
from layerbench.device import Device
from layerbench.layers import AnyLayer, Pass
from layerbench.partition import Share
from layerbench.records import Part
from layerbench.sampling import Row, TimeStep
from layerbench.step import Call, Exchanged
from layerbench.task import Task


@dataclass(frozen=True)
class Timed:
    """What one rank times in each step.

    ``calls`` has those of this rank's share, or, where ranks are emulated, of one share of each shape. They go through
    ``sets`` sets of operands in turn.
    """

    task: Task
    layer: AnyLayer
    shares: Sequence[Share]
    calls: Sequence[Sequence[Call]]
    passes: Sequence[Pass]
    exchanged: Sequence[Exchanged]
    sets: int

    @property
    def modelled(self) -> float | None:
        """Seconds of communication that is computed; None where it is measured."""
        if self.task.placement == "measured" or self.task.network is None:
            return None
        return steps.modelled_seconds(self.task.network, self.task.ranks, self.exchanged)

    @property
    def parts(self) -> list[Part]:
        """The parts that are timed, in the order in which they run first."""
        exchanges = any(call.part == "communication" for call in self.calls[0])
        return [*self.passes, "communication"] if exchanges else [*self.passes]

    def step(self, device: Device, ranks: Ranks) -> tuple[TimeStep, Callable[[], bool]]:
        """A call that times one step on all ranks at once, and one that says whether any rank was slow in it."""
        cold = self.task.options.cache == "cold" and not self.task.options.cuda_graph
        if self.task.placement == "emulated":
            slow = [False]

            def alone(repetitions: int) -> list[Row]:
                flush = device.flush_cache if cold else None
                timed = [self._timed(device, calls, repetitions, flush) for calls in self.calls]
                slow[:] = [slow for _, slow in timed]
                return [row for row, _ in timed]

            return alone, lambda: any(slow)
        mine = self.calls[0]

        def flush() -> None:
            # Ranks flush for different times, which an exchange must not be charged with.
            device.flush_cache()
            device.synchronize()  # a flush may only be queued
            ranks.barrier()

        slow_ranks = [False]

        def together(repetitions: int) -> list[Row]:
            ranks.barrier()
            timed = ranks.gather(self._timed(device, mine, repetitions, flush if cold else None))
            slow_ranks[:] = [slow for _, slow in timed]
            return [row for row, _ in timed]

        return together, lambda: any(slow_ranks)

    def _timed(
        self, device: Device, calls: Sequence[Call], repetitions: int, flush: Callable[[], None] | None
    ) -> tuple[Row, bool]:
        """Seconds of each part, each set of operands as often as the others; and whether the device ran slowly."""
        return _row(device, calls, self.parts, self.calls_of(repetitions), flush), device.slowed()

    def calls_of(self, repetitions: int) -> int:
        """How often each call is made where that many will do: every set of operands as often as the others."""
        return math.ceil(repetitions / self.sets) * self.sets

    def of_ranks(self, medians: Sequence[float]) -> list[float]:
        """Medians of the timed rows as medians of all ranks: an emulated rank has its share's."""
        if self.task.placement == "measured":
            return list(medians)
        shapes = [shape_of(share) for share in distinct(self.shares)]
        return [medians[shapes.index(shape_of(share))] for share in self.shares]


def _row(
    device: Device, calls: Sequence[Call], parts: Sequence[Part], repetitions: int, flush: Callable[[], None] | None
) -> Row:
    """Seconds of each part: of all its calls together."""
    before_each = None
    if flush is not None:
        # A device asks before every call, in their order, whether or not caches are flushed there.
        turns = itertools.cycle([call.flushed for call in calls])

        def before_each() -> None:
            if next(turns):
                flush()

    seconds = device.time_parts([call.run for call in calls], repetitions, before_each)
    sums = dict.fromkeys(parts, 0.0)
    for call, of_call in zip(calls, seconds, strict=True):
        if call.part is not None:
            sums[call.part] += of_call
    return list(sums.values())


def shape_of(share: Share) -> tuple[int, int]:
    """What tells shares of a layer apart: samples and outputs."""
    return share.samples.batch, share.outputs.batch


def distinct(shares: Sequence[Share]) -> list[Share]:
    """One share of each shape, the largest first."""
    first: dict[tuple[int, int], Share] = {}
    for share in shares:
        first.setdefault(shape_of(share), share)
    return sorted(first.values(), key=shape_of, reverse=True)
