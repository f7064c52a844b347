"""The page's chart of a plan: jobs over time, and nodes in use below, as plain dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerbench.report.page import palette
from layerbench.report.page.section import FONT, Chart, Trace, axis, layout, meta
from layerbench.report.page.words import escaped, lines
from layerbench.schedule import intervals, looks, wording
from layerbench.schedule.busy import busy
from layerbench.schedule.looks import Group
from layerbench.schedule.plan import Placement, Plan
from layerbench.schedule.spans import Unit

_USE = 150
"""Pixels of the nodes in use."""

_FEW = 400
"""Jobs up to which they are outlined and named; the outlines of more would hide them."""

_HAIR = 0.02
"""Pixels of an outline that is not seen. Bars without any are widened to whole pixels, and so hide their neighbours."""


def chart(plan: Plan) -> Chart:
    """The chart of a plan; a job's numbers are under the pointer."""
    unit = wording.unit_of_plan(plan)
    groups = looks.groups(plan.placements)
    jobs = round(min(520, 180 + 12 * plan.nodes))
    height = jobs + _USE + 28 + 76
    return Chart(
        "plan",
        "",
        f"{wording.heading(plan)}. Each job over time on its nodes, and the nodes in use; all numbers are in the table "
        "of placements.",
        [*_jobs(plan, groups, unit), *_use(plan, groups, unit)],
        _layout(plan, unit, height, jobs),
        zoom=True,
    )


def _jobs(plan: Plan, groups: Sequence[Group], unit: Unit) -> list[Trace]:
    """A bar for each piece of a job, as thick as its nodes."""
    few = len(plan.placements) <= _FEW
    pieces = intervals.assign(plan.placements, plan.nodes)
    place = looks.group_of(groups)
    traces = [_trace(index, group, few=few) for index, group in enumerate(groups)]
    for placement, of_job in zip(plan.placements, pieces, strict=True):
        at = place[placement.job.type]
        trace = traces[at]
        told = under_pointer(placement, unit)
        name = groups[at].letter or escaped(placement.job.name) if few else ""
        for low, high in of_job:
            trace["base"].append(_rounded(unit.value(placement.start)))
            trace["x"].append(_rounded(unit.value(placement.end - placement.start)))
            trace["y"].append((low + high) / 2)
            trace["width"].append(high - low)
            trace["hovertext"].append(told)
            trace["text"].append(name)
    return traces


def _rounded(value: float) -> float:
    """To six digits: a chart shows no more, and the table has all."""
    return float(f"{value:.6g}")


def _trace(index: int, group: Group, *, few: bool) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": escaped(group.key),
        "base": [],
        "x": [],
        "y": [],
        "width": [],
        "hovertext": [],
        "hoverinfo": "text",
        "marker": {
            "color": group.look.tint,
            "pattern": _pattern(group),
            "line": {"color": group.look.colour, "width": 1 if few else _HAIR},
        },
        "text": [],
        "textposition": "inside" if few else "none",
        "insidetextanchor": "middle",
        "textangle": 0,
        "insidetextfont": {"color": palette.INK, "size": 11},
        "yaxis": "y",
        "xaxis": "x",
        "meta": meta(kind=str(index)),
    }


def _pattern(group: Group) -> dict[str, Any]:
    return {
        "shape": group.look.pattern,
        "fillmode": "overlay",
        "bgcolor": group.look.tint,
        "fgcolor": group.look.colour,
        "size": 7,
        "solidity": 0.25,
        "fgopacity": 0.7,
    }


def under_pointer(placement: Placement, unit: Unit) -> str:
    """What stands under the pointer at a job: name, type, nodes, start, end, node-hours."""
    name, type_, nodes, start, end, node_hours = wording.placed(placement, unit)
    return lines(name, type_, f"{nodes} nodes, {node_hours} node-hours", f"{start} to {end} {unit.name}")


def _use(plan: Plan, groups: Sequence[Group], unit: Unit) -> list[Trace]:
    """Nodes in use by group, one upon the other."""
    found = busy(plan.placements, groups)
    times = [_rounded(unit.value(time)) for time in found.times.tolist()]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": escaped(group.key),
            "x": times,
            "y": [_rounded(value) for value in nodes],
            "stackgroup": "use",
            "line": {"shape": "hv", "width": 0, "color": group.look.colour},
            "fillcolor": group.look.tint,
            "fillpattern": _pattern(group),
            "hoverinfo": "text",
            "hovertext": [f"{escaped(group.key)}: {value:,.4g} nodes" for value in nodes],
            "yaxis": "y2",
            "xaxis": "x",
            "meta": meta(kind=str(index)),
        }
        for index, (group, nodes) in enumerate(zip(groups, found.nodes.tolist(), strict=True))
    ]


def _layout(plan: Plan, unit: Unit, height: int, jobs: int) -> dict[str, Any]:
    inner = jobs + _USE + 28
    across = axis(
        f"time ({unit.name})",
        range=[0, unit.value(plan.makespan) * 1.01],
        anchor="y2",
        fixedrange=False,
        tickangle=0,
        showgrid=False,
    )
    # Whole nodes only; where there are many, a step follows from how closely one looks.
    counted: dict[str, Any] = {"tickformat": ",~r"} | ({"dtick": 1} if plan.nodes <= 8 else {})
    upwards = axis("nodes", range=[0, plan.nodes], domain=[1 - jobs / inner, 1], showgrid=False, **counted)
    used = axis("in use", range=[0, plan.nodes * 1.15], domain=[0, _USE / inner], nticks=4, **counted)
    made = layout(
        height,
        across,
        upwards | {"fixedrange": False},
        yaxis2=used,
        barmode="overlay",
        bargap=0.1,
        uniformtext={"mode": "hide", "minsize": 9},
        shapes=[_line("y2", plan.nodes, "dot")],
        annotations=[],
    )
    made["margin"] |= {"t": 28}
    if plan.lower_bound > 0:
        at = unit.value(plan.lower_bound)
        made["shapes"].append(_bound(at))
        made["annotations"].append(_label(f"lower bound {unit.told(plan.lower_bound)}", at, plan))
    return made


def _line(yaxis: str, at: float, dash: str) -> dict[str, Any]:
    line = {"color": palette.INK, "width": 1.3, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": yaxis, "y0": at, "y1": at, "line": line}


def _bound(at: float) -> dict[str, Any]:
    line = {"color": palette.INK, "width": 1.6, "dash": "dash"}
    return {"type": "line", "xref": "x", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _label(text: str, at: float, plan: Plan) -> dict[str, Any]:
    return {
        "text": text,
        "x": at,
        "xref": "x",
        "y": 1,
        "yref": "paper",
        "xanchor": "right" if plan.lower_bound > plan.makespan / 2 else "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"family": FONT, "size": 12, "color": palette.INK},
    }
