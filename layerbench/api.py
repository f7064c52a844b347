"""The Python interface: ``layerbench.run`` and ``layerbench.load``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from layerbench import allocation, environment, plan, registry, store, sweep
from layerbench import network as networks
from layerbench import suite as suites
from layerbench.collectives import OneRank
from layerbench.device import Device
from layerbench.errors import StoreError, UnavailableError, UsageError
from layerbench.layers import AnyLayer, DType
from layerbench.listener import Listener
from layerbench.option_checks import MAX_SAMPLES, check, complete
from layerbench.partition import global_batch, shares
from layerbench.records import WORKSPACE, Cache, Collectives, Layout, LayoutOption, Manifest, Options, Record, Scaling
from layerbench.task import share_memory

if TYPE_CHECKING:
    import pandas as pd

RUNS = Path("runs")
"""Where run folders go if no output is named: a folder in the current one."""


@dataclass(frozen=True)
class Run:
    """A run folder as it was read.

    Attributes
    ----------
    path
        The folder.
    manifest
        What was run, where and when.
    records
        One for each (layer, part, nodes).
    """

    path: Path
    manifest: Manifest
    records: Sequence[Record]

    def frame(self) -> pd.DataFrame:
        """One row for each record, with the median of its samples and its 95 % interval in seconds."""
        from layerbench.report.tables import records_frame

        return records_frame(self)

    @property
    def failed(self) -> list[Record]:
        """Records that failed."""
        return [record for record in self.records if record.status == "failed"]


def load(path: Path | str) -> Run:
    """Read a run folder.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    stored = store.load(Path(path))
    return Run(stored.path, stored.manifest, stored.records)


def run(
    suite: str = "alexnet",
    *,
    nodes: Sequence[int] | int = (1,),
    batch: int | None = None,
    scaling: Scaling = "strong",
    layout: LayoutOption = "data",
    dtype: DType = "fp32",
    kernels: str = "auto",
    threads_per_rank: int | None = None,
    ranks_per_node: int = 1,
    filter: str = "",
    rel_error: float = 0.01,
    max_time: float = 5.0,
    max_samples: int = MAX_SAMPLES,
    cache: Cache = "hot",
    oversubscribe: bool = False,
    workspace: int = WORKSPACE,
    cuda_graph: bool = False,
    collectives: Collectives = "auto",
    network: str = networks.HERE,
    launcher: str = "auto",
    hosts: str = "",
    launcher_args: str = "",
    timeout: float = 120.0,
    seed: int = 0,
    output: Path | str | None = None,
    resume: bool = False,
    command: str = "",
    listener: Listener | None = None,
) -> Run:
    """Time a suite's layers at several node counts.

    Parameters
    ----------
    suite
        A built-in suite's name, or the path of a suite file.
    nodes
        Node counts.
    batch
        Samples over all nodes (strong scaling) or of one node (weak); the suite's own if None.
    scaling
        ``strong`` or ``weak``.
    layout
        What ranks split of a layer: ``data``, the batch; ``model``, its outputs; ``best``, whichever the cost model
        finds quicker for a layer and node count.
    dtype
        What the kernels compute in.
    kernels
        ``auto``, a kernel library's name, or the path of a kernel file.
    threads_per_rank
        Equal at every node count; by default cores over the largest count that fits.
    ranks_per_node
        MPI ranks of each node.
    filter
        Patterns of layer names, such as ``conv*``, separated by commas; empty for all.
    rel_error, max_time, max_samples
        When sampling stops: the relative half-width of the median's 95 % interval, seconds and number of samples.
    cache
        ``hot`` or ``cold``.
    oversubscribe
        Run more ranks than cores or devices for real, instead of emulating.
    workspace
        The most scratch memory that an algorithm may use, in bytes.
    cuda_graph
        Time calls by replaying them from a graph; with cold caches, on other operands each time.
    collectives
        What exchanges buffers in the memory of GPUs: ``nccl``, ``mpi``, ``staged`` through the host's, or ``auto``.
    network
        Model for emulated counts: ``this-machine`` (measured), a built-in name, or a file.
    launcher, hosts, launcher_args
        What starts ranks, where, and with which further arguments.
    timeout
        Seconds without progress after which a launch is ended.
    seed
        Of the operands' random values.
    output, resume
        The run folder (default: a new one in ``runs/``), and whether to complete the run that is in it.
    command
        The command line to record; by default this call.
    listener
        Who is told of progress.

    Returns
    -------
    Run
        Also where some records failed: see ``failed``.

    Raises
    ------
    LayerbenchError
        As its classes say.
    """
    nodes = [nodes] if isinstance(nodes, int) else list(nodes)
    loaded = suites.load(suite)
    layers = suites.select(loaded, filter)
    batch = loaded.batch if batch is None else batch
    if output is not None and not str(output).strip():
        raise UsageError("--output must name a folder, and is empty")
    if resume and output is None:
        raise UsageError("--resume needs --output RUN, the folder of the run to complete")
    place = allocation.choose(launcher, hosts)
    if not all(isinstance(count, int) for count in nodes):
        raise UsageError(f"--nodes must be whole numbers, not {nodes}")
    counts = sorted(set(nodes))
    cores, threads_per_rank = plan.room(place, counts, ranks_per_node, threads_per_rank)
    options = complete(
        place,
        kernels,
        nodes=counts,
        batch=batch,
        scaling=scaling,
        layout=layout,
        dtype=dtype,
        threads_per_rank=threads_per_rank,
        ranks_per_node=ranks_per_node,
        filter=filter,
        rel_error=rel_error,
        max_time=max_time,
        max_samples=max_samples,
        cache=cache,
        oversubscribe=oversubscribe,
        network=network,
        launcher_args=launcher_args,
        timeout=timeout,
        seed=seed,
        workspace=workspace,
        cuda_graph=cuda_graph,
        collectives=collectives,
    )
    check(options)
    if not options.allocated:  # a job's script need not run on one of the nodes that its ranks run on
        _check_memory(loaded, layers, options, cores)
        _check_kernels(layers, options, cores)
    manifest = Manifest(
        command=command or f"layerbench.run({suite!r}, nodes={counts})",
        suite=loaded.name,
        suite_source=loaded.source,
        layers=list(layers),
        options=options,
        environment=environment.capture(),
        start=sweep.now(),
    )
    listener = listener or Listener()
    if place.told:
        listener.note(place.told)
    path = Path(output) if output is not None else _new_folder(loaded.name)
    if resume and not path.exists():
        raise StoreError(f"--resume: there is no {path} to resume; leave --resume out to start it")
    if resume:
        planned, notes = sweep.resume(path, manifest, cores)
        for note in notes:
            listener.note(note)
    else:
        planned = sweep.start(path, manifest, cores)
    sweep.execute(planned, listener)
    return load(path)


