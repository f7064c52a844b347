"""The program one rank runs: ``python -m layerbench.worker ASSIGNMENT``.

It joins its world, pins itself to its cores, and only then loads libraries that start threads, so that these inherit
the cores. Exit code 0 means that every layer has its records, whatever they say.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from layerbench import environment
from layerbench.assignment import (
    Assignment,
    Event,
    Findings,
    JournalFailed,
    Progressed,
    Recorded,
    Started,
    findings_path,
    line_of,
)
from layerbench.collectives import MPIRanks, OneRank, Ranks, agreed
from layerbench.errors import JournalError, LaunchError, LayerbenchError, UnavailableError
from layerbench.pinning import assign, seat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layerbench.assignment import RankFigures
    from layerbench.collective_records import Collected
    from layerbench.machine import Exchanged
    from layerbench.overlap_records import Overlapped
    from layerbench.records import Network, Options, Record, Roofline
    from layerbench.task import Task

_OF_THE_HOST = ("network", "exchanges")
"""Purposes that exchange the host's memory and run no kernel: their ranks may be more than there are devices."""

PROGRESS_INTERVAL = 0.2
"""Least seconds between two events that only say that work goes on."""


class Voice:
    """Events of rank 0 on standard output; silent on every other rank."""

    def __init__(self, rank: int) -> None:
        self._speaks = rank == 0
        self._stage = ""
        self._last = 0.0

    def say(self, event: Event) -> None:
        if self._speaks:
            # In one write: another rank's output must not come between a line and its end.
            sys.stdout.write(line_of(event) + "\n")
            sys.stdout.flush()

    def progress(self, what: str) -> None:
        """Say what is being done: at once where a stage begins, now and then where one goes on."""
        stage = re.sub(r"\d+ samples$", "", what)
        now = time.monotonic()
        if stage != self._stage or now - self._last >= PROGRESS_INTERVAL:
            self._stage, self._last = stage, now
            self.say(Progressed(what))


def main(arguments: list[str]) -> int:
    path = Path(arguments[0])
    try:
        content = path.read_bytes()
    except OSError as error:
        print(
            f"layerbench: {path} cannot be read on {socket.gethostname()}: {error.strerror}; the run folder must be on "
            "a file system that all nodes share",
            file=sys.stderr,
            flush=True,
        )
        return 1
    assignment = msgspec.json.decode(content, type=Assignment)
    ranks: Ranks = OneRank()
    try:
        ranks = join(assignment)
        return _work(path, assignment, ranks)
    except LayerbenchError as error:
        if ranks.size > 1:
            ranks.abort(str(error))
        print(f"layerbench: {error}", file=sys.stderr, flush=True)
        return 1
    except Exception:
        # A defect of ours, on one rank: its trace goes to the launch's log, and the world must not wait for it.
        traceback.print_exc()
        sys.stderr.flush()
        if ranks.size > 1:
            ranks.abort("ended by the error above")
        return 1


def join(assignment: Assignment) -> Ranks:
    """The ranks of this launch.

    Raises
    ------
    LaunchError
        If the launcher did not start one world of the ranks that were asked for.
    """
    ranks: Ranks = OneRank() if assignment.options.launcher == "none" else MPIRanks()
    if ranks.size != assignment.world:
        launcher = assignment.options.launcher
        raise LaunchError(
            f"this rank sees {ranks.size} ranks, {assignment.world} were asked for: {launcher} started separate "
            f"worlds, because it and the MPI that mpi4py loads ({ranks.library}) do not understand each other; "
            + _JOINED_BY.get(launcher, _JOINED_BY["mpiexec"])
        )
    return ranks


_JOINED_BY = {
    "srun": "say --launcher-args=--mpi=pmi2 (MPICH and its relatives) or --mpi=pmix (Open MPI; srun --mpi=list tells "
    "what there is)",
    "aprun": "load the mpi4py that was built for Cray's MPI",
    "jsrun": "load the mpi4py that was built for the MPI of jsrun",
    "flux": "say --launcher-args='-o pmi=simple' (MPICH) or '-o pmi=pmix' (Open MPI)",
    "mpiexec": "use the mpiexec of that MPI",
}
"""What to change where ranks do not find each other."""


