"""What a machine is to the cost model: figures with their intervals, links between ranks, measured kernels.

A figure has an interval: that of its measurement, or none where it is a data sheet's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from layerbench.layers import AnyLayer, DType, Pass
from layerbench.records import Operation

INTERVAL = 0.90
"""Of every interval here."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number and how well it is known: a 90 % interval, or ``low == high == value`` of what is nominal."""

    value: float
    low: float
    high: float
    source: str = ""


def exact(value: float, source: str = "") -> Figure:
    """A figure without an interval."""
    return Figure(value=value, low=value, high=value, source=source)


def ceiling(rates: Sequence[float], source: str = "") -> Figure:
    """The best of repeated measurements, because it is wanted as a ceiling.

    The interval goes from the median of the better half: half, because a bandwidth is measured in two ways of which one
    is the quicker.
    """
    best = sorted(rates, reverse=True)
    better = best[: (len(best) + 1) // 2]
    return Figure(value=best[0], low=better[len(better) // 2], high=best[0], source=source)


def rate_of(beta: Figure) -> Figure:
    """Bytes a second of seconds a byte, or the other way round."""
    return Figure(value=1 / beta.value, low=1 / beta.high, high=1 / beta.low, source=beta.source)


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation of so many bytes over so many ranks took: the median, and its 90 % interval, in seconds.

    ``bytes`` is the whole vector: what an all-reduce reduces, what an all-gather leaves on every rank, what a
    reduce-scatter starts from, what one message carries.
    """

    operation: Operation
    ranks: int
    bytes: int
    seconds: float
    low: float
    high: float


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Hockney's figures of one operation, fitted to its sweep.

    Attributes
    ----------
    alpha, beta
        Seconds a message, and seconds a byte.
    crossover
        By number of ranks: the bytes from which the bandwidth-optimal algorithm is the quicker; None where one of the
        two is quicker at all sizes.
    residual
        Median of |fitted / measured - 1| over the sweep.
    """

    operation: Operation
    alpha: Figure
    beta: Figure
    crossover: dict[int, int | None] = {}
    residual: float | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What joins ranks: α and β of a message, what collectives were measured to take, and what was fitted to that."""

    alpha: Figure
    beta: Figure
    source: str = ""
    sweeps: list[Exchanged] = []
    fits: list[Fit] = []


class KernelPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A measured kernel: a pass of a layer on one rank, the median of its seconds and a 90 % interval."""

    layer: AnyLayer
    pass_: Pass = msgspec.field(name="pass")
    batch: int
    dtype: DType
    seconds: float
    low: float
    high: float


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, as far as the cost model needs it. All figures are of one rank.

    Attributes
    ----------
    name, description, source
        As it is given to ``--machine``; what it is; where the figures come from.
    device
        ``host`` or ``cuda``, as records name it.
    nodes
        How many there are; None if that is not known.
    ranks_per_node
        MPI ranks of a node: one for each GPU.
    peak
        FLOP/s by dtype.
    bandwidth
        Bytes a second between memory and device.
    memory_bytes
        What a rank may hold; None if that is not known.
    caches
        Bytes of each level that a rank's core has, the smallest first; of a cache that cores share, the whole.
    launch
        Seconds that the quickest kernel takes.
    between
        The network between nodes, as a rank has it while all ranks of its node use theirs. None where there was none to
        measure: nothing over more than one rank can be predicted then.
    no_network
        Why ``between`` is missing.
    within
        What joins the ranks of a node; None where nodes have one rank, or where all ranks are joined alike.
    kernels
        Kernels that were measured here.
    """

    name: str
    description: str = ""
    source: str = ""
    device: str = "host"
    nodes: int | None = None
    ranks_per_node: int = 1
    peak: dict[DType, Figure]
    bandwidth: Figure
    memory_bytes: float | None = None
    caches: list[int] = []
    launch: Figure
    between: Link | None = None
    no_network: str = ""
    within: Link | None = None
    kernels: list[KernelPoint] = []