def _check_memory(loaded: suites.Suite, layers: Sequence[AnyLayer], options: Options, cores: int) -> None:
    """Refuse, before anything is allocated, a sweep that has a layer and count which cannot fit this machine."""
    available = environment.available_memory_bytes()
    layouts: tuple[Layout, ...] = ("data", "model") if options.layout == "best" else (options.layout,)
    for count in plan.counts(options, cores):
        batch = global_batch(options.batch, count.ranks, options.ranks_per_node, options.scaling)
        here = options.ranks_per_node if options.machines else count.world.ranks

        def needed(layer: AnyLayer, batch: int = batch, ranks: int = count.ranks) -> int:
            """Of the rank with the largest share, in the layout that takes the least."""
            largest = {layout: shares(layer, batch, ranks, layout)[0] for layout in layouts}
            return min(share_memory(layer, share, ranks, layout, options) for layout, share in largest.items())

        of_rank = -(-batch // count.ranks) if options.layout == "data" else batch
        suites.check_memory(loaded, layers, of_rank, options.dtype, available, ranks=here, needed=needed)


def _check_kernels(layers: Sequence[AnyLayer], options: Options, cores: int) -> None:
    """Refuse a sweep none of whose layers has a kernel; those that have none are skipped where others have."""
    ranks = max(count.ranks for count in plan.counts(options, cores))
    split = ranks > 1 and options.layout == "model"
    reason: UnavailableError | None = None
    for layer in layers:
        of_rank = shares(layer, options.batch, min(ranks, 2), "model")[0].layer if split else None
        try:
            device = registry.find(options.kernels, of_rank or layer, options.dtype, split=split).device()
        except UnavailableError as error:
            reason = reason or error
        else:
            _check_device(device, options)
            return
    if reason is not None:
        raise reason


def _check_device(device: Device, options: Options) -> None:
    """Refuse what is only to be had on other devices."""
    if options.cuda_graph:
        device.replayed()
    device.connect(OneRank(), options.collectives, options.dtype)


def _new_folder(name: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    first = RUNS / f"{name}-{stamp}"
    path, again = first, 1
    while path.exists():
        again += 1
        path = first.with_name(f"{first.name}-{again}")
    return path


def newest(folder: Path = RUNS) -> Path:
    """The run folder in ``folder`` that was last started.

    Raises
    ------
    StoreError
        If there is none.
    """
    runs = [path for path in folder.glob("*") if (path / store.MANIFEST).is_file()]
    if not runs:
        raise StoreError(f"there is no run in {folder}/: name a run folder, or make one with layerbench run")
    return max(runs, key=lambda path: (path / store.MANIFEST).stat().st_mtime)


def quoted(arguments: Sequence[str]) -> str:
    """A command line as it can be typed again."""
    return shlex.join([Path(arguments[0]).name, *arguments[1:]]) if arguments else ""
