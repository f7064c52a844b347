"""The result schema: one record for each (layer, part, nodes), and one manifest for each run.

Version history
---------------
1. First version.
2. ``Record.throttled``; ``Manifest.roofline``. A run of version 1 is read as one that has neither.
3. ``Options.layout``, ``Record.layout``, ``Manifest.layouts``. A run of an older version is read as one in the data
   layout, which it was.
4. ``Record.conditions``, ``retaken``, ``energy_joules`` and ``launch_seconds``; ``Options.workspace``, ``cuda_graph``,
   ``collectives`` and ``devices``; ``Launch.devices``. A run of an older version is read as one that was not told them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from layerbench.conditions import Conditions
from layerbench.layers import AnyLayer, DType

SCHEMA_VERSION = 4
OLDEST_VERSION = 1
"""Of what can be read: every version since has only added fields that have defaults."""

Part: TypeAlias = Literal["forward", "backward_data", "backward_weights", "communication", "step"]
PARTS: tuple[Part, ...] = get_args(Part)

Placement: TypeAlias = Literal["measured", "emulated"]
Status: TypeAlias = Literal["ok", "failed", "skipped"]
Scaling: TypeAlias = Literal["strong", "weak"]
Layout: TypeAlias = Literal["data", "model"]
"""How a layer is split over ranks; see :mod:`layerbench.partition`."""

LayoutOption: TypeAlias = Literal["data", "model", "best"]
"""What a run may be asked for: one layout for all, or for each layer and count the one that the cost model chooses."""

LAYOUT_OPTIONS: tuple[LayoutOption, ...] = get_args(LayoutOption)

Operation: TypeAlias = Literal["point_to_point", "all_reduce", "all_gather", "reduce_scatter"]
"""What ranks do together."""

Collective: TypeAlias = Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all"]
"""What ``layerbench collectives`` times; no layer needs all of them."""

COLLECTIVE_OPERATIONS: tuple[Collective, ...] = get_args(Collective)

Cache: TypeAlias = Literal["hot", "cold"]

Collectives: TypeAlias = Literal["auto", "nccl", "mpi", "staged"]
"""What exchanges buffers in the memory of a device; see :meth:`layerbench.device.Device.connect`."""

COLLECTIVES: tuple[Collectives, ...] = get_args(Collectives)

WORKSPACE = 4 * 2**30
"""The most scratch memory an algorithm may use unless another limit is given, in bytes."""

AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Purpose: TypeAlias = Literal["measure", "network", "roofline", "exchanges", "rank", "overlap", "collectives"]
CIMethod: TypeAlias = Literal["order-statistics", "range", "none"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One part of one layer's training step at one node count.

    Attributes
    ----------
    layer, kind
        The layer's name and type (``conv``, ``fc``, ``lstm``).
    part
        ``forward``, ``backward_data``, ``backward_weights``, ``communication`` (all that ranks exchange: in the data
        layout the all-reduce of the weight gradient) or ``step`` (all of them, from the same iterations).
    in_step
        Whether the part belongs to the step; false for ``backward_data`` of a network's first layer.
    nodes, ranks, threads_per_rank
        Nodes asked for, MPI ranks over all of them, threads of each rank.
    layout
        ``data`` where the batch is split over ranks, ``model`` where the layer's outputs are.
    batch, local_batch
        Samples over all ranks, and of the rank with the most; in the model layout every rank has all of them.
    dtype, kernels, algorithm, workspace_bytes, candidates
        What computed it: dtype, kernel library, the algorithm's own name, its scratch memory in bytes, and how many
        algorithms were timed to choose it.
    device, cache
        ``host`` or another device; whether the operands were ``hot`` in cache or flushed before (``cold``).
    oversubscribed
        More threads ran than there are cores, because ``--oversubscribe`` asked for it.
    placement, network
        ``measured`` where every rank ran, ``emulated`` where shards were timed alone and the communication was
        computed by the named network model. ``network`` is empty where nothing was computed.
    samples
        Seconds; each the maximum over ranks. Empty where the time was computed, or where there is none. The step of
        an emulated count is its measured passes plus ``modelled_seconds``.
    modelled_seconds
        Communication that was computed, in seconds; None where communication was measured.
    rank_medians
        Median seconds of each rank, in rank order. Where shards were timed alone, each rank has its shard's.
    inner
        Repetitions of the step within one sample.
    ci_method
        How the 95 % interval of the median is to be had: ``order-statistics``, ``range`` where there are too few
        samples for that, ``none`` where there are none.
    noisy
        The interval did not shrink below the relative error asked for within the time allowed.
    throttled
        The device ran well below its usual clock and went on to do so when samples were taken again.
    retaken
        Samples that were dropped and taken again because the device ran well below its usual clock in them.
    conditions
        Clocks, temperature and power of rank 0's device before the samples and after them; empty where it cannot tell.
    energy_joules
        Of one call on all ranks, in joules, among many in a row with hot caches; None where no device counts it, where
        ranks were emulated, and where calls are flushed or replayed.
    launch_seconds
        Seconds in which rank 0 queues one call; None where calls are not queued.
    verified, relative_error
        Whether the pass was compared with the float64 reference and agreed, and ‖out - ref‖ / ‖ref‖; None where
        there is nothing to compare (communication, step).
    macs, bytes, bytes_weights_reread
        Useful multiply-accumulates and compulsory bytes of the part over all ranks (weights are counted on every
        rank that holds them); ``communication`` has the bytes that are exchanged, those of the weight gradient or, in
        the model layout, of all that is gathered and reduced. For layers with time steps, also the bytes if nothing
        stays in cache between time steps.
    status, reason
        ``ok``, ``failed`` or ``skipped``, and why.
    """

    layer: str
    kind: str
    part: Part
    nodes: AtLeastOne
    ranks: AtLeastOne
    threads_per_rank: AtLeastOne
    layout: Layout = "data"
    batch: AtLeastOne
    local_batch: int
    dtype: DType
    kernels: str
    algorithm: str = ""
    workspace_bytes: int = 0
    candidates: int = 0
    device: str = "host"
    cache: Cache = "hot"
    in_step: bool = True
    oversubscribed: bool = False
    placement: Placement = "measured"
    network: str = ""
    samples: list[float] = []
    modelled_seconds: float | None = None
    rank_medians: list[float] = []
    inner: int = 1
    ci_method: CIMethod = "none"
    noisy: bool = False
    throttled: bool = False
    retaken: int = 0
    conditions: list[Conditions] = []
    energy_joules: float | None = None
    launch_seconds: float | None = None
    verified: bool | None = None
    relative_error: float | None = None
    macs: int = 0
    bytes: int = 0
    bytes_weights_reread: int | None = None
    status: Status = "ok"
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies a record within a run; of two with one key the later counts."""
        return self.layer, self.part, self.nodes


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for; a resumed run must have been asked for the same.

    Lists are normalised (node counts sorted, hosts expanded), and what was left open is filled in, so that two runs
    of equal options do the same. ``allocated`` is the number of nodes that a batch system gave, where its launcher
    chooses among them; 0 where ranks are started on hosts by name or on one machine. ``devices`` is the number of
    devices of this machine, one for each rank; 0 where ranks run on its cores, or on other machines. ``workspace`` is
    in bytes.
    """

    nodes: Annotated[list[AtLeastOne], msgspec.Meta(min_length=1)]
    batch: AtLeastOne
    scaling: Scaling
    dtype: DType
    kernels: str
    threads_per_rank: int
    ranks_per_node: int
    filter: str
    rel_error: float
    max_time: float
    max_samples: int
    cache: Cache
    oversubscribe: bool
    network: str
    launcher: str
    launcher_args: str
    hosts: list[str]
    timeout: float
    seed: int
    layout: LayoutOption = "data"
    allocated: int = 0
    workspace: int = WORKSPACE
    cuda_graph: bool = False
    collectives: Collectives = "auto"
    devices: int = 0

    @property
    def machines(self) -> int:
        """How many machines ranks may run on, which need not include the one they are started from; 0: only that."""
        return self.allocated or len(self.hosts)


