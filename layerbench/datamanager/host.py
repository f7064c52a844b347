"""The processor as a device: workers write a batch where it is computed on.

There is no transfer. The last stage writes each sample into the slot that the consumer is given, so a copy into "device
memory" would read and write the same memory once more to gain nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerbench.datamanager.source import Field, Out
from layerbench.errors import OutOfMemoryError
from layerbench.units import size

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


class HostFetched:
    """A copy, which is complete."""

    def __init__(self, array: Any) -> None:
        began = time.perf_counter_ns()
        self._array = np.array(array, copy=True)
        self._span = began, time.perf_counter_ns()

    def result(self) -> np.ndarray:
        return self._array

    def span(self) -> tuple[int, int]:
        return self._span


class Host:
    """The processor."""

    name = "host"

    def memory(self, fields: Sequence[Field], samples: int) -> Out:
        return tuple(aligned(field, samples) for field in fields)

    def slot(self, fields: Sequence[Field], samples: int, *, timed: bool) -> None:
        """None: stages write where the batch is needed."""

    def fetch(self, array: Any) -> HostFetched:
        """A copy, because a slot's memory is refilled."""
        return HostFetched(array)

    def close(self) -> None:
        """Nothing is queued on the processor."""


def aligned(field: Field, samples: int) -> np.ndarray:
    """An array of a field's samples that begins at a cache line, each page of it touched.

    Untouched memory is only promised: the system finds it at the first write, which would be in the middle of the loop.

    Raises
    ------
    OutOfMemoryError
        If the system refuses it.
    """
    length = field.nbytes * samples
    try:
        buffer = np.empty(length + ALIGNMENT, np.uint8)
    except MemoryError:
        raise OutOfMemoryError(
            f"a slot's {field.name!r} needs {size(length)}, which the system refuses: use a smaller batch or depth"
        ) from None
    offset = -buffer.ctypes.data % ALIGNMENT
    place = buffer[offset : offset + length]
    place.fill(0)
    return place.view(field.dtype).reshape(samples, *field.shape)
