"""Suites as tables and as JSON: what their layers compute, move and hold."""

from __future__ import annotations

from typing import Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from layerbench import suite as suites
from layerbench import units
from layerbench.layers import LSTM, AnyLayer, Conv, DType, Pair
from layerbench.suite import Suite

REREAD = "  weights read again each step"


def as_json(suite: Suite, batch: int | None = None, dtype: DType = "fp32") -> list[dict[str, Any]]:
    """Every layer as plain values: its fields, and what follows from them.

    Parameters
    ----------
    batch
        Samples; the suite's own batch if None.

    Returns
    -------
    list of dict
        For each layer its fields as a suite file spells them, and ``batch``, ``dtype``, ``weights`` (their number),
        ``output`` (height and width; None for layers without), ``input_shape`` and ``output_shape`` (canonical, with
        the batch), and of any one pass ``macs``, ``bytes``, ``macs_per_byte`` and, for layers with time steps, the
        last two where the weights are read again at every step: ``bytes_weights_reread`` and
        ``macs_per_byte_weights_reread``, else None.
    """
    return [_row(layer, suite.batch if batch is None else batch, dtype) for layer in suite.layers]


def _row(layer: AnyLayer, batch: int, dtype: DType) -> dict[str, Any]:
    macs, traffic, reread = layer.macs(batch), layer.bytes(batch, dtype), layer.bytes_weights_reread(batch, dtype)
    fields: dict[str, Any] = msgspec.to_builtins(layer)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()} | {
        "batch": batch,
        "dtype": dtype,
        "weights": layer.weights,
        "output": list(layer.output) if isinstance(layer, Conv) else None,
        "input_shape": list(layer.input_shape(batch)),
        "output_shape": list(layer.output_shape(batch)),
        "macs": macs,
        "bytes": traffic,
        "macs_per_byte": macs / traffic,
        "bytes_weights_reread": reread,
        "macs_per_byte_weights_reread": None if reread is None else macs / reread,
    }


def as_table(suite: Suite, batch: int | None = None, dtype: DType = "fp32") -> Table:
    """A suite's layers and their totals, of any one pass: the three passes count alike."""
    rows = as_json(suite, batch, dtype)
    table = Table(
        title=Text(f"{suite.name}: any one pass at batch {rows[0]['batch']} in {dtype}"),
        caption=Text(suite.description),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("shape")
    for heading in ("weights", "MACs", "bytes", "MAC/byte"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer, row in zip(suite.layers, rows, strict=True):
        counts = units.count(row["weights"]), units.count(row["macs"])
        table.add_row(row["name"], shape(layer), *counts, *_traffic(row["macs"], row["bytes"]))
        if row["bytes_weights_reread"] is not None:
            table.add_row("", REREAD, "", "", *_traffic(row["macs"], row["bytes_weights_reread"]))
    table.add_section()
    weights, macs, once = (sum(row[name] for row in rows) for name in ("weights", "macs", "bytes"))
    table.add_row("total", "", units.count(weights), units.count(macs), *_traffic(macs, once))
    reread = sum(row["bytes_weights_reread"] or row["bytes"] for row in rows)
    if reread != once:
        table.add_row("", REREAD, "", "", *_traffic(macs, reread))
    return table


def _traffic(macs: int, traffic: int) -> tuple[str, str]:
    """Bytes, in decimal prefixes as bandwidth is told, and MACs per byte."""
    return units.rate(traffic, "B"), f"{macs / traffic:.2f}"


def shape(layer: AnyLayer) -> str:
    """A layer's shape in a few words, what is usual left out: ``3→96, 224→55, 11×11, stride 4, pad 2``."""
    if isinstance(layer, Conv):
        words = [
            f"{layer.in_channels}→{layer.out_channels}" + (f" in {layer.groups} groups" if layer.groups > 1 else ""),
            f"{_pair(layer.input)}→{_pair(layer.output)}",
            f"{layer.filter[0]}×{layer.filter[1]}",
        ]
        words += [
            f"{word} {_pair(value)}"
            for word, value, usual in (
                ("stride", layer.stride, 1),
                ("pad", layer.padding, 0),
                ("dilation", layer.dilation, 1),
            )
            if value != (usual, usual)
        ]
        return ", ".join(words)
    if isinstance(layer, LSTM):
        return f"{layer.input_size}→{layer.hidden_size}, {layer.time_steps} steps"
    return f"{layer.in_features}→{layer.out_features}"


def _pair(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"


def listing_json() -> list[dict[str, Any]]:
    """Every built-in suite: name, description, number of layers, batch, and MACs of one forward pass at that batch."""
    found = []
    for name in suites.names():
        suite = suites.load(name)
        macs = sum(layer.macs(suite.batch) for layer in suite.layers)
        found.append(
            {
                "name": name,
                "description": suite.description,
                "layers": len(suite.layers),
                "batch": suite.batch,
                "macs": macs,
            }
        )
    return found


def listing() -> Table:
    """The built-in suites, a row for each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("suite", no_wrap=True)
    table.add_column("layers", justify="right")
    table.add_column("batch", justify="right")
    table.add_column("MACs forward", justify="right", no_wrap=True)
    table.add_column("description")
    for row in listing_json():
        counts = (str(row["layers"]), str(row["batch"]), units.count(row["macs"]))
        table.add_row(row["name"], *counts, Text(row["description"]))
    return table
