"""The files of a figure: the picture in each format, and its numbers as CSV and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerbench.report import cells, frame_csv, style
from layerbench.report.twins.column import DPI
from layerbench.report.twins.twin import Twin

FOLDER = "figures"
"""Where they go, within the folder of what they are figures of."""

FORMATS: tuple[style.Format, ...] = ("png", "svg", "pdf")

KINDS = (*FORMATS, "csv", "md")
"""Endings of the files of a figure."""


def write(twin: Twin, folder: Path) -> list[str]:
    """Write the files of a figure into a folder's :data:`FOLDER`, which is there, and return their names."""
    stem = f"{FOLDER}/{twin.name}"
    for kind in FORMATS:
        (folder / f"{stem}.{kind}").write_bytes(rendered(twin.figure, kind))
    with (folder / f"{stem}.csv").open("wb") as file:
        frame_csv.write(twin.numbers, file)
    (folder / f"{stem}.md").write_bytes(_numbers(twin).encode())
    return [f"{stem}.{kind}" for kind in KINDS]


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.PAPER, DPI)


def _numbers(twin: Twin) -> str:
    """A figure's numbers in words: its title, what is to be known of it, and its table."""
    lines = [f"# {cells.escape(twin.title)}", "", f"![{cells.escape(twin.alt)}]({twin.name}.png)", ""]
    lines += [cells.escape(twin.caption), "", *cells.of_frame(twin.numbers)]
    if len(twin.numbers) > cells.ROWS_SHOWN:
        lines += [f"{len(twin.numbers) - cells.ROWS_SHOWN:,} more are in {twin.name}.csv.", ""]
    return "\n".join(lines)
