"""The figure: four panels, a title that says how it was run, and a key that says what is measured."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from layerbench.report import captions, describe, marks, panels, style
from layerbench.report.tables import Tables

WIDTH = 11.0
"""Inches; at 160 dots to the inch 1760 pixels, which stays readable when shown 1200 or 900 wide."""

DPI = 160
_HEAD_CHARACTERS, _FOOT_CHARACTERS = 130, 160


def can_draw(tables: Tables) -> bool:
    """Whether any layer type is complete at any node count; else every panel would be empty."""
    return tables.base_nodes is not None


def draw(tables: Tables) -> Any:
    """Draw a run.

    Parameters
    ----------
    tables
        Of a run for which :func:`can_draw` holds.

    Returns
    -------
    matplotlib.figure.Figure
        With running time, speed-up and communication against nodes, and MACs per byte by layer. Where there is one
        node count there is no speed-up, and where there is one rank no communication: these panels are left out.
    """
    with style.styled(style.OVERVIEW):
        return _draw(tables)


def _draw(tables: Tables) -> Any:
    from matplotlib.figure import Figure

    drawn = _panels(tables)
    rows = -(-len(drawn) // 2)
    bars = len(panels.intensity_bars(tables.layers))
    title = textwrap.shorten(describe.heading(tables.manifest), 90, placeholder=" …")
    settings = textwrap.wrap(" · ".join(describe.settings(tables.run)), _HEAD_CHARACTERS)
    notes = textwrap.wrap(_footnote(tables), _FOOT_CHARACTERS)
    top, bottom = captions.LINE * (len(settings) + 2.1), captions.LINE * (len(notes) + 2.4)
    height = top + bottom + 3.1 * rows + max(0.0, (bars - 12) * 0.16)
    figure: Any = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(
        rect=(0, bottom / height, 1, 1 - (top + bottom) / height), w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03
    )
    grid = figure.add_gridspec(rows, 2)
    for index, panel in enumerate(drawn):
        alone = index == len(drawn) - 1 and index % 2 == 0
        panel(figure.add_subplot(grid[index // 2, slice(None) if alone else index % 2]), tables)

    captions.write(figure, title, settings, notes)
    _key(figure, tables, bottom / height)
    captions.settle(figure)
    return figure


def _panels(tables: Tables) -> list[Callable[[Any, Tables], None]]:
    types = tables.layer_types
    several = types["nodes"].nunique() > 1
    drawn: list[Callable[[Any, Tables], None]] = [panels.running_time]
    if several and types["speedup"].notna().any():
        drawn.append(panels.speed_up)
    if (types["ranks"] > 1).any():
        drawn.append(panels.communication)
    if len(tables.layers):
        drawn.append(panels.intensity)
    return drawn


def _notes(tables: Tables) -> list[str]:
    return [describe.waiting(tables), describe.emulation(tables), describe.oversubscription(tables)]


def _footnote(tables: Tables) -> str:
    """A sentence on each mark that needs one."""
    types = tables.layer_types
    said = ["Bars on points: 95 % confidence intervals of the median, where wider than the marker."]
    if (types["ci_method"] == "range").any():
        said[0] = f"{said[0][:-1]}; the range where there are too few samples."
    said += [f"{told[0].upper()}{told[1:]}." for told in _notes(tables) if told]
    if types["noisy"].any():
        limit = 100 * tables.manifest.options.rel_error
        said.append(f"Noisy: the interval of a layer's step did not shrink to ±{limit:.3g} %.")
    if types["throttled"].any():
        said.append("Throttled: the device ran below its usual clock.")
    if not types["complete"].all():
        said.append("Incomplete: a layer of the type failed or is missing (for a speed-up, here or at the base).")
    return " ".join(said)


def _key(figure: Any, tables: Tables, y: float) -> None:
    """One row of keys between panels and footnote: the types, then what the marks mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    types = tables.layer_types
    kinds = list(types["kind"].unique())
    entries: list[tuple[Any, str]] = []
    for kind in kinds:
        look = marks.look(kind, kinds)
        count = int(types.loc[types["kind"] == kind, "layers"].iloc[0])
        label = kind if count == 1 else f"{kind} ({count:,} layers)"
        handle = Line2D([], [], color=look.colour, marker=look.marker, markersize=marks.OVERVIEW.marker)
        entries.append((handle, label))
    for placement in ("measured", "emulated"):
        if (types["placement"] == placement).any():
            hollow = placement == "emulated"
            face = "white" if hollow else marks.INK
            line = Line2D([], [], color=marks.INK, marker="o", markerfacecolor=face, linestyle="--" if hollow else "-")
            patch = Patch(facecolor=face, edgecolor=marks.INK, hatch="////" if hollow else None)
            entries.append(((line, patch), placement))
    for mark, drawn in (("noisy", marks.ring), ("throttled", marks.square)):
        if types[mark].any():
            entries.append((Line2D([], [], **drawn(marks.OVERVIEW)), mark))
    if not types["complete"].all():
        cross = Line2D([], [], linestyle="none", marker="x", markeredgewidth=2, color=marks.INK)
        entries.append((cross, "incomplete"))
    _legend(figure, entries, y)


def _legend(figure: Any, entries: list[tuple[Any, str]], y: float) -> None:
    from matplotlib.legend_handler import HandlerTuple

    figure.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.6)},
        loc="upper left",
        bbox_to_anchor=(0.004, y),
        ncols=len(entries),
        frameon=False,
        handlelength=3.2,
        columnspacing=1.6,
        borderaxespad=0.2,
    )


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.OVERVIEW, DPI)
