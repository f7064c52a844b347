"""All records as they are: CSV, JSON and Parquet, with the columns of :func:`layerbench.report.tables.records_frame`.

JSON and Parquet also have each record's raw ``samples`` in seconds, and the run's manifest. Seconds, bytes and counts
are plain numbers; what is not known is empty in CSV and null in the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from layerbench.export.exported import Exported, document
from layerbench.report import frame_csv
from layerbench.report.tables import records_frame

if TYPE_CHECKING:
    import pandas as pd

    from layerbench.report.tables import Run

MANIFEST_KEY = b"layerbench.manifest"
"""Of the Parquet file's metadata: the manifest as JSON."""


def csv(run: Run) -> Exported:
    """Comma-separated values with a header, quoted where need be."""
    return Exported([frame_csv.csv(records_frame(run))])


def json(run: Run) -> Exported:
    """One object: ``manifest`` as ``run.json`` has it, and ``records``, each an object on a line of its own."""
    frame = records_frame(run)
    samples = (record.samples for record in run.records)
    rows = ({**row, "samples": values} for row, values in zip(_rows(frame), samples, strict=True))
    return Exported(document("manifest", run.manifest, "records", rows))


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of Python's own values, with None for what is not known."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame]
    return (dict(zip(map(str, frame), values, strict=True)) for values in zip(*columns, strict=True))


def parquet(run: Run) -> Exported:
    """Columns with their types, ``samples`` as lists of doubles; the manifest is in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(records_frame(run), preserve_index=False)
    samples = pa.array([record.samples for record in run.records], pa.list_(pa.float64()))
    table = table.append_column("samples", samples)
    manifest = {MANIFEST_KEY: msgspec.json.encode(run.manifest)}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **manifest}), sink)
    return Exported([sink.getvalue()])
