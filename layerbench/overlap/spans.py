"""A few steps of a loop, span by span."""

from __future__ import annotations

import time
from collections.abc import Callable

from layerbench.collectives import Ranks
from layerbench.overlap.loops import Loop
from layerbench.overlap_records import TimedSpan
from layerbench.timeline import Timeline


def recorded(
    loop: Loop,
    timeline: Timeline,
    settle: int,
    steps: int,
    ranks: Ranks,
    going: Callable[[], None] = lambda: None,
) -> list[TimedSpan]:
    """The spans of some steps, in seconds from the beginning of the first.

    Parameters
    ----------
    loop, timeline
        What is gone through, and where its spans are kept.
    settle
        Steps before those that are recorded: so that full slots at the start do not hide a slow source.
    steps
        That are recorded.
    ranks
        All of which take the same steps.
    going
        Called before every step: long ones must not look as if nothing went on.
    """
    for _ in range(settle):
        going()
        loop.step()
    ranks.barrier()
    begin = time.perf_counter_ns()
    for _ in range(steps):
        going()
        loop.step()
    end = time.perf_counter_ns()
    inside = [span for span in list(timeline.spans) if span.stop > begin and span.start < end]
    return [
        TimedSpan(
            span.lane,
            span.name,
            (max(span.start, begin) - begin) * 1e-9,
            (min(span.stop, end) - begin) * 1e-9,
            span.step,
        )
        for span in sorted(inside, key=lambda span: span.start)
    ]
