"""What a project on Blue Waters observed in 2017 of the same layers, checked against the runs of a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from layerbench.records import Part
from layerbench.report import overlap_claim, scaling_claims, shape_claims, type_times
from layerbench.report.finding import Finding
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = {
    "a": "The running time of a step falls as nodes grow, of all three types",
    "b": "Speed-up is sublinear",
    "c": "Convolution scales best",
    "d": "At the largest node count communication dominates FC and LSTM, while convolution is bound by computation",
    "e": "For the same number of weights convolution has ten times the MACs of FC and LSTM, or more",
    "f": "MACs per byte fall from convolution to FC to LSTM",
    "g": "Explicit overlap of transfer and computation gains 1.6 times over implicit transfer on one node",
}


def check(tables: Tables) -> pd.DataFrame:
    """Judge every observation by every run.

    Returns
    -------
    pandas.DataFrame
        A row for each run and observation, in order. Columns: ``run``, ``id``, ``claim``, ``verdict``: ``holds``,
        ``does not hold`` or ``cannot be said``, and ``evidence``: the numbers that decided, where they were emulated
        and which of them are noisy, and of what cannot be said why, and what to run to be able to.
    """
    import pandas as pd

    rows = [
        (label, name, claim, finding.verdict, evidence)
        for of_run in tables.each()
        for label in of_run.runs
        for (name, claim), (finding, evidence) in zip(CLAIMS.items(), _findings(of_run), strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "id", "claim", "verdict", "evidence"])


def _findings(tables: Tables) -> Iterator[tuple[Finding, str]]:
    """A finding on each observation, with its evidence in whole sentences."""
    times = type_times.of(tables)
    step: tuple[Part, ...] = ("step",)
    exchange: tuple[Part, ...] = ("step", "communication")
    for finding, parts in (
        (scaling_claims.running_time(times), step),
        (scaling_claims.speed_up(times), exchange),
        (scaling_claims.scales_best(times), step),
        (scaling_claims.dominates(times, tables), exchange),
    ):
        yield finding, finding.told(times.gaps(), times.caveats(finding.rows, parts))
    for finding in (
        shape_claims.macs_per_weight(tables),
        shape_claims.macs_per_byte(tables),
        overlap_claim.overlap(tables.run.path),
    ):
        yield finding, finding.told()
