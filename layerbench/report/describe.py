"""What a run was, in words: the sentences that the figure and the texts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.records import Manifest, Network

if TYPE_CHECKING:
    from layerbench.report.tables import Tables

NAMES_SHOWN = 6


def plural(number: int, word: str) -> str:
    """A count with its noun: ``1 rank``, ``2 ranks``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def listed(names: Sequence[object], shown: int = NAMES_SHOWN) -> str:
    """Names in a row, the first few if there are many: ``a, b, c and 9 more``."""
    told = [str(name) for name in names]
    if len(told) > shown:
        return f"{', '.join(told[:shown])} and {len(told) - shown:,} more"
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def heading(manifest: Manifest) -> str:
    """What was run: ``alexnet: a training step on 1, 2, 4 and 8 nodes``."""
    counts = sorted(set(manifest.options.nodes))
    where = "1 node" if counts == [1] else f"{listed(counts, shown=12)} nodes"
    return f"{manifest.suite}: a training step on {where}"


def settings(tables: Tables) -> list[str]:
    """How it was run, most important first: scaling and batch, dtype, kernels, threads, processor."""
    options = tables.manifest.options
    batch = f"batch {options.batch:,} " + ("over all nodes" if options.scaling == "strong" else "on each node")
    told = [
        f"{options.scaling} scaling, {batch}",
        options.dtype,
        f"kernels {listed(kernels(tables))}",
        f"{plural(options.threads_per_rank, 'thread')} per rank",
    ]
    if options.ranks_per_node > 1:
        told.append(f"{options.ranks_per_node} ranks per node")
    if options.cache == "cold":
        told.append("caches flushed")
    told.append(processor(tables))
    return told


def kernels(tables: Tables) -> list[str]:
    """Kernel libraries that computed something, by name; what was asked for where nothing was computed."""
    records = tables.records
    used = records.loc[records["status"] == "ok", "kernels"].unique()
    return sorted(used) or [tables.manifest.options.kernels]


def processor(tables: Tables) -> str:
    """The chip that the kernels ran on."""
    environment = tables.manifest.environment
    gpus = environment.get("gpus") or []
    if gpus and (tables.records["device"] != "host").any():
        return str(gpus[0])
    return str(environment.get("cpu_model") or "processor unknown")


def network(model: Network | None, name: str = "") -> str:
    """A network model with its figures: ``this-machine (α 1.2 µs a message, 1/β 3.4 GB/s)``."""
    if model is None:
        return name or "an unknown network"
    bandwidth = units.rate(1 / model.beta, "B/s") if model.beta else "unlimited"
    return f"{model.name} (α {units.seconds(model.alpha)} a message, 1/β {bandwidth})"


def emulated_counts(tables: Tables) -> list[int]:
    """Node counts at which anything was emulated."""
    types = tables.layer_types
    return sorted({int(n) for n in types.loc[types["placement"] == "emulated", "nodes"]})


def emulation(tables: Tables) -> str:
    """What emulated means, with the network model; empty where nothing was emulated."""
    counts = emulated_counts(tables)
    if not counts:
        return ""
    names = [name for name in tables.layer_types["network"].unique() if name]
    model = network(tables.manifest.network, listed(names))
    return (
        f"emulated ({'1 node' if counts == [1] else f'{listed(counts, shown=12)} nodes'}): every rank's share was timed "
        f"alone, and the all-reduce computed for the network {model}"
    )
