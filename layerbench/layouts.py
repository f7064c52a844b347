"""How each layer of a run is split at each node count, where that is left to the cost model (``--layout best``)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from layerbench import machine, registry
from layerbench.errors import UnavailableError, UsageError
from layerbench.layers import AnyLayer
from layerbench.network import HERE
from layerbench.partition import global_batch, shares, without_work
from layerbench.plan import Count
from layerbench.predict.choose import choose as choose_by_model
from layerbench.records import Layout, LayoutChoice, Manifest, Options


def not_chosen(manifest: Manifest, planned: Sequence[Count]) -> list[Count]:
    """Counts at which a layer's layout is left open and not decided yet."""
    if manifest.options.layout != "best":
        return []
    known = {(choice.nodes, choice.layer) for choice in manifest.layouts}
    return [count for count in planned if any((count.nodes, layer.name) not in known for layer in manifest.layers)]


def by_layer(manifest: Manifest, nodes: int) -> dict[str, Layout]:
    """The layouts that were chosen for a node count, by layer."""
    return {choice.layer: choice.layout for choice in manifest.layouts if choice.nodes == nodes}


def profile(options: Options) -> machine.Machine | None:
    """The profile of this machine, if it was calibrated and describes what the run runs on.

    It does not where the run names a network or runs on other machines, which are then asked about; nor where it lacks
    the dtype or a network.

    Raises
    ------
    UsageError
        If the profile has a mistake.
    """
    if options.network != HERE or options.machines or not machine.path_here().exists():
        return None
    here = machine.load(HERE)
    return here if options.dtype in here.peak and here.between is not None else None


def needs_network(manifest: Manifest, planned: Sequence[Count]) -> bool:
    """Whether layouts are still to be chosen for several ranks, and the network between them is not known."""
    several = any(count.ranks > 1 for count in not_chosen(manifest, planned))
    return several and manifest.network is None and profile(manifest.options) is None


def choose(manifest: Manifest, count: Count) -> list[LayoutChoice]:
    """What the cost model says of every layer at a node count, and what can be done.

    Its figures are those of this machine's profile, if it was calibrated, else those that the run has measured.

    Raises
    ------
    UsageError
        If there are no such figures.
    """
    options = manifest.options
    if count.ranks == 1:
        alone = LayoutChoice(nodes=count.nodes, layer="", layout="data", why="data: one rank has nothing to split")
        return [msgspec.structs.replace(alone, layer=layer.name) for layer in manifest.layers]
    batch = global_batch(options.batch, count.ranks, options.ranks_per_node, options.scaling)
    chosen = choose_by_model(
        manifest.layers,
        _machine(manifest),
        nodes=count.nodes,
        ranks_per_node=options.ranks_per_node,
        batch=batch,
        dtype=options.dtype,
    )
    found = []
    for layer, choice in zip(manifest.layers, chosen, strict=True):
        layout, why = choice.layout, choice.why
        other: Layout = "model" if layout == "data" else "data"
        hindered = _hindrance(layer, layout, batch, count.ranks, options)
        if hindered and not _hindrance(layer, other, batch, count.ranks, options):
            layout, why = other, f"{other}: not {layout}, because {hindered}"
        found.append(
            LayoutChoice(
                nodes=count.nodes,
                layer=layer.name,
                layout=layout,
                data_seconds=choice.data_seconds,
                model_seconds=choice.model_seconds,
                why=why,
            )
        )
    return found


def _machine(manifest: Manifest) -> machine.Machine:
    if (here := profile(manifest.options)) is not None:
        return here
    measured = manifest.roofline
    if measured is None or not measured.flops or not measured.bandwidth:
        reason = f" ({measured.reason})" if measured is not None and measured.reason else ""
        raise UsageError(
            f"--layout best needs the peak and the bandwidth of a rank, which could not be measured{reason}: "
            "give --layout data or model"
        )
    return machine.of_run(manifest)


def _hindrance(layer: AnyLayer, layout: Layout, batch: int, ranks: int, options: Options) -> str:
    """Why a layer cannot be run in a layout; empty if it can."""
    of_ranks = shares(layer, batch, ranks, layout)
    if idle := without_work(layer, of_ranks, layout):
        return idle
    try:
        registry.find(options.kernels, of_ranks[0].layer or layer, options.dtype, split=layout == "model")
    except UnavailableError as error:
        return str(error)
    return ""


def told(choice: LayoutChoice) -> str:
    """A choice in one line."""
    nodes = f"{choice.nodes} node" + "s" * (choice.nodes > 1)
    return f"{choice.layer} on {nodes}: layout {choice.why}"
