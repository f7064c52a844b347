"""Runs whose page several tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from layerbench.layers import FC
from layerbench.records import Record, Roofline
from layerbench.report import columns, tables
from layerbench.report.columns import RunColumns
from layerbench.report.tables import Tables
from layerbench.store import StoredRun
from tests.report import synthetic

RESULTS = Path(__file__).parents[3] / "results"

ROOFLINE = Roofline(
    device="host",
    dtype="fp32",
    threads=1,
    flops=1.3e11,
    bandwidth=1.24e10,
    flops_source="onednn, fc 2048 x 2048 x 2048, forward",
    bandwidth_source="a = b + c",
)

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "$x^2$ %{text} &amp;",
    "<b>bold</b> <a href='http://example.org'>link</a>",
    'a "quoted", name\u2028in two lines',
    "#ffffff",
)
"""Names that would be markup, mathematics, a link, a second line or a colour if they were taken for it."""

REASON = "</script><svg onload=alert(2)> & $y$"


def with_roofline(run: StoredRun, roofline: Roofline | None = ROOFLINE) -> RunColumns:
    manifest = msgspec.structs.replace(run.manifest, roofline=roofline)
    return columns.of_records(run.path, manifest, run.records, run.warnings)


def of(*runs: StoredRun | RunColumns) -> Tables:
    return tables.compute([run if isinstance(run, RunColumns) else with_roofline(run) for run in runs])


def ordinary(**options: Any) -> Tables:
    """The alexnet suite on 1, 2, 4 and 8 nodes with a roofline."""
    return of(synthetic.run(**options))


def without(record: Record, status: str = "failed", reason: str = "out of memory") -> Record:
    """The record as it would be had it not been timed."""
    return msgspec.structs.replace(
        record, status=status, reason=reason, samples=[], rank_medians=[], modelled_seconds=None, ci_method="none"
    )


def every_mark() -> Tables:
    """Noisy, throttled, failed, skipped and emulated records."""

    def change(record: Record) -> Record:
        if (record.layer, record.nodes) == ("conv3", 4):
            return without(record)
        if (record.layer, record.nodes) == ("lstm", 8):
            return without(record, "skipped", "batch 16 leaves a rank without samples")
        throttled = record.kind == "lstm" and record.nodes == 2
        both = record.kind == "fc" and record.nodes == 8
        noisy = record.kind == "lstm" and record.nodes == 1
        return msgspec.structs.replace(record, throttled=throttled or both, noisy=noisy or both)

    return ordinary(change=change)


def hostile() -> Tables:
    """Names, a reason, a host and a command that would break a page that took them for anything but text."""
    layers = [FC(name=name, in_features=300 + 64 * index, out_features=77) for index, name in enumerate(HOSTILE)]
    run = synthetic.run(layers=layers, change=synthetic.failed(HOSTILE[1], 2, REASON), nodes=(1, 2))
    manifest = msgspec.structs.replace(
        run.manifest,
        command=f"layerbench run --suite '{HOSTILE[0]}'",
        suite=HOSTILE[2],
        environment={**run.manifest.environment, "hostname": HOSTILE[0], HOSTILE[0]: HOSTILE[2]},
    )
    return of(StoredRun(Path("runs") / "<i>run</i>", manifest, run.records, [f"{HOSTILE[0]}: line 3 is cut off"]))


def claims(made: Tables) -> pd.DataFrame:
    """One observation with each verdict, of every run."""
    rows = [
        (run, name, "Time falls as nodes grow.", verdict, "From 2.37 s to 305 ms.")
        for run in made.runs
        for name, verdict in zip("abc", ("holds", "does not hold", "cannot be said"), strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "id", "claim", "verdict", "evidence"])
