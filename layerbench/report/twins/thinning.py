"""Fewer points that look the same, so that a figure of a million points is no larger than one of ten thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RASTERISED = 2_000
"""More points than this are drawn as an image within a vector file."""

_CELLS = 100
"""To each side of a panel; a marker covers one."""


def visible(points: pd.DataFrame, x: str, y: str, by: list[str]) -> pd.DataFrame:
    """The first of all points that are alike (``by``) and of which one would hide the others, on log axes."""
    import numpy as np

    if len(points) <= RASTERISED:
        return points
    cells = {name: _cell(np.log(points[name].to_numpy(np.float64))) for name in (x, y)}
    return points[~points.assign(**cells).duplicated([*by, *cells])]


def _cell(logs: np.ndarray) -> Any:
    low, high = logs.min(), logs.max()
    return ((logs - low) / ((high - low) or 1.0) * _CELLS).astype("int32")
