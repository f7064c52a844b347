"""The schema of ``collectives.json``: how long ranks take to exchange vectors of many sizes.

Version 1: rows, and the launches that they come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from layerbench.errors import StoreError
from layerbench.layers import DType
from layerbench.records import AtLeastOne, Collective, Collectives, Launch, Status
from layerbench.stats import Interval, interval, median

COLLECTIVES_JSON = "collectives.json"
"""Its name in the folder that ``--output`` names."""

VERSION = 1


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One operation at one size, over the ranks of one node count, by one library.

    Attributes
    ----------
    operation, bytes
        What was exchanged; what of it ``bytes`` counts is told by :data:`layerbench.collective_bench.formulas.SIZE_OF`.
        Where ranks have a block each, the size that was asked for is rounded up to equal blocks.
    nodes, ranks
        Nodes asked for, and ranks over all of them.
    dtype
        Of what is exchanged.
    collectives, library, call
        As ``--collectives`` has it, the library's name and version, and the call that it was.
    device
        Whose memory: ``host`` or another.
    in_place
        Whether the result takes the place of what a rank gives.
    samples
        Seconds of one exchange, each the maximum over ranks of that sample; empty where it failed.
    quickest_rank_samples
        The minimum over ranks of the same samples, in the same order.
    inner
        Exchanges within one sample, one after another.
    apart
        Whether ranks meet before each of these exchanges, and not only before each sample.
    noisy
        The 95 % interval of the median did not shrink below the relative error asked for within the time allowed.
    oversubscribed
        More ranks ran than there are cores or devices, because ``--oversubscribe`` asked for it.
    status, reason
        ``ok``, ``failed`` (a wrong result, for one) or ``skipped`` (too large for memory), and why.
    """

    operation: Collective
    bytes: AtLeastOne
    nodes: AtLeastOne
    ranks: AtLeastOne
    dtype: DType
    collectives: Collectives
    library: str = ""
    call: str = ""
    device: str = "host"
    in_place: bool
    samples: list[float] = []
    quickest_rank_samples: list[float] = []
    inner: AtLeastOne = 1
    apart: bool = False
    noisy: bool = False
    oversubscribed: bool = False
    status: Status = "ok"
    reason: str = ""

    @property
    def seconds(self) -> Interval:
        """Median of the samples with its 95 % interval; NaN where there are none."""
        return interval(self.samples)

    @property
    def quickest_rank_seconds(self) -> float:
        """Median seconds of the rank that was quickest in a sample; NaN where there are none."""
        return median(self.quickest_rank_samples)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is in ``collectives.json``.

    Attributes
    ----------
    rows
        In the order in which they were measured.
    command, dtype, kernels, ranks_per_node, threads_per_rank
        What was asked for.
    launches
        Each start of ranks: where they sat, and how it ended.
    notes
        What a reader should know, a sentence each.
    environment
        As in a run's manifest.
    """

    rows: list[Row]
    version: int = VERSION
    command: str = ""
    dtype: str = ""
    kernels: str = ""
    ranks_per_node: int = 1
    threads_per_rank: int = 1
    launches: list[Launch] = []
    notes: list[str] = []
    environment: dict[str, Any] = {}


class CollectiveTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranks of one launch are to measure.

    Attributes
    ----------
    operations, methods
        Which exchanges, and what by; every size is measured by all of them before the next one is.
    sizes
        Bytes, as they were asked for.
    """

    operations: list[Collective]
    methods: list[Collectives]
    sizes: list[int]


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranks of one launch say at their end; rows are in :data:`layerbench.collective_bench.journal.ROWS`."""

    notes: list[str] = []


class _Outline(msgspec.Struct):
    """What files of every version have."""

    version: AtLeastOne


def read(path: Path) -> Measured:
    """What a file says.

    Raises
    ------
    StoreError
        If it cannot be read, is damaged, or was written by a newer layerbench.
    """
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Outline).version
        if version <= VERSION:
            return msgspec.json.decode(text, type=Measured)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    raise StoreError(f"{path} has version {version}, and this layerbench reads version {VERSION}: use a newer one")
