"""The figure: bus bandwidth over size, a panel for each operation, a line for each node count and library."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from layerbench import units
from layerbench.collective_bench import text
from layerbench.collective_bench.formulas import busbw
from layerbench.collective_records import Measured, Row
from layerbench.records import COLLECTIVES, Collective
from layerbench.report import captions, marks, style
from layerbench.report.axes import log_axis
from layerbench.report.marks import BLUE, GREEN, INK, ORANGE, OVERVIEW, PURPLE, SKY, VERMILION

WIDTH = 11.0
DPI = 160

_PANEL = 3.5
"""Inches of a panel's height, its title and axis included."""

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

_BAND = 0.18

_TICK_STEPS = (2, 4, 8, 16, 32, 64, 1024)
"""Factors between two sizes that are named on the axis; the first that leaves room is taken."""

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def can_draw(measured: Measured) -> bool:
    """Whether any row has a time."""
    return any(row.samples for row in measured.rows)


def draw(measured: Measured) -> Any:
    """Draw what was measured.

    Returns
    -------
    matplotlib.figure.Figure
        Of each operation the bus bandwidth against size, log-log, with the 95 % interval of the median as a band; what
        is noisy has a ring.
    """
    with style.styled(style.OVERVIEW):
        return _draw([row for row in measured.rows if row.samples])


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.OVERVIEW, DPI)


def _draw(rows: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure

    operations = list(dict.fromkeys(row.operation for row in rows))
    columns = 1 if len(operations) == 1 else 2
    lines = -(-len(operations) // columns)
    settings = textwrap.wrap(" · ".join(_settings(rows)), _HEAD_CHARACTERS)
    notes = textwrap.wrap(" ".join(_notes(rows)), _FOOT_CHARACTERS)
    top, bottom = captions.LINE * (len(settings) + 2.1), captions.LINE * (len(notes) + 2.4)
    height = top + bottom + _PANEL * lines + (0.8 if columns == 1 else 0.0)
    figure: Any = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(
        rect=(0, bottom / height, 1, 1 - (top + bottom) / height), w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.03
    )
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel, operation in zip(panels.flat, operations, strict=False):
        _panel(panel, operation, [row for row in rows if row.operation == operation], rows, WIDTH / columns)
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


def _notes(rows: Sequence[Row]) -> list[str]:
    said = [
        "Bands: 95 % confidence intervals of the median, each sample the maximum over ranks. Sizes: of all-reduce and "
        "broadcast the vector of a rank, of others the whole, of which each rank has a block."
    ]
    if any(row.noisy for row in rows):
        said.append("Noisy: the interval did not become as narrow as asked for.")
    if any(row.oversubscribed for row in rows):
        said.append("Hollow: oversubscribed, more ranks than cores, which shows the machine running out.")
    return said


def _panel(axes: Any, operation: Collective, rows: Sequence[Row], every: Sequence[Row], inches: float) -> None:
    from matplotlib.ticker import FuncFormatter

    # The same axes in all panels: operations are compared by their bus bandwidth.
    rates = [rate for row in every for rate in _rates(row)]
    for series in text.grouped(rows):
        _series(axes, series, every)
    log_axis(axes.yaxis, (min(rates), max(rates)), most=7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.rate(value, "B/s")))
    _size_axis(axes, [row.bytes for row in every], inches)
    axes.set_title(f"{text.named(operation)}, {text.placed(rows[0])}")
    axes.set_ylabel("busbw")


def _series(axes: Any, rows: Sequence[Row], every: Sequence[Row]) -> None:
    colour, marker, dash = _look(rows[0], every)
    sizes = [row.bytes for row in rows]
    low, middle, high = zip(*map(_rates, rows), strict=True)
    gid = f"{rows[0].operation}:{rows[0].ranks}:{rows[0].collectives}"
    axes.fill_between(sizes, low, high, color=colour, alpha=_BAND, linewidth=0, zorder=1, gid=f"{gid}:band")
    axes.plot(sizes, middle, color=colour, linestyle=dash, linewidth=OVERVIEW.line, zorder=2)
    axes.plot(
        sizes,
        middle,
        marker,
        color=colour,
        markersize=_MARKER,
        markerfacecolor="white" if rows[0].oversubscribed else colour,
        markeredgewidth=1.2,
        zorder=3,
        gid=gid,
    )
    noisy = [(size, rate) for row, size, rate in zip(rows, sizes, middle, strict=True) if row.noisy]
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


def _look(row: Row, rows: Sequence[Row]) -> tuple[str, str, Any]:
    """Colour, marker and dashes of a line among all of the figure."""
    counts = sorted({(each.nodes, each.ranks) for each in rows})
    colour = _COLOURS[counts.index((row.nodes, row.ranks)) % len(_COLOURS)]
    several = len({each.collectives for each in rows}) > 1
    return colour, *_LINES[row.collectives if several else "auto"]


def _size_axis(axes: Any, sizes: Sequence[int], inches: float) -> None:
    """Set the x axis to sizes, of which as many are named as have room."""
    low, high = min(sizes), max(sizes)
    room = max(2.0, (high / low) ** 0.02) ** 0.7
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / room, high * room)
    powers = range((low - 1).bit_length(), high.bit_length())
    for step in _TICK_STEPS:
        named = [2**power for power in powers if power % (step.bit_length() - 1) == 0]
        if len(named) <= (inches - 0.9) / 0.62:
            break
    named = named or [low]
    axes.set_xticks(named, [_binary(size) for size in named])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("size")


def _binary(size: int) -> str:
    power = min(len(_BINARY) - 1, (size.bit_length() - 1) // 10)
    return f"{size / 1024**power:.3g} {_BINARY[power]}"


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
