"""Every section of the page that has charts, in order, and what the page itself draws samples with."""

from __future__ import annotations

from typing import Any

from layerbench.report.marks import look
from layerbench.report.page import breakdown, intensity, overlap, palette, published, roofline, scaling, words
from layerbench.report.page.section import SYMBOLS, Section, axis, layout
from layerbench.report.tables import Tables


def sections(tables: Tables) -> tuple[list[Section], list[Section]]:
    """What stands before the observations, and what after them."""
    before = [module.section(tables) for module in (scaling, breakdown, intensity, roofline)]
    before += overlap.sections(tables)
    after = published.section(tables)
    return before, [after] if after is not None else []


def strip(tables: Tables) -> dict[str, Any]:
    """Layout and signs of the strip plot: samples over their order on the left, their distribution on the right."""
    kinds = words.kinds(tables)
    looks = {kind: look(kind, kinds) for kind in kinds}
    return {
        "looks": {kind: {"symbol": SYMBOLS[of.marker], "color": of.colour} for kind, of in looks.items()},
        "ink": palette.INK,
        "paper": palette.PAPER,
        "band": palette.BAND,
        "strip": layout(
            340,
            axis("sample, in order", domain=[0, 0.64], fixedrange=False),
            axis("", fixedrange=False),
            xaxis2=axis("distribution", domain=[0.68, 1], showticklabels=False, showgrid=False, range=[0, 1.04]),
        ),
    }
