"""MACs per byte by layer: a row to each with a marker for each batch; or, of many layers, a row to each type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench.layers import PASSES
from layerbench.report import describe
from layerbench.report.axes import log_axis
from layerbench.report.marks import FAINT, INK, Look, look
from layerbench.report.panels import shortened
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys
from layerbench.report.twins.column import PEN, Entry, column, settle
from layerbench.report.twins.thinning import RASTERISED, visible
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_MOST_LAYERS = 40
_ROW = 0.15
"""Inches."""

_REREAD_BELOW = 0.36
"""Rows from a layer's own points down to those with weights re-read."""

_ONCE, _REREAD = "macs_per_byte", "macs_per_byte_weights_reread"


class _Line(NamedTuple):
    """What a row shows: which layer or type, told apart by what else differs."""

    label: str
    kind: str
    rows: pd.DataFrame


def intensity(tables: Tables) -> Twin | None:
    """Arithmetic intensity by layer and batch, recurrent layers in both conventions; None where nothing is computed."""
    forward = tables.intensity[(tables.intensity["pass"] == PASSES[0]) & (tables.intensity[_ONCE] > 0)]
    if forward.empty:
        return None
    shape = ["layer", "kind", "dtype", "local_batch"]
    numbers = forward.drop_duplicates([*shape, _ONCE])
    differs = bool(numbers.duplicated(shape).any())
    numbers = forward if differs else numbers
    names = ["run", *shape, "nodes", "macs", "bytes", _ONCE, "bytes_weights_reread", _REREAD]
    numbers = numbers[names].reset_index(drop=True)
    layers = numbers["layer"].nunique()
    many = layers > _MOST_LAYERS
    lines = _of_types(tables, numbers) if many else _of_layers(tables, numbers, runs_differ=differs)
    recurrent = bool(numbers[_REREAD].notna().any())
    largest = {int(line.rows["local_batch"].max()) for line in lines}
    smaller = _smaller(lines)
    rest = f"; open and smaller: others ({_listed(smaller)})" if smaller else ""
    return Twin(
        name="intensity",
        title=f"Arithmetic intensity of the layers of {captions.subject(tables)}",
        caption=captions.joined(
            "MACs per byte of any one pass (all three have the same), every operand moved once; counted, not timed.",
            "" if many else f"Filled: the largest batch of a rank ({_listed(largest)}){rest}.",
            "Recurrent layers twice: weights read once, and below re-read at every time step." if recurrent else "",
            f"Each point is one of {layers:,} layers, and points that would hide one another are drawn once."
            if many
            else "",
        ),
        alt=_alt(numbers),
        figure=_draw(tables, lines, numbers, many=many),
        numbers=numbers,
    )


def _smaller(lines: Sequence[_Line]) -> set[int]:
    """Batches that are not the largest of their line: lines differ in that where layers are split differently."""
    of_lines = (line.rows["local_batch"] for line in lines)
    return {int(batch) for batches in of_lines for batch in batches[batches < batches.max()]}


def _listed(batches: set[int]) -> str:
    return describe.listed(sorted(batches, reverse=True), shown=12)


def _alt(numbers: pd.DataFrame) -> str:
    told = []
    for kind, of_kind in numbers.groupby("kind", sort=False, observed=True):
        low, high = of_kind[_ONCE].min(), of_kind[_ONCE].max()
        told.append(f"{kind} {low:.3g}" + (f" to {high:.3g}" if high > low else ""))
    return f"MACs per byte over layers and batches: {'; '.join(told)}."


def _of_layers(tables: Tables, numbers: pd.DataFrame, *, runs_differ: bool) -> list[_Line]:
    """A line for each layer, and dtype and run where these differ."""
    by = ["kind", "layer", *(["dtype"] if numbers["dtype"].nunique() > 1 else []), *(["run"] if runs_differ else [])]
    called = captions.letters(tables)
    lines = []
    for key, rows in numbers.groupby(by, sort=False, observed=True):
        kind, layer, *more = map(str, key)
        told = [called.get(word, word) for word in more]
        lines.append(_Line(", ".join([shortened(layer, 24), *told]), kind, rows))
    return sorted(lines, key=lambda line: keys.kinds_of(tables).index(line.kind))


