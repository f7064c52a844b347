"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from layerbench.console import plain_table, print_table, say
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
    say(console, wording.heading(plan), style="bold")
    print_table(console, _table(wording.placed_head(unit), placed, wording.PLACED_NUMBERS))
    if len(plan.placements) > ROWS_SHOWN:
        say(console, f"... {len(plan.placements) - ROWS_SHOWN:,} more in plan.csv")
    say(console, "")
    facts = wording.facts(plan)
    width = max(map(len, facts))
    for name, value in facts.items():
        say(console, f"{name:{width}}  {value}")
    if rows:
        say(console, "")
        say(console, "Other schemes for the same jobs", style="bold")
        print_table(console, _table(wording.COMPARED_HEAD, wording.compared(plan, rows), wording.COMPARED_NUMBERS))
    if plan.notes:
        say(console, "")
    for note in plan.notes:
        say(console, flat(note))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> Table:
    words = set(range(len(head))) - numbers
    return plain_table(head, rows, left=words, wrapped=words)
