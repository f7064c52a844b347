"""Gradients summed over ranks: in buckets while earlier layers are still computed, or one by one afterwards.

::

    with GradientExchange(gradients, MPI.COMM_WORLD) as exchange:
        for batch in batches:
            for index in reversed(range(len(layers))):
                backward(index, batch)           # writes gradients[index]
                exchange.ready(index)
            exchange.wait()                      # gradients hold their sums over ranks
            update(gradients)

A process that leaves the block by an exception within a step cannot take back what it has started, and the other ranks
wait for what it has not. It gives them :data:`layerbench.datamanager.communicator.PATIENCE` seconds to leave too. If
they do not, the exception goes on its way, and at the end of the process all ranks are ended by ``MPI_Abort``: MPI
could not end in order. Whoever wants them to end at once, or with words of his own, aborts himself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from layerbench.datamanager.backend import BLOCKING_METHODS, METHODS, Backend
from layerbench.datamanager.buckets import BUCKET_BYTES, FIRST_BYTES
from layerbench.datamanager.exchange_step import Exchange
from layerbench.timeline import Timeline


class GradientExchange(Exchange):
    """Sums gradients over ranks in buckets, while others are still computed.

    A bucket's exchange starts when its last gradient is ready and those before it have started: all ranks start them in
    one order, whatever the order in which gradients become ready.

    All ranks make one, with gradients of the same sizes and the same options. It is a context manager; calls come from
    one thread. With one rank nothing is exchanged and nothing allocated.

    Parameters
    ----------
    gradients
        An array for each layer or parameter in the order of the forward pass: of NumPy or of CuPy, contiguous. They
        are replaced by their sums where they are. None and empty ones are allowed.
    communicator
        Of mpi4py. It is duplicated, so that other messages cannot meet these. None for a rank alone.
    bucket_bytes, first_bytes
        See :func:`layerbench.datamanager.buckets.buckets`. Buckets of several gradients need their bytes once more.
    method
        ``iallreduce``
            MPI's non-blocking all-reduce.
        ``persistent``
            The same, planned once and started in each step; needs MPI 4.
        ``ordered``
            Added in the order of ranks, so that all bits are known; see
            :class:`layerbench.datamanager.exchange_mpi.Ordered`. Needs memory for all gradients once more.
        ``nccl``
            For gradients on a device; see :class:`layerbench.datamanager.exchange_nccl.NCCLBackend`.
        ``auto``
            ``nccl`` for those, ``iallreduce`` for others.

        MPI cannot add half precision: such gradients on the host need ``ordered``.
    progress
        What moves exchanges on while the caller computes, for without help MPI does little between its own calls:
        ``calls`` of :meth:`ready` and :meth:`progress`, or a ``thread``, which needs ``MPI_THREAD_MULTIPLE`` and makes
        all calls of exchanges itself. NCCL needs neither.
    cores
        Which cores the thread may use, if there is one; None for the caller's.
    average
        Divide sums by the number of ranks.
    timeline
        Is given a span for each bucket: lane ``communication``, from the start to when it was seen to be done. Buckets
        that are under way at once overlap.

    Raises
    ------
    UsageError
        If a gradient or an option is wrong, or differs between ranks.
    UnavailableError
        If what was asked for is missing here.
    """

    def __init__(
        self,
        gradients: Sequence[Any],
        communicator: Any,
        *,
        bucket_bytes: int = BUCKET_BYTES,
        first_bytes: int = FIRST_BYTES,
        method: str = "auto",
        progress: str = "calls",
        cores: Iterable[int] | None = None,
        average: bool = False,
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(
            gradients,
            communicator,
            bucket_bytes=bucket_bytes,
            first_bytes=first_bytes,
            method=method,
            methods=METHODS,
            progress=progress,
            cores=cores,
            average=average,
            timeline=timeline,
        )
        self._bucket_of = {index: number for number, bucket in enumerate(self.buckets) for index in bucket.indices}

    def _begin_step(self) -> None:
        super()._begin_step()
        self._left = [len(bucket.indices) for bucket in self.buckets]
        self._next = 0

    def _is_ready(self, index: int, backend: Backend) -> None:
        number = self._bucket_of[index]
        if self.buckets[number].packed:
            backend.pack(index)
        self._left[number] -= 1
        while self._next < len(self._left) and not self._left[self._next]:
            backend.start(self._next, self._step)
            self._next += 1
        backend.progress()

    def _finish(self, backend: Backend) -> None:
        backend.finish()


class BlockingExchange(Exchange):
    """Sums gradients over ranks one by one, the last one first, when all of them are computed: nothing overlaps.

    It is used like :class:`GradientExchange`, but all that is done is done in :meth:`wait`.

    Parameters
    ----------
    gradients, communicator, average, timeline
        As there.
    method
        ``allreduce``, MPI's blocking one; ``ordered`` and ``nccl`` as there, waited for at once; ``auto`` is ``nccl``
        for gradients on a device and ``allreduce`` for others.

    Raises
    ------
    UsageError, UnavailableError
        As there.
    """

    def __init__(
        self,
        gradients: Sequence[Any],
        communicator: Any,
        *,
        method: str = "auto",
        average: bool = False,
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(
            gradients,
            communicator,
            bucket_bytes=1,
            first_bytes=1,
            method=method,
            methods=BLOCKING_METHODS,
            progress="calls",
            cores=None,
            average=average,
            timeline=timeline,
        )

    def _names(self) -> list[str]:
        return [f"gradient {bucket.indices[0]}" for bucket in self.buckets]

    def _is_ready(self, index: int, backend: Backend) -> None:
        """Nothing is done before :meth:`wait`."""

    def _finish(self, backend: Backend) -> None:
        for number in range(len(self.buckets)):
            backend.start(number, self._step)
            backend.finish()


def exchange_each(
    gradients: Sequence[Any],
    communicator: Any,
    *,
    method: str = "auto",
    average: bool = False,
    timeline: Timeline | None = None,
) -> None:
    """Sum gradients over ranks one by one, once; a loop had better keep a :class:`BlockingExchange`."""
    with BlockingExchange(gradients, communicator, method=method, average=average, timeline=timeline) as exchange:
        for bucket in exchange.buckets:
            exchange.ready(bucket.indices[0])
        exchange.wait()
