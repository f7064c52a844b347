"""Where what was measured is written, and its table and figure."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerbench import files
from layerbench.collective_bench import figure, text
from layerbench.collective_bench.formulas import algbw, busbw
from layerbench.collective_records import COLLECTIVES_JSON, Measured, Row
from layerbench.errors import StoreError, UsageError
from layerbench.outputs import check_folder
from layerbench.suite_format import printable

RUNS = Path("runs")

COLLECTIVES_CSV, PICTURE_PNG, PICTURE_SVG = "collectives.csv", "collectives.png", "collectives.svg"

COLUMNS = (
    "operation", "bytes", "nodes", "ranks", "dtype", "collectives", "library", "call", "device", "in_place", "seconds",
    "low", "high", "ci_method", "quickest_rank_seconds", "algbw", "busbw", "samples", "inner", "noisy",
    "oversubscribed", "status", "reason",
)  # fmt: skip
"""Of the table: a row for each row, seconds and bytes a second; what failed has none. Operations as in ``--op``."""


@contextlib.contextmanager
def output_folder(asked: str | None) -> Iterator[Path]:
    """The folder that is written into, made if it is not there; gone again if nothing was written into it in the end.

    Raises
    ------
    UsageError
        If it is a file or a run's, or results of this command are in it already.
    StoreError
        If it cannot be made.
    """
    if asked is not None and not asked.strip():
        raise UsageError("--output must name a folder, and is empty")
    output = _new() if asked is None else Path(asked)
    check_folder(output, what="benchmark")
    told = printable(str(output))
    try:
        made = [folder for folder in (output, *output.parents) if not folder.exists()]
        if (output / COLLECTIVES_JSON).exists():
            raise UsageError(
                f"--output {told} has a {COLLECTIVES_JSON} already: name another folder, or move that file away"
            )
        output.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"--output {told} cannot be made: {reason}") from error
    try:
        yield output
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()


def _new() -> Path:
    first = RUNS / f"collectives-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
    path, again = first, 1
    while path.exists():
        again += 1
        path = first.with_name(f"{first.name}-{again}")
    return path


def drawn(measured: Measured, folder: Path) -> list[Path]:
    """Write the table and the figure; returns the files, ``collectives.json`` among them.

    Raises
    ------
    StoreError
        If one cannot be written.
    """
    try:
        return [folder / COLLECTIVES_JSON, *files.all_or_none(folder, lambda draft: _drafted(draft, measured))]
    except OSError as error:
        raise StoreError(f"table and figure cannot be written to {folder}: {error.strerror or error}") from error


def _drafted(draft: Path, measured: Measured) -> list[str]:
    contents = {COLLECTIVES_CSV: as_csv(measured)}
    if figure.can_draw(measured):
        picture = figure.draw(measured)
        contents |= {
            PICTURE_PNG: figure.rendered(picture, "png"),
            PICTURE_SVG: figure.rendered(picture, "svg"),
        }
    for name, content in contents.items():
        (draft / name).write_bytes(content)
    return list(contents)


def as_csv(measured: Measured) -> bytes:
    """All rows with their statistics, in the columns of :data:`COLUMNS`."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in measured.rows:
        writer.writerow({name: _cell(value) for name, value in _derived(row).items()})
    return out.getvalue().encode()


def _derived(row: Row) -> dict[str, Any]:
    times = row.seconds
    rates: dict[str, Any] = {}
    if row.samples:
        rates["algbw"] = algbw(row.bytes, times.median)
        rates["busbw"] = busbw(row.operation, row.bytes, row.ranks, times.median)
    kept = {name: getattr(row, name) for name in COLUMNS if name in row.__struct_fields__ and name != "samples"}
    return {
        **kept,
        "operation": text.named(row.operation),
        "seconds": times.median,
        "low": times.low,
        "high": times.high,
        "ci_method": times.method,
        "quickest_rank_seconds": row.quickest_rank_seconds,
        "samples": len(row.samples),
        **rates,
    }


def _cell(value: Any) -> Any:
    """Truth values as JSON has them, and nothing where there is no number."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if isinstance(value, float) and math.isnan(value) else value
