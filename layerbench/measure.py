"""One layer at one node count: from its shape to its records.

The path of one number runs through here: shard, kernel, search, verification, samples, record. Every rank runs the same
lines; records are made on rank 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from layerbench import kernel as kernels
from layerbench import step as steps
from layerbench import verify
from layerbench.collectives import Ranks, agreed, on_rank_0
from layerbench.device import Device
from layerbench.errors import LayerbenchError, OutOfMemoryError, UnavailableError
from layerbench.kernel import Budget, Choice, Job, Kernel
from layerbench.layers import PASSES, AnyLayer, Pass
from layerbench.partition import Share, without_work
from layerbench.records import Options, Part, Record
from layerbench.sampling import Row, Rule, Sampled, TimeStep, collect, converged
from layerbench.slices import of_share
from layerbench.split import ChoicesBySize, Rank, search_split, verify_split
from layerbench.stats import interval
from layerbench.step import Call, Exchanged
from layerbench.task import Task, blank, share_memory, without_result
from layerbench.units import size

Progress = Callable[[str], None]
T = TypeVar("T")


def measure(task: Task, layer: AnyLayer, ranks: Ranks, progress: Progress) -> list[Record]:
    """Measure a layer on the ranks of this launch.

    Parameters
    ----------
    task
        Node count, options, layouts, and whether ranks are real.
    layer
        What to measure.
    ranks
        The ranks of this launch: ``task.ranks`` of them if measured, one if emulated.
    progress
        Told what is being done; a watchdog listens.

    Returns
    -------
    list of Record
        On rank 0, a record for each part, also where something failed. Empty on other ranks.
    """
    shares = task.shares(layer)
    if reason := without_work(layer, shares, task.layout(layer)):
        return without_result(task, layer, "skipped", reason) if ranks.rank == 0 else []
    try:
        return _measure(task, layer, shares, ranks, progress)
    except UnavailableError as error:
        return without_result(task, layer, "skipped", str(error)) if ranks.rank == 0 else []
    except LayerbenchError as error:
        return without_result(task, layer, "failed", str(error)) if ranks.rank == 0 else []


def _measure(task: Task, layer: AnyLayer, shares: Sequence[Share], ranks: Ranks, progress: Progress) -> list[Record]:
    options, emulated = task.options, task.placement == "emulated"
    split = task.splits_outputs(layer)
    mine = _distinct(shares) if emulated else [shares[ranks.rank]]
    jobs = [_job(share, options) for share in mine]
    found = agreed(ranks, lambda: kernels.find(options.kernels, jobs[0].layer, options.dtype, split=split))
    agreed(ranks, lambda: _check_memory(task, layer, mine, found))

    def whole(start: int, stop: int) -> dict[str, np.ndarray]:
        return verify.tensors(layer, options.dtype, options.seed, start, stop)

    def operands_of(share: Share) -> dict[str, np.ndarray]:
        return of_share(layer, share, whole(share.samples.start, share.samples.stop))

    progress(f"{layer.name}: operands")
    operands = agreed(ranks, lambda: [operands_of(share) for share in mine])
    budget = Budget(progress=lambda what: progress(f"{layer.name}: trying {what}"))
    every = [Rank(_job(share, options), share) for share in shares]

    def search() -> ChoicesBySize:
        if split:
            return search_split(found, layer, every, operands[0], lambda samples: whole(0, samples), budget)
        return {every[0].size: found.search(jobs[0], operands[0], budget)}

    def check() -> dict[Pass, verify.Verification]:
        if not split:
            return verify.verify(found, jobs[0], operands[0], choices[every[0].size])
        return verify_split(
            found,
            layer,
            every,
            lambda samples: whole(0, samples),
            choices,
            lambda what: progress(f"{layer.name}: verifying {what}"),
        )

    choices = on_rank_0(ranks, search)
    progress(f"{layer.name}: verifying")
    checks = on_rank_0(ranks, check)
    progress(f"{layer.name}: preparing")
    prepared = agreed(
        ranks,
        lambda: [
            found.prepare(job, tensors, choices[share.outputs.batch])
            for job, share, tensors in zip(jobs, mine, operands, strict=True)
        ],
    )
    sound = [pass_ for pass_ in PASSES if checks[pass_].ok]
    pieces = [
        steps.segments(layer, share, task.layout(layer), task.ranks, each)
        for share, each in zip(mine, prepared, strict=True)
    ]
    if emulated:
        of_shape = {_shape(share): steps.elements(each) for share, each in zip(mine, pieces, strict=True)}
        counts = [of_shape[_shape(share)] for share in shares]
        for each in pieces:
            steps.stand_in(each)
    else:
        counts = ranks.all_gather(steps.elements(pieces[0]))
    exchanging = None if emulated else ranks
    planned = agreed(ranks, lambda: [steps.calls(layer, each, sound, counts, exchanging) for each in pieces])
    timed = _Timed(task, layer, shares, [calls for calls, _ in planned], sound, planned[0][1])
    if not sound:
        return _records(timed, None, found, choices[every[0].size], checks) if ranks.rank == 0 else []
    rule = Rule(options.rel_error, options.max_time, options.max_samples, options.cache == "hot")
    try:
        sampled = collect(
            timed.step(found.device(), ranks),
            [steps.in_step(layer, part) for part in timed.parts],
            rule,
            ranks,
            lambda count: progress(f"{layer.name}: {count} samples" if count else f"{layer.name}: warming up"),
            timed.modelled or 0.0,
            range(len(sound)),
        )
    except LayerbenchError as error:
        if ranks.size > 1:
            # The other ranks are inside a collective call and cannot be told: only ending the world frees them.
            ranks.abort(f"{layer.name}: {error}")
        raise
    return _records(timed, sampled, found, choices[every[0].size], checks) if sampled is not None else []


def _job(share: Share, options: Options) -> Job:
    """What a rank's kernel prepares; every rank has something to do here."""
    assert share.layer is not None
    return Job(share.layer, share.batch, options.dtype, options.threads_per_rank, share.outputs.start)


