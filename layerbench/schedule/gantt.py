"""A plan as a picture: the Gantt chart by job type, and below it the nodes in use over time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from layerbench.report import style
from layerbench.report.cells import flat, percent
from layerbench.report.describe import plural
from layerbench.report.marks import FAINT, INK
from layerbench.schedule import intervals, looks, wording
from layerbench.schedule.busy import MOST_STEPS, Busy, busy
from layerbench.schedule.comparison import Row
from layerbench.schedule.intervals import Interval
from layerbench.schedule.looks import Group
from layerbench.schedule.plan import Plan
from layerbench.schedule.spans import Unit

if TYPE_CHECKING:
    import numpy as np

WIDTH = 11.0
"""Inches, as the report's overview."""

DPI = 160

LABELLED = 400
"""Jobs up to which their names are written into them, where these fit."""

_LINE = 0.2
_LEFT, _RIGHT, _BETWEEN = 0.75, 0.3, 0.16
_HEAD_CHARACTERS, _FOOT_CHARACTERS = 125, 155
_USE = 1.5
_SIZES = (8.0, 6.5, 5.0)
"""Points: of the names in jobs, the largest that fits."""

_ROOM = 1.1
"""What a line of text takes up, as a multiple of its size."""

_VECTORS = 3_000
"""Pieces up to which they are drawn as vectors; the file would be large with more."""

_OUTLINED = 3.0
"""Points: the outlines of what is thinner would hide it."""


@dataclass(frozen=True)
class _Block:
    """A piece of a job as it is drawn: time in the plan's unit, and nodes."""

    job: int
    start: float
    end: float
    low: int
    high: int


def draw(plan: Plan, others: Sequence[Row] = ()) -> Any:
    """Draw a plan.

    Parameters
    ----------
    plan
        With at least one job.
    others
        What other schemes would give, which is told below the title.

    Returns
    -------
    matplotlib.figure.Figure
        Each job as a rectangle as high as its nodes and as long as it runs, in its type's colour and hatch; a few jobs
        may be in several pieces. Below, on the same time axis, the nodes in use by type, all nodes as a line, and the
        highest lower bound on the makespan as a dashed line through both.

    Raises
    ------
    ValueError
        If the plan uses more nodes at a time than there are.
    """
    with style.styled(style.OVERVIEW):
        return _draw(plan, others)


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.OVERVIEW, DPI)


