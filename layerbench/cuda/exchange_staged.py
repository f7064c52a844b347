"""Exchanges of device buffers by any MPI, through pinned memory of the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerbench.collectives import Ranks, mpi_name
from layerbench.cuda import library
from layerbench.cuda.exchange_calls import Waited, check_blocks, check_buffers, check_counts, is_half
from layerbench.cuda.halves import HalfSum, even_counts
from layerbench.device import Run
from layerbench.layers import DType
from layerbench.records import Collective, Operation
from layerbench.units import size


class StagedExchanges:
    """See :class:`layerbench.cuda.exchange_calls.Exchanges`.

    Pinned memory is allocated when a call is made, and belongs to it: as much as the arrays that it exchanges.
    """

    def __init__(self, ranks: Ranks, cupy: Any, dtype: DType) -> None:
        self._ranks, self._cupy, self._dtype = ranks, cupy, dtype
        self.library = ranks.library

    def all_reduce(self, buffer: Any) -> Run:
        check_buffers(self._cupy, buffer)
        host = self._pinned(buffer)
        copies = ((buffer, host),)
        if not is_half(buffer, self._dtype):
            return self._waited("MPI_Allreduce", self._ranks.all_reduce(host), copies, copies)
        of_halves = self._half_sum(host, even_counts(host.size, self._ranks.size))

        def exchange() -> None:
            of_halves.add()
            of_halves.gather()

        return self._waited("the sum of halves by MPI_Alltoallv and MPI_Allgatherv", exchange, copies, copies)

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        check_buffers(self._cupy, mine, everyone)
        check_counts(counts, self._ranks.rank, mine, everyone)
        sent, received = self._pinned(mine), self._pinned(everyone)
        exchange = self._ranks.all_gather_into(sent, received, counts)
        return self._waited(
            mpi_name("all_gather", len(set(counts)) == 1), exchange, ((mine, sent),), ((everyone, received),)
        )

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        check_buffers(self._cupy, whole, mine)
        check_counts(counts, self._ranks.rank, mine, whole)
        given = self._pinned(whole)
        if is_half(whole, self._dtype):
            of_halves = self._half_sum(given, counts)
            into = self._pinned(mine)
            bits = into.view(np.uint16)

            def exchange() -> None:
                of_halves.add()
                np.copyto(bits, of_halves.sums)

            return self._waited("the sum of halves by MPI_Alltoallv", exchange, ((whole, given),), ((mine, into),))
        into = self._pinned(mine)
        run = self._ranks.reduce_scatter_into(given, into, counts)
        return self._waited(mpi_name("reduce_scatter", len(set(counts)) == 1), run, ((whole, given),), ((mine, into),))

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        check_buffers(self._cupy, buffer)
        host = self._pinned(buffer)
        copies = ((buffer, host),)
        there, back = (copies, ()) if self._ranks.rank == root else ((), copies)
        return self._waited("MPI_Bcast", self._ranks.broadcast_into(host, root), there, back)

    def all_to_all_into(self, given: Any, into: Any, ranks: int) -> Run:
        check_buffers(self._cupy, given, into)
        check_blocks(ranks, given, into)
        sent, received = self._pinned(given), self._pinned(into)
        run = self._ranks.all_to_all_into(sent, received)
        return self._waited("MPI_Alltoall", run, ((given, sent),), ((into, received),))

    def send(self, buffer: Any, to: int) -> Run:
        check_buffers(self._cupy, buffer)
        host = self._pinned(buffer)
        return self._waited("MPI_Send", self._ranks.send(host, to), ((buffer, host),), ())

    def receive(self, buffer: Any, source: int) -> Run:
        check_buffers(self._cupy, buffer)
        host = self._pinned(buffer)
        return self._waited("MPI_Recv", self._ranks.receive(host, source), (), ((buffer, host),))

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        name = mpi_name(operation, even)
        if self._dtype in {"fp16", "bf16"}:
            of_halves = {
                "all_reduce": f"MPI_Alltoallv and MPI_Allgatherv of {self._dtype}, added in fp32",
                "reduce_scatter": f"MPI_Alltoallv of {self._dtype}, added in fp32",
            }
            name = of_halves.get(operation, name)
        return f"{name}, staged through pinned memory"

    def check(self) -> None:
        """A call that returns is done."""

    def _half_sum(self, host: np.ndarray, counts: Sequence[int]) -> HalfSum:
        held: DType = "bf16" if host.dtype == np.uint16 else "fp16"
        return HalfSum(self._ranks.communicator, host, held, counts)

    def _waited(self, what: str, exchange: Run, there: Any, back: Any) -> Run:
        return Waited(self._cupy, f"{what}, staged", exchange, there, back)

    def _pinned(self, array: Any) -> np.ndarray:
        """Pinned memory for an array, of its shape and dtype, and touched.

        Raises
        ------
        OutOfMemoryError
            If there is too little.
        """
        with library.refusals(f"{size(array.nbytes)} of pinned memory for exchanges"):
            memory = self._cupy.cuda.alloc_pinned_memory(max(1, array.nbytes))
        host: np.ndarray = np.frombuffer(memory, array.dtype, array.size)
        host.fill(0)
        return host