def _see_that_hosts_are_alike(alike: dict[str, Any], here: dict[str, Any]) -> None:
    """Ranks that run on unlike machines, or on others than before, make no curve.

    Raises
    ------
    LaunchError
        Naming what is not as it was.
    """
    differences = [
        f"{name.replace('_', ' ')} is {here.get(name)}, not {was}"
        for name, was in alike.items()
        if here.get(name) != was
    ]
    if differences:
        raise LaunchError(
            f"{socket.gethostname()} is unlike the host of this run's first rank: {'; '.join(differences)}; ask for "
            "nodes of one kind"
        )


def _work(path: Path, assignment: Assignment, ranks: Ranks) -> int:
    options = assignment.options
    here: dict[str, Any] = {}
    if options.machines:
        here = environment.capture_host()
        _see_that_hosts_are_alike(assignment.alike, here)
    seats = ranks.all_gather(seat())
    spare = assignment.overlap.spare_cores if assignment.overlap else 0
    cores = assign(seats, options.threads_per_rank + spare, oversubscribe=options.oversubscribe)
    computing = cores[ranks.rank][: options.threads_per_rank]
    if spare and options.oversubscribe:
        # Ranks that share all their cores should not all compute on the first of them.
        apart = assign(seats, options.threads_per_rank, oversubscribe=True)[ranks.rank]
        computing = apart if set(apart) < set(cores[ranks.rank]) else computing
    # Threads that compute are started from here, and inherit the cores: those to spare are left to others.
    os.sched_setaffinity(0, computing)
    taken = []
    if assignment.purpose not in _OF_THE_HOST:
        taken = _take_device(options, ranks, [of_rank.machine for of_rank in seats])
    hosts = ranks.gather(socket.gethostname())

    voice = Voice(ranks.rank)
    voice.say(Started(ranks.size))
    found = Findings(
        mpi=ranks.library,
        hosts=hosts,
        pinned_cores=[list(of_rank) for of_rank in cores],
        devices=taken,
        host=here,
    )
    _keep(found, path, ranks, voice)
    status = 0
    if assignment.purpose == "network":
        found = msgspec.structs.replace(found, network=_network(assignment, ranks, voice))
    elif assignment.purpose == "roofline":
        found = msgspec.structs.replace(found, roofline=_roofline(assignment, voice))
    elif assignment.purpose == "exchanges":
        found = msgspec.structs.replace(found, exchanges=_exchanges(assignment, ranks, voice))
    elif assignment.purpose == "rank":
        found = msgspec.structs.replace(found, rank=_rank(assignment, voice))
    elif assignment.purpose == "overlap":
        spared = tuple(core for core in cores[ranks.rank] if core not in computing)
        found = msgspec.structs.replace(found, overlap=_overlap(assignment, ranks, spared, voice))
    elif assignment.purpose == "collectives":
        found = msgspec.structs.replace(found, collectives=_collectives(assignment, ranks, voice))
    else:
        status = _measure(assignment, ranks, voice)
        found = msgspec.structs.replace(found, libraries=_libraries(assignment))
    if here and ranks.rank == 0:
        found = msgspec.structs.replace(found, host=here | environment.capture_late())
    _keep(found, path, ranks, voice)
    ranks.barrier()
    return status


def _take_device(options: Options, ranks: Ranks, machines: Sequence[str]) -> list[str]:
    """Let the kernels use this rank's device, where they run on one of several; returns every rank's, else nothing.

    Which ranks share a machine is known from themselves, and which devices each of them sees from its own libraries: no
    launcher is asked.
    """
    from layerbench.devices import assign
    from layerbench.registry import on_devices

    kernel = agreed(ranks, lambda: on_devices(options.kernels))
    seen = ranks.all_gather(kernel.devices() if kernel is not None else [])
    if not any(seen):
        return []
    taken = assign(machines, seen, oversubscribe=options.oversubscribe)
    if kernel is not None:
        kernel.use(taken[ranks.rank])
    return taken


