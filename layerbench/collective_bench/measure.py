"""What the ranks of one launch do: every operation at every size by every library, checked and timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from layerbench import registry
from layerbench.collective_bench import exchanges, journal
from layerbench.collective_bench.exchanges import Exchange
from layerbench.collective_bench.formulas import IN_PLACE, exchanged_bytes
from layerbench.collective_bench.pattern import STORED
from layerbench.collective_bench.sizes import shown
from layerbench.collective_bench.timing import sampled
from layerbench.collective_records import Collected, CollectiveTask, Row
from layerbench.collectives import Ranks, agreed
from layerbench.device import Device, Host
from layerbench.environment import available_memory_bytes
from layerbench.errors import LayerbenchError, OutOfMemoryError, VerificationError
from layerbench.pinning import seat
from layerbench.records import Collective, Collectives, Status
from layerbench.sampling import Rule, converged
from layerbench.task import Task

COPIES = 2
"""Of its buffers, that an exchange may need: a library has some of its own."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Launch:
    """The ranks, and what they know of their place: ``sharing`` is how many ranks have this rank's memory."""

    task: Task
    ranks: Ranks
    device: Device
    arrays: Any
    sharing: int
    progress: Progress

    @property
    def rule(self) -> Rule:
        options = self.task.options
        return Rule(options.rel_error, options.max_time, options.max_samples)


def measure(task: Task, asked: CollectiveTask, ranks: Ranks, folder: Path, progress: Progress) -> Collected:
    """Measure, and append each row to the journal in ``folder`` when it is known.

    Parameters
    ----------
    task
        Of the launch: its ranks are all measured.
    asked
        Operations, libraries and sizes.
    ranks
        Of MPI, whose exchanges take memory of the host.
    folder
        Where rank 0 writes.
    progress
        Told what is being done.

    Returns
    -------
    Collected
        Why a library of several has no rows.

    Raises
    ------
    LayerbenchError
        If no library can be had, or what was measured cannot be written.
    """
    kernel = registry.on_devices(task.options.kernels)
    device = kernel.device() if kernel is not None else Host()
    machines = ranks.all_gather(seat().machine)
    launch = _Launch(task, ranks, device, _arrays(device), machines.count(machines[ranks.rank]), progress)
    connected, notes = _connected(launch, asked.methods)
    itemsize = np.dtype(STORED[task.options.dtype]).itemsize
    for operation in asked.operations:
        for size in sorted({exchanged_bytes(operation, size, ranks.size, itemsize) for size in asked.sizes}):
            for method, through in connected.items():
                row = _row(launch, operation, size, method, through)
                agreed(ranks, partial(_append, folder, row, ranks))
    return Collected(notes=notes)


def _append(folder: Path, row: Row, ranks: Ranks) -> None:
    if ranks.rank == 0:
        journal.append(folder, row)


def _arrays(device: Device) -> Any:
    """The module of arrays in a device's memory."""
    if device.name == "host":
        return np
    from layerbench.cuda import library

    return library.load()


def _connected(launch: _Launch, methods: Sequence[Collectives]) -> tuple[dict[Collectives, Ranks], list[str]]:
    """The ranks as each library connects them, and why one of several cannot."""
    found: dict[Collectives, Ranks] = {}
    notes: list[str] = []
    reason: LayerbenchError | None = None
    dtype = launch.task.options.dtype
    for method in methods:
        launch.progress(f"connecting the ranks: {method}")
        try:
            found[method] = agreed(launch.ranks, partial(launch.device.connect, launch.ranks, method, dtype))
        except LayerbenchError as error:
            reason = reason or error
            notes.append(f"{launch.ranks.size} ranks: {' '.join(str(error).split())}")
    if not found and reason is not None:
        raise reason
    return found, notes


def _row(launch: _Launch, operation: Collective, size: int, method: Collectives, ranks: Ranks) -> Row:
    """One row; its values count on rank 0."""
    what = f"{operation.replace('_', '-')} of {shown(size)} over {ranks.size} ranks ({method})"
    launch.progress(what)
    known: dict[str, Any] = {
        "operation": operation,
        "bytes": size,
        "nodes": launch.task.nodes,
        "ranks": ranks.size,
        "dtype": launch.task.options.dtype,
        "collectives": method,
        "library": ranks.library,
        "call": ranks.operation_name(operation, even=True),
        "device": launch.device.name,
        "in_place": operation in IN_PLACE,
        "oversubscribed": launch.task.oversubscribed,
    }
    try:
        agreed(launch.ranks, lambda: _see_that_it_fits(launch, operation, size))
        exchange = agreed(launch.ranks, lambda: _made(launch, operation, size, ranks))
        _check(launch, exchange)
        apart = operation == "broadcast" and launch.device.name == "host"
        found, quickest = sampled(
            exchange,
            ranks,
            launch.device,
            launch.rule,
            apart,
            lambda count: launch.progress(f"{what}: {count} samples"),
        )
        _check(launch, exchange)
    except LayerbenchError as error:
        status: Status = "skipped" if isinstance(error, OutOfMemoryError) else "failed"
        return Row(**known, status=status, reason=" ".join(str(error).split()))
    if found is None:
        return Row(**known)
    return Row(
        **known,
        samples=found.step,
        quickest_rank_samples=quickest[-len(found.step) :],
        inner=found.inner,
        apart=apart,
        noisy=not converged(found.step, launch.rule.rel_error),
    )


def _made(launch: _Launch, operation: Collective, size: int, ranks: Ranks) -> Exchange:
    return exchanges.make(operation, size, launch.task.options.dtype, ranks, launch.arrays)


def _see_that_it_fits(launch: _Launch, operation: Collective, size: int) -> None:
    """Refuse a size that does not fit any rank's memory, on all of them alike."""
    needed = COPIES * exchanges.buffer_bytes(operation, size, launch.ranks.size)
    on_host = launch.device.name == "host"
    free = available_memory_bytes() // launch.sharing if on_host else launch.device.free_memory()
    least = min(launch.ranks.all_gather(free))
    if needed > least:
        raise OutOfMemoryError(f"a rank needs about {shown(needed)} of memory and has {shown(least)}")


def _check(launch: _Launch, exchange: Exchange) -> None:
    """Run once on new values, and compare the result on every rank.

    Raises
    ------
    VerificationError, MeasurementError
        If it is wrong, on this rank or another.
    """
    agreed(launch.ranks, exchange.prepare)
    launch.device.synchronize()
    # A rank must not be given anything before all have poisoned what is to be overwritten.
    launch.ranks.barrier()
    agreed(launch.ranks, exchange.run)
    launch.device.synchronize()

    def see() -> None:
        told = exchange.wrong()
        if told is not None:
            raise VerificationError(f"wrong result: {told}")

    try:
        agreed(launch.ranks, see)
    except VerificationError as error:
        # On other ranks the message begins with the rank that it is of.
        raise VerificationError(f"rank {launch.ranks.rank}: {error}") from error
