"""From ranks' findings to a machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from layerbench import environment
from layerbench.calibrate.fits import fit
from layerbench.calibrate.plan import Plan
from layerbench.errors import LayerbenchError, MeasurementError
from layerbench.launch import World
from layerbench.launches import found_by_ranks
from layerbench.layers import DTYPES
from layerbench.machine import Exchanged, Fit, Link, Machine
from layerbench.machine.read import OPERATIONS
from layerbench.records import Options
from layerbench.suite_format import flat, printable

RESIDUAL = 0.20
"""A fit that is further off than this, in the median, is said to be."""

CROWDED = "there were more threads than cores"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Calibration:
    """A machine that was measured, and what is to be said of how it was."""

    machine: Machine
    notes: tuple[str, ...] = ()


def calibrate(planned: Plan, path: Path, stage: Progress, progress: Progress) -> Calibration:
    """Measure this machine.

    Parameters
    ----------
    planned
        Which ranks are started.
    path
        Of the profile, whose name is the machine's. What ranks are told is beside it, where other hosts see it too if
        they share the folder.
    stage, progress
        Told what begins, and what is being done.

    Raises
    ------
    LayerbenchError
        If one rank by itself could not be measured. Where only exchanges failed, the machine has no network and says
        why.
    """
    options = planned.options
    beside = path.resolve().parent if options.machines else None
    with tempfile.TemporaryDirectory(prefix=".layerbench-calibrate-", dir=beside) as folder:
        alone = World(1, 1, tuple(options.hosts[:1]))
        # A launcher is only needed to reach another host, and one that does not work costs the network alone.
        of_rank = options if options.machines else msgspec.structs.replace(options, launcher="none")
        stage("one rank: peak, bandwidth, launch, layers of every kind")
        findings = found_by_ranks("rank", of_rank, alone, Path(folder), progress, dtypes=list(planned.asked or DTYPES))
        rank = findings.rank
        assert rank is not None, "a rank that ended well has its figures"
        between = _joined(planned, planned.between, planned.no_network, Path(folder), "between", stage, progress)
        within = _joined(planned, planned.within, "", Path(folder), "within", stage, progress)
    notes = list(rank.reasons)
    if planned.crowded:
        notes.append(f"oversubscribed: {CROWDED}, and their times show the machine running out")
    if without := [dtype for dtype in planned.asked if dtype not in rank.peak]:
        notes.append(f"no peak in {', '.join(without)}: no kernel here can do it (see layerbench doctor)")
    for place, joined in (("between nodes", between), ("within a node", within)):
        notes += joined.notes
        if joined.reason:
            notes.append(f"no network {place}: {joined.reason}")
    libraries = [joined.library for joined in (between, within) if joined.library]
    machine = Machine(
        name=path.stem,
        description=_described(options, rank.device),
        source=", ".join(["measured by layerbench calibrate", *dict.fromkeys(libraries)]),
        device=rank.device,
        nodes=planned.between.ranks if planned.between else 1,
        ranks_per_node=options.ranks_per_node,
        peak=rank.peak,
        bandwidth=rank.bandwidth,
        memory_bytes=rank.memory_bytes / planned.sharing if rank.memory_bytes else None,
        caches=rank.caches,
        launch=rank.launch,
        between=between.link,
        no_network=between.reason,
        within=within.link,
        kernels=rank.kernels,
    )
    return Calibration(machine, tuple(notes))


@dataclass(frozen=True)
class _Joined:
    """What joins some ranks, or why that is not known; by which MPI library, and what is to be said of it."""

    link: Link | None = None
    reason: str = ""
    library: str = ""
    notes: tuple[str, ...] = ()


def _joined(
    planned: Plan,
    world: World | None,
    reason: str,
    parent: Path,
    name: str,
    stage: Progress,
    progress: Progress,
) -> _Joined:
    """Measure what joins the ranks of a world; without one there is a reason, or nothing that could be joined."""
    if world is None:
        return _Joined(reason=reason)
    where = f" on {' '.join(world.hosts)}" if world.hosts else ""
    stage(f"messages and collectives over {world.ranks} ranks{where}")
    folder = parent / name
    folder.mkdir()
    try:
        found = found_by_ranks("exchanges", planned.options, world, folder, progress)
        crowded = f"; {CROWDED}" if planned.crowded else ""
        link = _link(found.exchanges, f"measured over {world.ranks} ranks{where}{crowded}")
    except LayerbenchError as error:
        return _Joined(reason=printable(" ".join(str(error).split())))
    notes = [
        f"{named(each)}: one α and β are {each.residual:.0%} off in the median; what was measured is kept, and "
        "predictions take β at the size in question"
        for each in link.fits
        if each.residual is not None and each.residual > RESIDUAL
    ]
    return _Joined(link, library=found.mpi, notes=tuple(notes))


def _link(exchanges: Sequence[Exchanged], source: str) -> Link:
    """The link of such a sweep, whose own α and β are those of a message."""
    fits = [found for operation in OPERATIONS if (found := fit(operation, exchanges)) is not None]
    if not fits:
        raise MeasurementError("fewer than two sizes of any exchange fit in memory")
    return Link(alpha=fits[0].alpha, beta=fits[0].beta, source=source, sweeps=list(exchanges), fits=fits)


def named(fitted: Fit) -> str:
    """An operation in words."""
    return fitted.operation.replace("_", "-")


def _described(options: Options, device: str) -> str:
    facts = environment.capture()
    processor = facts.get("cpu_model") or facts.get("architecture") or "unknown processor"
    threads = options.threads_per_rank
    gpus = f", {', '.join(dict.fromkeys(facts['gpus']))}" if facts.get("gpus") and device != "host" else ""
    return printable(f"{flat(processor)}{gpus}, {threads} {'thread' if threads == 1 else 'threads'} a rank")
