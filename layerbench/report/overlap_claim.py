"""The observation on overlap, from what a run's folder holds of it.

``overlap.json`` is a list of rows, or an object that has them as ``rows``: for each node count, and each ratio of
transfer to computation that was tried, the seconds with implicit and with explicit transfer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from layerbench import units
from layerbench.records import AtLeastOne, Placement
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding, Verdict, told_apart

OVERLAP = "overlap.json"

GAIN = 1.6

Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What overlap gained at one node count and one ratio of transfer to computation.

    Attributes
    ----------
    nodes, placement
        As in a record.
    implicit_seconds, explicit_seconds
        Of the same work, without and with overlap.
    speedup, speedup_low, speedup_high
        Implicit over explicit, with its 95 % interval if there is one.
    attainable
        The most that overlap can gain: the sum of all stages over the longest one.
    eta
        The part of the time that overlap can save that it saved; None where it can save none.
    """

    nodes: AtLeastOne
    placement: Placement
    implicit_seconds: Positive
    explicit_seconds: Positive
    speedup: Positive
    attainable: Positive
    eta: float | None
    speedup_low: Positive | None = None
    speedup_high: Positive | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the gain was reached, which an interval must leave no doubt of."""
        low, high = self.speedup_low or self.speedup, self.speedup_high or self.speedup
        return HOLDS if low >= GAIN else FAILS if high < GAIN else UNKNOWN


class _Rows(msgspec.Struct, frozen=True):
    rows: list[Row]


def overlap(folder: Path) -> Finding:
    """Whether explicit overlap was 1.6 times as fast as implicit transfer on one node, at any ratio that was tried."""
    path = folder / OVERLAP
    try:
        read = msgspec.json.decode(path.read_bytes(), type=list[Row] | _Rows)
    except FileNotFoundError:
        return Finding(UNKNOWN, f"The run has no {OVERLAP}, and no command of this version makes one yet")
    except OSError as error:
        return Finding(UNKNOWN, f"{OVERLAP} cannot be read: {error.strerror or error}", "make it readable")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Finding(UNKNOWN, f"{OVERLAP} is damaged: {error}", "measure the overlap again")
    rows = [row for row in (read.rows if isinstance(read, _Rows) else read) if row.nodes == 1]
    if not rows:
        return Finding(UNKNOWN, f"{OVERLAP} has nothing at 1 node", "measure the overlap on one node")
    best = max(rows, key=lambda row: ((FAILS, UNKNOWN, HOLDS).index(row.verdict), row.speedup))
    return Finding(best.verdict, _told(best, len(rows)), "measure the overlap for longer")


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
