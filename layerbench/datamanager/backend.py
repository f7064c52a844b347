"""What an exchange of gradients needs of that which connects the ranks."""

from __future__ import annotations

from typing import Any, Protocol

from layerbench.collectives import MPIRanks

METHODS = ("auto", "iallreduce", "persistent", "ordered", "nccl")
"""How gradients may be summed while others are computed; ``auto`` is ``nccl`` on a device, else ``iallreduce``."""

BLOCKING_METHODS = ("auto", "allreduce", "ordered", "nccl")
"""How, when nothing else is done meanwhile; ``auto`` is ``nccl`` on a device, else ``allreduce``."""

PROGRESS = ("calls", "thread")
"""What moves exchanges on while others are computed: calls of ``progress()``, or a thread."""


class Backend(Protocol):
    """Sums buckets over ranks. The caller starts them in one order on all ranks."""

    def connect(self, ranks: MPIRanks, communicator: Any) -> None:
        """Do what all ranks do together before the first exchange.

        Parameters
        ----------
        ranks, communicator
            The same ranks twice: to talk to, and for exchanges; nobody else sends by this communicator.
        """
        ...

    def pack(self, index: int) -> None:
        """Copy a gradient to its place in its bucket."""
        ...

    def start(self, number: int, step: int) -> None:
        """Begin to sum a bucket, of which all gradients are packed."""
        ...

    def progress(self) -> bool:
        """Move on what was started; whether all of it is done, and in its gradients."""
        ...

    def finish(self) -> None:
        """Wait until all that was started is done, and in its gradients.

        On a device what the caller queues afterwards waits for it, not the caller.
        """
        ...

    def stop(self) -> None:
        """Leave all further calls to the caller."""
        ...

    def free(self) -> None:
        """Give back what :meth:`connect` made; nothing is under way. All ranks call it."""
        ...

    def abandon(self) -> None:
        """Give up what is under way, because other ranks do not take part any more."""
        ...
