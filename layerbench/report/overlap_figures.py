"""The figures and tables of what was measured of overlap, by themselves: what a folder gets that is no run's."""

from __future__ import annotations

from pathlib import Path

from layerbench import files
from layerbench.errors import StoreError
from layerbench.overlap_records import Overlap
from layerbench.report import frame_csv, overlap_cells, overlap_rows, twins
from layerbench.report.cells import escape
from layerbench.report.overlap_rows import Measured
from layerbench.report.twins import Twin
from layerbench.report.twins.files import FOLDER, KINDS
from layerbench.report.twins.files import write as write_twin

TABLE, TEXT = "overlap.csv", "overlap.md"


def figures(overlap: Overlap) -> list[Twin]:
    """Draw what there is: the step by node count, the gain by ratio, the timeline.

    Returns
    -------
    list of Twin
        As the report's other figures: with title, caption, numbers, and a ``matplotlib.figure.Figure`` that
        :func:`layerbench.report.twins.rendered` turns into a file's contents.
    """
    alone = [Measured("", "", overlap)]
    drawn = (twins.draw_overlap(alone, name) for name in twins.OVERLAP_NAMES)
    return [twin for twin in drawn if twin is not None]


def write(overlap: Overlap, folder: Path) -> list[Path]:
    """Write the tables and figures into a folder.

    Parameters
    ----------
    overlap
        What was measured.
    folder
        Where to; made if it is not there. It may be a run's, whose own files are left alone.

    Returns
    -------
    list of Path
        The files that were written: ``overlap.md``, ``overlap.csv``, and in ``figures`` each figure as PNG, SVG and PDF
        with its numbers as CSV and Markdown. What an earlier call wrote and this one did not is removed.

    Raises
    ------
    StoreError
        If a file cannot be written; what was there is left whole.
    """
    try:
        written = files.all_or_none(folder, lambda draft: _drafted(draft, overlap))
        for stale in _everything(folder) - set(written):
            # What was drawn of an earlier measurement and is not of this one would contradict it.
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"figures of overlap cannot be written to {folder}: {error.strerror or error}; "
            "name another folder with --output"
        ) from error
    return written


def _drafted(draft: Path, overlap: Overlap) -> list[str]:
    drawn = figures(overlap)
    if drawn:
        (draft / FOLDER).mkdir()
    names = [name for twin in drawn for name in write_twin(twin, draft)]
    (draft / TABLE).write_bytes(frame_csv.csv(overlap_rows.frame([overlap])))
    (draft / TEXT).write_bytes(_text(overlap, drawn).encode("utf-8", "replace"))
    return [TEXT, TABLE, *names]


def _text(overlap: Overlap, drawn: list[Twin]) -> str:
    lines = [f"# {overlap_cells.TITLE}", "", *overlap_cells.markdown(overlap)]
    for twin in drawn:
        lines += [f"![{escape(twin.alt)}]({FOLDER}/{twin.name}.png)", ""]
        lines += [escape(f"{twin.title}. {twin.caption}"), ""]
    return "\n".join(lines)


def _everything(folder: Path) -> set[Path]:
    """All that may be written into a folder."""
    return {folder / FOLDER / f"{name}.{kind}" for name in twins.OVERLAP_NAMES for kind in KINDS}