@dataclass(frozen=True)
class _Timed:
    """What one rank times in each step.

    ``calls`` has those of this rank's share, or, where ranks are emulated, of one share of each shape.
    """

    task: Task
    layer: AnyLayer
    shares: Sequence[Share]
    calls: Sequence[Sequence[Call]]
    passes: Sequence[Pass]
    exchanged: Sequence[Exchanged]

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

    def step(self, device: Device, ranks: Ranks) -> TimeStep:
        """A call that times one step on all ranks at once."""
        cold = self.task.options.cache == "cold"
        parts = self.parts
        if self.task.placement == "emulated":

            def alone(repetitions: int) -> list[Row]:
                flush = device.flush_cache if cold else None
                return [_row(device, calls, parts, repetitions, flush) for calls in self.calls]

            return alone
        mine = self.calls[0]

        def flush() -> None:
            # Ranks flush for different times, which an exchange must not be charged with.
            device.flush_cache()
            ranks.barrier()

        def together(repetitions: int) -> list[Row]:
            ranks.barrier()
            return ranks.gather(_row(device, mine, parts, repetitions, flush if cold else None))

        return together

    def of_ranks(self, medians: Sequence[float]) -> list[float]:
        """Medians of the timed rows as medians of all ranks: an emulated rank has its share's."""
        if self.task.placement == "measured":
            return list(medians)
        shapes = [_shape(share) for share in _distinct(self.shares)]
        return [medians[shapes.index(_shape(share))] for share in self.shares]


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


def _shape(share: Share) -> tuple[int, int]:
    """What tells shares of a layer apart: samples and outputs."""
    return share.samples.batch, share.outputs.batch


def _distinct(shares: Sequence[Share]) -> list[Share]:
    """One share of each shape, the largest first."""
    first: dict[tuple[int, int], Share] = {}
    for share in shares:
        first.setdefault(_shape(share), share)
    return sorted(first.values(), key=_shape, reverse=True)


