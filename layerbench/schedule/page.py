"""``schedule.html``: a plan as one file that works offline, in the look of the report's page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from layerbench.report import page as report_page
from layerbench.report.cells import flat
from layerbench.report.page import offline, palette
from layerbench.schedule import looks, wording
from layerbench.schedule.chart import chart
from layerbench.schedule.comparison import Row
from layerbench.schedule.plan import Plan

_SCRIPTS = ((report_page.__name__, "page.js"), (report_page.__name__, "table.js"), (__package__, "page.js"))


def render(plan: Plan, rows: Sequence[Row]) -> bytes:
    """Make the page.

    Parameters
    ----------
    plan
        With at least one job.
    rows
        What other schemes would give.

    Returns
    -------
    bytes
        HTML in UTF-8 that asks nothing of any server; the same for the same plan and library versions.
    """
    drawn = chart(plan)
    return offline.filled(
        offline.text(__package__, "page.html.jinja"),
        "\n".join(offline.text(package, name) for package, name in _SCRIPTS),
        title=wording.heading(plan),
        heading=_unbroken(wording.heading(plan), plan),
        facts=wording.facts(plan),
        bounded=plan.lower_bound > 0,
        notes=[flat(note) for note in plan.notes],
        groups=[(group, looks.place(group)) for group in looks.groups(plan.placements)],
        patterns=list(enumerate(look.pattern for look in looks.ALL)),
        chart=drawn,
        compared=wording.compared(plan, rows) if rows else [],
        compared_head=wording.COMPARED_HEAD,
        compared_numbers=wording.COMPARED_NUMBERS,
        style="\n".join(offline.text(package, "page.css") for package in (report_page.__name__, __package__)),
        light=f"{palette.style(dark=False)} {_paints(dark=False)}",
        dark=f"{palette.style(dark=True)} {_paints(dark=True)}",
        charts=offline.json({drawn.id: {"data": drawn.data, "layout": drawn.layout, "zoom": drawn.zoom}}),
        placements=offline.json(_placements(plan)),
        colours=offline.json(palette.DARK | looks.dark()),
    )


def _unbroken(text: str, plan: Plan) -> str:
    """Text with its numbers and their units on one line."""
    return re.sub(rf"(?<=\d) (?={wording.unit_of_plan(plan).name}\b|%)", "\u00a0", text)


def _paints(*, dark: bool) -> str:
    """The variables of the looks' colours as declarations of a style sheet."""
    darkened = looks.dark() if dark else {}
    told = []
    for index, look in enumerate(looks.ALL):
        told.append(f"--tint-{index}: {darkened.get(look.tint, look.tint)};")
        told.append(f"--strong-{index}: {darkened.get(look.colour, look.colour)};")
    return " ".join(told)


def _placements(plan: Plan) -> dict[str, Any]:
    """The table of placements by column: the cells, and of numbers the values by which they are sorted."""
    unit = wording.unit_of_plan(plan)
    ordered = wording.in_order(plan)
    cells = [wording.placed(placement, unit) for placement in ordered]
    values = [(one.nodes, one.start, one.end, one.node_seconds) for one in ordered]
    return {
        "head": wording.placed_head(unit),
        "cells": list(zip(*cells, strict=True)),
        "values": [None, None, *zip(*values, strict=True)],
    }
