"""A communicator of one's own, and how ranks leave it: all together, or, after a failure, without waiting for ever.

A collective that was started can neither be cancelled nor freed (MPI 4.1, section 6.12), and ``MPI_Finalize``, which
Python calls at its end, waits for other ranks. A rank that has failed within a step would therefore hang at its end
while the others wait for its gradients. So it gives them some seconds to come too, and if they do not, ends all ranks
at its exit; until then the caller can say more, or end them himself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from layerbench.collectives import HEARD
from layerbench.errors import LayerbenchError

PATIENCE = 5.0
"""Seconds that a rank which leaves early gives the others."""

NAP = 1e-3
"""Seconds between two looks."""


class OwnCommunicator:
    """A duplicate of a communicator, whose messages cannot meet others.

    Making one is collective.

    Attributes
    ----------
    communicator
        The duplicate, of mpi4py.
    """

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator.Dup()
        # Another one: a rank that leaves in the middle of a step has not started all that the others have.
        self._leaving = communicator.Dup()
        self._barrier: Any = None
        self._settled: Callable[[], bool] = lambda: True

    def leave(self, settled: Callable[[], bool], orderly: bool) -> bool:
        """Come to the end with the others, and wait for them.

        Parameters
        ----------
        settled
            Moves on what this rank has under way, and tells whether that is done.
        orderly
            Whether this rank has done all that it was to do. Else it waits for some seconds only.

        Returns
        -------
        bool
            Whether all ranks have come, so that :meth:`free` may be called.
        """
        self._settled = settled
        self._barrier = self._leaving.Ibarrier()
        return self._all_have_left(None if orderly else PATIENCE)

    def _all_have_left(self, patience: float | None) -> bool:
        deadline = None if patience is None else time.monotonic() + patience
        try:
            while not (self._settled() and self._barrier.Test()):
                if deadline is not None and time.monotonic() > deadline:
                    return False
                time.sleep(NAP)
        except (LayerbenchError, RuntimeError):  # the latter is MPI's own
            return False
        return True

    def free(self) -> None:
        """Give both communicators back to MPI; collective."""
        self.communicator.Free()
        self._leaving.Free()

    def end(self) -> None:
        """At exit, after :meth:`leave` was in vain: end all ranks, unless the others have come by now."""
        if self._barrier is None or self._all_have_left(PATIENCE):
            return
        from mpi4py import MPI

        rank = self.communicator.Get_rank()
        print(
            f"layerbench: rank {rank}: left an exchange of gradients that other ranks wait for; all ranks are ended",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(HEARD)
        MPI.COMM_WORLD.Abort(1)
