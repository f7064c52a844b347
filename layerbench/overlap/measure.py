"""What the ranks of one launch do: prepare a step, see that both modes give the same, time both, and draw a few steps.

Every rank runs the same lines; what is found is put together on rank 0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from layerbench.collectives import Ranks, agreed
from layerbench.connections import chains
from layerbench.datamanager.buckets import buckets
from layerbench.datamanager.host import Host
from layerbench.environment import available_memory_bytes
from layerbench.errors import LayerbenchError, OutOfMemoryError, UsageError, VerificationError
from layerbench.layers import ITEMSIZE, AnyLayer
from layerbench.overlap import modelled, rows
from layerbench.overlap.identical import Compared, compare
from layerbench.overlap.loops import Explicit, Implicit, Loop, Observed, Work, progress_by
from layerbench.overlap.ratios import sweep
from layerbench.overlap.sampling import Samples, collect
from layerbench.overlap.spans import recorded
from layerbench.overlap.workloads import POOL_BATCHES, Training, lanes, shared_cores, source_of
from layerbench.overlap_records import Mode, Overlapped, OverlapTask, StepTimeline
from layerbench.pinning import seat
from layerbench.sampling import Rule
from layerbench.stats import median
from layerbench.task import Task
from layerbench.timeline import Timeline
from layerbench.training import memory_needed, prepare_step
from layerbench.training_step import TrainingStep
from layerbench.units import size

RECORDED = 3
"""Steps whose timeline is kept."""

REL_DIFFERENCE = 1e-5
"""By which sums of float32 gradients may differ where MPI adds them up in another order."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Launch:
    """What all parts of a launch need to know."""

    task: Task
    layers: Sequence[AnyLayer]
    asked: OverlapTask
    ranks: Ranks
    cores: Sequence[int]
    progress: Progress

    @property
    def emulated(self) -> bool:
        return self.task.placement == "emulated"

    @property
    def communicator(self) -> Any:
        """What real ranks exchange over; None where there is nothing to exchange, or it is computed."""
        return self.ranks.communicator if self.ranks.size > 1 else None

    @property
    def batch(self) -> int:
        """Samples of this rank; of the rank with the largest share where one stands for all."""
        shares = self.task.shares(self.layers[0])
        return shares[0 if self.emulated else self.ranks.rank].batch


def measure(
    task: Task,
    layers: Sequence[AnyLayer],
    asked: OverlapTask,
    ranks: Ranks,
    cores: Sequence[int],
    progress: Progress,
) -> Overlapped:
    """Measure a training step, or the sweep of ratios, with and without overlap.

    Parameters
    ----------
    task
        Node count, options, and whether ranks are real.
    layers
        Those of the network.
    asked
        How it is overlapped.
    ranks
        The ranks of this launch: ``task.ranks`` of them if measured, one if emulated.
    cores
        That this rank has to spare.
    progress
        Told what is being done.

    Returns
    -------
    Overlapped
        Complete on rank 0.

    Raises
    ------
    LayerbenchError
        If it cannot be measured.
    """
    launch = _Launch(task, layers, asked, ranks, cores, progress)
    agreed(ranks, lambda: _check(launch))
    try:
        if asked.ratios:
            return sweep(task.options, asked, cores, progress)
        step = prepare_step(
            layers,
            launch.batch,
            ranks,
            dtype=task.options.dtype,
            threads=task.options.threads_per_rank,
            kernels_name=task.options.kernels,
            seed=task.options.seed,
            progress=progress,
        )
        with step:
            return _of_step(launch, step)
    except LayerbenchError as error:
        if ranks.size > 1:
            # The others may be inside a collective call, where only the end of their world frees them.
            ranks.abort(str(error))
        raise


def _check(launch: _Launch) -> None:
    task = launch.task
    empty = sum(share.batch == 0 for share in task.shares(launch.layers[0]))
    if empty:
        raise UsageError(
            f"{task.batch} samples leave {empty} of {task.ranks} ranks without any: raise --batch or use fewer nodes"
        )
    options = task.options
    machines = launch.ranks.all_gather(seat().machine)
    here = machines.count(machines[launch.ranks.rank])
    heads = [chain.layers[0] for chain in chains(launch.layers)]
    of_batch = sum(math.prod(head.input_shape(launch.batch)) for head in heads) * ITEMSIZE[options.dtype]
    needed = memory_needed(launch.layers, launch.batch, options.dtype) + of_batch * (launch.asked.depth + POOL_BATCHES)
    free = available_memory_bytes()
    if here * needed > free:
        raise OutOfMemoryError(
            f"a training step with {launch.batch} samples on each of {here} {'rank' if here == 1 else 'ranks'} needs "
            f"about {size(here * needed)} of memory and {size(free)} are free: lower --batch or --depth"
        )


