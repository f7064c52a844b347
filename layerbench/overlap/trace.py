"""Timelines as a Chrome trace, which Perfetto and ``chrome://tracing`` open.

The Trace Event Format: an object whose ``traceEvents`` are complete events (``ph: X``, begin and duration in
microseconds) and metadata that names processes and threads. A process stands for a rank at a node count in one mode,
a thread for a lane. Events of one thread must not overlap, so that a lane in which several things are under way
together, as exchanges are, has several threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from layerbench import files
from layerbench.overlap_records import Overlap, StepTimeline, TimedSpan
from layerbench.report.cells import flat
from layerbench.report.overlap_lanes import in_lanes, kind_of, lanes, pairs, side_by_side

NANOSECOND = 1e-9


def document(overlap: Overlap) -> dict[str, Any]:
    """All timelines as the trace's one object; there may be none."""
    found = [(pair, timeline) for pair in pairs(overlap) for timeline in pair.timelines]
    events = [
        event
        for process, (pair, timeline) in enumerate(found, 1)
        for event in _events(timeline, f"{timeline.mode}, {pair.name}", process)
    ]
    about = {"suite": overlap.suite, "source": overlap.source, "device": overlap.device, "command": overlap.command}
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {name: flat(value) for name, value in about.items() if value},
    }


def write(overlap: Overlap, path: Path) -> None:
    """Write all timelines to a file.

    Parameters
    ----------
    overlap
        What was measured.
    path
        The file, such as ``overlap.trace.json``; an older one is replaced.

    Raises
    ------
    UsageError
        If it is a folder.
    StoreError
        If it cannot be written; what was there is left as it was.
    """
    files.replace(path, msgspec.json.encode(document(overlap)))


def _events(timeline: StepTimeline, name: str, process: int) -> Iterator[dict[str, Any]]:
    yield _metadata("process_name", process, 0, name=name)
    yield _metadata("process_sort_index", process, 0, sort_index=process)
    thread = 0
    for lane in in_lanes(timeline.spans, lanes([timeline])):
        for place, spans in enumerate(side_by_side(lane.spans)):
            thread += 1
            called = flat(lane.name) if place == 0 else f"{flat(lane.name)} ({place + 1})"
            yield _metadata("thread_name", process, thread, name=called)
            yield _metadata("thread_sort_index", process, thread, sort_index=thread)
            yield from (_event(span, process, thread) for span in spans)


def _metadata(what: str, process: int, thread: int, **told: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": told}


def _event(span: TimedSpan, process: int, thread: int) -> dict[str, Any]:
    """One span. Both ends are rounded to nanoseconds, so that what met still meets."""
    begin = round(span.start / NANOSECOND)
    end = max(begin, round(span.stop / NANOSECOND))
    return {
        "ph": "X",
        "name": flat(span.name) or kind_of(span).label,
        "cat": kind_of(span).label,
        "ts": begin / 1e3,
        "dur": (end - begin) / 1e3,
        "pid": process,
        "tid": thread,
        "args": {"step": span.step},
    }
