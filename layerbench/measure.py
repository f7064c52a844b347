"""One layer at one node count: from its shape to its records.

The path of one number runs through here: shard, kernel, search, verification, samples, record. Every rank runs the same
lines; records are made on rank 0.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from layerbench import registry, verify
from layerbench import step as steps
from layerbench.collectives import Ranks, agreed, on_rank_0
from layerbench.device import Device
from layerbench.errors import LayerbenchError, OutOfMemoryError, UnavailableError
from layerbench.kernel import Budget, Choice, Job, Kernel
from layerbench.layers import PASSES, AnyLayer, Pass
from layerbench.partition import Share, without_work
from layerbench.records import Options, Part, Record
from layerbench.sampling import Rule, Sampled, collect, converged
from layerbench.slices import of_share
from layerbench.split import ChoicesBySize, Rank, search_split, verify_split
from layerbench.stats import interval
from layerbench.step import Segments
from layerbench.task import Task, blank, share_memory, without_result
from layerbench.timed import Timed, distinct, shape_of
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
    finally:
        # Errors refer to themselves by way of their tracebacks, and some prepared layers by their own methods: what
        # they keep of the device's memory is missing to the next layer.
        gc.collect()


def _measure(task: Task, layer: AnyLayer, shares: Sequence[Share], ranks: Ranks, progress: Progress) -> list[Record]:
    options, emulated = task.options, task.placement == "emulated"
    split = task.splits_outputs(layer)
    mine = distinct(shares) if emulated else [shares[ranks.rank]]
    jobs = [_job(share, options) for share in mine]
    found = agreed(ranks, lambda: registry.find(options.kernels, jobs[0].layer, options.dtype, split=split))
    agreed(ranks, lambda: _check_memory(task, layer, mine, found))

    def whole(start: int, stop: int) -> dict[str, np.ndarray]:
        return verify.tensors(layer, options.dtype, options.seed, start, stop)

    def operands_of(share: Share) -> dict[str, np.ndarray]:
        return of_share(layer, share, whole(share.samples.start, share.samples.stop))

    progress(f"{layer.name}: operands")
    operands = agreed(ranks, lambda: [operands_of(share) for share in mine])
    device = found.device()
    if options.cuda_graph:
        device = agreed(ranks, device.replayed)
    budget = Budget(options.workspace, progress=lambda what: progress(f"{layer.name}: trying {what}"))
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
    scratch = sum(choice.workspace_bytes for choice in choices[every[0].size].values())
    sets = min(ranks.all_gather(_sets(task, layer, mine, device, scratch)))

    def prepare() -> list[list[Segments]]:
        return [
            [
                steps.segments(
                    layer,
                    share,
                    task.layout(layer),
                    task.ranks,
                    found.prepare(job, tensors, choices[share.outputs.batch]),
                )
                for _ in range(sets)
            ]
            for job, share, tensors in zip(jobs, mine, operands, strict=True)
        ]

    pieces = agreed(ranks, prepare)
    sound = [pass_ for pass_ in PASSES if checks[pass_].ok]
    if emulated:
        of_shape = {shape_of(share): steps.elements(each[0]) for share, each in zip(mine, pieces, strict=True)}
        counts = [of_shape[shape_of(share)] for share in shares]
        for segments in itertools.chain(*pieces):
            steps.stand_in(segments)
    else:
        counts = ranks.all_gather(steps.elements(pieces[0][0]))
    exchanging = None if emulated else agreed(ranks, lambda: device.connect(ranks, options.collectives, options.dtype))
    planned = agreed(
        ranks, lambda: [[steps.calls(layer, one, sound, counts, exchanging) for one in each] for each in pieces]
    )
    calls = [steps.in_turn([of_set for of_set, _ in each]) for each in planned]
    timed = Timed(task, layer, shares, calls, sound, planned[0][0][1], sets)
    if not sound:
        return _records(timed, None, found, choices[every[0].size], checks) if ranks.rank == 0 else []
    # What is replayed from a graph is repeated also where caches are cold: on other operands each time.
    repeated = options.cache == "hot" or options.cuda_graph
    rule = Rule(options.rel_error, options.max_time, options.max_samples, repeated)
    before = device.conditions()
    time_step, slowed = timed.step(device, ranks)
    try:
        sampled = collect(
            time_step,
            [steps.in_step(layer, part) for part in timed.parts],
            rule,
            ranks,
            lambda count: progress(f"{layer.name}: {count} samples" if count else f"{layer.name}: warming up"),
            timed.modelled or 0.0,
            range(len(sound)),
            slowed,
        )
        after = device.conditions()
        told = _told(timed, device, ranks, progress)
    except LayerbenchError as error:
        if ranks.size > 1:
            # The other ranks are inside a collective call and cannot be told: only ending the world frees them.
            ranks.abort(f"{layer.name}: {error}")
        raise
    if sampled is None:
        return []
    conditions = [each for each in (before, after) if each is not None]
    records = _records(timed, sampled, found, choices[every[0].size], checks)
    of_all = {"conditions": conditions, "retaken": sampled.retaken, "throttled": sampled.throttled}
    return [
        msgspec.structs.replace(record, **of_all, **told.get(record.part, {})) if record.status == "ok" else record
        for record in records
    ]


def _sets(task: Task, layer: AnyLayer, mine: Sequence[Share], device: Device, scratch: int) -> int:
    """How often a layer is prepared: several times where calls are replayed from a graph, and caches are to be cold.

    A graph has no room for a flush between its calls, so every call has other operands than those before it. Each set
    takes as much again of memory, ``scratch`` bytes that algorithms need beside their operands among it.
    """
    if not (task.options.cuda_graph and task.options.cache == "cold"):
        return 1
    smallest = min(share.layer.bytes(share.batch, task.options.dtype) for share in mine if share.layer is not None)
    needed = sum(share_memory(layer, share, task.ranks, task.layout(layer), task.options) + scratch for share in mine)
    return max(1, min(device.rotation(smallest), device.free_memory() // max(1, needed)))


def _told(timed: Timed, device: Device, ranks: Ranks, progress: Progress) -> dict[Part, dict[str, float | None]]:
    """What a device tells of each pass besides its time: energy over all ranks, and what it takes to queue one call."""
    if timed.task.placement == "emulated":
        return {}
    in_a_row = timed.task.options.cache == "hot" and not timed.task.options.cuda_graph
    # What one rank cannot tell another may: all have to ask alike.
    counted = in_a_row and all(ranks.all_gather(device.conditions() is not None))
    found: dict[Part, dict[str, float | None]] = {}
    for call in timed.calls[0]:
        if call.part is None or call.part in found or call.part not in timed.passes:
            continue
        launch = device.launch_seconds(call.run)
        energy = None
        if counted:
            progress(f"{timed.layer.name}: energy")
            (seconds,) = device.time_parts([call.run], 1)
            joules = ranks.gather(device.energy(call.run, seconds))
            known = [each for each in joules if each is not None]
            energy = sum(known) if known and len(known) == len(joules) else None
        found[call.part] = {"launch_seconds": launch, "energy_joules": energy}
    return found


def _job(share: Share, options: Options) -> Job:
    """What a rank's kernel prepares; every rank has something to do here."""
    assert share.layer is not None
    return Job(share.layer, share.batch, options.dtype, options.threads_per_rank, share.outputs.start)


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
    timed: Timed,
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
            found_out |= {"modelled_seconds": timed.modelled, "inner": timed.calls_of(sampled.inner)}
            found_out |= _times(timed, sampled.step, sampled.rank_step_medians)
        records.append(msgspec.structs.replace(record, **found_out))
    return records


def _communication(timed: Timed, sampled: Sampled | None, wrong: Sequence[Pass]) -> dict[str, Any]:
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


def _times_of_part(timed: Timed, sampled: Sampled, part: Part) -> dict[str, Any]:
    index = timed.parts.index(part)
    return _times(timed, sampled.parts[index], sampled.rank_medians[index]) | {"inner": timed.calls_of(sampled.inner)}


def _times(timed: Timed, samples: list[float], rank_medians: list[float]) -> dict[str, Any]:
    return {
        "samples": samples,
        "rank_medians": timed.of_ranks(rank_medians),
        "ci_method": interval(samples).method,
        "noisy": not converged(samples, timed.task.options.rel_error),
    }
