"""What is written around a figure's panels, and where panels stay once they are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LINE = 0.2
"""Inches between two lines of text."""

_LEFT = 0.012
_TITLE, _SETTINGS, _NOTES = 14, 10, 9
"""Points."""


def write(figure: Any, title: str, settings: Sequence[str], notes: Sequence[str]) -> None:
    """Write a title at the top of a figure with the lines of its settings below, and notes at its bottom."""
    lines = figure.get_figheight() / LINE

    def put(line: float, text: str, size: float, weight: str = "normal") -> None:
        figure.text(_LEFT, line / lines, text, size=size, weight=weight, va="center")

    put(lines - 1, title, _TITLE, "bold")
    for line, text in enumerate(settings):
        put(lines - 2.3 - line, text, _SETTINGS)
    for line, text in enumerate(reversed(notes)):
        put(line + 0.9, text, _NOTES)


def settle(figure: Any) -> None:
    """Lay the panels out once and for all.

    A figure that keeps its engine lays itself out again for every file. And the engine's solver leaves the last digits
    to chance, by which two files of one figure would differ.
    """
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    for panel in figure.axes:
        panel.set_position([round(bound, 5) for bound in panel.get_position(original=True).bounds])
