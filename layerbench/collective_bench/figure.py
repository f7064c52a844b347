"""The figure: bus bandwidth over size, a panel for each operation, a line for each node count and library."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

from layerbench import units
from layerbench.collective_bench import sizes, text
from layerbench.collective_bench.formulas import busbw
from layerbench.collective_records import Measured, Row
from layerbench.records import COLLECTIVES
from layerbench.report import captions, marks, style
from layerbench.report.axes import log_axis
from layerbench.report.marks import BLUE, GREEN, INK, ORANGE, OVERVIEW, PURPLE, SKY, VERMILION

WIDTH = 11.0
DPI = 160

_PANEL = 3.5
"""Inches of a panel's height, its title and axis included."""

_PANEL_INSIDE = 2.6
"""Inches of it that the axis has, about."""

_PAD = 1.5
"""Factor by which the axis goes beyond what is drawn."""

Span: TypeAlias = tuple[float, float]
"""The lowest and the highest bus bandwidth that any interval of the figure reaches."""

_HEAD_CHARACTERS, _FOOT_CHARACTERS = 130, 155

_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, INK)
"""Of node counts."""

_LINES: dict[str, tuple[str, Any]] = {
    "auto": ("o", "-"),
    "nccl": ("s", (0, (7, 1.2, 1.2, 1.2))),
    "mpi": ("^", (0, (7, 1.2))),
    "staged": ("D", (0, (1.2, 1.0))),
}
"""Marker and dashes of a library where there are several; one alone is drawn like ``auto``."""

_TICK_STEPS = (2, 4, 8, 16, 32, 64, 1024)
"""Factors between two sizes that are named on the axis; the first that leaves room is taken."""


def can_draw(measured: Measured) -> bool:
    """Whether any row has a time."""
    return any(row.samples for row in measured.rows)


def draw(measured: Measured) -> Any:
    """Draw what was measured.

    Returns
    -------
    matplotlib.figure.Figure
        Of each operation the bus bandwidth against size, log-log, with a bar for the 95 % interval of the median where
        the marker does not hide it; what is noisy has a ring.
    """
    with style.styled(style.OVERVIEW):
        return _draw([row for row in measured.rows if row.samples])


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.OVERVIEW, DPI)


