"""A report on the terminal: the running times in short, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.report import against_cells, cells, describe, layouts
from layerbench.report.against import Against
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Run, Tables, of_run

if TYPE_CHECKING:
    from rich.console import Console

_LAYERS_SHOWN = 20
"""Layers whose ratios are printed; the report's files have all."""


def print_summary(run: Run, console: Console) -> None:
    """Print the running time of each layer type at each node count, and what is wrong with it."""
    print_tables(of_run(run), console)


def print_tables(tables: Tables, console: Console) -> None:
    """The same of every run of a report."""
    for of_one in tables.each():
        (label,) = of_one.runs
        _print(of_one, console, f"{label}: " if len(tables.runs) > 1 else "")


def _print(tables: Tables, console: Console, label: str) -> None:
    from rich.table import Table
    from rich.text import Text

    types = tables.layer_types
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("type", "nodes", "step", "", "", "speed-up", "efficiency", "communication"):
        table.add_column(column, justify="left" if column == "type" else "right", no_wrap=True)
    last = None
    for row in row_tuples(types):
        if last not in (None, row.kind):
            table.add_row()
        shown = [
            row.kind if row.kind != last else "",
            f"{row.nodes:,}",
            units.seconds(row.seconds) if row.complete else "incomplete",
            cells.plus_minus(row.seconds, row.ci_low, row.ci_high),
            cells.marks(row),
            cells.number(row.speedup),
            cells.percent(row.efficiency),
            cells.percent(row.communication_share, 1),
        ]
        table.add_row(*(Text(cells.flat(cell), style="dim" if row.placement == "emulated" else "") for cell in shown))
        last = row.kind
    heading = cells.flat(label + describe.heading(tables.manifest))
    console.print(heading, style="bold", markup=False, highlight=False, soft_wrap=True)
    _say(console, ", ".join(describe.settings(tables.run)))
    console.print(table)
    _print_layouts(tables, console)
    for line in [*cells.legend(tables), *_faults_in_short(tables)]:
        _say(console, line)
    if tables.against is not None:
        _print_against(tables, tables.against, console)


def _print_layouts(tables: Tables, console: Console) -> None:
    """How each layer was split, where the cost model chose that."""
    head, rows = layouts.table_of(tables.manifest)
    if not rows:
        return
    _print_table(console, head, rows)
    _say(console, layouts.EXPLAINED)


def _print_table(
    console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(head):
        table.add_column(column, justify="right" if index in right else "left")
    for row in rows:
        table.add_row(*(Text(cells.flat(cell)) for cell in row))
    console.print("")
    console.print(table)


def _print_against(tables: Tables, against: Against, console: Console) -> None:
    """The run against published devices: means by operation, and the ratios of the first layers."""
    console.print("")
    console.print(against_cells.TITLE, style="bold", markup=False, highlight=False, soft_wrap=True)
    for line in against_cells.sentences(against):
        _say(console, line)
    if not (means := against_cells.means(against)):
        return
    for device, told in against_cells.specs(against):
        _say(console, f"{device}: {'; '.join(f'{name} {value}' for name, value in told.items())}")
    _print_table(console, against_cells.MEANS_HEAD, means, against_cells.MEANS_RIGHT)
    head, rows = against_cells.by_layer(against, tables.reference)
    _print_table(console, head, rows[:_LAYERS_SHOWN], right=range(2, len(head)))
    if len(rows) > _LAYERS_SHOWN:
        _say(console, f"{len(rows) - _LAYERS_SHOWN:,} more are in reference.csv of the report")
    _say(console, against_cells.EXPLAINED)


def _say(console: Console, line: str) -> None:
    indent = len(line) - len(line.lstrip(" "))
    console.print(" " * indent + cells.flat(line), markup=False, highlight=False, soft_wrap=True)


def _faults_in_short(tables: Tables) -> list[str]:
    faults = describe.faults(tables)
    lines = []
    for status in ("failed", "skipped"):
        of_status = [fault for fault in faults if fault.status == status]
        if of_status:
            number = sum(len(fault.parts) for fault in of_status)
            lines.append(f"{status}: {number:,} of {describe.plural(len(tables.records), 'record')}")
            told = [f"  {f.layer} on {describe.plural(f.nodes, 'node')}: {f.reason}" for f in of_status]
            lines += told[: describe.NAMES_SHOWN]
            if len(told) > describe.NAMES_SHOWN:
                lines.append(f"  and {len(told) - describe.NAMES_SHOWN:,} more; all are in records.csv of the report")
    if missing := describe.missing(tables):
        lines.append(f"not measured yet: {missing}")
    return lines
