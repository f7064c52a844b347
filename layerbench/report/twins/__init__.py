"""The report's figures for a paper: each by itself, a column wide, with its numbers and what is to be known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from layerbench.report import style
from layerbench.report.overlap_rows import Measured
from layerbench.report.tables import Tables
from layerbench.report.twins import (
    breakdown,
    captions,
    intensity,
    overlap_gain,
    overlap_step,
    overlap_timeline,
    reference,
    roofline,
    samples,
    scaling,
)
from layerbench.report.twins.files import FORMATS, rendered
from layerbench.report.twins.twin import Twin

__all__ = ["FORMATS", "NAMES", "OVERLAP_NAMES", "Twin", "draw", "draw_all", "draw_overlap", "rendered"]

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

_OF_OVERLAP: dict[str, Callable[[Sequence[Measured]], Twin | None]] = {
    "overlap_step": overlap_step.step,
    "overlap_gain": overlap_gain.gain,
    "overlap_timeline": overlap_timeline.timeline,
}

OVERLAP_NAMES = tuple(_OF_OVERLAP)
"""Figures of what ``overlap.json`` holds, where a run has one."""

NAMES = (*_FIGURES, *OVERLAP_NAMES)
"""Every figure there can be."""


def draw(tables: Tables, name: str) -> Twin | None:
    """Draw the figure of a name; None where it has nothing to show."""
    if name in _OF_OVERLAP:
        return draw_overlap(tables.measured_overlap(captions.letters(tables)), name)
    with style.styled(style.PAPER):
        return _FIGURES[name](tables)


def draw_overlap(measured: Sequence[Measured], name: str) -> Twin | None:
    """Draw a figure of overlap; None where it has nothing to show."""
    with style.styled(style.PAPER):
        return _OF_OVERLAP[name](measured)


def draw_all(tables: Tables) -> Iterator[Twin]:
    """Draw the figures one after another, without those that have nothing to show."""
    for name in NAMES:
        if (twin := draw(tables, name)) is not None:
            yield twin
