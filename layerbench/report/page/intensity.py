"""MACs per byte of each layer: bars, or where there are many layers a strip for each type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.layers import PASSES
from layerbench.report import describe
from layerbench.report.columns import row_tuples
from layerbench.report.marks import Look, look
from layerbench.report.page import palette, words
from layerbench.report.page.largest import POINTS, largest_layers
from layerbench.report.page.section import (
    ROWS_SHOWN,
    SYMBOLS,
    Chart,
    Choice,
    Key,
    Section,
    Table,
    Trace,
    axis,
    layout,
    log_axis,
)
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

MANY_LAYERS = 60
"""More layers than this are drawn as strips."""

LARGEST = "largest"
"""The choice of each run's largest batch, where runs differ in it."""

_BAR, _NUMBER = 20, 36
"""Pixels of a bar, and of the number at its end."""


class _Value(NamedTuple):
    """MACs per byte of a pass of a layer over a batch, and the runs that have it."""

    layer: str
    kind: str
    batch: int
    dtype: str
    reread: bool
    value: float
    macs: int
    bytes: int
    runs: tuple[int, ...]


class _Choice(NamedTuple):
    """What is drawn where one of these passes and this batch are chosen."""

    passes: tuple[str, ...]
    batch: str
    values: tuple[_Value, ...]


