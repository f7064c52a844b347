"""Exchanges of device buffers by an MPI that takes them (CUDA-aware), given to it by their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerbench.collectives import Ranks, mpi_name
from layerbench.cuda.exchange_calls import Waited, check_blocks, check_buffers, check_counts, is_half
from layerbench.device import Run
from layerbench.errors import UnavailableError
from layerbench.layers import DType
from layerbench.records import Collective, Operation


class MPIExchanges:
    """See :class:`layerbench.cuda.exchange_calls.Exchanges`."""

    def __init__(self, ranks: Ranks, cupy: Any, dtype: DType) -> None:
        from mpi4py import MPI

        self._mpi, self._cupy, self._dtype = MPI, cupy, dtype
        self._world, self._rank = ranks.communicator, ranks.rank
        self.library = f"{ranks.library}, of device memory"

    def all_reduce(self, buffer: Any) -> Run:
        check_buffers(self._cupy, buffer)
        world, in_place, add = self._world, self._mpi.IN_PLACE, self._mpi.SUM
        message = [self._memory(buffer), self._number(buffer)]
        return self._waited("MPI_Allreduce", lambda: world.Allreduce(in_place, message, add), buffer)

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        check_buffers(self._cupy, mine, everyone)
        check_counts(counts, self._rank, mine, everyone)
        world, bits = self._world, self._bits(mine)
        sent = [self._memory(mine), bits]
        if len(set(counts)) == 1:
            received = [self._memory(everyone), bits]
            return self._waited("MPI_Allgather", lambda: world.Allgather(sent, received), mine, everyone)
        of_each = [self._memory(everyone), list(counts), bits]
        return self._waited("MPI_Allgatherv", lambda: world.Allgatherv(sent, of_each), mine, everyone)

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        check_buffers(self._cupy, whole, mine)
        check_counts(counts, self._rank, mine, whole)
        world, add, number = self._world, self._mpi.SUM, self._number(whole)
        given = [self._memory(whole), number]
        into = [self._memory(mine), number]
        if len(set(counts)) == 1:
            return self._waited(
                "MPI_Reduce_scatter_block", lambda: world.Reduce_scatter_block(given, into, add), whole, mine
            )
        of_each = list(counts)
        return self._waited("MPI_Reduce_scatter", lambda: world.Reduce_scatter(given, into, of_each, add), whole, mine)

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        check_buffers(self._cupy, buffer)
        world, message = self._world, [self._memory(buffer), self._bits(buffer)]
        return self._waited("MPI_Bcast", lambda: world.Bcast(message, root), buffer)

    def all_to_all_into(self, given: Any, into: Any, ranks: int) -> Run:
        check_buffers(self._cupy, given, into)
        check_blocks(ranks, given, into)
        world, bits = self._world, self._bits(given)
        sent, received = ([self._memory(array), bits] for array in (given, into))
        return self._waited("MPI_Alltoall", lambda: world.Alltoall(sent, received), given, into)

    def send(self, buffer: Any, to: int) -> Run:
        check_buffers(self._cupy, buffer)
        world, message = self._world, [self._memory(buffer), self._bits(buffer)]
        return self._waited("MPI_Send", lambda: world.Send(message, to), buffer)

    def receive(self, buffer: Any, source: int) -> Run:
        check_buffers(self._cupy, buffer)
        world, message = self._world, [self._memory(buffer), self._bits(buffer)]
        return self._waited("MPI_Recv", lambda: world.Recv(message, source), buffer)

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        return f"{mpi_name(operation, even)}, of device memory"

    def check(self) -> None:
        """A call that returns is done."""

    def _waited(self, what: str, exchange: Run, *arrays: Any) -> Run:
        return Waited(self._cupy, f"{what} of device memory", exchange, kept=arrays)

    def _memory(self, array: Any) -> Any:
        """An array's memory as mpi4py takes it, without a look into it at each call."""
        return self._mpi.memory.fromaddress(array.data.ptr, array.nbytes)

    def _bits(self, array: Any) -> Any:
        """MPI's type of unsigned integers as wide as an array's elements, for what is only moved."""
        return getattr(self._mpi, f"UINT{8 * array.dtype.itemsize}_T")

    def _number(self, array: Any) -> Any:
        """MPI's type of an array's elements.

        Raises
        ------
        UnavailableError
            If it cannot add them.
        """
        if not is_half(array, self._dtype):
            found = {"float32": "FLOAT", "float64": "DOUBLE"}.get(array.dtype.name, f"{array.dtype.name.upper()}_T")
            if hasattr(self._mpi, found):
                return getattr(self._mpi, found)
        what = self._dtype if is_half(array, self._dtype) else array.dtype
        raise UnavailableError(f"--collectives mpi: MPI cannot add {what}; use --collectives nccl, or staged")
