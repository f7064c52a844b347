"""The numbers of overlap and the lines beneath its charts, of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence

from layerbench.overlap_records import Workload
from layerbench.report import overlap_cells
from layerbench.report.overlap_rows import Measured, of_workload
from layerbench.report.page.section import ROWS_SHOWN, Table


def numbers(measured: Sequence[Measured], workload: Workload) -> Table:
    """All rows of a workload as a table; the first column, the run, only where there are several."""
    several = any(one.letter for one in measured)
    steps = workload == "training step"
    head = overlap_cells.STEP_HEAD if steps else overlap_cells.SWEEP_HEAD
    right = overlap_cells.STEP_NUMBERS if steps else overlap_cells.SWEEP_NUMBERS
    cells_of = overlap_cells.step_cells if steps else overlap_cells.sweep_cells
    rows = [
        [*([one.letter] if several else []), *cells_of(row)]
        for one in measured
        for row in of_workload(one.overlap, workload)
    ]
    rest = f"{len(rows) - ROWS_SHOWN:,} more are in overlap.csv." if len(rows) > ROWS_SHOWN else ""
    return Table(
        [*(["run"] if several else []), *head],
        rows[:ROWS_SHOWN],
        frozenset(column + several for column in right),
        rest,
    )


def one_mode_numbers(measured: Sequence[Measured]) -> Table:
    """What was measured in one mode only."""
    several = any(one.letter for one in measured)
    rows = [
        [*([one.letter] if several else []), *overlap_cells.one_cells(found)]
        for one in measured
        for found in one.overlap.one_mode
    ]
    right = frozenset(column + several for column in overlap_cells.ONE_NUMBERS)
    return Table([*(["run"] if several else []), *overlap_cells.ONE_HEAD], rows[:ROWS_SHOWN], right)


def told(measured: Sequence[Measured], workload: Workload) -> list[str]:
    """How each run was measured, what the signs of its rows mean, and, of the training step, its notes."""
    lines = []
    for one in measured:
        where = f"{one.letter}: " if one.letter else ""
        rows = of_workload(one.overlap, workload)
        settings = ", ".join(overlap_cells.settings(one.overlap))
        if workload == "training step":
            found = [f"{settings}." if settings else "", *overlap_cells.legend(rows, one.overlap.one_mode)]
            found += one.overlap.notes
        else:
            found = overlap_cells.legend(rows)
        lines += [f"{where}{line}" for line in found if line]
    return lines
