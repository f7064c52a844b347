"""What a run's folder holds of overlap, as the report's tables and figures take it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from layerbench.overlap_records import MODES, OVERLAP, Overlap, Row, Workload, read

if TYPE_CHECKING:
    import pandas as pd

_WORDS = ("workload", "placement", "network")
_COUNTS = ("nodes", "ranks", "batch")
_SECONDS = (
    *("implicit_seconds", "implicit_low", "implicit_high", "explicit_seconds", "explicit_low", "explicit_high"),
    *("transfer_seconds", "compute_seconds", "communication_seconds"),
    *("exposed_transfer_seconds", "exposed_communication_seconds"),
)
_NUMBERS = ("ratio", "speedup", "speedup_low", "speedup_high", "attainable", "eta", *_SECONDS)
_RATES = ("implicit_samples_per_second", "explicit_samples_per_second")
_FLAGS = ("noisy", "oversubscribed")

LEAST_RATIO, MOST_RATIO = 1e-4, 1e4
"""Ratios of transfer to computation that an axis has room for."""


class Measured(NamedTuple):
    """The overlap of a run among those of a report.

    Attributes
    ----------
    letter, label
        What the run is called: a letter and its label; of one run by itself the letter is empty.
    overlap
        What was measured.
    run
        Which of the report's runs it is, from 0.
    """

    letter: str
    label: str
    overlap: Overlap
    run: int = 0

    @property
    def steps(self) -> list[Row]:
        """The rows of the suite's training step, by node count."""
        return of_workload(self.overlap, "training step")

    @property
    def sweep(self) -> list[Row]:
        """The rows of the sweep that have a ratio which can be drawn, by ratio."""
        return [row for row in of_workload(self.overlap, "ratio sweep") if ratio_is_drawn(row)]


def of_folder(folder: Path) -> Overlap | None:
    """What a run's folder holds of overlap; None where it holds nothing that can be read.

    Why it cannot be read is for :mod:`layerbench.report.overlap_claim` to tell.
    """
    try:
        return read(folder / OVERLAP)
    except (OSError, ValueError, msgspec.DecodeError, RecursionError):
        # ValueError: a text that is no UTF-8, a folder's name that is no name.
        return None


def of_workload(overlap: Overlap, workload: Workload) -> list[Row]:
    """The rows of one workload: a training step's by node count, a sweep's by ratio."""
    rows = [row for row in overlap.rows if row.workload == workload]
    if workload == "training step":
        return sorted(rows, key=lambda row: row.nodes)
    return sorted(rows, key=lambda row: (row.nodes, math.inf if row.ratio is None else row.ratio))


def ratio_is_drawn(row: Row) -> bool:
    """Whether a row's ratio has a place on a log axis."""
    return row.ratio is not None and LEAST_RATIO <= row.ratio <= MOST_RATIO


def beside_the_curve(row: Row) -> bool:
    """Whether what is attainable is not what two stages of one thread each can gain at this ratio, 1 + min(r, 1/r).

    It is more where transfer is spread over several cores, and where there is a third stage.
    """
    if row.ratio is None or not ratio_is_drawn(row):
        return False
    return abs(row.attainable / (1 + min(row.ratio, 1 / row.ratio)) - 1) > 0.01


def frame(overlaps: Iterable[Overlap]) -> pd.DataFrame:
    """One row for each row of these files.

    Columns are a row's fields without its samples, and ``implicit_samples_per_second`` and
    ``explicit_samples_per_second``: samples of the batch over all ranks. What is not known is NaN, or, of
    ``identical``, nothing.
    """
    import pandas as pd

    rows = [
        row
        for overlap in overlaps
        for workload in ("training step", "ratio sweep")
        for row in of_workload(overlap, workload)
    ]
    columns: dict[str, Sequence[Any]] = {
        name: [getattr(row, name) for row in rows] for name in (*_WORDS, *_COUNTS, *_NUMBERS, *_FLAGS, "identical")
    }
    for name, mode in zip(_RATES, MODES, strict=True):
        columns[name] = [row.images_per_second[mode] for row in rows]
    types = {
        **dict.fromkeys(_WORDS, "str"),
        **dict.fromkeys(_COUNTS, "int64"),
        **dict.fromkeys((*_NUMBERS, *_RATES), "float64"),
        **dict.fromkeys(_FLAGS, "bool"),
        "identical": "boolean",
    }
    made = pd.DataFrame({name: _series(values, types[name]) for name, values in columns.items()})
    first = ["workload", "nodes", "ranks", "placement", "network", "batch"]
    return made[[*first, *_NUMBERS, *_RATES, "identical", *_FLAGS]]


def _series(values: Sequence[Any], dtype: Any) -> Any:
    import pandas as pd

    try:
        return pd.Series(values, dtype=dtype)
    except OverflowError:
        # Whole numbers too large for 64 bits, which no real step reaches.
        return pd.Series(values, dtype="float64")