def _keep(found: Findings, path: Path, ranks: Ranks, voice: Voice) -> None:
    """Write rank 0's findings: at first what is known of the ranks, should they not come to their end."""
    if ranks.rank:
        return
    try:
        findings_path(path).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    except OSError as error:
        voice.say(JournalFailed(f"{findings_path(path)} cannot be written: {error.strerror}"))


def _task(assignment: Assignment) -> Task:
    from layerbench.task import Task

    return Task(
        assignment.options,
        assignment.nodes,
        assignment.ranks,
        assignment.placement,
        assignment.network,
        assignment.oversubscribed,
        assignment.layouts,
    )


def _measure(assignment: Assignment, ranks: Ranks, voice: Voice) -> int:
    from layerbench.measure import measure
    from layerbench.store import Journal

    task = _task(assignment)
    for layer in assignment.layers:
        voice.say(Progressed(f"{layer.name}: starting"))
        records = measure(task, layer, ranks, voice.progress)
        written = True
        if ranks.rank == 0:
            try:
                with Journal(Path(assignment.run_folder)) as journal:
                    journal.append(records)
                voice.say(_told(layer.name, records))
            except JournalError as error:
                written = False
                voice.say(JournalFailed(str(error)))
        if not ranks.broadcast(written):
            return 1
    return 0


def _network(assignment: Assignment, ranks: Ranks, voice: Voice) -> Network | None:
    from layerbench.calibrate.network_model import all_reduce_sweep

    return all_reduce_sweep(assignment.options, ranks, voice.progress)


def _exchanges(assignment: Assignment, ranks: Ranks, voice: Voice) -> list[Exchanged]:
    from layerbench.calibrate.exchanges import sweep

    return sweep(assignment.options, ranks, voice.progress)


def _rank(assignment: Assignment, voice: Voice) -> RankFigures:
    from layerbench.calibrate.rank import measure

    return measure(assignment.options, assignment.dtypes, voice.progress)


def _overlap(assignment: Assignment, ranks: Ranks, spared: tuple[int, ...], voice: Voice) -> Overlapped:
    from layerbench.overlap.measure import measure

    assert assignment.overlap is not None, "what is to be overlapped is told with the purpose"
    return measure(_task(assignment), assignment.layers, assignment.overlap, ranks, spared, voice.progress)


def _collectives(assignment: Assignment, ranks: Ranks, voice: Voice) -> Collected:
    from layerbench.collective_bench.measure import measure

    assert assignment.collectives is not None, "what is to be exchanged is told with the purpose"
    return measure(_task(assignment), assignment.collectives, ranks, Path(assignment.run_folder), voice.progress)


def _roofline(assignment: Assignment, voice: Voice) -> Roofline:
    from layerbench.roofline import measure

    return measure(assignment.options, assignment.layers, voice.progress)


def _told(layer: str, records: list[Record]) -> Recorded:
    by_status = {status: [r for r in records if r.status == status] for status in ("ok", "failed", "skipped")}
    bad = by_status["failed"] or by_status["skipped"]
    return Recorded(
        layer=layer,
        ok=len(by_status["ok"]),
        failed=len(by_status["failed"]),
        skipped=len(by_status["skipped"]),
        noisy=sum(record.noisy for record in records),
        reason=bad[0].reason if bad else "",
    )


def _libraries(assignment: Assignment) -> dict[str, str]:
    """Versions of the kernel libraries that ran this launch's layers."""
    from layerbench.registry import find

    options, task = assignment.options, _task(assignment)
    used = {}
    for layer in assignment.layers:
        with contextlib.suppress(UnavailableError):
            of_rank = task.shares(layer)[0].layer or layer
            kernel = find(options.kernels, of_rank, options.dtype, split=task.splits_outputs(layer))
            used[kernel.name] = kernel.availability().version
    return used


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
