"""What devices told of themselves beside times: clocks, power, energy, and what it takes to queue a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.report.cells import NOTHING, THROTTLED, number
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Devices"

EXPLAINED = (
    "Clock, power and temperature are those of rank 0's device right after the samples. Energy is that of one call "
    "over all ranks, counted by the devices over many calls in a row. What it takes the host to queue a call is told "
    "where the call itself takes less than 50 µs: a program that queues one at a time waits for the longer of both. "
    "Other node counts are in records.csv."
)

SHORT = 50e-6
"""Seconds under which a kernel is quick enough for its launch to matter."""

HEAD = (
    *("run", "layer", "pass", "nodes", "median", "to queue it"),
    *("energy", "per GMAC", "clock", "power", "°C", "held by"),
)
RIGHT = tuple(range(3, 11))
"""Columns of figures."""


def told(tables: Tables) -> pd.DataFrame:
    """Records of passes at a run's least node count of which a device told something."""
    frame = tables.records
    told_of = frame["core_clock"].notna() | frame["power"].notna() | frame["energy_joules"].notna()
    told_of |= frame["launch_seconds"].notna()
    frame = frame[told_of & (frame["macs"] > 0) & (frame["part"] != "step") & (frame["status"] == "ok")]
    return frame[frame["nodes"] == frame.groupby("run", observed=True)["nodes"].transform("min")]


def rows(tables: Tables, shown: int) -> list[list[str]]:
    """The first of them as cells, in the order of :data:`HEAD`."""
    return [
        [
            str(row.run),
            str(row.layer),
            str(row.part).replace("_", " "),
            f"{row.nodes:,}",
            units.seconds(row.median),
            units.seconds(row.launch_seconds) if row.median < SHORT else NOTHING,
            _with_unit(row.energy_joules, "J"),
            _with_unit(row.joules_per_gmac, "J"),
            _with_unit(row.core_clock, "Hz"),
            _with_unit(row.power, "W"),
            number(row.temperature),
            ", ".join(filter(None, [THROTTLED * bool(row.throttled), str(row.throttle_reasons)])) or NOTHING,
        ]
        for row in row_tuples(told(tables).head(shown))
    ]


def _with_unit(value: float, unit: str) -> str:
    if math.isnan(value):
        return NOTHING
    scale, prefix = next(
        ((scale, prefix) for scale, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ")) if abs(value) >= scale),
        (1e-9, "n"),
    )
    return units.rate(value, unit) if value >= 1 else f"{value / scale:.3g} {prefix}{unit}"