def section(tables: Tables) -> Section:
    """One chart, of which pass and batch are chosen."""
    frame = tables.intensity
    if frame.empty:
        return Section("intensity", "MACs per byte", absent=["No layer has a pass of which bytes and MACs are known."])
    batches = _batches(tables)
    limit = max(MANY_LAYERS, POINTS // (len(tables.runs) * len(batches)))
    names = largest_layers(tables, limit)
    choices = _choices(tables, frame[frame["layer"].isin(names)], batches)
    total = frame["layer"].nunique()
    draw = _strips if len(names) > MANY_LAYERS else _bars
    passes = {str(one): words.pass_label(one) for one in PASSES if (frame["pass"] == one).any()}
    fewer = f"The {len(names):,} layers that take longest, of {total:,}; all are in intensity.csv."
    return Section(
        "intensity",
        "MACs per byte",
        "Arithmetic intensity: multiply-accumulates over compulsory bytes, each operand moved once. All three passes "
        "read two of input, weights and output and write the third, so they have one intensity.",
        [draw(tables, choices, names)],
        _keys(tables, _all(choices)),
        [Choice("pass", "Pass", passes), Choice("batch", "Batch of a rank", batches)],
        [fewer] if total > len(names) else [],
        _numbers(tables),
    )


def _choices(tables: Tables, frame: pd.DataFrame, batches: Iterable[str]) -> list[_Choice]:
    """Passes that have the same values are drawn once."""
    found: dict[tuple[str, tuple[_Value, ...]], list[str]] = {}
    for one in PASSES:
        of_pass = frame[frame["pass"] == one]
        for batch in batches:
            found.setdefault((batch, tuple(_values(tables, of_pass, batch))), []).append(one)
    return [_Choice(tuple(passes), batch, values) for (batch, values), passes in found.items()]


def _all(choices: Sequence[_Choice]) -> list[_Value]:
    return [value for choice in choices for value in choice.values]


def _batches(tables: Tables) -> dict[str, str]:
    """The batches to choose from, the largest first."""
    frame = tables.intensity
    largest = frame.groupby("run", observed=True)["local_batch"].max()
    single = {str(batch): f"{batch:,}" for batch in sorted({int(b) for b in frame["local_batch"]}, reverse=True)}
    return {LARGEST: "the largest of each run", **single} if largest.nunique() > 1 else single


def _values(tables: Tables, frame: pd.DataFrame, batch: str) -> list[_Value]:
    """Both conventions of each layer; values that several runs share once."""
    if batch == LARGEST:
        frame = frame[
            frame["local_batch"] == frame.groupby(["run", "layer"], observed=True)["local_batch"].transform("max")
        ]
    else:
        frame = frame[frame["local_batch"] == int(batch)]
    number = {label: index for index, label in enumerate(tables.runs)}
    found: dict[tuple[str, str, int, str, bool, float, int, int], list[int]] = {}
    for row in row_tuples(frame):
        about = str(row.layer), str(row.kind), int(row.local_batch), str(row.dtype)
        conventions = [(False, row.macs_per_byte, row.bytes)]
        if not math.isnan(row.macs_per_byte_weights_reread):
            conventions.append((True, row.macs_per_byte_weights_reread, row.bytes_weights_reread))
        for reread, value, moved in conventions:
            if value > 0:
                found.setdefault((*about, reread, float(value), int(row.macs), int(moved)), []).append(
                    number[str(row.run)]
                )
    return [_Value(*key, tuple(runs)) for key, runs in found.items()]


def _about(value: _Value, choice: _Choice) -> dict[str, Any]:
    return {"run": list(value.runs), "kind": value.kind, "pass": list(choice.passes), "batch": choice.batch}


def _hover(value: _Value, tables: Tables) -> str:
    convention = ""
    if value.reread:
        convention = ", weights re-read each step"
    elif value.kind == "lstm":
        convention = ", weights read once"
    called = list(words.letters(tables).values())
    of = f", run {describe.listed([called[run] for run in value.runs])}" if len(called) > 1 else ""
    return words.lines(
        value.layer,
        f"{words.number(value.value)} MACs per byte{convention}",
        f"{units.count(value.macs)} MACs, {units.size(value.bytes)}",
        f"batch {value.batch:,} of a rank, {value.dtype}{of}",
    )


def _grouped(values: Sequence[_Value]) -> Iterator[tuple[tuple[str, bool, tuple[int, ...]], list[_Value]]]:
    """Values that are drawn alike and shown or hidden together."""
    groups: dict[tuple[str, bool, tuple[int, ...]], list[_Value]] = {}
    for value in values:
        groups.setdefault((value.kind, value.reread, value.runs), []).append(value)
    yield from groups.items()


def _bars(tables: Tables, choices: Sequence[_Choice], names: Sequence[str]) -> Chart:
    """A row of bars for each layer, from the top down."""
    kinds, called = words.kinds(tables), list(words.letters(tables).values())
    rows = {name: _most(name, choices) for name in names}
    start, total = {}, 0.0
    for name, count in rows.items():
        start[name] = total
        total += count + 0.35
    traces: list[Trace] = []
    for choice in choices:
        of_layer: dict[str, list[_Value]] = {}
        for value in choice.values:
            of_layer.setdefault(value.layer, []).append(value)
        place = {
            value: start[name] + (rows[name] - len(same)) / 2 + index
            for name, same in of_layer.items()
            for index, value in enumerate(same)
        }
        for (kind, reread, runs), same in _grouped(choice.values):
            letters = "".join(called[run] for run in runs) if len(called) > len(runs) else ""
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": kind,
                    "x": [value.value for value in same],
                    "y": [place[value] for value in same],
                    "width": 0.8,
                    "marker": _fill(look(kind, kinds), reread),
                    "text": [f"{words.number(value.value)} {letters}".strip() for value in same],
                    "textposition": "outside",
                    "textfont": {"size": 12, "color": palette.INK},
                    "cliponaxis": False,
                    "hovertext": [_hover(value, tables) for value in same],
                    "hoverinfo": "text",
                    "meta": _about(same[0], choice),
                }
            )
    low, high = _span(_all(choices))
    x = log_axis("MACs per byte", min(low, 1.0), high, words.number, pad=1.0, most=6)
    y = axis(
        "",
        range=[total - 0.35 - 0.3, -0.7],
        tickvals=[start[name] + (count - 1) / 2 for name, count in rows.items()],
        ticktext=[words.shortened(name) for name in rows],
        showgrid=False,
    )
    return Chart(
        "intensity-chart",
        "",
        f"MACs per byte of each layer, logarithmic: {_told(_all(choices), tables)}.",
        traces,
        layout(int(70 + _BAR * total), x, y, right=_NUMBER + 9 * len(tables.runs), barmode="overlay"),
    )


def _most(name: str, choices: Sequence[_Choice]) -> int:
    """Bars that a layer has at most, whatever is chosen; 1 where it has none."""
    return max(1, *(sum(value.layer == name for value in choice.values) for choice in choices))