def used_machines(options: Options) -> int:
    """How many machines a run can make use of, of those it may run on; 0 for the one it is started from."""
    return min(options.machines, max(options.nodes))


class NetworkPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One measured all-reduce: ``seconds`` is the median, ``low`` and ``high`` its 95 % interval."""

    bytes: int
    seconds: float
    low: float
    high: float
    samples: list[float] = []


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """An α-β network model.

    Attributes
    ----------
    name
        As it is given to ``--network``.
    alpha, beta
        Seconds for each message and seconds for each byte; a β that was measured here is that of the largest size.
    source
        Where the figures come from.
    points
        The all-reduce sweep over ``fitted_ranks`` ranks, if the model was measured here; β at other sizes is its.
    residual
        Median relative difference between a size's time and what its neighbours in the sweep say of it.
    """

    name: str
    alpha: float
    beta: float
    source: str = ""
    points: list[NetworkPoint] = []
    fitted_ranks: int = 0
    residual: float | None = None


class Roofline(msgspec.Struct, frozen=True, kw_only=True):
    """The ceilings of one rank, measured on its device, dtype and threads.

    Attributes
    ----------
    device, dtype, threads
        Of what they are the ceilings; ``device`` as a record names it.
    flops
        FLOP/s of the fastest matrix product of those tried; 0.0 where there is none.
    bandwidth
        Bytes a second between memory and device; 0.0 where it could not be measured.
    flops_source, bandwidth_source
        What was measured, in words.
    flops_samples, bandwidth_samples
        The rate of each repetition, in the same units. The best one counts: a ceiling is no typical value.
    reason
        Why a figure is missing.
    """

    device: str
    dtype: DType
    threads: int
    flops: float
    bandwidth: float
    flops_source: str = ""
    bandwidth_source: str = ""
    flops_samples: list[float] = []
    bandwidth_samples: list[float] = []
    reason: str = ""


class LayoutChoice(msgspec.Struct, frozen=True, kw_only=True):
    """How a layer is split at a node count, where that was left to the cost model.

    ``data_seconds`` and ``model_seconds`` are what the model says of a step of the layer by itself in either layout,
    also in one that cannot be had here; None for one rank, of which it was not asked. ``why`` is a sentence.
    """

    nodes: AtLeastOne
    layer: str
    layout: Layout
    data_seconds: float | None = None
    model_seconds: float | None = None
    why: str = ""

    @property
    def needs_telling(self) -> bool:
        """Whether the figures alone do not explain it: a layout that is not the usual one, or not the quicker one."""
        if self.data_seconds is None or self.model_seconds is None:
            return self.layout != "data"
        return self.layout != "data" or self.data_seconds > self.model_seconds


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One start of ranks: what was started, where the ranks sat, and how it ended."""

    purpose: Purpose
    nodes: int
    ranks: int
    placement: Placement
    command: list[str] = []
    start: str = ""
    end: str = ""
    outcome: str = ""
    mpi: str = ""
    hosts: list[str] = []
    pinned_cores: list[list[int]] = []
    devices: list[str] = []
    libraries: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: what was run, where, and when. Times are ISO 8601 in UTC.

    ``layouts`` is empty where a layout was asked for.
    """

    schema_version: int = SCHEMA_VERSION
    command: str
    suite: str
    suite_source: str
    layers: Annotated[list[AnyLayer], msgspec.Meta(min_length=1)]
    options: Options
    environment: dict[str, Any]
    network: Network | None = None
    roofline: Roofline | None = None
    layouts: list[LayoutChoice] = []
    launches: list[Launch] = []
    start: str = ""
    end: str = ""
    outcome: str = "running"
