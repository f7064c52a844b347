"""What a launch's ranks are told, and what they say while they work.

The assignment is a file in the run folder; its path is the worker's one argument. Rank 0 answers on standard output,
one line an event, and keeps everything that must not be lost in files: records in the journal, the rest in a
:class:`Findings` file beside the assignment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from layerbench.collective_records import Collected, CollectiveTask
from layerbench.layers import AnyLayer, DType
from layerbench.machine import Exchanged, Figure, KernelPoint
from layerbench.overlap_records import Overlapped, OverlapTask
from layerbench.records import Layout, Network, Options, Placement, Purpose, Roofline

EVENT_MARK = "@layerbench "
"""Begins an event's line: launchers and libraries write to standard output too."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One launch's work.

    ``purpose`` is ``measure`` for layers, ``network`` for the all-reduce sweep the network model is fitted to,
    ``roofline`` for the ceilings of a rank. Of a calibration, ``exchanges`` is for what ranks do together and ``rank``
    for all that one has by itself, in ``dtypes``. ``overlap`` is for a step with and without overlap, and
    ``collectives`` for the exchanges of ranks at many sizes: see their tasks.
    ``world`` ranks run; the records are about ``ranks`` of them. ``layouts`` has the layout of each layer by name,
    where it was chosen layer by layer. ``alike`` are facts of the environment that every rank must find where it runs.
    """

    purpose: Purpose
    run_folder: str
    options: Options
    nodes: int
    ranks: int
    world: int
    placement: Placement
    oversubscribed: bool = False
    layers: list[AnyLayer] = []
    layouts: dict[str, Layout] = {}
    network: Network | None = None
    dtypes: list[DType] = []
    overlap: OverlapTask | None = None
    collectives: CollectiveTask | None = None
    alike: dict[str, Any] = {}


class RankFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration found out about one rank.

    Attributes
    ----------
    device
        As records name it.
    peak
        FLOP/s by dtype, of those that a kernel here can do.
    bandwidth
        Bytes a second between memory and device.
    launch
        Seconds that the quickest kernel takes.
    kernels
        Layers that were timed.
    memory_bytes, caches
        What is free on the device; bytes of each cache, the smallest first.
    reasons
        What could not be measured, and why.
    """

    device: str
    peak: dict[DType, Figure]
    bandwidth: Figure
    launch: Figure
    kernels: list[KernelPoint] = []
    memory_bytes: float | None = None
    caches: list[int] = []
    reasons: list[str] = []


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranks found out about themselves, and what they were sent to measure.

    ``host`` is the environment of the first one, if ranks run on other machines than they are started from.
    """

    mpi: str
    hosts: list[str]
    pinned_cores: list[list[int]]
    devices: list[str] = []
    host: dict[str, Any] = {}
    libraries: dict[str, str] = {}
    network: Network | None = None
    roofline: Roofline | None = None
    exchanges: list[Exchanged] = []
    rank: RankFigures | None = None
    overlap: Overlapped | None = None
    collectives: Collected | None = None


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The ranks found each other."""

    ranks: int


class Progressed(msgspec.Struct, frozen=True, tag="progressed"):
    """Something moved: what is being done now."""

    what: str


class Recorded(msgspec.Struct, frozen=True, tag="recorded"):
    """A layer's records are in the journal."""

    layer: str
    ok: int
    failed: int
    skipped: int
    noisy: int
    reason: str = ""


class JournalFailed(msgspec.Struct, frozen=True, tag="journal_failed"):
    """Records could not be written; nothing further can be kept, so nothing further is measured."""

    reason: str


Event: TypeAlias = Started | Progressed | Recorded | JournalFailed

_decoder = msgspec.json.Decoder(Event)


def line_of(event: Event) -> str:
    """An event as it goes over standard output."""
    return EVENT_MARK + msgspec.json.encode(event).decode()


def event_of(line: str) -> Event | None:
    """The event in a line of output; None if it has none, or a damaged one."""
    _, mark, text = line.partition(EVENT_MARK)
    if not mark:
        return None
    try:
        event: Event = _decoder.decode(text.encode())
    except msgspec.DecodeError:
        return None
    return event


def findings_path(assignment: Path) -> Path:
    """Where rank 0 puts its findings."""
    return assignment.with_suffix(".findings.json")
