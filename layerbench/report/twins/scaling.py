"""Running time, speed-up and efficiency against nodes: types in one panel, or of several runs a panel to each type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import describe
from layerbench.report.axes import log_axis, node_axis
from layerbench.report.columns import row_tuples
from layerbench.report.curves import EFFICIENCY, SPEEDUP, TIME, Curve, incomplete, series, span, unit_of
from layerbench.report.marks import INK, Look, look
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys
from layerbench.report.twins.column import PEN, SMALL, Column, column, note, settle
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_ALONE, _FACET = 1.55, 1.0
"""Inches: height of a panel that has the figure to itself, and of one among several."""

_APART = 0.08
"""Of the width of the axis: what a node count's number needs."""

_SHIFT, _MOST_SHIFT = 3.0, 8.0
"""Points between the markers of two runs at one node count, and from the first to the last."""


@dataclass(frozen=True)
class _Series:
    """One line of a panel: a type of a run."""

    gid: str
    rows: pd.DataFrame
    look: Look
    shift: float


def running_time(tables: Tables) -> Twin | None:
    """Time of a step against nodes, log-log."""
    if not _drawable(tables, TIME):
        return None
    drawn = _draw(tables, TIME, _time_axis)
    return Twin(
        name="running_time",
        title=f"Running time of a training step of {captions.subject(tables)} against nodes, by layer type",
        caption=_caption(tables),
        alt=_alt(tables, "Running time", TIME, units.seconds),
        figure=drawn,
        numbers=_numbers(tables, TIME, "ci_method"),
    )


def speedup(tables: Tables) -> Twin | None:
    """Speed-up against nodes, log-log, with the ideal line; None where there is one node count."""
    if not _drawable(tables, SPEEDUP):
        return None
    name = _scaled(tables).capitalize()
    drawn = _draw(tables, SPEEDUP, _speedup_axis)
    return Twin(
        name="speedup",
        title=f"{name} of a training step of {captions.subject(tables)} over {_base(tables)}, by layer type",
        caption=_caption(tables, "Dotted: the ideal, n times as fast on n times the nodes."),
        alt=_alt(tables, name, SPEEDUP, lambda value: f"{value:.3g}"),
        figure=drawn,
        numbers=_numbers(tables, SPEEDUP, "ideal", "base_nodes"),
    )


def efficiency(tables: Tables) -> Twin | None:
    """Speed-up over its ideal against nodes; None where there is one node count."""
    if not _drawable(tables, EFFICIENCY):
        return None
    drawn = _draw(tables, EFFICIENCY, _efficiency_axis)
    return Twin(
        name="efficiency",
        title=f"Parallel efficiency of a training step of {captions.subject(tables)}, by layer type",
        caption=_caption(tables, f"Efficiency: speed-up over {_base(tables)}, divided by its ideal (dotted)."),
        alt=_alt(tables, "Efficiency", EFFICIENCY, lambda value: f"{100 * value:.3g} %"),
        figure=drawn,
        numbers=_numbers(tables, EFFICIENCY, "base_nodes"),
    )


def _drawable(tables: Tables, curve: Curve) -> bool:
    types = tables.layer_types
    return bool(types[curve.value].notna().any()) and (curve is TIME or types["nodes"].nunique() > 1)


def _scaled(tables: Tables) -> str:
    weak = {run.manifest.options.scaling == "weak" for run in tables.runs.values()}
    return "scaled speed-up" if weak == {True} else "speed-up"


def _base(tables: Tables) -> str:
    """What speed-ups are relative to."""
    bases = tables.layer_types["base_nodes"].dropna().unique()
    return describe.plural(int(bases[0]), "node") if len(bases) == 1 else "the smallest node count of each run"


def _numbers(tables: Tables, curve: Curve, *more: str) -> pd.DataFrame:
    names = ["run", "kind", "nodes", "placement", "network", "complete", "noisy", "throttled"]
    return tables.layer_types[[*names, curve.value, curve.low, curve.high, *more]].reset_index(drop=True)


def _caption(tables: Tables, about: str = "") -> str:
    types = tables.layer_types
    waiting = captions.sentence(next(filter(None, map(describe.waiting, tables.each())), ""))
    return captions.joined(
        captions.how(tables),
        about,
        captions.intervals(types),
        waiting,
        captions.marks(tables, types),
        captions.incomplete(types),
        "Runs are set apart sideways where they meet." if len(tables.runs) > 1 else "",
    )


def _alt(tables: Tables, what: str, curve: Curve, tell: Any) -> str:
    """A sentence on the ends of each line."""
    told = []
    for letter, _, of_one in captions.each(tables):
        for kind in keys.kinds_of(of_one):
            rows = of_one.layer_types[of_one.layer_types["kind"] == kind].sort_values("nodes")
            rows = rows[rows[curve.value].notna()]
            ends = [
                f"{tell(row[curve.value])} on {describe.plural(int(row['nodes']), 'node')}"
                + (" (emulated)" if row["placement"] == "emulated" else "")
                for _, row in rows.iloc[[0, -1] if len(rows) > 1 else [0] if len(rows) else []].iterrows()
            ]
            told.append(f"{kind}{f' of run {letter}' if letter else ''} {' and '.join(ends) or 'incomplete'}")
    return f"{what} of a step: {'; '.join(told)}."


