"""The files of a report: the page, the figures, the text, and the tables as CSV."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from layerbench import files, outputs
from layerbench.errors import StoreError, UsageError
from layerbench.processes import in_processes
from layerbench.report import against as against_
from layerbench.report import claims, columns, figure, frame_csv, html_extra, markdown, tables, text, twins
from layerbench.report.columns import RunColumns
from layerbench.report.tables import FRAMES, Tables
from layerbench.report.twins import files as twin_files
from layerbench.store import collector_paused

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

FIGURE_PNG, FIGURE_SVG = "figure.png", "figure.svg"
PAGE = "report.html"
TEXT = "report.md"
FIGURES = twin_files.FOLDER
"""Folder of the figures for papers, each with its numbers."""

FOLDER = "report"
"""Where a report goes: into the run's folder, or, of several runs, into the current one."""


def report(
    runs: Sequence[Path],
    output: Path | None = None,
    console: Console | None = None,
    *,
    html: bool | None = None,
    against: Sequence[str] = (),
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
    against
        Published devices, such as ``deepbench:V100``, whose times alone the run is set beside, with means by operation
        and what has no match; by default, the times of all devices of the same shapes, if there are any.
    warn
        Told what was wrong with a run folder, a line at a time.

    Returns
    -------
    list of Path
        The files that were written: the page, ``report.md``, ``figure.png`` and ``figure.svg`` (of one run), a CSV
        file for each frame of :class:`layerbench.report.tables.Tables` and
        :class:`layerbench.report.against.Against` that has rows, and in ``figures`` each figure
        for a paper as PNG, SVG and PDF with its numbers as CSV and Markdown. There is no figure where no layer type is
        complete at any node count.

    Raises
    ------
    UsageError
        If a run has no records, one is named twice, the output is a file or a run's own folder, a published device is
        not known, or the page is asked for and cannot be made; nothing is written then.
    StoreError
        If a run cannot be read, or a file cannot be written.
    """
    page = html_extra.wanted(html)
    devices = against_.asked(against)
    resolved = [run.resolve() for run in runs]
    for path in resolved:
        if resolved.count(path) > 1:
            raise UsageError(f"{path} is named twice: a report is about different runs")
    outputs.check_folder(_folder(runs, output), runs)
    with collector_paused():
        loaded = [columns.load(run) for run in runs]
        for run in loaded:
            for warning in run.warnings:
                warn(warning)
        return write(loaded, output, console, html=page, devices=devices)


def write(
    runs: Sequence[RunColumns],
    output: Path | None = None,
    console: Console | None = None,
    *,
    html: bool,
    devices: Sequence[str] = (),
) -> list[Path]:
    """The same of runs that have been read, against published devices by their names in the data."""
    computed = tables.compute(runs, devices)
    if console is not None:
        text.print_tables(computed, console)
    folder = _folder([run.path for run in runs], output)
    try:
        return _into(folder, computed, html=html)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {folder}: {error.strerror or error}; name another folder with --output"
        ) from error


def _folder(runs: Sequence[Path], output: Path | None) -> Path:
    return output or (runs[0] / FOLDER if len(runs) == 1 else Path(FOLDER))


def _into(folder: Path, computed: Tables, *, html: bool) -> list[Path]:
    def make(draft: Path) -> list[str]:
        (draft / FIGURES).mkdir(exist_ok=True)
        names = _drafted(draft, computed, html=html)
        # Even where there are none: a file in its way is told of before anything is in its place.
        (folder / FIGURES).mkdir(exist_ok=True)
        return names

    written = files.all_or_none(folder, make)
    for stale in _everything(folder) - set(written):
        # What an earlier report of this folder had and this one has not would contradict it.
        stale.unlink(missing_ok=True)
    if not any((folder / FIGURES).iterdir()):
        (folder / FIGURES).rmdir()
    return written


def _drafted(draft: Path, computed: Tables, *, html: bool) -> list[str]:
    """Write every file; their names, what is to be read first."""
    # Once for all processes: where its folder of fonts cannot be kept, each that loads it makes another.
    importlib.import_module("matplotlib.font_manager")

    checked = claims.check(computed)
    tasks = _tasks(computed, checked, draft, html=html)
    order = sorted(tasks, key=lambda name: _LONGEST.index(name) if name in _LONGEST else len(_LONGEST))
    done = dict(zip(order, in_processes([tasks[name] for name in order]), strict=True))
    made = [done[name] for name in tasks]
    pictures = [each.picture for each in made if each.picture is not None]
    (draft / TEXT).write_bytes(markdown.markdown(computed, checked, pictures).encode())
    names = [name for each in made for name in each.names]
    return [*(name for name in names if name == PAGE), TEXT, *(name for name in names if name != PAGE)]


def page_left_out() -> str:
    """Why there is no page though nobody asked for none; empty where there is one."""
    return html_extra.left_out(PAGE)


@dataclass(frozen=True)
class _Made:
    """Files of a report that were written, by name, and the picture among them for its text."""

    names: list[str]
    picture: markdown.Picture | None = None


_AGAINST = ("reference_means", "reference_unmatched")
"""Files of a report against published devices, besides ``reference.csv``."""

_LONGEST = (PAGE, "records.csv", "overview", "reference", "samples", "roofline")
"""Tasks that are begun first, so that none waits for them at the end."""


def _tasks(computed: Tables, checked: pd.DataFrame, draft: Path, *, html: bool) -> dict[str, Callable[[], _Made]]:
    """What makes the files, in the order in which they are told. Each writes its own."""
    frames = {name: getattr(computed, name) for name in FRAMES} | {"claims": checked}
    if computed.against is not None:
        frames |= dict(zip(_AGAINST, (computed.against.means, computed.against.unmatched), strict=True))
    tasks: dict[str, Callable[[], _Made]] = {
        f"{name}.csv": partial(_table, draft, f"{name}.csv", frame) for name, frame in frames.items() if not frame.empty
    }
    if len(computed.runs) == 1 and figure.can_draw(computed):
        tasks["overview"] = partial(_overview, draft, computed)
    tasks |= {name: partial(_twin, draft, computed, name) for name in twins.NAMES}
    if html:
        tasks[PAGE] = partial(_page, draft, computed, checked)
    return tasks


def _table(draft: Path, name: str, frame: pd.DataFrame) -> _Made:
    with (draft / name).open("wb") as file:
        frame_csv.write(frame, file)
    return _Made([name])


def _overview(draft: Path, computed: Tables) -> _Made:
    drawn = figure.draw(computed)
    (draft / FIGURE_PNG).write_bytes(figure.rendered(drawn, "png"))
    (draft / FIGURE_SVG).write_bytes(figure.rendered(drawn, "svg"))
    alt = "Running time, speed-up, communication and arithmetic intensity"
    return _Made([FIGURE_PNG, FIGURE_SVG], markdown.Picture(FIGURE_PNG, alt))


def _twin(draft: Path, computed: Tables, name: str) -> _Made:
    twin = twins.draw(computed, name)
    if twin is None:
        return _Made([])
    picture = markdown.Picture(f"{FIGURES}/{name}.png", twin.alt, f"{twin.title}. {twin.caption}")
    return _Made(twin_files.write(twin, draft), picture)


def _page(draft: Path, computed: Tables, checked: pd.DataFrame) -> _Made:
    from layerbench.report import page

    (draft / PAGE).write_bytes(page.render(computed, checked))
    return _Made([PAGE])


def _everything(folder: Path) -> set[Path]:
    """All that a report may write into a folder."""
    top = [PAGE, TEXT, FIGURE_PNG, FIGURE_SVG, "claims.csv", *(f"{name}.csv" for name in (*FRAMES, *_AGAINST))]
    return {
        *(folder / name for name in top),
        *(folder / FIGURES / f"{name}.{kind}" for name in twins.NAMES for kind in twin_files.KINDS),
    }
