"""Running time, speed-up and efficiency against nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report import cells, describe
from layerbench.report.columns import row_tuples
from layerbench.report.curves import EFFICIENCY, SPEEDUP, TIME, Curve, span
from layerbench.report.marks import look
from layerbench.report.page import palette, words
from layerbench.report.page.section import (
    DASHES,
    SYMBOLS,
    Chart,
    Key,
    Section,
    Table,
    Trace,
    around,
    axis,
    crosses,
    layout,
    log_axis,
    marker,
    meta,
    node_axis,
)
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

_APART = 0.06
"""Octaves between the points of neighbouring runs, so that one does not hide another."""

_LETTER = 0.04
"""Of the width of the axis, between the letters of neighbouring runs, which stand beside their last points."""


class _Series(NamedTuple):
    """A layer type of a run: its rows, and how it is told from the others."""

    run: int
    letter: str
    kind: str
    rows: pd.DataFrame
    look: Any
    shift: float
    beside: float
    """Where its letter stands: a factor on the count of its last point."""

    @property
    def about(self) -> dict[str, Any]:
        return meta(self.run, self.kind)

    def where(self, row: Any) -> str:
        return f"{self.kind}, {describe.plural(row.nodes, 'node')}{words.of_run(self.letter)}"


def section(tables: Tables) -> Section:
    """All three charts; speed-up and efficiency only where there are several node counts."""
    absent = []
    charts = [running_time(tables)] if tables.base_nodes is not None else []
    if not charts:
        absent.append("No layer type is complete at any node count, so there is nothing to draw.")
    elif tables.layer_types["nodes"].nunique() == 1:
        absent.append("There is one node count, so there is no speed-up.")
    elif tables.layer_types["speedup"].notna().any():
        charts += [speed_up(tables), efficiency(tables)]
    return Section(
        "scaling",
        "Running time of a step",
        "A step is a training step of all layers of a type: the sum of the layers' medians, with its interval.",
        charts,
        keys(tables),
        numbers=_numbers(tables),
        absent=absent,
    )


def keys(tables: Tables) -> list[Key]:
    """The types, and of the marks those that occur."""
    types = tables.layer_types
    kinds = words.kinds(tables)
    told = []
    for kind in kinds:
        style = look(kind, kinds)
        told.append(Key(SYMBOLS[style.marker], words.type_label(tables, kind), style.colour))
    told += runs(tables)
    told += [Key(f"{placement} line", placement) for placement in placements(types)]
    told.append(Key("interval", "95 % interval"))
    told += [Key(mark, mark) for mark in ("noisy", "throttled") if types[mark].any()]
    if not types["complete"].all():
        told.append(Key("incomplete", "incomplete"))
    return told


def runs(tables: Tables) -> list[Key]:
    """Each of several runs, with the dashes of its lines."""
    letters = words.letters(tables).items()
    return [
        Key(DASHES[run % len(DASHES)], f"{letter}: {label}") for run, (label, letter) in enumerate(letters) if letter
    ]


def placements(frame: pd.DataFrame) -> list[str]:
    """Which of the two placements occur."""
    return [placement for placement in ("measured", "emulated") if (frame["placement"] == placement).any()]


def running_time(tables: Tables) -> Chart:
    """Log-log, with intervals."""
    types = tables.layer_types
    alone = types["nodes"].nunique() == 1
    low, high = span(types, TIME)
    seconds = log_axis("", low, high, units.seconds)

    def told(row: Any) -> str:
        return words.timing(row.seconds, row.ci_low, row.ci_high, row.ci_method)

    data = _curves(tables, TIME, told, _floor(seconds))
    if alone:
        data += _beside(tables)
    return Chart(
        "running-time",
        "Running time",
        f"Running time of a step against nodes, both logarithmic: {_ends(tables, told)}.",
        data,
        layout(400, _axis(tables), seconds),
    )


def speed_up(tables: Tables) -> Chart:
    """Log-log, with the ideal line."""
    types = tables.layer_types
    low, high = span(types, SPEEDUP)
    top = max(high, types["ideal"].max())
    ratio = log_axis("", min(low, 1.0), top, words.number, base=2, pad=1.3)

    def told(row: Any) -> str:
        ends = words.between(row.speedup_low, row.speedup_high)
        return words.certain(f"{words.number(row.speedup)} times", ends, row.ci_method)

    data = [*_ideal(tables), *_curves(tables, SPEEDUP, told, _floor(ratio))]
    return Chart(
        "speed-up",
        f"{_scaled(tables)} over {_base(tables)}",
        f"Speed-up of a step against nodes, with a line where it would be ideal: {_ends(tables, told)}.",
        data,
        layout(340, _axis(tables), ratio),
        wide=False,
    )


def efficiency(tables: Tables) -> Chart:
    """Speed-up as a fraction of the ideal one."""
    types = tables.layer_types
    top = max(1.0, span(types, EFFICIENCY)[1])
    share = axis("", range=[0, 1.08 * top], tickformat=".0%")

    def told(row: Any) -> str:
        ends = words.between(row.efficiency_low, row.efficiency_high, 0.01)
        return words.certain(cells.percent(row.efficiency, 1), f"{ends} %" if ends else "", row.ci_method)

    nodes = types["nodes"]
    line = _line([nodes.min(), nodes.max()], [1, 1], "dot", palette.FAINT, {})
    return Chart(
        "efficiency",
        "Efficiency",
        f"Speed-up over the ideal one, against nodes: {_ends(tables, told)}.",
        [line, *_curves(tables, EFFICIENCY, told, 0.03 * top)],
        layout(340, _axis(tables), share),
        wide=False,
    )


def _floor(log: dict[str, Any]) -> float:
    """Just above the foot of a log axis, where crosses stand."""
    low, high = log["range"]
    return float(10 ** (low + 0.03 * (high - low)))


def _scaled(tables: Tables) -> str:
    weak = {run.manifest.options.scaling == "weak" for run in tables.runs.values()}
    if len(weak) > 1:
        return "Speed-up (weak scaling: scaled)"
    return "Scaled speed-up" if weak == {True} else "Speed-up"


def _base(tables: Tables) -> str:
    bases = sorted({int(base) for base in tables.layer_types["base_nodes"].dropna()})
    return describe.plural(bases[0], "node") if len(bases) == 1 else "each run's smallest count"


def _series(tables: Tables) -> Iterator[_Series]:
    types, kinds = tables.layer_types, words.kinds(tables)
    width = types["nodes"].max() / types["nodes"].min()
    for run, (label, letter) in enumerate(words.letters(tables).items()):
        shift = 2 ** ((run - (len(tables.runs) - 1) / 2) * _APART)
        beside = width ** (_LETTER * (run + 1)) * 2 ** (len(tables.runs) / 2 * _APART)
        for kind in kinds:
            rows = types[(types["run"] == label) & (types["kind"] == kind)].sort_values("nodes")
            if len(rows):
                yield _Series(run, letter, kind, rows, look(kind, kinds), shift, beside)


def _curves(tables: Tables, curve: Curve, told: Callable[[Any], str], floor: float) -> list[Trace]:
    """Lines below points below what stands around them; crosses stand at ``floor``."""
    lines: list[Trace] = []
    points: list[Trace] = []
    series = list(_series(tables))
    for number, one in enumerate(series):
        lines += _lines(one, curve)
        points += _points(one, curve, told)
        absent = one.rows[one.rows[curve.value].isna()]
        if len(absent):
            spread = 2 ** ((number - (len(series) - 1) / 2) * _APART)
            texts = [words.lines(one.where(row), words.lacking(row.missing)) for row in row_tuples(absent)]
            x = [row.nodes * spread for row in row_tuples(absent)]
            points.append(crosses(x, [floor] * len(x), texts, one.look.colour, one.about))
    return [*lines, *points]


def _lines(one: _Series, curve: Curve) -> Iterator[Trace]:
    """Between neighbouring counts, emulated if either end is; none crosses a missing count."""
    rows = list(row_tuples(one.rows))
    for placement in ("measured", "emulated"):
        x: list[float | None] = []
        y: list[float | None] = []
        for left, right in pairwise(rows):
            ends = getattr(left, curve.value), getattr(right, curve.value)
            of_pair = "emulated" if "emulated" in (left.placement, right.placement) else "measured"
            if of_pair == placement and not math.isnan(sum(ends)):
                x += [left.nodes * one.shift, right.nodes * one.shift, None]
                y += [*ends, None]
        if x:
            dash = "dash" if placement == "emulated" else DASHES[one.run % len(DASHES)]
            yield _line(x[:-1], y[:-1], dash, one.look.colour, one.about)


def _line(x: Any, y: Any, dash: str, colour: str, about: dict[str, Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [None if value is None else float(value) for value in x],
        "y": [None if value is None else float(value) for value in y],
        "line": {"color": colour, "width": 2, "dash": dash},
        "hoverinfo": "skip",
        "meta": about,
    }


def _points(one: _Series, curve: Curve, told: Callable[[Any], str]) -> Iterator[Trace]:
    known = one.rows[one.rows[curve.value].notna()]
    for placement in ("measured", "emulated"):
        rows = known[known["placement"] == placement]
        if rows.empty:
            continue
        x, y = (rows["nodes"] * one.shift).tolist(), rows[curve.value].tolist()
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": f"{one.kind} {placement}",
            "x": x,
            "y": y,
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": (rows[curve.high] - rows[curve.value]).fillna(0).tolist(),
                "arrayminus": (rows[curve.value] - rows[curve.low]).fillna(0).tolist(),
                "color": one.look.colour,
                "thickness": 1.5,
                "width": 4,
            },
            "marker": marker(one.look, placement),
            "hovertext": [
                words.lines(one.where(row), ", ".join([told(row), *words.states(row)])) for row in row_tuples(rows)
            ],
            "hoverinfo": "text",
            "cliponaxis": False,
            "meta": one.about,
        }
        for mark in ("noisy", "throttled"):
            of_mark = rows[rows[mark]]
            if len(of_mark):
                places = (of_mark["nodes"] * one.shift).tolist(), of_mark[curve.value].tolist()
                yield around(mark, *places, one.about)
    if one.letter and len(known):
        last = known.iloc[-1]
        yield _text([last["nodes"] * one.beside], [last[curve.value]], [one.letter], one.about, "middle center")


def _axis(tables: Tables) -> dict[str, Any]:
    """The node axis, with room for the letters of several runs."""
    nodes = tables.layer_types["nodes"]
    several = len(tables.runs) if len(tables.runs) > 1 else 0
    left, right = math.log10(nodes.min()), math.log10(nodes.max())
    beside = _LETTER * (right - left) * (several + 1) + _APART * several * math.log10(2)
    return node_axis(nodes.tolist(), beside=beside if several else 0.0)


def _text(x: Any, y: Any, texts: list[str], about: dict[str, Any], position: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "text",
        "x": [float(value) for value in x],
        "y": [float(value) for value in y],
        "text": texts,
        "textposition": position,
        "textfont": {"size": 12, "color": palette.INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
        "meta": about,
    }


def _beside(tables: Tables) -> Iterator[Trace]:
    """The times in words beside their points: where there is one node count, a column of points says little."""
    for one in _series(tables):
        rows = one.rows[one.rows["seconds"].notna()]
        if len(rows):
            texts = [f"   {units.seconds(value)}" for value in rows["seconds"]]
            yield _text(rows["nodes"] * one.shift, rows["seconds"], texts, one.about, "middle right")


def _ideal(tables: Tables) -> Iterator[Trace]:
    """A line from each base; one line where all runs have one base."""
    types = tables.layer_types
    drawn: set[int] = set()
    bases = {label: rows["base_nodes"].dropna() for label, rows in types.groupby("run", observed=True)}
    different = {int(base.iloc[0]) for base in bases.values() if len(base)}
    for run, label in enumerate(tables.runs):
        base = bases.get(label)
        if base is None or base.empty or int(base.iloc[0]) in drawn:
            continue
        start = int(base.iloc[0])
        drawn.add(start)
        counts = sorted({start, *(int(n) for n in types["nodes"] if n >= start)})
        about = meta(run) if len(different) > 1 else {}
        yield _line(counts, [count / start for count in counts], "dot", palette.FAINT, about)
        middle = counts[(len(counts) - 1) // 2]
        yield _text([middle], [middle / start], ["ideal  "], about, "top left")


def _ends(tables: Tables, told: Callable[[Any], str]) -> str:
    """The first and the last value of each type, in words."""
    sentences = []
    for one in _series(tables):
        known = [row for row in row_tuples(one.rows) if row.complete]
        told_of = [f"{told(row)} on {describe.plural(row.nodes, 'node')}" for row in known[:1] + known[1:][-1:]]
        name = f"{one.kind}{words.of_run(one.letter)}"
        sentences.append(f"{name}: {', '.join(told_of)}" if told_of else f"{name} is incomplete")
    return describe.listed(sentences, shown=6)


def _numbers(tables: Tables) -> Table:
    several = len(tables.runs) > 1
    head = ["type", "nodes", "step", "95 % interval", "speed-up", "efficiency", "communication", "marks"]
    rows = [
        [
            row.kind,
            f"{row.nodes:,}",
            units.seconds(row.seconds) if row.complete else words.lacking(row.missing),
            ("range " if row.ci_method == "range" else "") + words.interval(row.seconds, row.ci_low, row.ci_high),
            words.number(row.speedup),
            cells.percent(row.efficiency, 1),
            cells.percent(row.communication_share, 1),
            ", ".join(words.states(row)),
        ]
        for row in row_tuples(tables.layer_types)
    ]
    if not several:
        return Table(head, rows, frozenset({1, 2, 3, 4, 5, 6}))
    letters = words.letters(tables)
    of_run = [[letters[str(run)], *cells_] for run, cells_ in zip(tables.layer_types["run"], rows, strict=True)]
    return Table(["run", *head], of_run, frozenset({2, 3, 4, 5, 6, 7}))
