"""The files of a report: the page, the figures, the text, and the tables as CSV."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from layerbench.errors import StoreError, UsageError
from layerbench.report import cells, claims, columns, figure, markdown, tables, text, twins
from layerbench.report.columns import RunColumns
from layerbench.report.frame_csv import csv
from layerbench.report.tables import FRAMES, Tables
from layerbench.store import collector_paused

if TYPE_CHECKING:
    from rich.console import Console

FIGURE_PNG, FIGURE_SVG = "figure.png", "figure.svg"
PAGE = "report.html"
TEXT = "report.md"
FIGURES = "figures"
"""Folder of the figures for papers, each with its numbers."""

FOLDER = "report"
"""Where a report goes: into the run's folder, or, of several runs, into the current one."""

PAGE_NEEDS = ("jinja2", "plotly")
INSTALL_PAGE = "pip install 'layerbench[html]'"


def report(
    runs: Sequence[Path],
    output: Path | None = None,
    console: Console | None = None,
    *,
    html: bool | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Draw and tabulate runs, all of them in one report.

    Parameters
    ----------
    runs
        Run folders.
    output
        Where to. By default ``report``, in the run's own folder, or, of several runs, in the current one.
    console
        Where to print each run's summary, from the same tables; None for nowhere.
    html
        Whether to make the page ``report.html``; by default, if what it needs is installed.
    warn
        Told what was wrong with a run folder, a line at a time.

    Returns
    -------
    list of Path
        The files that were written: the page, ``report.md``, ``figure.png`` and ``figure.svg`` (of one run), a CSV
        file for each frame of :class:`layerbench.report.tables.Tables` that has rows, and in ``figures`` each figure
        for a paper as PNG, SVG and PDF with its numbers as CSV and Markdown. There is no figure where no layer type is
        complete at any node count.

    Raises
    ------
    UsageError
        If a run has no records, one is named twice, or the page is asked for and cannot be made; nothing is written
        then.
    StoreError
        If a run cannot be read, or a file cannot be written.
    """
    page = _page_wanted(html)
    resolved = [run.resolve() for run in runs]
    for path in resolved:
        if resolved.count(path) > 1:
            raise UsageError(f"{path} is named twice: a report is about different runs")
    with collector_paused():
        loaded = [columns.load(run) for run in runs]
        for run in loaded:
            for warning in run.warnings:
                warn(warning)
        return write(loaded, output, console, html=page)


def write(
    runs: Sequence[RunColumns], output: Path | None = None, console: Console | None = None, *, html: bool
) -> list[Path]:
    """The same of runs that have been read."""
    computed = tables.compute(runs)
    if console is not None:
        text.print_tables(computed, console)
    folder = output or (runs[0].path / FOLDER if len(runs) == 1 else Path(FOLDER))
    try:
        return _into(folder, _files(computed, html=html))
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {folder}: {error.strerror or error}; name another folder with --output"
        ) from error


def _into(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write all files apart, and only then put each in its place: what fails before leaves the old report whole."""
    draft = folder / f".draft-{os.getpid()}"
    try:
        (draft / FIGURES).mkdir(parents=True, exist_ok=True)
        names = []
        for name, contents in files:
            (draft / name).write_bytes(contents)
            names.append(name)
        (folder / FIGURES).mkdir(exist_ok=True)
        for name in names:
            if (folder / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
        for name in names:
            (draft / name).replace(folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    written = [folder / name for name in names]
    for stale in _everything(folder) - set(written):
        # What an earlier report of this folder had and this one has not would contradict it.
        stale.unlink(missing_ok=True)
    if not any((folder / FIGURES).iterdir()):
        (folder / FIGURES).rmdir()
    return written


def _page_wanted(html: bool | None) -> bool:
    missing = [name for name in PAGE_NEEDS if importlib.util.find_spec(name) is None]
    if html and missing:
        raise UsageError(f"--html needs {' and '.join(missing)}, not installed here: {INSTALL_PAGE}")
    return not missing if html is None else html


def page_left_out() -> str:
    """Why there is no page though nobody asked for none; empty where there is one."""
    return "" if _page_wanted(None) else f"{PAGE} was left out: it needs {INSTALL_PAGE}"


def _files(computed: Tables, *, html: bool) -> Iterator[tuple[str, bytes]]:
    """Every file with its contents, made one after another: together they need not fit the memory."""
    checked = claims.check(computed)
    for name in FRAMES:
        frame = getattr(computed, name)
        if not frame.empty:
            yield f"{name}.csv", csv(frame)
    yield "claims.csv", csv(checked)
    pictures = []
    if len(computed.runs) == 1 and figure.can_draw(computed):
        drawn = figure.draw(computed)
        yield FIGURE_PNG, figure.rendered(drawn, "png")
        yield FIGURE_SVG, figure.rendered(drawn, "svg")
        pictures.append(markdown.Picture(FIGURE_PNG, "Running time, speed-up, communication and arithmetic intensity"))
    for twin in twins.draw(computed):
        stem = f"{FIGURES}/{twin.name}"
        for kind in twins.FORMATS:
            yield f"{stem}.{kind}", twins.rendered(twin.figure, kind)
        yield f"{stem}.csv", csv(twin.numbers)
        yield f"{stem}.md", _numbers(twin).encode()
        pictures.append(markdown.Picture(f"{stem}.png", twin.alt, f"{twin.title}. {twin.caption}"))
    yield TEXT, markdown.markdown(computed, checked, pictures).encode()
    if html:
        from layerbench.report import page

        yield PAGE, page.render(computed, checked)


def _numbers(twin: twins.Twin) -> str:
    """A figure's numbers in words: its title, what is to be known of it, and its table."""
    lines = [f"# {cells.escape(twin.title)}", "", f"![{cells.escape(twin.alt)}]({twin.name}.png)", ""]
    lines += [cells.escape(twin.caption), "", *cells.of_frame(twin.numbers)]
    if len(twin.numbers) > cells.ROWS_SHOWN:
        lines += [f"{len(twin.numbers) - cells.ROWS_SHOWN:,} more are in {twin.name}.csv.", ""]
    return "\n".join(lines)


def _everything(folder: Path) -> set[Path]:
    """All that a report may write into a folder."""
    top = [PAGE, TEXT, FIGURE_PNG, FIGURE_SVG, "claims.csv", *(f"{name}.csv" for name in FRAMES)]
    kinds = [*twins.FORMATS, "csv", "md"]
    return {
        *(folder / name for name in top),
        *(folder / FIGURES / f"{name}.{kind}" for name in twins.NAMES for kind in kinds),
    }
