"""What was measured of exchanges, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.collective_bench import sizes
from layerbench.collective_bench.formulas import SIZE_OF, algbw, busbw
from layerbench.collective_records import COLLECTIVES_JSON, Measured, Row
from layerbench.console import plain_table, print_table, say
from layerbench.records import Collective

if TYPE_CHECKING:
    from rich.console import Console

_HEAD = ("size", "time", "95 % interval", "quickest rank", "algbw", "busbw", "")


def print_measured(measured: Measured, console: Console) -> None:
    """Print a table for each operation, node count and library, and what is to be known of them."""
    if not measured.rows:
        say(console, "nothing was measured")
    for rows in grouped(measured.rows):
        say(console, title(rows[0]), "bold")
        say(console, f"size: {SIZE_OF[rows[0].operation]}; {placed(rows[0])}; {rows[0].call}; {rows[0].library}")
        print_table(console, plain_table(_HEAD, map(_cells, rows), left={6}, wrapped={6}))
        say(console, "")
    told = [*legend(measured.rows), *measured.notes]
    for line in told:
        say(console, line)


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one operation, node count and library together, by size; in the order in which they first came."""
    found: dict[tuple[Collective, int, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.operation, row.nodes, row.collectives), []).append(row)
    by_operation = list(dict.fromkeys(row.operation for row in rows))
    ordered = sorted(found, key=lambda key: by_operation.index(key[0]))
    return [sorted(found[key], key=lambda row: row.bytes) for key in ordered]


def named(operation: Collective) -> str:
    """An operation as ``--op`` has it."""
    return operation.replace("_", "-")


def placed(row: Row) -> str:
    """Whether it is in place, in words."""
    return "in place" if row.in_place else "out of place"


def counted(row: Row) -> str:
    """``2 nodes``, and the ranks where they are more."""
    nodes = f"{row.nodes} {'node' if row.nodes == 1 else 'nodes'}"
    return nodes if row.ranks == row.nodes else f"{nodes}, {row.ranks} ranks"


def title(row: Row) -> str:
    """``all-reduce on 2 nodes by mpi, fp32``."""
    where = "" if row.device == "host" else f", memory of {row.device}"
    crowded = ", oversubscribed" if row.oversubscribed else ""
    return f"{named(row.operation)} on {counted(row)} by {row.collectives}, {row.dtype}{where}{crowded}"


def legend(rows: Sequence[Row]) -> list[str]:
    """What the words of the tables mean, of those that occur."""
    told = ["busbw: what each rank's link must carry at least, a second; comparable over operations and ranks."]
    if any(row.noisy for row in rows):
        told.append("noisy: the interval did not become as narrow as asked for; give more --max-time.")
    if any(row.apart for row in rows):
        told.append("Of broadcasts each one is timed by itself, after a barrier: else the root would be ahead.")
    if any(row.oversubscribed for row in rows):
        told.append("oversubscribed: there were more ranks than cores, and times show the machine running out.")
    if any(row.status == "skipped" for row in rows):
        told.append(f"Sizes that were skipped have their reasons in {COLLECTIVES_JSON}.")
    return told


def _cells(row: Row) -> list[str]:
    size = sizes.shown(row.bytes)
    if not row.samples:
        return [size, "-", "-", "-", "-", "-", f"{row.status}: {row.reason}"]
    times = row.seconds
    return [
        size,
        units.seconds(times.median),
        f"{times.low / times.median - 1:+.1%} {times.high / times.median - 1:+.1%}",
        units.seconds(row.quickest_rank_seconds),
        units.rate(algbw(row.bytes, times.median), "B/s"),
        units.rate(busbw(row.operation, row.bytes, row.ranks, times.median), "B/s"),
        "noisy" if row.noisy else "",
    ]
