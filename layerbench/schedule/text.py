"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from layerbench.report.cells import flat
from layerbench.schedule import wording
from layerbench.schedule.comparison import Row
from layerbench.schedule.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROWS_SHOWN = 40


def print_plan(plan: Plan, rows: Sequence[Row], console: Console) -> None:
    """Print a plan, what it comes to, and what other schemes would give.

    Parameters
    ----------
    plan
        Its placements are printed as they start, the first of them if there are many.
    rows
        What other schemes would give.
    console
        Where to.
    """
    unit = wording.unit_of_plan(plan)
    placed = [wording.placed(placement, unit) for placement in wording.in_order(plan)[:ROWS_SHOWN]]
    _say(console, wording.heading(plan), style="bold")
    _print(console, _table(wording.placed_head(unit), placed, wording.PLACED_NUMBERS))
    if len(plan.placements) > ROWS_SHOWN:
        _say(console, f"... {len(plan.placements) - ROWS_SHOWN:,} more in plan.csv")
    _say(console, "")
    facts = wording.facts(plan)
    width = max(map(len, facts))
    for name, value in facts.items():
        _say(console, f"{name:{width}}  {value}")
    if rows:
        _say(console, "")
        _say(console, "Other schemes for the same jobs", style="bold")
        _print(console, _table(wording.COMPARED_HEAD, wording.compared(plan, rows), wording.COMPARED_NUMBERS))
    if plan.notes:
        _say(console, "")
    for note in plan.notes:
        _say(console, flat(note))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        number = index in numbers
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print(console: Console, table: Table) -> None:
    if not console.is_terminal:
        # A log has no width, and what is given to it must not be cut to one.
        console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(table)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
