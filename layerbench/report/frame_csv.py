"""A frame as CSV: what the report's files and the export have in common."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pandas as pd


def csv(frame: pd.DataFrame) -> bytes:
    """A frame as CSV, with seconds, bytes and counts as plain numbers; what is not known is empty."""
    out = io.BytesIO()
    write(frame, out)
    return out.getvalue()


def write(frame: pd.DataFrame, out: BinaryIO) -> None:
    """The same into a file, which the text of a large frame then need not be held for."""
    import pyarrow as pa
    from pyarrow.csv import write_csv

    table = pa.Table.from_pandas(frame, preserve_index=False)
    words = [
        pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema
    ]
    write_csv(table.cast(pa.schema(words)), out)
