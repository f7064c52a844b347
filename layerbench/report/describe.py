"""What a run was, in words: the sentences that the figure and the texts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.records import Manifest, Network
from layerbench.report.columns import RunColumns, row_tuples

if TYPE_CHECKING:
    from layerbench.report.tables import Tables

NAMES_SHOWN = 6

PARTS_AND_STEP = (
    "Parts need not add up to the step: of each part the slowest rank counts, by which together they may exceed it, "
    "and the medians of parts need not add up to the median of the step."
)


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


def suites(manifests: Iterable[Manifest]) -> str:
    """The suites that were run, each once: ``alexnet``."""
    return listed(list(dict.fromkeys(manifest.suite for manifest in manifests)))


def heading(manifest: Manifest) -> str:
    """What was run: ``alexnet: a training step on 1, 2, 4 and 8 nodes``."""
    return f"{manifest.suite}: a training step on {node_counts(sorted(set(manifest.options.nodes)))}"


def settings(run: RunColumns) -> list[str]:
    """How it was run, most important first: scaling and batch, dtype, kernels, threads, processor."""
    options = run.manifest.options
    # Where outputs are split, every node has the samples of all.
    each = "on each node" if options.layout == "data" else "times the nodes"
    batch = f"batch {options.batch:,} " + ("over all nodes" if options.scaling == "strong" else each)
    told = [
        f"{options.scaling} scaling, {batch}",
        options.dtype,
        f"kernels {listed(kernels(run))}",
        f"{plural(options.threads_per_rank, 'thread')} per rank",
    ]
    if split := layout(run.manifest):
        told.insert(1, split)
    if options.ranks_per_node > 1:
        told.append(f"{options.ranks_per_node} ranks per node")
    if options.cache == "cold":
        told.append("caches flushed")
    told.append(processor(run))
    return told


def layout(manifest: Manifest) -> str:
    """How ranks split layers; empty where they split the batch, as is usual."""
    return {
        "model": "layers split by outputs (model layout)",
        "best": "layers split by the batch or by outputs, as the cost model chose (best layout)",
    }.get(manifest.options.layout, "")


def exchange(manifest: Manifest) -> str:
    """What communication is: the all-reduce of gradients, or, where outputs are split, all that ranks exchange."""
    return "the all-reduce" if manifest.options.layout == "data" else "what ranks exchange"


def kernels(run: RunColumns) -> list[str]:
    """Kernel libraries that computed something, by name; what was asked for where nothing was computed."""
    used = run.records.loc[run.records["status"] == "ok", "kernels"].unique()
    return sorted(map(str, used)) or [run.manifest.options.kernels]


def processor(run: RunColumns) -> str:
    """The chip that the kernels ran on."""
    environment = run.manifest.environment
    gpus = environment.get("gpus") or []
    if gpus and (run.records["device"] != "host").any():
        return str(gpus[0])
    return str(environment.get("cpu_model") or "processor unknown")


def network(model: Network | None, name: str = "") -> str:
    """A network model with its figures: ``this-machine (α 1.2 µs a message, 1/β 3.4 GB/s)``."""
    if model is None:
        return name or "an unknown network"
    bandwidth = units.rate(1 / model.beta, "B/s") if model.beta else "unlimited"
    return f"{model.name} (α {units.seconds(model.alpha)} a message, 1/β {bandwidth})"


def roofline(run: RunColumns) -> str:
    """The measured ceilings of one rank, or why there are none."""
    ceilings = run.manifest.roofline
    if ceilings is None:
        return "The run has no measured roofline: it was made by an older layerbench, or cut short."
    if not (ceilings.flops > 0 and ceilings.bandwidth > 0):
        return f"The roofline could not be measured: {ceilings.reason or 'no reason was recorded'}."
    ridge = ceilings.flops / ceilings.bandwidth / 2
    peak, bandwidth = units.rate(ceilings.flops, "FLOP/s"), units.rate(ceilings.bandwidth, "B/s")
    return (
        f"One rank ({plural(ceilings.threads, 'thread')}, {ceilings.dtype}) reaches {peak} and {bandwidth}; "
        f"below {ridge:.3g} MACs per byte memory is the limit. "
        "What stays in cache, and what computes more regularly than a matrix product, can lie above."
    )


def outcome(manifest: Manifest) -> str:
    """How a run ended; one that has not may also have been killed, which its folder cannot know."""
    return "not ended: still running, or cut short" if manifest.outcome == "running" else manifest.outcome


def facts(run: RunColumns) -> dict[str, str]:
    """What is known of where a run took place, by name, in words."""
    manifest = run.manifest
    launches = manifest.launches
    told: dict[str, Any] = {
        "command": manifest.command,
        "suite": manifest.suite_source,
        "started": manifest.start,
        "ended": manifest.end,
        "outcome": outcome(manifest),
        "MPI": ", ".join(sorted({launch.mpi for launch in launches if launch.mpi})),
        "hosts": ", ".join(sorted({host for launch in launches for host in launch.hosts})),
        "network": _network_facts(manifest.network),
        "layouts chosen": _layouts(manifest),
        "roofline": "" if manifest.roofline is None else roofline(run),
    }
    told |= {name.replace("_", " "): value for name, value in manifest.environment.items()}
    return {name: _fact(name, value) for name, value in told.items() if value not in (None, "", [], {})}


def _layouts(manifest: Manifest) -> str:
    """Which layers the cost model had split by outputs, by node count; empty where it was not asked."""
    if not manifest.layouts:
        return ""
    split: dict[int, list[str]] = {}
    for choice in manifest.layouts:
        if choice.layout == "model":
            split.setdefault(choice.nodes, []).append(choice.layer)
    alike: dict[tuple[str, ...], list[int]] = {}
    for nodes, names in sorted(split.items()):
        alike.setdefault(tuple(names), []).append(nodes)
    told = [f"{listed(names)} by outputs on {node_counts(counts)}" for names, counts in alike.items()]
    return "; ".join([*told, "all others by the batch"] if told else ["all by the batch"])


def _network_facts(model: Network | None) -> str:
    if model is None:
        return ""
    fit = f", median residual of the fit {100 * model.residual:.1f} %" if model.residual is not None else ""
    return f"{network(model)}{fit}; {model.source}"


def _fact(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(name, inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name.startswith("memory") or name == "caches"):
        return units.size(value)
    if isinstance(value, float):
        return units.rate(value, "Hz") if name.startswith("frequency") else f"{value:.3g}"
    return str(value)


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
        f"and {exchange(tables.manifest)} computed for the network {model}; {model_error(tables)}"
    )


def model_error(tables: Tables) -> str:
    """What the intervals of emulated counts do not cover; how much that is, where the network was measured."""
    model = tables.manifest.network
    size = f" ({100 * model.residual:.1f} % in the median)" if model and model.residual is not None else ""
    return f"intervals leave out the model's own error{size}"


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
        found.setdefault((str(row.status), str(row.layer), row.nodes, str(row.reason)), []).append(str(row.part))
    rows = [
        Fault(status, layer, nodes, parts, reason or "no reason was recorded")
        for (status, layer, nodes, reason), parts in found.items()
    ]
    return sorted(rows, key=lambda fault: fault.status)


def noisy(tables: Tables) -> str:
    """How many records are noisy and of which layers; empty where none is."""
    limit = 100 * tables.manifest.options.rel_error
    return _of_records(tables, "noisy", f", whose 95 % interval did not shrink to ±{limit:.3g} %")


def throttled(tables: Tables) -> str:
    """How many records are throttled and of which layers; empty where none is."""
    return _of_records(tables, "throttled", ", during which the device ran below its usual clock")


def _of_records(tables: Tables, mark: str, which: str) -> str:
    rows = tables.records[tables.records[mark]]
    if rows.empty:
        return ""
    named = listed(list(rows["layer"].unique()))
    return f"{mark}: {len(rows):,} of {plural(len(tables.records), 'record')}{which}: {named}"


def missing(tables: Tables) -> str:
    """Layers that have no record of a step at all, by node count; empty where none is missing."""
    steps = tables.records[tables.records["part"] == "step"]
    counts = [int(n) for n in tables.layer_types["nodes"].drop_duplicates().sort_values()]
    names = [layer.name for layer in tables.manifest.layers]
    told = []
    for nodes in counts:
        there = set(steps.loc[steps["nodes"] == nodes, "layer"])
        if absent := [name for name in names if name not in there]:
            told.append(f"{listed(absent)} on {plural(nodes, 'node')}")
    return "; ".join(told)
