"""Rows on disk as soon as they are measured: rank 0 appends them, and whoever started the ranks reads them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from layerbench.collective_records import Row
from layerbench.errors import JournalError

ROWS = "rows.jsonl"
"""In the folder of a launch, a row a line."""


def append(folder: Path, row: Row) -> None:
    """Add a row.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    path = folder / ROWS
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror or error}") from error


def size(folder: Path) -> int:
    """Bytes that are there; they only grow."""
    try:
        return (folder / ROWS).stat().st_size
    except OSError:
        return 0


def read(folder: Path) -> list[Row]:
    """The rows that are whole: the last one may have been cut off."""
    try:
        text = (folder / ROWS).read_bytes()
    except OSError:
        return []
    return [msgspec.json.decode(line, type=Row) for line in text.split(b"\n")[:-1]]
