"""Holding a stream until the host has queued what is to be timed.

The host takes longer to queue a short kernel than the kernel takes to run. Timed as it comes, the stream's waiting for
the host would be charged to the kernel. Behind a kernel that waits for the host's word, all is queued first and then
runs without a gap. nvbench does the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from layerbench.cuda import library, sources

PATIENCE = 0.1
"""Seconds after which the kernel ends by itself: a host that waits for room in the queue would wait for ever."""


class Blocking:
    """Holds a stream of the current GPU, one turn after another."""

    def __init__(self) -> None:
        # With unified addressing the device reaches page-locked memory by the host's own address.
        self._memory: Any = library.load().cuda.alloc_pinned_memory(2 * 4)
        self._flags = np.ndarray((2,), np.int32, buffer=self._memory)
        self._flags[:] = 0
        self._released, self._gave_up = (np.uint64(self._flags.ctypes.data + 4 * i) for i in range(2))
        self._patience = np.int64(round(PATIENCE * 1e9))
        self._hold = sources.kernel("blocking", "hold")
        self._turn = 0

    def hold(self) -> None:
        """Queue the kernel that waits, on the current stream; what was held before has to be released first."""
        self._turn += 1
        self._hold((1,), (1,), (self._released, self._gave_up, np.int32(self._turn), self._patience))

    def release(self) -> None:
        """Let the stream go on; without effect where it goes on already."""
        self._flags[0] = self._turn

    @property
    def gave_up(self) -> bool:
        """Whether the stream went on before it was released, as far as the host can see by now."""
        return bool(self._flags[1] == self._turn)
