"""Extra-P's JSON lines: one measured value to a line, for models of time over nodes.

The parameter is ``nodes``, the call path ``layer->part``, the metric ``time`` in seconds; a record's samples are the
repetitions at its point. Rates such as FLOP/s are left out: Extra-P models what a program takes, and a rate follows
from that.

Only what was measured is there: a model fitted to emulated times would repeat the network model that made them. Extra-P
requires the same points of every call path, so a part that has no time at a node count where others do is left out
whole, rather than the count be taken from the others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from layerbench.errors import UsageError
from layerbench.export.exported import Exported

if TYPE_CHECKING:
    from layerbench.records import Record
    from layerbench.report.tables import Run

INCOMPLETE = "of parts that lack a node count which others have"


def convert(run: Run) -> Exported:
    """The measured samples of a run.

    Raises
    ------
    UsageError
        If there are none: Extra-P cannot read an empty file.
    """
    left_out: Counter[str] = Counter()
    measured: dict[str, list[Record]] = {}
    for record in run.records:
        if reason := _objection(record):
            left_out[reason] += 1
        else:
            measured.setdefault(_callpath(record), []).append(record)
    counts = {record.nodes for records in measured.values() for record in records}
    complete = {}
    for callpath, records in measured.items():
        if {record.nodes for record in records} == counts:
            complete[callpath] = records
        else:
            left_out[INCOMPLETE] += len(records)
    exported = Exported(_lines(complete), left_out)
    if not complete:
        raise UsageError(f"{run.path} has nothing for Extra-P to model: {exported.remark(len(run.records))}")
    return exported


def _objection(record: Record) -> str | None:
    if record.status != "ok":
        return record.status
    if record.placement == "emulated":
        return "emulated"
    return None if record.samples else "without samples"


def _callpath(record: Record) -> str:
    """``->`` is what Extra-P splits a call path at; in a layer's name it is spelled as an arrow."""
    return f"{record.layer.replace('->', '→')}->{record.part}"


def _lines(measured: Mapping[str, Sequence[Record]]) -> Iterator[bytes]:
    """All in ASCII: Extra-P reads files in whatever encoding its user's system has."""
    for callpath, records in measured.items():
        for record in records:
            point = {"params": {"nodes": record.nodes}, "callpath": callpath, "metric": "time"}
            for seconds in record.samples:
                yield json.dumps({**point, "value": seconds}).encode() + b"\n"
