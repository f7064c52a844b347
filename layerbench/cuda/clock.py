"""The clock of the multiprocessors while something ran: cycles they made, by nanoseconds that went by."""

from __future__ import annotations

import numpy as np

from layerbench.cuda import library, sources

MULTIPROCESSORS = 1024
"""More than any GPU has; their numbers need not be dense."""

LEAST_SECONDS = 50e-6
"""The device's clock of real time may step by a microsecond: over less, nothing can be said."""


class CoreClock:
    """Averages the core clock of the current GPU over stretches of a stream."""

    def __init__(self) -> None:
        cupy = library.load()
        self._stream = cupy.cuda.get_current_stream
        self._begin = sources.kernel("clock", "begin_cycles")
        self._end = sources.kernel("clock", "end_cycles")
        self._count = np.uint32(MULTIPROCESSORS)
        self._met = cupy.zeros(MULTIPROCESSORS, np.int32)
        self._begun = cupy.zeros((MULTIPROCESSORS, 2), np.int64)
        self._sums = cupy.zeros((MULTIPROCESSORS, 2), np.int64)
        self._grid = (library.attribute("MultiProcessorCount"),)
        self._turn = 0

    def reset(self) -> None:
        """Forget what was counted, in the order of the current stream."""
        self._sums.data.memset_async(0, self._sums.nbytes, self._stream())

    def begin(self) -> None:
        """Begin a stretch of the current stream."""
        self._turn += 1
        self._begin(self._grid, (1,), (np.int32(self._turn), self._met, self._begun, self._count))

    def end(self) -> None:
        """End the stretch that was begun last."""
        self._end(self._grid, (1,), (np.int32(self._turn), self._met, self._begun, self._sums, self._count))

    def hertz(self) -> float | None:
        """The clock since :meth:`reset`, once the stream is done; None where too little was seen of it.

        Only multiprocessors that were met at both ends of stretches count, and of those that were, for long enough.
        """
        counted: np.ndarray = self._sums.get()
        enough = counted[counted[:, 1] >= LEAST_SECONDS * 1e9]
        if not len(enough):
            return None
        cycles, nanoseconds = enough.sum(axis=0)
        return float(cycles / nanoseconds * 1e9)
