"""The report's figures for a paper: each by itself, a column wide, with its numbers and what is to be known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from layerbench.report import style
from layerbench.report.tables import Tables
from layerbench.report.twins import breakdown, intensity, reference, roofline, samples, scaling
from layerbench.report.twins.column import DPI
from layerbench.report.twins.twin import Twin

__all__ = ["FORMATS", "NAMES", "Twin", "draw", "draw_all", "rendered"]

FORMATS: tuple[style.Format, ...] = ("png", "svg", "pdf")

_FIGURES: dict[str, Callable[[Tables], Twin | None]] = {
    "running_time": scaling.running_time,
    "speedup": scaling.speedup,
    "efficiency": scaling.efficiency,
    "breakdown": breakdown.breakdown,
    "intensity": intensity.intensity,
    "roofline": roofline.roofline,
    "samples": samples.samples,
    "reference": reference.reference,
}

NAMES = tuple(_FIGURES)
"""Every figure there can be."""


def draw(tables: Tables, name: str) -> Twin | None:
    """Draw the figure of a name; None where it has nothing to show."""
    with style.styled(style.PAPER):
        return _FIGURES[name](tables)


def draw_all(tables: Tables) -> Iterator[Twin]:
    """Draw the figures one after another, without those that have nothing to show."""
    for name in NAMES:
        if (twin := draw(tables, name)) is not None:
            yield twin


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.PAPER, DPI)