def _of_types(tables: Tables, numbers: pd.DataFrame) -> list[_Line]:
    """A line for each type and batch, and dtype where it differs."""
    several = numbers["dtype"].nunique() > 1
    by = ["kind", *(["dtype"] if several else []), "local_batch"]
    lines = []
    for key, rows in numbers.groupby(by, sort=False, observed=True):
        kind, *more, batch = map(str, key)
        lines.append(_Line(", ".join([kind, *more, f"batch {int(batch):,}"]), kind, rows))
    order = keys.kinds_of(tables)
    return sorted(lines, key=lambda line: (order.index(line.kind), -int(line.rows["local_batch"].iloc[0])))


def _draw(tables: Tables, lines: list[_Line], numbers: pd.DataFrame, *, many: bool) -> Any:
    kinds = keys.kinds_of(tables)
    steps = [bool(line.rows[_REREAD].notna().any()) for line in lines]
    places = [index + _REREAD_BELOW * sum(steps[:index]) for index in range(len(lines))]
    end = places[-1] + 0.6 + _REREAD_BELOW * steps[-1]
    drawn = column([_ROW * (end + 0.6)])
    (panel,) = drawn.panels
    values = numbers[[_ONCE, _REREAD]]
    values = values[values > 0]
    log_axis(panel.xaxis, (float(values.min().min()), float(values.max().max())), most=6, pad=1.4)
    panel.set_ylim(end, -0.6)
    panel.set_yticks([y + _REREAD_BELOW / 2 * of for y, of in zip(places, steps, strict=True)])
    panel.set_yticklabels([line.label for line in lines])
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")
    for y, line, of_steps in zip(places, lines, steps, strict=True):
        style = look(line.kind, kinds)
        _points(panel, y, line, _ONCE, style)
        if of_steps:
            _points(panel, y + _REREAD_BELOW, line, _REREAD, style)
    panel.set_xlabel("MACs per byte")
    return settle(drawn, _entries(tables, lines, numbers, many=many))


def _points(panel: Any, y: float, line: _Line, value: str, style: Look) -> None:
    """The points of a row, the largest batch filled."""
    rows = line.rows[line.rows[value] > 0].assign(y=1.0)
    if len(rows) > RASTERISED:
        rows = visible(rows, value, "y", ["local_batch"])
    reread = value == _REREAD
    gid = f"intensity:{line.label}" + (":re-read" if reread else "")
    largest = rows["local_batch"] == rows["local_batch"].max()
    panel.plot([rows[value].min(), rows[value].max()], [y, y], color=FAINT, linewidth=0.6, zorder=1)
    for part, filled in ((rows[~largest], False), (rows[largest], True)):
        if len(part):
            panel.plot(
                part[value],
                [y] * len(part),
                linestyle="none",
                marker="|" if reread else style.marker,
                markersize=6.5 if reread and filled else PEN.marker if filled or reread else 3.0,
                markerfacecolor=style.colour if filled else "white",
                markeredgecolor=style.colour,
                markeredgewidth=1.8 if reread and filled else 0.8,
                zorder=3 if filled else 2,
                rasterized=len(line.rows) > RASTERISED,
                gid=gid if filled else f"{gid}:smaller",
            )


def _entries(tables: Tables, lines: Sequence[_Line], numbers: pd.DataFrame, *, many: bool) -> list[Entry]:
    from matplotlib.lines import Line2D

    there = set(map(str, numbers["kind"].unique()))
    entries = keys.types(tables, [kind for kind in keys.kinds_of(tables) if kind in there], lines=False)
    shapes = []
    if not many:
        shapes.append(("largest batch", "o", PEN.marker, INK))
        if _smaller(lines):
            shapes.append(("smaller batches", "o", 3.0, "white"))
    if numbers[_REREAD].notna().any():
        shapes.append(("weights re-read", "|", 6.5, INK))
    for label, marker, size, face in shapes:
        width = 1.8 if marker == "|" else 0.8
        handle = Line2D([], [], linestyle="none", marker=marker, markersize=size, color=INK, markeredgewidth=width)
        handle.set_markerfacecolor(face)
        entries.append((handle, label))
    return entries