def _draw(tables: Tables, curve: Curve, make_axis: Any) -> Any:
    panels = _alone(tables, curve) if len(tables.runs) == 1 else _facets(tables, curve)
    drawn = column([_ALONE if len(tables.runs) == 1 else _FACET] * len(panels))
    for panel, (title, lines) in zip(drawn.panels, panels.items(), strict=True):
        _panel(panel, tables, curve, make_axis, title, lines)
    _share_x(drawn, tables)
    return settle(drawn, _entries(tables, curve))


def _alone(tables: Tables, curve: Curve) -> dict[str, list[_Series]]:
    kinds = keys.kinds_of(tables)
    types = tables.layer_types
    return {"": [_Series(f"{curve.gid}:{kind}", types[types["kind"] == kind], look(kind, kinds), 0) for kind in kinds]}


def _facets(tables: Tables, curve: Curve) -> dict[str, list[_Series]]:
    """Panels by title. A run stands out by look; they are shifted so that equal values do not hide one another."""
    called, looks = captions.letters(tables), keys.run_looks(tables)
    panels: dict[str, list[_Series]] = {}
    shift = min(_SHIFT, _MOST_SHIFT / (len(looks) - 1))
    for kind in keys.kinds_of(tables):
        of_kind = tables.layer_types[tables.layer_types["kind"] == kind]
        panels[keys.type_label(tables, kind)] = [
            _Series(
                f"{curve.gid}:{called[label]}:{kind}",
                of_kind[of_kind["run"] == label],
                style,
                (index - (len(looks) - 1) / 2) * shift,
            )
            for index, (label, style) in enumerate(looks.items())
            if (of_kind["run"] == label).any()
        ]
    return panels


def _panel(panel: Any, tables: Tables, curve: Curve, make_axis: Any, title: str, lines: list[_Series]) -> None:
    import pandas as pd

    rows = pd.concat([line.rows for line in lines])
    node_axis(panel, tables.layer_types["nodes"], _APART)
    if title:
        panel.set_title(title)
    if rows[curve.value].notna().any():
        scale = make_axis(panel, tables, rows)
        if curve is TIME and rows["nodes"].nunique() == 1:
            _values(panel, rows, scale, title)
    else:
        scale = 1.0
        panel.set_yticks([])
        note(panel, "incomplete at every node count")
    for index, line in enumerate(lines):
        series(panel, line.rows, curve, line.look, line.gid, pen=PEN, scale=scale, shift=line.shift)
        offset = (index - (len(lines) - 1) / 2) * 0.07
        incomplete(panel, line.rows, curve, line.look, line.gid, pen=PEN, offset=offset)


def _time_axis(panel: Any, tables: Tables, rows: pd.DataFrame) -> float:
    unit, scale = unit_of(rows["seconds"])
    log_axis(panel.yaxis, span(rows, TIME, scale), most=5 if len(tables.runs) == 1 else 4)
    panel.set_ylabel(f"time of a step ({unit})" if len(tables.runs) == 1 else f"time ({unit})")
    return scale


def _speedup_axis(panel: Any, tables: Tables, rows: pd.DataFrame) -> float:
    low, high = span(rows, SPEEDUP)
    ideals = _ideals(rows)
    most = max([high, *(float(line["ideal"].max()) for line in ideals)])
    log_axis(panel.yaxis, (min(low, 1.0), most), base=2, pad=1.3, most=5 if len(tables.runs) == 1 else 4)
    for line in ideals:
        panel.plot(line["nodes"], line["ideal"], **_IDEAL, gid="speedup:ideal")
    panel.set_ylabel(_scaled(tables))
    return 1.0


def _efficiency_axis(panel: Any, tables: Tables, rows: pd.DataFrame) -> float:
    most = max(1.0, span(rows, EFFICIENCY)[1])
    panel.set_ylim(-6 * most, 108 * most)
    panel.plot(panel.get_xlim(), [100, 100], **_IDEAL, gid="efficiency:ideal")
    panel.set_ylabel("efficiency (%)")
    return 0.01


_IDEAL: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "color": INK, "linewidth": 0.9, "zorder": 1}


def _ideals(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The ideal from each base that the runs of a panel have."""
    beyond = rows[rows["ideal"].notna() & (rows["nodes"] >= rows["base_nodes"])]
    return [
        one.drop_duplicates("nodes").sort_values("nodes") for _, one in beyond.groupby("base_nodes") if len(one) > 0
    ]


def _values(panel: Any, rows: pd.DataFrame, scale: float, title: str) -> None:
    """The running times in words: where there is one node count, a column of points says little."""
    for row in row_tuples(rows[rows["seconds"].notna()]):
        name = "" if title else f"{row.kind}, "
        panel.annotate(
            f"{name}{units.seconds(row.seconds)}",
            (row.nodes, row.seconds / scale),
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            size=SMALL,
        )


def _share_x(drawn: Column, tables: Tables) -> None:
    for panel in drawn.panels[:-1]:
        panel.set_xlabel("")


def _entries(tables: Tables, curve: Curve) -> list[Any]:
    from matplotlib.lines import Line2D

    types = tables.layer_types
    entries = keys.types(tables, keys.kinds_of(tables)) if len(tables.runs) == 1 else keys.runs(tables)
    entries += [*keys.placements(types), *keys.rings(types)]
    if not types["complete"].all():
        entries.append(keys.cross_entry())
    if curve is not TIME:
        entries.append((Line2D([], [], **_IDEAL), "ideal"))
    return entries
