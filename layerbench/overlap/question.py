"""From what was asked for to what will be launched."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from layerbench import allocation, option_checks, plan, registry
from layerbench import suite as suites
from layerbench.allocation import Place
from layerbench.connections import chains, sample_shape
from layerbench.datamanager.source import Field
from layerbench.errors import UsageError
from layerbench.layers import AnyLayer, DType
from layerbench.overlap import workloads
from layerbench.overlap.workloads import SYNTHETIC
from layerbench.overlap_records import MODES, Mode, OverlapTask
from layerbench.partition import global_batch
from layerbench.records import Options, Scaling
from layerbench.suite_format import did_you_mean, printable, shown

RATIOS = (0.1, 0.25, 0.4, 0.6, 0.8, 1.0, 1.25, 1.67, 2.5, 4.0, 10.0)
"""Of transfer to computation: 1.6 can be reached from 0.6 to 1.67."""

MOST_DEPTH = 1024
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Question:
    """What is to be measured.

    Attributes
    ----------
    suite
        Its name.
    layers
        Those of its layers that make the network.
    options
        As of a run; ``threads_per_rank`` are those that compute.
    task
        How it is overlapped; its ratios are those of the sweep.
    place
        Where ranks are started.
    cores
        Of each machine.
    """

    suite: str
    layers: tuple[AnyLayer, ...]
    options: Options
    task: OverlapTask
    place: Place
    cores: int

    @property
    def placed(self) -> Options:
        """Options with the cores of a rank in place of its threads, as counts are measured or emulated by them."""
        cores = self.options.threads_per_rank + self.task.spare_cores
        return msgspec.structs.replace(self.options, threads_per_rank=cores)


def asked(
    *,
    suite: str,
    nodes: str,
    modes: str,
    source: str,
    depth: int,
    bucket: int,
    ratios: str,
    workers: int | None,
    spare_cores: int | None,
    batch: int | None,
    scaling: Scaling,
    dtype: DType,
    kernels: str,
    threads_per_rank: int | None,
    ranks_per_node: int,
    filter_: str,
    rel_error: float,
    max_time: float,
    oversubscribe: bool,
    network: str,
    launcher: str,
    hosts: str,
    launcher_args: str,
    timeout: float,
    seed: int,
) -> Question:
    """Check what the command line asks for; every argument is as its option has it.

    Raises
    ------
    UsageError
        If a value is out of its range or names nothing.
    UnavailableError
        If the launcher cannot be had.
    """
    loaded = suites.load(suite)
    layers = suites.select(loaded, filter_)
    place = allocation.choose(launcher, hosts)
    counts = plan.parse_nodes(nodes)
    spare = _spare(spare_cores, place, ranks_per_node)
    cores, threads = _room(place, counts, ranks_per_node, threads_per_rank, spare)
    options = option_checks.complete(
        place,
        kernels,
        nodes=counts,
        batch=loaded.batch if batch is None else batch,
        scaling=scaling,
        dtype=dtype,
        threads_per_rank=threads,
        ranks_per_node=ranks_per_node,
        filter=filter_,
        rel_error=rel_error,
        max_time=max_time,
        oversubscribe=oversubscribe,
        network=network,
        launcher_args=launcher_args,
        timeout=timeout,
        seed=seed,
    )
    option_checks.check(options)
    of_whole = {"--depth": (depth, MOST_DEPTH), "--workers": (1 if workers is None else workers, MOST_WORKERS)}
    of_whole["--bucket"] = bucket, 2**40
    for option, (value, most) in of_whole.items():
        if not 1 <= value <= most:
            raise UsageError(f"{option} must be a whole number from 1 to {most}, not {value}")
    task = OverlapTask(
        modes=_modes(modes),
        source=_source(source),
        depth=depth,
        bucket_bytes=bucket,
        workers=max(1, spare) if workers is None else workers,
        spare_cores=spare,
        # A gain needs both modes.
        ratios=_ratios(ratios) if len(_modes(modes)) == 2 else [],
    )
    if place.cores is not None and threads + spare > place.cores and not oversubscribe:
        raise UsageError(
            f"--threads-per-rank {threads} with --spare-cores {spare}: there are {place.cores} cores; give at most "
            "as many together, or --oversubscribe"
        )
    _check_batch(options)
    if not options.allocated:  # a job's script need not run on one of the nodes that its ranks run on
        _check_kernels(layers, options)
        _check_source(task.source, layers, options)
    return Question(loaded.name, layers, options, task, place, cores)


def _check_batch(options: Options) -> None:
    """Refuse counts that leave a rank without samples: all ranks take part in every step."""
    ranks = max(options.nodes) * options.ranks_per_node
    batch = global_batch(options.batch, ranks, options.ranks_per_node, options.scaling)
    if batch < ranks:
        raise UsageError(f"--batch {options.batch}: {ranks} ranks need a sample each; give more, or fewer nodes")


def _check_kernels(layers: Sequence[AnyLayer], options: Options) -> None:
    for layer in layers:
        registry.find(options.kernels, layer, options.dtype, linked=True)


def _check_source(source: str, layers: Sequence[AnyLayer], options: Options) -> None:
    """Refuse a folder of what the network does not take."""
    if source != SYNTHETIC:
        heads = [chain.layers[0] for chain in chains(layers)]
        fields = [Field(head.name, sample_shape(head), np.dtype(np.float32)) for head in heads]
        workloads.source_of(source, fields, 1, options.seed, 0, 1)[0].close()


def _spare(asked: int | None, place: Place, ranks_per_node: int) -> int:
    """Cores of a rank that do not compute: one, where a node has two for each of its ranks."""
    if asked is None:
        return 1 if place.cores is None or place.cores >= 2 * max(1, ranks_per_node) else 0
    if not 0 <= asked < 2**31:
        raise UsageError(f"--spare-cores must be a whole number of at least 0, not {asked}")
    if place.cores is not None and asked >= place.cores:
        raise UsageError(
            f"--spare-cores {asked}: there are {place.cores} cores, of which one must compute; give at most "
            f"{place.cores - 1}"
        )
    return asked


def _room(place: Place, counts: Sequence[int], ranks_per_node: int, threads: int | None, spare: int) -> tuple[int, int]:
    """Cores of a machine, and threads of each rank that compute: what is left of the rank's cores."""
    cores, of_rank = plan.room(place, counts, ranks_per_node, None if threads is None else threads + spare)
    if threads is None and spare and of_rank <= spare and not place.allocated and not place.hosts:
        # Counts that fit only without cores to spare are emulated.
        of_rank = spare + 1
    return cores, max(1, of_rank - spare) if threads is None else threads


def _modes(text: str) -> list[Mode]:
    """Modes separated by commas, in their order, each once."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in MODES:
            hint = did_you_mean(word, MODES)
            raise UsageError(f"--mode {printable(text)!r}: expected implicit, explicit or both with a comma{hint}")
    return [mode for mode in MODES if mode in words]


def _source(text: str) -> str:
    if text == SYNTHETIC:
        return text
    path = Path(text)
    try:
        there = path.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise UsageError(f"--source {shown(text)}: there is no such folder; expected {SYNTHETIC} or a folder of data")
    return str(path.resolve())


def _ratios(text: str) -> list[float]:
    """Ratios separated by commas; ``none`` for no sweep, ``default`` for the usual ones."""
    if text == "default":
        return list(RATIOS)
    if text == "none":
        return []
    found = set()
    for word in text.split(","):
        number = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*", word)
        value = float(number[1]) if number else math.nan
        if not 0.01 <= value <= 100:
            raise UsageError(
                f"--ratios {printable(text)!r}: expected numbers from 0.01 to 100 with commas, such as 0.5,1,2, or none"
            )
        found.add(value)
    return sorted(found)
