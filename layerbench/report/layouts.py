"""How layers were split, where the cost model chose that for each of them (``run --layout best``)."""

from __future__ import annotations

from layerbench import units
from layerbench.records import LayoutChoice, Manifest
from layerbench.report import describe
from layerbench.report.cells import NOTHING

EXPLAINED = (
    "data: ranks split the batch; model: they split the layer's outputs. In brackets, what the cost model says of a "
    "step of the layer in either layout; layers that follow one another were chosen together."
)


def table_of(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a row for each layer, a column for each count. No rows where nothing was chosen."""
    counts = sorted({choice.nodes for choice in manifest.layouts})
    by_key = {(choice.layer, choice.nodes): choice for choice in manifest.layouts}
    rows = [
        [layer.name, *(_cell(by_key.get((layer.name, nodes))) for nodes in counts)]
        for layer in manifest.layers
        if any((layer.name, nodes) in by_key for nodes in counts)
    ]
    return ["layer", *(describe.plural(nodes, "node") for nodes in counts)], rows


def _cell(choice: LayoutChoice | None) -> str:
    if choice is None:
        return NOTHING
    if choice.data_seconds is None or choice.model_seconds is None:
        return choice.layout
    seconds = f"data {units.seconds(choice.data_seconds)}, model {units.seconds(choice.model_seconds)}"
    return f"{choice.layout} ({seconds})"


def reasons(manifest: Manifest) -> list[str]:
    """Why, a line for each layer and count that is not in the data layout, or not in the one that is quicker."""
    return [
        f"{choice.layer} on {describe.plural(choice.nodes, 'node')}: {choice.why}"
        for choice in manifest.layouts
        if choice.needs_telling
    ]
