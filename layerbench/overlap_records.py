"""The schema of ``overlap.json``: what overlap gained, at each node count and each ratio of transfer to computation.

Version 1: rows, and the timelines of a few steps of the training step's rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from layerbench.errors import StoreError
from layerbench.records import AtLeastOne, Placement

OVERLAP = "overlap.json"
"""Its name in the folder that ``--output`` names, which may be a run's."""

VERSION = 1

Mode: TypeAlias = Literal["implicit", "explicit"]
MODES: tuple[Mode, ...] = ("implicit", "explicit")

Workload: TypeAlias = Literal["training step", "ratio sweep"]

Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The same work without and with overlap.

    All seconds are of one step (one batch on all ranks), and the slowest rank's.

    Attributes
    ----------
    nodes, placement
        As in a record.
    implicit_seconds, explicit_seconds
        Medians: one after another, and overlapped.
    speedup, speedup_low, speedup_high
        Implicit over explicit, with its 95 % interval if there is one.
    attainable
        The most that overlap can gain: the sum of all stages over the longest one. Where no core is to spare, what
        of transfer keeps a core busy counts as computation.
    eta
        The part of the time that overlap can save that it saved,
        (implicit - explicit) / (implicit - longest stage); None where it can save none, or no more than the medians
        may be wrong by.
    workload
        Whether it is the suite's training step, or a point of the sweep of ratios.
    ratio
        Transfer over computation, as measured in implicit mode; None in files that do not tell.
    ranks, batch
        Ranks, and samples over all of them.
    transfer_seconds, compute_seconds, communication_seconds
        The stages in implicit mode: medians. Their sum is close to the implicit step.
    exposed_transfer_seconds, exposed_communication_seconds
        What of these the computation waits for in explicit mode: medians.
    implicit_samples, explicit_samples
        Seconds of a step in each block of steps that was timed.
    implicit_low, implicit_high, explicit_low, explicit_high
        95 % intervals of the medians.
    identical
        Whether both modes gave the same activations and gradients, bit for bit; None where that was not looked at.
    network
        The network model by which communication was computed, if it was.
    noisy
        Whether sampling ended before the intervals were as narrow as asked for.
    oversubscribed
        Whether more threads were busy than there are cores.
    """

    nodes: AtLeastOne
    placement: Placement
    implicit_seconds: Positive
    explicit_seconds: Positive
    speedup: Positive
    attainable: Positive
    eta: float | None
    speedup_low: Positive | None = None
    speedup_high: Positive | None = None
    workload: Workload = "ratio sweep"
    ratio: NotNegative | None = None
    ranks: AtLeastOne = 1
    batch: AtLeastOne = 1
    transfer_seconds: NotNegative = 0.0
    compute_seconds: NotNegative = 0.0
    communication_seconds: NotNegative = 0.0
    exposed_transfer_seconds: NotNegative = 0.0
    exposed_communication_seconds: NotNegative = 0.0
    implicit_samples: list[float] = []
    explicit_samples: list[float] = []
    implicit_low: Positive | None = None
    implicit_high: Positive | None = None
    explicit_low: Positive | None = None
    explicit_high: Positive | None = None
    identical: bool | None = None
    network: str = ""
    noisy: bool = False
    oversubscribed: bool = False

    @property
    def images_per_second(self) -> dict[Mode, float]:
        """Samples a second over all ranks, in each mode."""
        return {"implicit": self.batch / self.implicit_seconds, "explicit": self.batch / self.explicit_seconds}


class OneMode(msgspec.Struct, frozen=True, kw_only=True):
    """A node count of which one mode only was asked for; fields as in :class:`Row`."""

    nodes: AtLeastOne
    placement: Placement
    mode: Mode
    seconds: Positive
    low: Positive
    high: Positive
    ranks: AtLeastOne = 1
    batch: AtLeastOne = 1
    transfer_seconds: NotNegative = 0.0
    communication_seconds: NotNegative = 0.0
    samples: list[float] = []
    network: str = ""
    noisy: bool = False


class TimedSpan(msgspec.Struct, frozen=True, array_like=True):
    """A span of :mod:`layerbench.timeline`, in seconds from the beginning of its timeline."""

    lane: str
    name: str
    start: float
    stop: float
    step: int = -1


class StepTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """A few steps of one rank in one mode."""

    nodes: AtLeastOne
    mode: Mode
    rank: int = 0
    spans: list[TimedSpan] = []


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """What is in ``overlap.json``.

    Attributes
    ----------
    rows, one_mode
        What was measured both ways, and what in one only.
    suite, source, device
        What was computed, where its batches came from, and on which device.
    depth, workers, threads_per_rank, spare_cores, bucket_bytes
        Slots, threads of the data manager, threads that compute, cores of each rank that do not, and the size of
        gradient buckets.
    progress
        What drives exchanges while computation goes on: ``thread`` or ``calls`` between passes.
    notes
        What a reader should know, a sentence each.
    environment
        As in a run's manifest.
    """

    rows: list[Row]
    version: int = VERSION
    one_mode: list[OneMode] = []
    command: str = ""
    suite: str = ""
    source: str = ""
    device: str = ""
    dtype: str = ""
    depth: int = 0
    workers: int = 0
    threads_per_rank: int = 0
    spare_cores: int = 0
    bucket_bytes: int = 0
    progress: str = ""
    timelines: list[StepTimeline] = []
    notes: list[str] = []
    environment: dict[str, object] = {}


class OverlapTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranks of one launch are to measure.

    Attributes
    ----------
    modes
        Which ways.
    source
        ``synthetic``, or the whole path of a folder.
    depth, bucket_bytes, workers, spare_cores
        As in :class:`Overlap`.
    ratios
        Ratios of transfer to computation; empty for the training step.
    """

    modes: list[Mode]
    source: str
    depth: int
    bucket_bytes: int
    workers: int
    spare_cores: int
    ratios: list[float] = []


class Overlapped(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranks of one launch found."""

    rows: list[Row] = []
    one_mode: list[OneMode] = []
    timelines: list[StepTimeline] = []
    notes: list[str] = []
    device: str = ""
    source: str = ""
    progress: str = ""


class NewerError(StoreError, OSError):
    """The file is of a version that is not known here: for whoever reads it, as good as a file that cannot be read."""


class _Outline(msgspec.Struct):
    """What files of every version have."""

    version: AtLeastOne


def read(path: Path) -> Overlap:
    """What a file says; a bare list of rows, which has no version, is taken too.

    Raises
    ------
    OSError
        If it cannot be read; a :class:`NewerError` if a newer layerbench wrote it.
    msgspec.DecodeError, UnicodeDecodeError, RecursionError
        If it is damaged, or its version is missing or none.
    """
    text = path.read_bytes()
    outline = msgspec.json.decode(text, type=list[msgspec.Raw] | _Outline)
    if not isinstance(outline, _Outline):
        return Overlap(rows=msgspec.json.decode(text, type=list[Row]))
    if outline.version > VERSION:
        told = (
            f"it has version {outline.version}, and this layerbench reads version {VERSION}: use the layerbench that "
            "wrote it, or a newer one"
        )
        error = NewerError(f"{path}: {told}")
        error.strerror = told
        raise error
    return msgspec.json.decode(text, type=Overlap)