def _draw(rows: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure

    operations = list(dict.fromkeys(row.operation for row in rows))
    rates = [rate for row in rows for rate in _rates(row)]
    span = min(rates), max(rates)
    columns = 1 if len(operations) == 1 else 2
    lines = -(-len(operations) // columns)
    settings = textwrap.wrap(" · ".join(_settings(rows)), _HEAD_CHARACTERS)
    notes = textwrap.wrap(" ".join(_notes(rows, span)), _FOOT_CHARACTERS)
    top, bottom = captions.LINE * (len(settings) + 2.1), captions.LINE * (len(notes) + 2.4)
    height = top + bottom + _PANEL * lines + (0.8 if columns == 1 else 0.0)
    figure: Any = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(
        rect=(0, bottom / height, 1, 1 - (top + bottom) / height), w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.03
    )
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel, operation in zip(panels.flat, operations, strict=False):
        _panel(panel, [row for row in rows if row.operation == operation], rows, span, WIDTH / columns)
    for panel in list(panels.flat)[len(operations) :]:
        panel.remove()
    captions.write(figure, _title(rows), settings, notes)
    _key(figure, rows, bottom / height)
    captions.settle(figure)
    return figure


def _title(rows: Sequence[Row]) -> str:
    counts = sorted({row.ranks for row in rows})
    told = f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"Bus bandwidth of exchanges over {told} ranks"


def _settings(rows: Sequence[Row]) -> list[str]:
    where = sorted({row.device for row in rows})
    libraries = dict.fromkeys(row.library for row in rows)
    return [rows[0].dtype, f"memory of the {' and of the '.join(where)}", *libraries]


def _notes(rows: Sequence[Row], span: Span) -> list[str]:
    intervals = "95 % confidence intervals of the median, each sample the maximum over ranks"
    seen = any(_has_bar(row, span) for row in rows)
    said = [
        f"Bars: {intervals}; none where the marker hides it." if seen else f"Hidden by the markers: {intervals}.",
        "Sizes: of all-reduce and broadcast the vector of a rank, of others the whole, of which each rank has a block.",
    ]
    if any(row.noisy for row in rows):
        said.append("Noisy: the interval did not become as narrow as asked for.")
    if any(row.oversubscribed for row in rows):
        said.append("Hollow: oversubscribed, more ranks than cores, which shows the machine running out.")
    return said


def _panel(axes: Any, rows: Sequence[Row], every: Sequence[Row], span: Span, inches: float) -> None:
    from matplotlib.ticker import FuncFormatter

    # The same axes in all panels: operations are compared by their bus bandwidth.
    for series in text.grouped(rows):
        _series(axes, series, every, span)
    log_axis(axes.yaxis, span, pad=_PAD, most=7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.rate(value, "B/s")))
    _size_axis(axes, [row.bytes for row in every], inches)
    axes.set_title(f"{text.named(rows[0].operation)}, {text.placed(rows[0])}")
    axes.set_ylabel("busbw")


def _series(axes: Any, rows: Sequence[Row], every: Sequence[Row], span: Span) -> None:
    colour, marker, dash = _look(rows[0], every)
    bytes_ = [row.bytes for row in rows]
    middle = [_rates(row)[1] for row in rows]
    gid = f"{rows[0].operation}:{rows[0].ranks}:{rows[0].collectives}"
    for row in rows:
        if _has_bar(row, span):
            low, at, high = _rates(row)
            ends = [[at - low], [high - at]]
            axes.errorbar(
                row.bytes, at, ends, fmt="none", ecolor=colour, elinewidth=OVERVIEW.bar, capsize=OVERVIEW.cap, zorder=1
            )
    axes.plot(bytes_, middle, color=colour, linestyle=dash, linewidth=OVERVIEW.line, zorder=2)
    axes.plot(
        bytes_,
        middle,
        marker,
        color=colour,
        markersize=_MARKER,
        markerfacecolor="white" if rows[0].oversubscribed else colour,
        markeredgewidth=1.2,
        zorder=3,
        gid=gid,
    )
    noisy = [(size, rate) for row, size, rate in zip(rows, bytes_, middle, strict=True) if row.noisy]
    if noisy:
        axes.plot(*zip(*noisy, strict=True), **_ring(), zorder=1.5)


_MARKER = 4.5
"""Points; there are many sizes."""


def _ring() -> dict[str, Any]:
    return marks.ring(OVERVIEW._replace(marker=_MARKER, ring=4.5))


def _rates(row: Row) -> tuple[float, float, float]:
    """The bus bandwidth at the median and at both ends of its interval, the lowest first."""
    times = row.seconds
    low, middle, high = (
        busbw(row.operation, row.bytes, row.ranks, each) for each in (times.high, times.median, times.low)
    )
    return low, middle, high


def _has_bar(row: Row, span: Span) -> bool:
    """Whether an interval reaches out of its marker, on an axis of this span."""
    low, middle, high = _rates(row)
    points = 72 * _PANEL_INSIDE / math.log(_PAD**2 * span[1] / span[0])
    return points * max(math.log(middle / low), math.log(high / middle)) > _MARKER / 2


def _look(row: Row, rows: Sequence[Row]) -> tuple[str, str, Any]:
    """Colour, marker and dashes of a line among all of the figure."""
    counts = sorted({(each.nodes, each.ranks) for each in rows})
    colour = _COLOURS[counts.index((row.nodes, row.ranks)) % len(_COLOURS)]
    several = len({each.collectives for each in rows}) > 1
    return colour, *_LINES[row.collectives if several else "auto"]


def _size_axis(axes: Any, exchanged: Sequence[int], inches: float) -> None:
    """Set the x axis to sizes, of which as many are named as have room."""
    low, high = min(exchanged), max(exchanged)
    room = max(2.0, (high / low) ** 0.02) ** 0.7
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / room, high * room)
    powers = range((low - 1).bit_length(), high.bit_length())
    for step in _TICK_STEPS:
        named = [2**power for power in powers if power % (step.bit_length() - 1) == 0]
        if len(named) <= (inches - 0.9) / 0.62:
            break
    named = named or [low]
    axes.set_xticks(named, [sizes.shown(size) for size in named])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("size")


def _key(figure: Any, rows: Sequence[Row], y: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    entries: list[tuple[Any, str]] = []
    first = {(row.nodes, row.ranks, row.collectives): row for row in rows}
    for key in sorted(first, key=lambda key: (key[:2], COLLECTIVES.index(key[2]))):
        row = first[key]
        colour, marker, dash = _look(row, rows)
        face = "white" if row.oversubscribed else colour
        handle = Line2D(
            [], [], color=colour, marker=marker, linestyle=dash, markersize=_MARKER + 1, markerfacecolor=face
        )
        entries.append((handle, f"{text.counted(row)}, {row.collectives}"))
    if any(row.noisy for row in rows):
        entries.append((Line2D([], [], **_ring()), "noisy"))
    renderer = FigureCanvasAgg(figure).get_renderer()
    style.fitted_key(
        figure,
        [handle for handle, _ in entries],
        [label for _, label in entries],
        0.97 * WIDTH * figure.dpi,
        renderer,
        len(entries),
        bbox_to_anchor=(0.004, y),
        handlelength=3.2,
        columnspacing=1.6,
        borderaxespad=0.2,
    )
