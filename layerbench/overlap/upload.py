"""A batch brought to the device while all else waits: from pageable memory, as by a loop that takes no care of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from layerbench.datamanager.arguments import device_for
from layerbench.datamanager.source import Source
from layerbench.timeline import Timeline

Upload = Callable[[Sequence[Any], int], Sequence[Any]]
"""Given a batch's arrays on the host and its number, returns them on the device."""


def pageable(name: str, source: Source, timeline: Timeline | None) -> Upload:
    """What brings a source's batches to a device; on the processor they are there already.

    Parameters
    ----------
    name
        Of the device, as kernels name it.
    source
        Whose batches.
    timeline
        Is given a span of each copy.
    """
    slot = device_for(name).slot(source.fields, source.batch_size, timed=False)
    if slot is None:
        return lambda arrays, number: arrays

    def upload(arrays: Sequence[Any], number: int) -> Sequence[Any]:
        start = time.perf_counter_ns()
        samples = len(arrays[0])
        slot.consumed()
        slot.start(tuple(arrays), samples)
        slot.finish()
        slot.ready()
        if timeline is not None:
            timeline.add("transfer", "transfer", start, time.perf_counter_ns(), number)
        return tuple(array[:samples] for array in slot.arrays)

    return upload
