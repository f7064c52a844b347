"""Entries of the keys: what stands for a type, a run, and each mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerbench.report.marks import BLACK, BLUE, GREEN, INK, PURPLE, SKY, VERMILION, Look, face, look, ring, square
from layerbench.report.panels import shortened
from layerbench.report.tables import Tables
from layerbench.report.twins.captions import letters
from layerbench.report.twins.column import PEN, Entry

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 44
"""Characters of a label that a column has room for."""

_RUNS = (
    Look(BLACK, "o", "-"),
    Look(VERMILION, "D", (0, (7, 1.2, 1.2, 1.2))),
    Look(SKY, "v", (0, (1.2, 1.0))),
    Look(PURPLE, "p", (0, (7, 1.2, 1.2, 1.2, 1.2, 1.2))),
    Look(BLUE, "<", (0, (3, 1, 1, 1, 1, 1, 1, 1))),
    Look(GREEN, "h", "-"),
    Look(INK, ">", (0, (7, 1.2, 1.2, 1.2))),
)
"""No pattern is the dashes of what is emulated."""


def run_looks(tables: Tables) -> dict[str, Look]:
    """How each of several runs is drawn."""
    return {label: run_look(index) for index, label in enumerate(tables.runs)}


def run_look(index: int) -> Look:
    """How the run at this place among several is drawn."""
    return _RUNS[index % len(_RUNS)]


def kinds_of(tables: Tables) -> list[str]:
    """The layer types of all runs, in order."""
    return list(dict.fromkeys(map(str, tables.layer_types["kind"])))


def type_label(tables: Tables, kind: str) -> str:
    """A type, with the number of its layers where all runs have as many and there are several."""
    counts = set(tables.layer_types.loc[tables.layer_types["kind"] == kind, "layers"])
    if len(counts) != 1 or counts == {1}:
        return kind
    return f"{kind} ({counts.pop():,} layers)"


def types(tables: Tables, kinds: Sequence[str], *, lines: bool = True) -> list[Entry]:
    """An entry for each type."""
    every = kinds_of(tables)
    return [(point(look(kind, every), lines=lines), type_label(tables, kind)) for kind in kinds]


def runs(tables: Tables) -> list[Entry]:
    """An entry for each run, by letter and label."""
    called = letters(tables)
    return [(point(look), run_label(called[label], label)) for label, look in run_looks(tables).items()]


def run_label(letter: str, label: str) -> str:
    """What a run is called where there is room for little."""
    return f"{letter}: {shortened(label, _LONGEST)}"


def placements(drawn: pd.DataFrame, *, lines: bool = True) -> list[Entry]:
    """What is measured and what is emulated, where anything is."""
    there = [name for name in ("measured", "emulated") if (drawn["placement"] == name).any()]
    if "emulated" not in there:
        return []
    looks = {"measured": Look(INK, "o", "-"), "emulated": Look(INK, "o", "--")}
    return [(point(looks[name], placement=name, lines=lines), name) for name in there]


def rings(drawn: pd.DataFrame) -> list[Entry]:
    """The marks around points, those that are there."""
    from matplotlib.lines import Line2D

    return [
        (Line2D([], [], **shape(PEN)), mark)
        for mark, shape in (("noisy", ring), ("throttled", square))
        if drawn[mark].any()
    ]


def cross_entry() -> Entry:
    """The cross of what is incomplete."""
    from matplotlib.lines import Line2D

    handle = Line2D([], [], marker="x", color=INK, linestyle="none", markersize=4, markeredgewidth=1.2)
    return handle, "incomplete"


def point(style: Look, *, placement: str = "measured", lines: bool = True) -> Any:
    """A marker, with its line or without."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash if lines else "none",
        linewidth=PEN.line,
        markersize=PEN.marker,
        markerfacecolor=face(placement, style.colour),
        markeredgewidth=PEN.edge,
    )
