"""Exchanges of device buffers by NCCL, queued on CuPy's current stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from layerbench.cuda import nccl
from layerbench.cuda.exchange_calls import Queued, check_blocks, check_buffers, check_counts
from layerbench.device import Run
from layerbench.errors import UnavailableError
from layerbench.layers import DType
from layerbench.records import Collective, Operation

_NAMES: dict[Operation | Collective, tuple[str, str]] = {
    "point_to_point": ("ncclSend and ncclRecv",) * 2,
    "all_reduce": ("ncclAllReduce in place",) * 2,
    "all_gather": ("ncclAllGather", "ncclBroadcast of each rank's, grouped"),
    "reduce_scatter": ("ncclReduceScatter", "ncclReduce to each rank, grouped"),
    "broadcast": ("ncclBroadcast in place",) * 2,
    "all_to_all": ("ncclSend and ncclRecv, grouped",) * 2,
}
"""Of equal blocks, and of others: NCCL has no calls for these."""


class NCCLExchanges:
    """See :class:`layerbench.cuda.exchange_calls.Exchanges`.

    What is only moved is moved as bytes, so any dtype can be.

    Parameters
    ----------
    communicator
        Of the ranks.
    rank
        This one's number.
    dtype
        What ``uint16`` arrays hold.
    """

    def __init__(self, communicator: nccl.Communicator, rank: int, dtype: DType) -> None:
        self._communicator, self._rank, self._dtype = communicator, rank, dtype
        self._nccl, self._handle = communicator.nccl, communicator.handle
        self.library = nccl.version(communicator.nccl)

    def all_reduce(self, buffer: Any) -> Run:
        handle, kind, add = self._handle, self._type(buffer), self._nccl.NCCL_SUM
        check_buffers(self._communicator.cupy, buffer)
        pointer, size = buffer.data.ptr, buffer.size
        return self._queued(
            "ncclAllReduce", buffer, lambda stream: handle.allReduce(pointer, pointer, size, kind, add, stream)
        )

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        check_buffers(self._communicator.cupy, mine, everyone)
        check_counts(counts, self._rank, mine, everyone)
        handle, kind, width = self._handle, self._nccl.NCCL_UINT8, mine.dtype.itemsize
        sent, received = mine.data.ptr, everyone.data.ptr
        if len(set(counts)) == 1:
            nbytes = mine.nbytes
            return self._queued(
                "ncclAllGather", everyone, lambda stream: handle.allGather(sent, received, nbytes, kind, stream), mine
            )
        blocks = [
            (root, sent if root == self._rank else received + start * width, received + start * width, count * width)
            for root, (start, count) in enumerate(_blocks(counts))
            if count
        ]

        def queue(stream: int) -> None:
            for root, of_root, into, nbytes in blocks:
                handle.broadcast(of_root, into, nbytes, kind, root, stream)

        return self._queued("a group of ncclBroadcast", everyone, self._grouped(queue), mine)

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        handle, kind, add, width = self._handle, self._type(whole), self._nccl.NCCL_SUM, whole.dtype.itemsize
        check_buffers(self._communicator.cupy, whole, mine)
        check_counts(counts, self._rank, mine, whole)
        given, into, size = whole.data.ptr, mine.data.ptr, mine.size
        if len(set(counts)) == 1:
            return self._queued(
                "ncclReduceScatter",
                whole,
                lambda stream: handle.reduceScatter(given, into, size, kind, add, stream),
                mine,
            )
        blocks = [(root, given + start * width, count) for root, (start, count) in enumerate(_blocks(counts)) if count]

        def queue(stream: int) -> None:
            for root, block, count in blocks:
                # Only the root's is written to, but an address is expected of all; an empty array has none.
                handle.reduce(block, into or block, count, kind, add, root, stream)

        return self._queued("a group of ncclReduce", whole, self._grouped(queue), mine)

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        handle, kind = self._handle, self._nccl.NCCL_UINT8
        check_buffers(self._communicator.cupy, buffer)
        pointer, nbytes = buffer.data.ptr, buffer.nbytes
        return self._queued(
            "ncclBroadcast", buffer, lambda stream: handle.broadcast(pointer, pointer, nbytes, kind, root, stream)
        )

    def all_to_all_into(self, given: Any, into: Any, ranks: int) -> Run:
        handle, kind = self._handle, self._nccl.NCCL_UINT8
        check_buffers(self._communicator.cupy, given, into)
        check_blocks(ranks, given, into)
        block = given.nbytes // ranks
        blocks = [(rank, given.data.ptr + rank * block, into.data.ptr + rank * block) for rank in range(ranks)]

        def queue(stream: int) -> None:
            for rank, sent, received in blocks:
                handle.send(sent, block, kind, rank, stream)
                handle.recv(received, block, kind, rank, stream)

        return self._queued("a group of ncclSend and ncclRecv", given, self._grouped(queue), into)

    def send(self, buffer: Any, to: int) -> Run:
        handle, kind = self._handle, self._nccl.NCCL_UINT8
        check_buffers(self._communicator.cupy, buffer)
        pointer, nbytes = buffer.data.ptr, buffer.nbytes
        return self._queued("ncclSend", buffer, lambda stream: handle.send(pointer, nbytes, kind, to, stream))

    def receive(self, buffer: Any, source: int) -> Run:
        handle, kind = self._handle, self._nccl.NCCL_UINT8
        check_buffers(self._communicator.cupy, buffer)
        pointer, nbytes = buffer.data.ptr, buffer.nbytes
        return self._queued("ncclRecv", buffer, lambda stream: handle.recv(pointer, nbytes, kind, source, stream))

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        of_even, of_uneven = _NAMES[operation]
        return of_even if even else of_uneven

    def check(self) -> None:
        self._communicator.check()

    def _type(self, array: Any) -> int:
        """What NCCL calls the elements of an array that is added up.

        Raises
        ------
        UnavailableError
            If it cannot add them.
        """
        found = nccl.type_of(self._nccl, array.dtype, self._dtype)
        if found is None:
            raise UnavailableError(f"--collectives nccl: NCCL cannot add {array.dtype}; use --collectives staged")
        return found

    def _queued(self, what: str, whole: Any, queue: Callable[[int], None], other: Any = None) -> Run:
        """The call; it keeps the arrays, whose addresses it knows, and does nothing where all are empty."""
        if whole.size == 0:
            return _nothing
        kept = (whole, other)
        return Queued(self._communicator, what, queue, kept)

    def _grouped(self, queue: Callable[[int], None]) -> Callable[[int], None]:
        """Several calls as one, so that none of them waits for the one before it."""
        start, end = self._nccl.groupStart, self._nccl.groupEnd

        def run(stream: int) -> None:
            start()
            try:
                queue(stream)
            finally:
                # Also after a failure: else all calls that follow would belong to the group.
                end()

        return run


def _nothing() -> None:
    """An exchange of no elements, on all ranks alike."""


def _blocks(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Where each rank's block starts, and how many elements it has."""
    return list(zip(accumulate(counts, initial=0), counts, strict=False))