def _draw(plan: Plan, others: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure

    groups = looks.groups(plan.placements)
    unit = wording.unit_of_plan(plan)
    pieces = intervals.assign(plan.placements, plan.nodes)
    split = sum(len(of_job) > 1 for of_job in pieces)
    head = [textwrap.shorten(wording.heading(plan), 100, placeholder=" …"), *_head(plan, others)]
    in_use = busy(plan.placements, groups)
    foot = textwrap.wrap(_foot(split, averaged=in_use.averaged), _FOOT_CHARACTERS)
    chart = min(5.2, 2.2 + 0.12 * plan.nodes)
    figure: Any = Figure(figsize=(WIDTH, 8), dpi=DPI, facecolor="white")
    key, key_height = _key(figure, groups)
    top = _LINE * (len(head) + 0.9) + key_height + 0.3
    bottom = _LINE * (len(foot) + 0.6) + 0.5
    height = top + chart + _BETWEEN + _USE + bottom
    figure.set_size_inches(WIDTH, height)
    across = (_LEFT / WIDTH, (WIDTH - _LEFT - _RIGHT) / WIDTH)
    jobs = figure.add_axes((across[0], (bottom + _USE + _BETWEEN) / height, across[1], chart / height))
    use = figure.add_axes((across[0], bottom / height, across[1], _USE / height), sharex=jobs)
    use.set_xlim(0, unit.value(plan.makespan) * 1.01)
    jobs.set_ylim(0, plan.nodes)
    _blocks(jobs, plan, groups, _placed(plan, unit, pieces))
    _in_use(use, plan.nodes, groups, in_use, unit)
    _bound(jobs, use, plan, unit)
    _axes(jobs, use, unit)
    for line, text in enumerate(head):
        size, weight = (14, "bold") if line == 0 else (10, "normal")
        y = height - _LINE * (1 + line + 0.25 * (line > 0))
        figure.text(0.012, y / height, text, size=size, weight=weight, va="center")
    for line, text in enumerate(reversed(foot)):
        figure.text(0.012, _LINE * (line + 0.8) / height, text, size=9, va="center")
    key.set_bbox_to_anchor((0.004, 1 - _LINE * (len(head) + 0.7) / height), figure.transFigure)
    return figure


def _head(plan: Plan, others: Sequence[Row]) -> list[str]:
    about = [
        f"policy {flat(plan.policy)}",
        f"utilisation {percent(plan.utilisation, 1)}",
        f"{wording.node_hours(plan.node_seconds)} node-hours",
        f"mean completion {wording.told(plan, plan.mean_completion)}",
    ]
    lines = [" · ".join(about), wording.others(plan, others)]
    return [part for line in lines if line for part in textwrap.wrap(line, _HEAD_CHARACTERS, max_lines=3)]


def _foot(split: int, *, averaged: bool) -> str:
    said = ["A job is as high as its nodes and as long as it runs; which nodes it has is the drawing's choice."]
    if split:
        said.append(f"In pieces, as no neighbours were free: {plural(split, 'job')}.")
    if averaged:
        said.append(f"Nodes in use are means over each of {MOST_STEPS:,} parts of the makespan.")
    return " ".join(said)


def _placed(plan: Plan, unit: Unit, pieces: Sequence[Sequence[Interval]]) -> list[_Block]:
    return [
        _Block(job, unit.value(one.start), unit.value(one.end), low, high)
        for job, (one, of_job) in enumerate(zip(plan.placements, pieces, strict=True))
        for low, high in of_job
    ]


def _blocks(panel: Any, plan: Plan, groups: Sequence[Group], blocks: Sequence[_Block]) -> None:
    """All jobs of a group as one patch: quick to draw, and its hatch goes on from one to the next."""
    import numpy as np
    from matplotlib.patches import PathPatch

    place = looks.group_of(groups)
    of = np.array([place[plan.placements[block.job].job.type] for block in blocks])
    bounds = np.array([(block.start, block.end, block.low, block.high) for block in blocks])
    line = 0.7 if _thin(panel, bounds) >= _OUTLINED else 0.0
    for index, group in enumerate(groups):
        patch = PathPatch(
            _rectangles(bounds[of == index]),
            facecolor=group.look.tint,
            edgecolor=group.look.colour,
            hatch=group.look.hatch,
            linewidth=line,
            gid=f"jobs:{group.label}",
            rasterized=len(blocks) > _VECTORS,
        )
        panel.add_patch(patch)
    if len(plan.placements) <= LABELLED:
        _names(panel, plan, [groups[index] for index in of], blocks)


def _rectangles(bounds: np.ndarray) -> Any:
    """Rectangles of (start, end, low, high) as one path."""
    import numpy as np
    from matplotlib.path import Path

    start, end, low, high = bounds.T
    corners = np.stack([start, low, end, low, end, high, start, high, start, low], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(bounds))
    return Path(corners, codes)


def _scale(panel: Any) -> tuple[float, float]:
    """Points of a unit of time, and of a node."""
    (left, bottom), (right, top) = panel.transData.transform([(0, 0), (1, 1)])
    return (right - left) * 72 / DPI, (top - bottom) * 72 / DPI


def _thin(panel: Any, bounds: np.ndarray) -> float:
    """How high and wide a typical piece is, the lesser of the two, in points."""
    import numpy as np

    across, up = _scale(panel)
    return float(np.median(np.minimum((bounds[:, 1] - bounds[:, 0]) * across, (bounds[:, 3] - bounds[:, 2]) * up)))


def _names(panel: Any, plan: Plan, groups: Sequence[Group], blocks: Sequence[_Block]) -> None:
    """Write each job's name, or else its type's letter, into its largest piece, along or upwards, where it fits."""
    largest: dict[int, int] = {}
    for at, block in enumerate(blocks):
        kept = largest.get(block.job)
        if kept is None or block.high - block.low > blocks[kept].high - blocks[kept].low:
            largest[block.job] = at
    across, up = _scale(panel)
    for at in largest.values():
        block, group = blocks[at], groups[at]
        name = flat(plan.placements[block.job].job.name)
        width, height = (block.end - block.start) * across, (block.high - block.low) * up
        texts = (group.named(name), group.letter) if group.letter else (name,)
        text, size, turned = _fitting(texts, width, height)
        if text:
            panel.text(
                (block.start + block.end) / 2,
                (block.low + block.high) / 2,
                text,
                size=size,
                ha="center",
                va="center",
                rotation=90 if turned else 0,
                bbox={"facecolor": group.look.tint, "edgecolor": "none", "pad": 0.6},
                clip_on=True,
                zorder=4,
            )


def _fitting(texts: Sequence[str], width: float, height: float) -> tuple[str, float, bool]:
    """The first text that fits into a rectangle in points, its size, and whether it is turned; else none."""
    if min(width, height) < _ROOM * _SIZES[-1]:
        return "", 0.0, False
    for text in texts:
        needed = _width(text)
        for size, turned in product(_SIZES, (False, True)):
            along, across = (height, width) if turned else (width, height)
            if across >= _ROOM * size and along >= needed * size + 5:
                return text, size, turned and len(text) > 1
    return "", 0.0, False


def _width(text: str) -> float:
    """How wide a text is, as a multiple of its size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, prop=FontProperties(size=10)).get_extents().width) / 10


def _in_use(panel: Any, total: int, groups: Sequence[Group], found: Busy, unit: Unit) -> None:
    import numpy as np

    times = found.times / unit.seconds
    below = np.zeros(len(times))
    for group, nodes in zip(groups, found.nodes, strict=True):
        panel.fill_between(
            times,
            below,
            below + nodes,
            step="post",
            facecolor=group.look.tint,
            edgecolor=group.look.colour,
            hatch=group.look.hatch,
            linewidth=0,
            gid=f"use:{group.label}",
        )
        below = below + nodes
    panel.step(times, below, where="post", color=INK, linewidth=0.8, gid="use")
    panel.axhline(total, color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), gid="nodes")
    words = plural(total, "node") if total == 1 else f"all {total:,} nodes"
    panel.text(0.004, total * 1.03, words, transform=panel.get_yaxis_transform(), size=9)
    panel.set_ylim(0, total * 1.24)


def _bound(jobs: Any, use: Any, plan: Plan, unit: Unit) -> None:
    if plan.lower_bound <= 0:
        return
    at = unit.value(plan.lower_bound)
    for panel in (jobs, use):
        panel.axvline(at, color=INK, linewidth=1.4, linestyle=(0, (4, 2.5)), gid="bound", clip_on=False)
    later = plan.lower_bound > plan.makespan / 2
    jobs.annotate(
        f"no plan ends before {unit.told(plan.lower_bound)} (lower bound)",
        (at, 1.0),
        xycoords=jobs.get_xaxis_transform(),
        xytext=(-3 if later else 3, 4),
        textcoords="offset points",
        ha="right" if later else "left",
        size=9,
        annotation_clip=False,
    )


def _axes(jobs: Any, use: Any, unit: Unit) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    counts = FuncFormatter(lambda value, _: f"{value:,.0f}")
    for panel, label, most in ((jobs, "nodes", 8), (use, "nodes in use", 4)):
        panel.yaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 4, 5, 8, 10]))
        panel.yaxis.set_major_formatter(counts)
        panel.set_ylabel(label)
        panel.yaxis.set_label_coords(0.2 / WIDTH, 0.5, transform=_beside(panel))
    jobs.grid(False)
    jobs.tick_params(axis="x", labelbottom=False)
    jobs.spines["left"].set_color(FAINT)
    use.set_xlabel(f"time ({unit.name})")


def _beside(panel: Any) -> Any:
    """Across of the figure, upwards of the panel."""
    from matplotlib.transforms import blended_transform_factory

    return blended_transform_factory(panel.figure.transFigure, panel.transAxes)


def _key(figure: Any, groups: Sequence[Group]) -> tuple[Any, float]:
    """The key, with as many columns as there is room for, and its height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import Patch

    renderer = FigureCanvasAgg(figure).get_renderer()
    handles = [Patch(facecolor=g.look.tint, edgecolor=g.look.colour, hatch=g.look.hatch, linewidth=0.7) for g in groups]
    key = style.fitted_key(
        figure,
        handles,
        [group.key for group in groups],
        (WIDTH - 0.1) * DPI,
        renderer,
        most=10,
        handlelength=2.4,
        handleheight=1.1,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
        borderpad=0.2,
        borderaxespad=0.2,
    )
    return key, key.get_window_extent(renderer).height / DPI
