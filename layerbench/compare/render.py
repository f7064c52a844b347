"""A comparison as a table for the terminal, as Markdown, and as rows for programs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerbench import console as consoles
from layerbench.compare import wording
from layerbench.compare.comparison import Comparison, Row
from layerbench.compare.page import html
from layerbench.console import say
from layerbench.report.cells import escape, table
from layerbench.report.describe import plural

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

P_VALUE = wording.HEAD.index("p")
"""A column that the terminal has no room for; the verdict tells."""

STYLES = {"slower": "red", "faster": "green", "unclear": "yellow", "same": "dim"}

FILE_WIDTH = 120
"""Columns of a table that is written to a file."""

LINES_SHOWN = 8
"""Of a kind of remark, in the terminal."""


def document(comparison: Comparison, format_: str, *, all_rows: bool = False) -> str:
    """A comparison as text in a format: ``table``, ``markdown``, ``json`` or ``html``."""
    if format_ == "markdown":
        return markdown(comparison, all_rows=all_rows)
    if format_ == "html":
        return html(comparison)
    if format_ == "json":
        return json.dumps(as_json(comparison), indent=2, allow_nan=False) + "\n"
    from rich.console import Console

    text = io.StringIO()
    print_table(comparison, Console(file=text, width=FILE_WIDTH), all_rows=all_rows)
    return text.getvalue()


def warnings(comparison: Comparison, format_: str) -> list[str]:
    """What belongs on standard error: faults of the folders, and all else that the format has no place for."""
    lines = [wording.flat(line) for line in comparison.warnings]
    forced, notes = wording.differences(comparison)
    lines += forced
    if format_ == "json":
        lines += [*wording.incomplete(comparison), *wording.untested(comparison), *notes]
        lines += [wording.same(comparison), *map(wording.between, comparison.between_runs)]
    return lines


def as_json(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each record with a verdict, in the order of BASE; what is not known is None."""
    names = (
        *("layer", "part", "nodes", "ratio", "low", "high", "verdict", "p_value", "base_seconds", "new_seconds"),
        *("base_algorithm", "new_algorithm", "ranks", "batch", "placement"),
    )
    return [{name: getattr(row, name) for name in names} for row in comparison.rows]


def shown(comparison: Comparison, all_rows: bool) -> tuple[list[Row], int]:
    """The rows of a table, most different first, and how many ``same`` ones it leaves out."""
    rows = wording.most_different_first(comparison.rows)
    kept = [row for row in rows if all_rows or row.verdict != "same"]
    return kept, len(rows) - len(kept)


def _left_out(comparison: Comparison, count: int) -> list[str]:
    if not count:
        return []
    same = [row for row in comparison.rows if row.verdict == "same"]
    farthest = wording.most_different_first(same)[0]
    return [f"{plural(count, 'record')} same, the farthest ratio {wording.times(farthest.ratio)} (--all shows them)"]


def print_table(comparison: Comparison, console: Console, *, all_rows: bool = False) -> None:
    """Print what differs, most different first, and how it was compared."""
    from rich.table import Table
    from rich.text import Text

    rows, left_out = shown(comparison, all_rows)
    say(console, wording.heading(comparison), style="bold")
    for line in wording.sides(comparison):
        say(console, line)
    printed = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, column in enumerate(wording.HEAD):
        if number != P_VALUE:
            justify: JustifyMethod = "right" if number in wording.NUMBERS else "left"
            printed.add_column(column, justify=justify, no_wrap=number > 0, overflow="fold")
    for row in rows:
        *texts, _, verdict = wording.in_cells(row)
        printed.add_row(*map(Text, texts), Text(verdict, style=STYLES[row.verdict]))
    if rows:
        consoles.print_table(console, printed)
    for line in _left_out(comparison, left_out):
        say(console, line)
    for part, (mean, number) in comparison.geometric_means().items():
        say(console, f"geometric mean of {part}: {mean:.3f} ({plural(number, 'record')})")
    remarks = (
        wording.rules(comparison),
        wording.other_algorithms(rows),
        wording.incomplete(comparison),
        wording.untested(comparison),
        [line for lines in wording.differences(comparison) for line in lines],
    )
    for lines in remarks:
        for line in lines[:LINES_SHOWN]:
            say(console, line)
        if len(lines) > LINES_SHOWN:
            say(console, f"  and {len(lines) - LINES_SHOWN:,} more; --format markdown has all")


def markdown(comparison: Comparison, *, all_rows: bool = False) -> str:
    """What differs, as a pull request shows it."""
    rows, left_out = shown(comparison, all_rows)
    lines = [f"### {escape(wording.heading(comparison))}", "", *_list(wording.sides(comparison))]
    if rows:
        lines += table(wording.HEAD, [list(map(escape, wording.in_cells(row))) for row in rows], wording.NUMBERS)
    lines += _list(_left_out(comparison, left_out))
    means = [
        [escape(part), f"{mean:.3f}", str(number)] for part, (mean, number) in comparison.geometric_means().items()
    ]
    if means:
        lines += table(wording.MEANS_HEAD, means, (1, 2))
    lines += _list(wording.rules(comparison))
    lines += _list([*wording.other_algorithms(rows), *wording.incomplete(comparison)])
    lines += _list(wording.untested(comparison))
    lines += _list([line for lines in wording.differences(comparison) for line in lines])
    return "\n".join(lines).rstrip() + "\n"


def _list(lines: Sequence[str]) -> list[str]:
    return [*(f"- {escape(line)}" for line in lines), ""] if lines else []
