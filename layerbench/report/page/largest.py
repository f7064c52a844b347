"""Which of very many layers or records are drawn: those that take the most time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

POINTS = 2000
"""Points of a chart with one for each layer or record: more would make a file that nobody sends."""


def largest_layers(tables: Tables, most: int) -> list[str]:
    """Names of the layers whose step takes longest at any count, so many of them, as the suites have them in order."""
    names = list(dict.fromkeys(layer.name for run in tables.runs.values() for layer in run.manifest.layers))
    if len(names) <= most:
        return names
    steps = tables.records[tables.records["part"] == "step"]
    longest = steps.groupby("layer", observed=True)["median"].max().nlargest(most)
    chosen = {str(name) for name in longest.index}
    kept = [name for name in names if name in chosen]
    return [*kept, *[name for name in names if name not in chosen][: most - len(kept)]]


def largest_records(records: pd.DataFrame, most: int = POINTS) -> pd.DataFrame:
    """The rows with the largest medians, so many of them, in their order."""
    return records if len(records) <= most else records.loc[records["median"].nlargest(most).index.sort_values()]
