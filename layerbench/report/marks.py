"""How a point is drawn, the same in every figure: what it is of by colour and marker, how it came about by marks.

What is measured is filled and joined by solid lines, what is emulated hollow, dashed or hatched. A ring stands around
what is noisy, a square around what is throttled, and a cross where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

INK = "#333333"
FAINT = "#999999"
GRID = "#dddddd"

BLUE, ORANGE, GREEN, SKY = "#0072B2", "#E69F00", "#009E73", "#56B4E9"
VERMILION, PURPLE, BLACK = "#D55E00", "#CC79A7", "#000000"
"""Okabe and Ito's palette, which readers with any colour vision tell apart; blue, orange, green differ in grey too."""


class Look(NamedTuple):
    """How a layer type, or a run, is drawn; ``dash`` is of the line between what is measured."""

    colour: str
    marker: str
    dash: Any = "-"


class Pen(NamedTuple):
    """Sizes in points: of a marker and its edge, of lines and the bars of intervals, and what a ring adds around."""

    marker: float
    edge: float
    line: float
    bar: float
    cap: float
    ring: float


OVERVIEW = Pen(marker=7.0, edge=1.6, line=1.8, bar=1.2, cap=2.5, ring=7.0)

_LOOKS = {"conv": Look(BLUE, "o"), "fc": Look(ORANGE, "s"), "lstm": Look(GREEN, "^")}
_OTHERS = (Look(PURPLE, "D"), Look(VERMILION, "v"), Look(SKY, "P"))


def look(kind: str, kinds: Sequence[str]) -> Look:
    """How a type is drawn among those of a run."""
    others = [other for other in kinds if other not in _LOOKS]
    return _LOOKS[kind] if kind in _LOOKS else _OTHERS[others.index(kind) % len(_OTHERS)]


def face(placement: str, colour: str) -> str:
    """What a marker is filled with."""
    return "white" if placement == "emulated" else colour


def ring(pen: Pen) -> dict[str, Any]:
    """Drawn around a noisy point."""
    return {
        "marker": "o",
        "markersize": pen.marker + pen.ring,
        "markerfacecolor": "none",
        "markeredgecolor": FAINT,
        "markeredgewidth": pen.edge / 1.6,
        "linestyle": "none",
    }


def square(pen: Pen) -> dict[str, Any]:
    """Drawn around a throttled point; a ring fits into it."""
    return {**ring(pen), "marker": "s", "markersize": pen.marker + 1.3 * pen.ring, "markeredgecolor": INK}
