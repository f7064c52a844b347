"""What the figures of overlap have in common: how it was measured, what their marks mean, and the entries for these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerbench.overlap_records import Row
from layerbench.report import cells, describe, overlap_cells
from layerbench.report.marks import INK, Look, ring
from layerbench.report.overlap_rows import Measured
from layerbench.report.twins import keys
from layerbench.report.twins.captions import sentence
from layerbench.report.twins.column import PEN, Entry


def of(measured: Sequence[Measured]) -> str:
    """``, alexnet`` after a title; nothing where no file tells its suite."""
    suites = list(dict.fromkeys(one.overlap.suite for one in measured if one.overlap.suite))
    return f", {cells.flat(describe.listed(suites))}" if suites else ""


def called(one: Measured) -> str:
    """A run by its letter and label, where there is room for little."""
    return keys.run_label(one.letter, one.label)


def how(measured: Sequence[Measured]) -> str:
    """How it was measured, of each run by its letter and label; the suite is in the title."""
    told = [
        (f"{one.letter} ({one.label}): " if one.letter else "")
        + ", ".join(overlap_cells.settings(one.overlap)[bool(one.overlap.suite) :])
        for one in measured
    ]
    return sentence("; ".join(text for text in told if text))


def marks(rows: Sequence[Row], hollow: str) -> str:
    """A sentence on each mark that is in a figure of these rows."""
    emulated, noisy = overlap_cells.emulation(rows), overlap_cells.noisy(rows)
    return joined(
        f"{hollow}: {emulated}." if emulated else "",
        f"Ring: {noisy}." if noisy else "",
        sentence(overlap_cells.oversubscription(rows)),
        f"Struck out: {told}." if (told := overlap_cells.difference(rows)) else "",
    )


def joined(*sentences: str) -> str:
    """One paragraph of what there is to say; a name from a file does not break it."""
    return cells.flat(" ".join(text for text in sentences if text))


def struck_out() -> dict[str, Any]:
    """Drawn over a point whose two modes did not compute the same."""
    return {
        "marker": "x",
        "markersize": PEN.marker + 3,
        "markeredgecolor": INK,
        "markeredgewidth": PEN.edge * 1.3,
        "linestyle": "none",
    }


def placements(rows: Sequence[Row]) -> list[Entry]:
    """What is measured and what is emulated, where anything is."""
    there = [name for name in ("measured", "emulated") if any(row.placement == name for row in rows)]
    if "emulated" not in there:
        return []
    return [(keys.point(Look(INK, "o"), placement=name, lines=False), name) for name in there]


def rings(rows: Sequence[Row]) -> list[Entry]:
    """The marks around and over points, those that are there."""
    from matplotlib.lines import Line2D

    entries: list[Entry] = []
    if any(row.noisy for row in rows):
        entries.append((Line2D([], [], **ring(PEN)), "noisy"))
    if any(row.identical is False for row in rows):
        entries.append((Line2D([], [], **struck_out()), "results differ"))
    return entries
