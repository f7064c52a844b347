"""A figure with all that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Twin:
    """A figure for a paper.

    Attributes
    ----------
    name
        Stem of its files.
    title
        What it shows, a sentence without its full stop.
    caption
        How it was run, and what the marks in it mean.
    alt
        What a reader who cannot see it is told.
    figure
        A ``matplotlib.figure.Figure``.
    numbers
        What it draws, one row for each thing drawn.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Any
    numbers: pd.DataFrame
