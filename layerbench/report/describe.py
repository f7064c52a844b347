"""What a run was, in words: the sentences that the figure and the texts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from layerbench import units
from layerbench.records import Manifest, Network
from layerbench.report.tables import Tables, row_tuples

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


def node_counts(counts: Sequence[int]) -> str:
    """Node counts in a row: ``1 node``, ``1, 2 and 4 nodes``."""
    return "1 node" if list(counts) == [1] else f"{listed(counts, shown=12)} nodes"


def heading(manifest: Manifest) -> str:
    """What was run: ``alexnet: a training step on 1, 2, 4 and 8 nodes``."""
    return f"{manifest.suite}: a training step on {node_counts(sorted(set(manifest.options.nodes)))}"


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


def waiting(tables: Tables) -> str:
    """What measured communication holds beside the exchange; empty where none was measured."""
    types = tables.layer_types
    measured = types[(types["placement"] == "measured") & (types["ranks"] > 1)]
    return "" if measured.empty else "measured communication includes waiting for the slowest rank"


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
        f"emulated ({node_counts(counts)}): every rank's share was timed alone, "
        f"and the all-reduce computed for the network {model}"
    )


def oversubscription(tables: Tables) -> str:
    """Where ranks shared cores; empty where none did."""
    records = tables.records
    counts = sorted({int(n) for n in records.loc[records["oversubscribed"], "nodes"]})
    if not counts:
        return ""
    return f"oversubscribed ({node_counts(counts)}): ranks shared cores, and their times show the machine running out"


class Fault(NamedTuple):
    """Records of one layer at one node count that failed, or were skipped, for one reason."""

    status: str
    layer: str
    nodes: int
    parts: list[str]
    reason: str


def faults(tables: Tables) -> list[Fault]:
    """What has no time, and why; the parts of a layer that share a reason together, failures first."""
    found: dict[tuple[str, str, int, str], list[str]] = {}
    bad = tables.records[tables.records["status"] != "ok"]
    for row in row_tuples(bad):
        found.setdefault((row.status, row.layer, row.nodes, row.reason), []).append(row.part)
    rows = [
        Fault(status, layer, nodes, parts, reason or "no reason was recorded")
        for (status, layer, nodes, reason), parts in found.items()
    ]
    return sorted(rows, key=lambda fault: fault.status)


def noisy(tables: Tables) -> str:
    """How many records are noisy and of which layers; empty where none is."""
    rows = tables.records[tables.records["noisy"]]
    if rows.empty:
        return ""
    limit = 100 * tables.manifest.options.rel_error
    return (
        f"noisy: {len(rows):,} of {plural(len(tables.records), 'record')}, whose 95 % interval did not shrink to "
        f"±{limit:.3g} %: {listed(list(rows['layer'].unique()))}"
    )


def missing(tables: Tables) -> str:
    """Layers that have no record of a step at all, by node count; empty where none is missing."""
    there = set(
        tables.records.loc[tables.records["part"] == "step", ["layer", "nodes"]].itertuples(index=False, name=None)
    )
    counts = sorted(int(n) for n in tables.layer_types["nodes"].unique())
    absent = {n: [la.name for la in tables.manifest.layers if (la.name, n) not in there] for n in counts}
    return "; ".join(f"{listed(names)} on {plural(n, 'node')}" for n, names in absent.items() if names)
