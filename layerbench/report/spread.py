"""A figure of many layers in few words: its geometric mean and its range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from layerbench import units

if TYPE_CHECKING:
    import pandas as pd


class Spread(NamedTuple):
    """Geometric mean, least and largest of positive figures."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """The mean, and the range where there is one."""
        mean, low, high = (units.count(value) for value in self)
        return mean if low == high else f"{mean} ({low} to {high})"


def by_kind(kinds: pd.Series, values: pd.Series) -> dict[str, Spread]:
    """The spread of each layer type's values, of those that are positive numbers; both series have one index."""
    import numpy as np
    import pandas as pd

    known = values[values > 0].astype("float64")
    frame = pd.DataFrame({"kind": kinds[known.index], "value": known, "log": np.log(known)})
    found = {}
    for kind, of_kind in frame.groupby("kind", observed=True):
        mean = float(np.exp(of_kind["log"].mean()))
        found[str(kind)] = Spread(mean, float(of_kind["value"].min()), float(of_kind["value"].max()))
    return found
