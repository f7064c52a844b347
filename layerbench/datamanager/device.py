"""What the data manager needs of the device that batches go to; the processor and CUDA in files of their own.

Workers fill a slot in the host's memory. On the processor that is where the batch is needed, and there is nothing to
transfer. A device with memory of its own has as many slots there (:class:`DeviceSlot`), and one thread copies from the
host's to its slots. The thread never waits for the consumer's computation and the consumer's thread never for a copy:
both only queue work on the device, each behind the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from layerbench.datamanager.source import Field, Out


class Fetched(Protocol):
    """An array on its way from the device."""

    def result(self) -> np.ndarray:
        """The array in the host's memory, once it is there."""
        ...

    def span(self) -> tuple[int, int] | None:
        """When the copy began and ended, in nanoseconds of ``time.perf_counter_ns``; None if the device cannot tell.

        Called after :meth:`result`.
        """
        ...


class DeviceSlot(Protocol):
    """One slot in a device's own memory. It is written, read and given back in turn, over and over."""

    arrays: tuple[Any, ...]
    """Of each field an array of as many samples as a slot holds."""

    def start(self, host: Out, samples: int) -> None:
        """Queue the copy of the first ``samples`` samples, behind what the consumer had queued by :meth:`consumed`.

        Called by the thread that transfers. ``host`` is left alone until :meth:`finish` has returned.
        """
        ...

    def finish(self) -> float | None:
        """Return when the copy has ended; the seconds that it alone took, if the device can tell.

        Called by the thread that transfers, before it starts another copy into this slot.
        """
        ...

    def ready(self) -> None:
        """Let what the consumer queues from now on run after the copy. Called by the consumer."""
        ...

    def consumed(self) -> None:
        """Let the next copy into this slot run after all that the consumer has queued. Called by the consumer."""
        ...


@runtime_checkable
class Device(Protocol):
    """Where batches go. An instance serves one data manager."""

    name: str
    """What it is, as it is named in messages: ``host``, ``cuda:0``."""

    def memory(self, fields: Sequence[Field], samples: int) -> Out:
        """Memory of the host for one slot: of each field an array of so many samples, aligned and touched.

        Raises
        ------
        OutOfMemoryError
            If there is too little.
        """
        ...

    def slot(self, fields: Sequence[Field], samples: int, *, timed: bool) -> DeviceSlot | None:
        """One slot in the device's memory; None if the device computes on the host's.

        Parameters
        ----------
        timed
            Whether :meth:`DeviceSlot.finish` should tell how long copies take, and :meth:`Fetched.span` when they ran.

        Raises
        ------
        OutOfMemoryError
            If there is too little memory.
        """
        ...

    def fetch(self, array: Any) -> Fetched:
        """Begin to bring an array of this device to the host, after what the caller has queued so far."""
        ...

    def close(self) -> None:
        """Return when nothing that is queued uses the slots any more."""
        ...
