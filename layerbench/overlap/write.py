"""Where what was found is written: beside a run's records, or in a folder of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from layerbench.errors import StoreError, UsageError
from layerbench.overlap import trace
from layerbench.overlap_records import OVERLAP, Overlap
from layerbench.report import overlap_figures
from layerbench.suite_format import printable

RUNS = Path("runs")

TRACE = "overlap-trace.json"


class _Folder(NamedTuple):
    """A folder, and of it and those above it the ones that were made for it, deepest first."""

    path: Path
    made: list[Path]


@contextlib.contextmanager
def output_folder(asked: str | None, suite: str) -> Iterator[Path]:
    """:func:`folder_for`; what that made is gone again if nothing has been written into it in the end.

    Made at once all the same: better to hear that it cannot be made than to lose what took hours.
    """
    folder = folder_for(asked, suite)
    try:
        yield folder.path
    finally:
        for made in folder.made:
            with contextlib.suppress(OSError):  # not empty, or gone
                made.rmdir()


def folder_for(asked: str | None, suite: str) -> _Folder:
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
        missing = [folder for folder in (output, *output.parents) if not folder.exists()]
        if (output / OVERLAP).exists():
            raise UsageError(f"--output {told} has an {OVERLAP} already: name another folder, or move that file away")
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"--output {told} is a file: name a folder") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"--output {told} cannot be made: {reason}") from error
    return _Folder(output, missing)


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
