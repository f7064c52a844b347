"""What was measured of overlap, on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.console import plain_table, print_table, say
from layerbench.overlap_records import OVERLAP, OneMode, Overlap, Row
from layerbench.report import cells, describe, overlap_cells
from layerbench.report.overlap_claim import GAIN
from layerbench.report.overlap_rows import of_workload

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROWS_SHOWN = 40

_GAINED = ("nodes", "implicit", "explicit", "speed-up of attainable", "η", "")
_PARTS = ("nodes", "transfer", "exposed", "communication", "exposed", "samples/s", "identical")
_ONE = ("nodes", "mode", "step", "transfer", "communication", "samples/s", "")
_SWEEP = ("ratio", "implicit", "explicit", "speed-up of attainable", "η", f"{GAIN} possible", "")


def print_overlap(overlap: Overlap, console: Console) -> None:
    """Print what was gained on each node count and at each ratio, and what is to be known of it.

    Parameters
    ----------
    overlap
        What was measured.
    console
        Where to; tables fit 80 columns.
    """
    steps, sweep = of_workload(overlap, "training step"), of_workload(overlap, "ratio sweep")
    say(console, title(overlap), "bold")
    if told := overlap_cells.settings(overlap)[bool(overlap.suite) :]:
        say(console, ", ".join(told))
    if steps:
        say(console, "")
        print_table(console, _table(_GAINED, map(_gained, steps[:ROWS_SHOWN])))
        say(console, "")
        say(console, "Transfer and communication, and what of them computation waits for in explicit mode", "bold")
        print_table(console, _table(_PARTS, map(_parts, steps[:ROWS_SHOWN])))
    counts = sorted({row.nodes for row in sweep})
    for nodes in counts:
        where = f" on {describe.plural(nodes, 'node')}" if len(counts) > 1 else ""
        rows = [_swept(row) for row in sweep if row.nodes == nodes][:ROWS_SHOWN]
        say(console, "")
        say(console, f"{overlap_cells.SWEEP_TITLE}{where}", "bold")
        print_table(console, _table(_SWEEP, rows))
    if overlap.one_mode:
        say(console, "")
        print_table(console, _table(_ONE, map(_one, overlap.one_mode[:ROWS_SHOWN])))
    if not (steps or sweep or overlap.one_mode):
        say(console, "nothing was measured")
    legend = overlap_cells.legend([*steps, *sweep], overlap.one_mode)
    told = [*_rest(steps), *_rest(overlap.one_mode), *legend, *overlap.notes]
    if told:
        say(console, "")
    for line in told:
        say(console, cells.flat(line))


def title(overlap: Overlap) -> str:
    """``alexnet: a training step without and with overlap on 1, 2 and 4 nodes``."""
    found = {row.nodes for row in of_workload(overlap, "training step")} | {one.nodes for one in overlap.one_mode}
    counts = sorted(found)
    where = f" on {describe.node_counts(counts)}" if counts else ""
    what = f"a training step without and with overlap{where}" if counts else "work without and with overlap"
    return cells.flat(f"{overlap.suite}: {what}" if overlap.suite else what[0].upper() + what[1:])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return plain_table(head, rows, left=(), wrapped=())


def _rest(rows: Sequence[object]) -> list[str]:
    return [f"... {len(rows) - ROWS_SHOWN:,} more in {OVERLAP}"] if len(rows) > ROWS_SHOWN else []


def _one(one: OneMode) -> list[str]:
    cells_ = overlap_cells.one_cells(one)
    return [*cells_[:-2], cells_[-1]]


def _gained(row: Row) -> list[str]:
    return [
        f"{row.nodes:,}",
        overlap_cells.time(row.implicit_seconds, row.implicit_low, row.implicit_high),
        overlap_cells.time(row.explicit_seconds, row.explicit_low, row.explicit_high),
        _of_attainable(row),
        overlap_cells.eta(row),
        overlap_cells.signs(row),
    ]


def _of_attainable(row: Row) -> str:
    return f"{overlap_cells.speedup(row, '–')} of {overlap_cells.attainable(row)}"


def _parts(row: Row) -> list[str]:
    rates = row.images_per_second
    return [
        f"{row.nodes:,}",
        units.seconds(row.transfer_seconds),
        units.seconds(row.exposed_transfer_seconds),
        units.seconds(row.communication_seconds),
        units.seconds(row.exposed_communication_seconds),
        f"{overlap_cells.rate(rates['implicit'])} → {overlap_cells.rate(rates['explicit'])}",
        overlap_cells.identical(row),
    ]


def _swept(row: Row) -> list[str]:
    return [
        overlap_cells.ratio(row),
        units.seconds(row.implicit_seconds),
        units.seconds(row.explicit_seconds),
        _of_attainable(row),
        overlap_cells.eta(row),
        overlap_cells.can_be_reached(row),
        overlap_cells.signs(row),
    ]
