"""The observation on overlap, from what a run's folder holds of it.

``overlap.json`` is a list of rows, or an object that has them as ``rows``: for each node count, and each ratio of
transfer to computation that was tried, the seconds with implicit and with explicit transfer.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerbench import units
from layerbench.overlap_records import OVERLAP, Row, read
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding, Verdict, told_apart

GAIN = 1.6


def _verdict(row: Row) -> Verdict:
    """Whether the gain was reached, which an interval must leave no doubt of."""
    low, high = row.speedup_low or row.speedup, row.speedup_high or row.speedup
    return HOLDS if low >= GAIN else FAILS if high < GAIN else UNKNOWN


def overlap(folder: Path) -> Finding:
    """Whether explicit overlap was 1.6 times as fast as implicit transfer on one node, at any ratio that was tried."""
    path = folder / OVERLAP
    try:
        found = read(path)
    except FileNotFoundError:
        return Finding(UNKNOWN, f"The run has no {OVERLAP}", "run layerbench overlap with the run's folder as --output")
    except OSError as error:
        return Finding(UNKNOWN, f"{OVERLAP} cannot be read: {error.strerror or error}", "make it readable")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Finding(UNKNOWN, f"{OVERLAP} is damaged: {error}", "measure the overlap again")
    rows = [row for row in found.rows if row.nodes == 1]
    if not rows:
        return Finding(UNKNOWN, f"{OVERLAP} has nothing at 1 node", "measure the overlap on one node")
    best = max(rows, key=lambda row: ((FAILS, UNKNOWN, HOLDS).index(_verdict(row)), row.speedup))
    return Finding(_verdict(best), _told(best, len(rows)), "measure the overlap for longer")


def _told(row: Row, tried: int) -> str:
    gain = row.speedup, row.speedup_low, row.speedup_high
    speedup, *ends = told_apart([*(value for value in gain if value is not None), GAIN], 2)[:-1]
    interval = f" ({' to '.join(ends)})" if len(ends) == 2 else ""
    emulated = " (emulated)" if row.placement == "emulated" else ""
    eta = "" if row.eta is None else f", η {row.eta:.2g}"
    among = f", the best of {tried:,} ratios of transfer to computation" if tried > 1 else ""
    return (
        f"At 1 node{emulated} explicit transfer takes {units.seconds(row.explicit_seconds)} and implicit "
        f"{units.seconds(row.implicit_seconds)}, {speedup}{interval} times as long, where overlap can gain "
        f"{row.attainable:.3g} times at most{eta}{among}"
    )