def _strips(tables: Tables, choices: Sequence[_Choice], names: Sequence[str]) -> Chart:
    """A point for each layer, in a strip for each type and convention; the height within a strip says nothing."""
    kinds = words.kinds(tables)
    strips = list(dict.fromkeys((v.kind, v.reread) for kind in kinds for v in _all(choices) if v.kind == kind))
    traces: list[Trace] = []
    for choice in choices:
        for (kind, reread, _), same in _grouped(choice.values):
            style = look(kind, kinds)
            middle = strips.index((kind, reread))
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": kind,
                    "x": [value.value for value in same],
                    "y": [middle + 0.55 * ((index * 0.618034) % 1 - 0.5) for index in range(len(same))],
                    "marker": {
                        "symbol": SYMBOLS[style.marker] + ("-open" if reread else ""),
                        "size": 7,
                        "color": style.colour,
                        "opacity": 0.7,
                    },
                    "hovertext": [_hover(value, tables) for value in same],
                    "hoverinfo": "text",
                    "meta": _about(same[0], choice),
                }
            )
    low, high = _span(_all(choices))
    y = axis(
        "",
        range=[len(strips) - 0.4, -0.6],
        tickvals=list(range(len(strips))),
        ticktext=[words.escaped(kind) + ("<br>re-read" if reread else "") for kind, reread in strips],
        showgrid=False,
    )
    return Chart(
        "intensity-chart",
        "",
        f"MACs per byte of {len(names):,} layers by type, logarithmic: {_told(_all(choices), tables)}.",
        traces,
        layout(80 + 90 * len(strips), log_axis("MACs per byte", low, high, words.number, most=6), y),
    )


def _fill(style: Look, reread: bool) -> dict[str, Any]:
    return {
        "color": style.colour,
        "line": {"color": style.colour, "width": 1},
        "pattern": {
            "shape": "/" if reread else "",
            "size": 7,
            "solidity": 0.35,
            "bgcolor": palette.PAPER if reread else style.colour,
            "fgcolor": style.colour,
        },
    }


def _span(values: Sequence[_Value]) -> tuple[float, float]:
    return min(value.value for value in values), max(value.value for value in values)


def _told(values: Sequence[_Value], tables: Tables) -> str:
    """The range of each type, in words."""
    told = []
    for kind in words.kinds(tables):
        for reread in (False, True):
            of_kind = [value for value in values if (value.kind, value.reread) == (kind, reread)]
            if of_kind:
                low, high = _span(of_kind)
                note = " with weights re-read each step" if reread else ""
                told.append(f"{kind}{note} {words.between(low, high) if low < high else words.number(low)}")
    return describe.listed(told, shown=8)


def _keys(tables: Tables, values: Sequence[_Value]) -> list[Key]:
    kinds = words.kinds(tables)
    told = [Key("swatch", words.type_label(tables, kind), look(kind, kinds).colour) for kind in kinds]
    if any(value.reread for value in values):
        told.append(Key("hatched", "weights re-read each step (recurrent layers)"))
    return told


def _numbers(tables: Tables) -> Table:
    several, letters = len(tables.runs) > 1, words.letters(tables)
    frame = tables.intensity
    rows = [
        [
            *([letters[str(row.run)]] if several else []),
            str(row.layer),
            str(row.kind),
            words.pass_label(row.part),
            f"{row.local_batch:,}",
            str(row.dtype),
            units.count(row.macs),
            units.size(row.bytes),
            words.number(row.macs_per_byte),
            words.number(row.macs_per_byte_weights_reread),
        ]
        for row in row_tuples(frame.head(ROWS_SHOWN).rename(columns={"pass": "part"}))
    ]
    head = [*(["run"] if several else []), "layer", "type", "pass", "batch of a rank", "dtype", "MACs", "bytes"]
    head += ["MACs per byte", "with weights re-read each step"]
    right = frozenset(range(len(head) - 5, len(head))) - {len(head) - 5}
    rest = f"{len(frame) - ROWS_SHOWN:,} more are in intensity.csv." if len(frame) > ROWS_SHOWN else ""
    return Table(head, rows, right | {len(head) - 6}, rest)
