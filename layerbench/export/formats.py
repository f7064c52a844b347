"""Which formats there are, and what each takes of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from layerbench import store
from layerbench.errors import UsageError

if TYPE_CHECKING:
    from layerbench.export.exported import Exported
    from layerbench.report.tables import Run

FORMATS = ("csv", "parquet", "json", "google-benchmark", "extra-p", "deepbench")

BINARY = frozenset({"parquet"})
"""Formats that no terminal can show."""


def export(run: Run, format_: str, warnings: Sequence[str] = ()) -> Exported:
    """A run in one of :data:`FORMATS`; ``warnings`` are what was wrong with its folder.

    Raises
    ------
    UsageError
        If the run has no records, or none that the format can hold, or there is no such format.
    """
    if format_ not in FORMATS:
        raise UsageError(f"format {format_!r} is none of {', '.join(FORMATS)}")
    if not run.records:
        raise store.without_records(run.path, "export", warnings)
    return _converter(format_)(run)


def _converter(format_: str) -> Callable[[Run], Exported]:
    from layerbench.export import deepbench, extra_p, google_benchmark, tabular

    return {
        "csv": tabular.csv,
        "parquet": tabular.parquet,
        "json": tabular.json,
        "google-benchmark": google_benchmark.convert,
        "extra-p": extra_p.convert,
        "deepbench": deepbench.convert,
    }[format_]
