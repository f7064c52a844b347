"""Where what was found is written: beside a run's records, or in a folder of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from layerbench.errors import StoreError, UsageError
from layerbench.overlap import trace
from layerbench.overlap_records import OVERLAP, Overlap
from layerbench.report import overlap_figures
from layerbench.suite_format import printable

RUNS = Path("runs")

TRACE = "overlap-trace.json"


def folder_for(asked: str | None, suite: str) -> Path:
    """The folder that is written into, made if it is not there.

    Raises
    ------
    UsageError
        If it is a file, or results of overlap are in it already.
    StoreError
        If it cannot be made.
    """
    if asked is None:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        first = RUNS / f"overlap-{suite}-{stamp}"
        output, again = first, 1
        while output.exists():
            again += 1
            output = first.with_name(f"{first.name}-{again}")
    elif not asked.strip():
        raise UsageError("--output must name a folder, and is empty")
    else:
        output = Path(asked)
    told = printable(str(output))
    try:
        if (output / OVERLAP).exists():
            raise UsageError(f"--output {told} has an {OVERLAP} already: name another folder, or move that file away")
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"--output {told} is a file: name a folder") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"--output {told} cannot be made: {reason}") from error
    return output


def drawn(overlap: Overlap, folder: Path) -> list[Path]:
    """Write tables, figures and the trace; returns the files, ``overlap.json`` among them.

    Raises
    ------
    StoreError
        If one cannot be written.
    """
    written = [folder / OVERLAP, *overlap_figures.write(overlap, folder)]
    if overlap.timelines:
        trace.write(overlap, folder / TRACE)
        written.append(folder / TRACE)
    return written