def _check_memory(task: Task, layer: AnyLayer, mine: Sequence[Share], found: Kernel) -> None:
    """Refuse what cannot fit, before anything is allocated: the operands, and a kernel's copy in its own layout."""
    layout = task.layout(layer)
    needed = sum(share_memory(layer, share, task.ranks, layout, task.options) for share in mine)
    free = found.device().free_memory()
    if needed > free:
        raise OutOfMemoryError(
            f"{layer.name} with {mine[0].batch} samples needs {size(needed)} of memory and {size(free)} are free: "
            "lower --batch or use more nodes"
        )


def _records(
    timed: _Timed,
    sampled: Sampled | None,
    found: Kernel,
    choices: Mapping[Pass, Choice],
    checks: Mapping[Pass, verify.Verification],
) -> list[Record]:
    """Fill in what was measured, part by part."""
    wrong = [pass_ for pass_ in PASSES if not checks[pass_].ok]
    records = []
    for record in blank(timed.task, timed.layer):
        found_out: dict[str, Any] = {"kernels": found.name, "device": found.device().name}
        if record.part in PASSES:
            choice, check = choices[record.part], checks[record.part]
            found_out |= {
                "algorithm": choice.algorithm,
                "workspace_bytes": choice.workspace_bytes,
                "candidates": choice.tried,
                "verified": check.ok,
                "relative_error": check.relative_error,
            }
            if not check.ok:
                found_out |= {
                    "status": "failed",
                    "reason": f"wrong result: relative error {check.relative_error:.2g}, allowed {check.limit:.2g}",
                }
            elif sampled is not None:
                found_out |= _times_of_part(timed, sampled, record.part)
        elif record.part == "communication":
            found_out |= _communication(timed, sampled, wrong)
        elif wrong or sampled is None:
            found_out |= {"status": "failed", "reason": f"{' and '.join(wrong)} gave a wrong result"}
        else:
            found_out |= {"modelled_seconds": timed.modelled, "inner": sampled.inner}
            found_out |= _times(timed, sampled.step, sampled.rank_step_medians)
        records.append(msgspec.structs.replace(record, **found_out))
    return records


def _communication(timed: _Timed, sampled: Sampled | None, wrong: Sequence[Pass]) -> dict[str, Any]:
    """What ranks exchanged; nothing where a pass whose result it would be is wrong."""
    layout = timed.task.layout(timed.layer)
    what = "gradient" if layout == "data" else "sound result"
    giving: list[Pass] = ["backward_weights"] if layout == "data" else ["forward", "backward_data"]
    lacking = [pass_ for pass_ in giving if pass_ in wrong and steps.in_step(timed.layer, pass_)]
    if lacking or sampled is None:
        named = " and ".join(lacking or giving)
        return {"status": "failed", "reason": f"there is no {what} to exchange: {named} gave a wrong result"}
    if timed.task.ranks == 1:
        nothing = [0.0] * len(sampled.step)
        return {"algorithm": "none", "reason": "one rank has nothing to exchange"} | _times(timed, nothing, [0.0])
    algorithm = steps.named(timed.exchanged, modelled=timed.modelled is not None)
    if timed.modelled is not None:
        return {"algorithm": algorithm, "modelled_seconds": timed.modelled}
    return {"algorithm": algorithm} | _times_of_part(timed, sampled, "communication")


def _times_of_part(timed: _Timed, sampled: Sampled, part: Part) -> dict[str, Any]:
    index = timed.parts.index(part)
    return _times(timed, sampled.parts[index], sampled.rank_medians[index]) | {"inner": sampled.inner}


def _times(timed: _Timed, samples: list[float], rank_medians: list[float]) -> dict[str, Any]:
    return {
        "samples": samples,
        "rank_medians": timed.of_ranks(rank_medians),
        "ci_method": interval(samples).method,
        "noisy": not converged(samples, timed.task.options.rel_error),
    }