def _of_step(launch: _Launch, step: TrainingStep) -> Overlapped:
    task, asked, ranks = launch.task, launch.asked, launch.ranks
    work, told, stages = _work(launch, step)
    compared: Compared | None = None
    if len(asked.modes) == 2:
        compared = compare(lambda mode: _loop(launch, mode, step, work), step, ranks, launch.progress)
        _see_that_they_agree(compared)
    # Only what is computed of the network asks when gradients were complete.
    observed = Observed(work, waiting=launch.emulated and step.device.name != Host.name)
    rule = Rule(task.options.rel_error, task.options.max_time, task.options.max_samples)
    with ExitStack() as stack:
        loops: dict[Mode, Loop] = {}
        for mode in asked.modes:
            loops[mode] = _loop(launch, mode, step, observed if mode == "explicit" else work)
            stack.callback(loops[mode].close)
        samples = collect(loops, asked.depth + 1, rule, ranks, launch.progress)
    crowded = _share_cores(launch)
    timelines = [_timeline(launch, mode, step, work) for mode in asked.modes]
    if ranks.rank:
        return Overlapped()
    notes = [compared.told] if compared is not None and compared.told else []
    network = ""
    if launch.emulated and task.network is not None and task.ranks > 1:
        _add_modelled(launch, step, observed, samples)
        network = task.network.name
    known: dict[str, Any] = {
        "nodes": task.nodes,
        "placement": task.placement,
        "ranks": task.ranks,
        "batch": task.batch,
        "network": network,
        "rel_error": task.options.rel_error,
    }
    found = Overlapped(
        timelines=[each for each in timelines if each is not None],
        notes=notes,
        device=step.device.name,
        source=told,
        progress=progress_by(launch.cores) if ranks.size > 1 else "",
    )
    if compared is None:
        (mode,) = asked.modes
        return _with(found, one_mode=[rows.alone(mode, samples[mode], **known)])
    shared = shared_cores(launch.cores, task.options.threads_per_rank, step.device.name)
    row = rows.both(
        samples["implicit"],
        samples["explicit"],
        lanes=lanes(asked, stages, shared),
        shared=shared,
        workload="training step",
        identical=compared.identical,
        oversubscribed=task.oversubscribed or crowded,
        **known,
    )
    return _with(found, rows=[row], notes=[*notes, rows.SHARED] if shared else notes)


def _share_cores(launch: _Launch) -> bool:
    """Whether a core serves several ranks, which hosts that are one machine do not tell."""
    mine = {(seat().machine, core) for core in (*os.sched_getaffinity(0), *launch.cores)}
    every = [core for of_rank in launch.ranks.all_gather(mine) for core in of_rank]
    return len(set(every)) < len(every)


def _with(found: Overlapped, **changes: Any) -> Overlapped:
    import msgspec

    return msgspec.structs.replace(found, **changes)


def _work(launch: _Launch, step: TrainingStep) -> tuple[Training, str, int]:
    """What is computed on what, in words where that comes from, and in how many stages."""
    source, feeds, told = agreed(launch.ranks, lambda: _source(launch, step))
    source.close()
    return Training(step, feeds), told, len(source.stages)


def _source(launch: _Launch, step: TrainingStep) -> Any:
    ranks = launch.ranks
    seed = launch.task.options.seed
    return source_of(launch.asked.source, step.fields, launch.batch, seed, ranks.rank, ranks.size)


def _loop(launch: _Launch, mode: Mode, step: TrainingStep, work: Work, timeline: Timeline | None = None) -> Loop:
    """A loop over a source of its own, which begins with the same batch every time."""
    source, asked = _source(launch, step)[0], launch.asked
    if mode == "implicit":
        return Implicit(work, source, launch.communicator, device=step.device.name, timeline=timeline)
    return Explicit(
        work,
        source,
        launch.communicator,
        depth=asked.depth,
        workers=asked.workers,
        bucket_bytes=asked.bucket_bytes,
        cores=launch.cores,
        timeout=launch.task.options.timeout,
        device=step.device.name,
        timeline=timeline,
    )


def _see_that_they_agree(compared: Compared) -> None:
    if compared.difference > REL_DIFFERENCE:
        raise VerificationError(
            f"explicit overlap gave other {compared.what} than implicit transfer (relative difference "
            f"{compared.difference:.2g}): a batch or a gradient was used before it was complete"
        )


def _timeline(launch: _Launch, mode: Mode, step: TrainingStep, work: Training) -> StepTimeline | None:
    """A few steps of rank 0; None of other ranks, which take the same steps."""
    timeline = Timeline()
    step.timeline = timeline
    loop = _loop(launch, mode, step, work, timeline)
    try:
        spans = recorded(
            loop,
            timeline,
            launch.asked.depth + 1,
            RECORDED,
            launch.ranks,
            lambda: launch.progress(f"{mode}: timeline"),
        )
    finally:
        loop.close()
        step.timeline = None
    return StepTimeline(nodes=launch.task.nodes, mode=mode, spans=spans) if launch.ranks.rank == 0 else None


def _add_modelled(launch: _Launch, step: TrainingStep, observed: Observed, samples: dict[Mode, Samples]) -> None:
    """Add to the samples of a rank that stood for all what they would have exchanged, by the network model."""
    network, ranks = launch.task.network, launch.task.ranks
    assert network is not None
    sizes = [gradient.nbytes for gradient in step.gradients]
    waited = {"implicit": modelled.blocking_seconds(network, ranks, sizes)}
    if "explicit" in samples:
        ready = [median(times) for times in observed.before_end]
        planned = buckets(step.gradients, launch.asked.bucket_bytes)
        waited["explicit"] = modelled.exposed_seconds(network, ranks, planned, ready)
    for mode, of_mode in samples.items():
        of_mode.step[:] = [seconds + waited[mode] for seconds in of_mode.step]
        of_mode.communication[:] = [waited[mode]] * len(of_mode.step)
