"""The files of a report: the figure, the text, and the tables as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from layerbench.errors import StoreError, UsageError
from layerbench.report import figure, tables, text
from layerbench.store import StoredRun, collector_paused

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

FIGURE_PNG, FIGURE_SVG = "figure.png", "figure.svg"
FOLDER = "report"


def report(runs: Sequence[StoredRun], output: Path | None = None, console: Console | None = None) -> list[Path]:
    """Draw and tabulate runs.

    Parameters
    ----------
    runs
        What to report on.
    output
        Where to: with one run this folder, with several a folder in it for each, named after the run's. By default
        ``report`` in each run's own folder.
    console
        Where to print each run's summary, from the same tables; None for nowhere.

    Returns
    -------
    list of Path
        The files that were written: ``figure.png``, ``figure.svg``, ``report.md``, ``layer_types.csv``,
        ``records.csv`` and ``intensity.csv`` for each run. There is no figure where no layer type is complete at any
        node count.

    Raises
    ------
    UsageError
        If a run has no records; nothing is written then.
    StoreError
        If a file cannot be written.
    """
    for run in runs:
        if not run.records:
            raise UsageError(
                f"{run.path} has no records to report: complete it with layerbench run, its own options, "
                f"--output {run.path} and --resume"
            )
    written = []
    with collector_paused():
        for run, folder in zip(runs, _folders(runs, output), strict=True):
            computed = tables.compute(run)
            written += _write(computed, run.warnings, folder)
            if console is not None:
                text.print_tables(computed, console)
    return written


def _folders(runs: Sequence[StoredRun], output: Path | None) -> list[Path]:
    if output is None:
        return [run.path / FOLDER for run in runs]
    if len(runs) == 1:
        return [output]
    folders: list[Path] = []
    for run in runs:
        name = run.path.resolve().name
        folder, again = output / name, 1
        while folder in folders:
            again += 1
            folder = output / f"{name}-{again}"
        folders.append(folder)
    return folders


def _write(computed: tables.Tables, warnings: Sequence[str], folder: Path) -> list[Path]:
    files: dict[str, bytes] = {}
    if figure.can_draw(computed):
        drawn = figure.draw(computed)
        files[FIGURE_PNG] = figure.rendered(drawn, "png")
        files[FIGURE_SVG] = figure.rendered(drawn, "svg")
    files["report.md"] = text.markdown(computed, FIGURE_PNG if FIGURE_PNG in files else None, warnings).encode()
    files["layer_types.csv"] = _csv(computed.layer_types)
    files["records.csv"] = _csv(computed.records)
    files["intensity.csv"] = _csv(computed.intensity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            _replace(folder / name, contents)
        for name in {FIGURE_PNG, FIGURE_SVG} - files.keys():
            # The figure of an earlier report of this run would contradict the new text.
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {folder}: {error.strerror or error}; name another folder with --output"
        ) from error
    return [folder / name for name in files]


def _replace(path: Path, contents: bytes) -> None:
    """Write a file whole: a reader, or a disk that fills, leaves the old one or the new one."""
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_bytes(contents)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _csv(frame: pd.DataFrame) -> bytes:
    """A frame with seconds, bytes and counts as plain numbers; lists, which no cell can hold, stay in the journal."""
    return frame.drop(columns="rank_medians", errors="ignore").to_csv(index=False, lineterminator="\n").encode()
