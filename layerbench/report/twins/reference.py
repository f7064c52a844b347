"""Published times of the same shapes beside ours: a group of bars for each pass of a layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report import against_cells, describe
from layerbench.report.axes import log_axis
from layerbench.report.columns import row_tuples
from layerbench.report.curves import unit_of
from layerbench.report.marks import FAINT, INK, face, look, ring, square
from layerbench.report.panels import shortened
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys
from layerbench.report.twins.column import PEN, SMALL, Entry, column, settle
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_BAR = 0.125
"""Inches."""

_FOOT = 6.0
"""Points from the foot of our bar to its marker."""

_MOST_BARS = 56
"""A page holds no more."""

_GREY = "#e4e4e4"
_KEY = ["run", "layer", "part", "nodes"]


class _Line(NamedTuple):
    """A line of the figure: a heading, which has no time, or a bar; ``ours`` is what is known of one of our own."""

    label: str
    seconds: float
    gid: str
    ours: Any


def reference(tables: Tables) -> Twin | None:
    """Log bars of published times and ours; None where nothing published is of the same shape."""
    frame = tables.reference[tables.reference["median"].notna()]
    if frame.empty:
        return None
    words = dict.fromkeys(("run", "layer", "part"), "str")
    marked = tables.records[[*_KEY, "placement", "noisy", "throttled"]].astype(words)
    numbers = frame.astype({**words, "kind": "str"}).merge(marked, how="left", on=_KEY)
    groups = numbers.groupby(_KEY, sort=False)
    kept: list[Any] = []
    bars = 0
    for key, rows in groups:
        bars += len(rows) + 1
        if kept and bars > _MOST_BARS:
            break
        kept.append((key, rows))
    names = [*_KEY, "kind", "local_batch", "dtype", "placement", "noisy", "throttled", "median", "ci_low", "ci_high"]
    return Twin(
        name="reference",
        title=f"Published times of the shapes of {captions.subject(tables)} beside the times measured here",
        caption=captions.joined(
            captions.how(tables),
            "Grey: published by DeepBench, one device, same shape, pass and dtype. Bars on ours: the 95 % interval.",
            _means(tables),
            f"Drawn are the first {len(kept)} of {groups.ngroups:,} layers' passes."
            if len(kept) < groups.ngroups
            else "",
            captions.marks(tables, numbers, "Hollow and hatched"),
        ),
        alt=_alt(numbers),
        figure=_draw(tables, kept),
        numbers=numbers[[*names, "device", "stage", "published_seconds", "ratio"]],
    )


def _means(tables: Tables) -> str:
    """The means against devices that were asked for; empty where none was."""
    told = [
        f"{'run ' + letter + ', ' if letter else ''}{mean}"
        for letter, _, of_run in captions.each(tables)
        if of_run.against is not None
        for mean in against_cells.in_short(of_run.against)
    ]
    return f"Published / here, geometric means over passes: {'; '.join(told)}." if told else ""


def _alt(numbers: pd.DataFrame) -> str:
    told = []
    for device, rows in numbers.groupby("device", sort=False, observed=True):
        low, high = rows["ratio"].min(), rows["ratio"].max()
        told.append(f"{device} {low:.3g}" + (f" to {high:.3g}" if high > low else ""))
    return f"Published time over the time here, by device: {describe.listed(told)}."


def _draw(tables: Tables, kept: list[Any]) -> Any:
    kinds, called = keys.kinds_of(tables), captions.letters(tables)
    lines = _lines(kept, called)
    picture = column([_BAR * (len(lines) + 0.3)])
    (panel,) = picture.panels
    shown = [line for line in lines if line.seconds]
    least, greatest = min(line.seconds for line in shown), max(line.seconds for line in shown)
    unit, scale = unit_of(_series([least, greatest]))
    left = 10.0 ** math.floor(math.log10(least / scale) - 0.15)
    # The longest bar leaves room for its number.
    right = left * (greatest / scale / left) ** (1 / 0.8)
    log_axis(panel.xaxis, (left, right), most=6, pad=1.0)
    panel.set_ylim(len(lines) - 0.35, -0.8)
    panel.set_yticks([y for y, line in enumerate(lines) if line.seconds], [line.label for line in shown])
    panel.tick_params(axis="y", length=0, labelsize=SMALL)
    panel.grid(visible=False, axis="y")
    for y, line in enumerate(lines):
        if not line.seconds:
            over = panel.get_yaxis_transform()
            panel.text(0.0, y - 0.12, line.label, transform=over, va="center_baseline", weight="bold", size=SMALL)
        elif line.ours is None:
            _bar(panel, y, line, scale, {"facecolor": _GREY, "edgecolor": FAINT, "linewidth": 0.5})
        else:
            _ours(panel, y, line, scale, kinds, left)
    panel.set_xlabel(f"time of a pass ({unit})")
    return settle(picture, _entries(tables, kept))


def _lines(kept: list[Any], called: dict[str, str]) -> list[_Line]:
    """From the top down: what is compared, the time here, and the times published, the quickest first."""
    lines: list[_Line] = []
    for (run, layer, part, _), rows in kept:
        first = next(row_tuples(rows))
        gid = ":".join(filter(None, ["reference", called[run], layer, part]))
        lines.append(_Line(f"{shortened(layer, 22)}, {part}", 0.0, gid, None))
        lines.append(_Line(f"here {called[run]}".strip(), first.median, gid, first))
        lines += [
            _Line(_device(row, rows), row.published_seconds, f"{gid}:{row.device}:{row.stage}", None)
            for row in row_tuples(rows.sort_values("published_seconds", kind="stable"))
        ]
    return lines


def _device(row: Any, rows: pd.DataFrame) -> str:
    """A device's name, and which of DeepBench's two lists it is of where both have it."""
    name = str(row.device).replace("_", " ")
    return f"{name} {row.stage}" if (rows["device"] == row.device).sum() > 1 else name


def _bar(panel: Any, y: int, line: _Line, scale: float, fill: dict[str, Any]) -> None:
    value = line.seconds / scale
    (bar,) = panel.barh(y, value, 0.78, **fill)
    bar.set_gid(line.gid)
    panel.annotate(
        units.seconds(line.seconds),
        (value, y),
        xytext=(9 if line.ours is not None else 3, 0),
        textcoords="offset points",
        va="center_baseline",
        size=6.5,
    )


def _ours(panel: Any, y: int, line: _Line, scale: float, kinds: list[str], left: float) -> None:
    """Our bar with its interval, and at its foot the marker that says what it is: at the end it would hide that."""
    from matplotlib.transforms import ScaledTranslation

    row = line.ours
    style = look(row.kind, kinds)
    emulated = row.placement == "emulated"
    hatched = {"hatch": "////"} if emulated else {}
    fill = {"facecolor": face(row.placement, style.colour), "edgecolor": style.colour, "linewidth": 0.8, **hatched}
    _bar(panel, y, line, scale, fill)
    if row.ci_low < row.ci_high:
        _interval(panel, y, max(row.ci_low / scale, left), row.ci_high / scale, line.gid)
    foot = panel.transData + ScaledTranslation(_FOOT / 72, 0, panel.figure.dpi_scale_trans)
    panel.plot(
        left,
        y,
        gid=f"{line.gid}:mark",
        zorder=4,
        linestyle="none",
        transform=foot,
        marker=style.marker,
        markersize=4,
        markerfacecolor=face(row.placement, style.colour),
        markeredgecolor="white" if row.placement == "measured" else style.colour,
        markeredgewidth=0.6,
    )
    for mark, shape in (("noisy", ring), ("throttled", square)):
        if getattr(row, mark):
            ringed = {**shape(PEN._replace(marker=4.0, ring=3.6)), "markeredgecolor": INK}
            panel.plot(left, y, gid=f"{line.gid}:{mark}", zorder=5, transform=foot, **ringed)


def _interval(panel: Any, y: int, low: float, high: float, gid: str) -> None:
    """Its ends by caps; the white around them stands out from any bar."""
    from matplotlib.patheffects import withStroke

    panel.plot(
        [low, high],
        [y, y],
        color=INK,
        linewidth=0.8,
        marker="|",
        markersize=4.5,
        markeredgewidth=0.8,
        zorder=3,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
        gid=f"{gid}:interval",
    )


def _series(values: list[float]) -> pd.Series[float]:
    import pandas as pd

    return pd.Series(values)


def _entries(tables: Tables, kept: list[Any]) -> list[Entry]:
    import pandas as pd
    from matplotlib.patches import Patch

    rows = pd.concat([rows for _, rows in kept])
    there = set(rows["kind"])
    every = keys.kinds_of(tables)
    # Which of a type's layers are here the headings say.
    entries: list[Entry] = [(keys.point(look(kind, every), lines=False), kind) for kind in every if kind in there]
    entries.append((Patch(facecolor=_GREY, edgecolor=FAINT, linewidth=0.5), "published"))
    return [*entries, *keys.placements(rows, lines=False), *keys.rings(rows)]
