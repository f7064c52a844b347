"""What ranks say to each other: over MPI, or nothing where there is one rank."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from layerbench.device import Run
from layerbench.errors import LaunchError, LayerbenchError, MeasurementError
from layerbench.records import Collective, Operation

T = TypeVar("T")

NAP = 1e-3
"""Seconds between two looks of a rank that rests."""

HEARD = 0.5
"""Seconds between a rank's last words and the end of all: a launcher drops what it has not passed on by then."""


class Ranks(Protocol):
    """The ranks of one launch, seen from one of them."""

    rank: int
    size: int
    library: str
    """Name and version of what connects them."""
    communicator: Any
    """What connects them, as mpi4py has it; None where nothing does."""

    def barrier(self) -> None:
        """Return when every rank has come here."""
        ...

    def rest(self) -> None:
        """Return when every rank has come here; until then sleep, so that the cores are left to the others."""
        ...

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        ...

    def gather(self, value: T) -> list[T]:
        """Every rank's value in rank order, on rank 0; an empty list elsewhere."""
        ...

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value in rank order, on every rank."""
        ...

    def all_reduce(self, buffer: Any) -> Run:
        """A call that replaces ``buffer`` by its sum over ranks, in place."""
        ...

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        """A call that fills ``everyone``, one-dimensional, with each rank's ``mine`` one after another.

        Parameters
        ----------
        mine, everyone
            Contiguous arrays of one dtype that share no memory.
        counts
            Elements of each rank; they may differ, and be 0.
        """
        ...

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        """A call that fills ``mine`` with this rank's block of the sum over ranks of ``whole``, one-dimensional.

        Parameters
        ----------
        whole, mine
            Contiguous arrays of one dtype that share no memory.
        counts
            Elements of each rank's block; they may differ, and be 0.
        """
        ...

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        """A call that replaces ``buffer``, contiguous and as long on every rank, by that of ``root``, in place."""
        ...

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        """A call that fills block i of ``into`` with this rank's block of rank i's ``given``.

        Parameters
        ----------
        given, into
            Contiguous one-dimensional arrays of one dtype and length that share no memory: a block for each rank, all
            equally long.
        """
        ...

    def send(self, buffer: Any, to: int) -> Run:
        """A call that sends ``buffer`` to another rank, which must receive it."""
        ...

    def receive(self, buffer: Any, source: int) -> Run:
        """A call that fills ``buffer`` with what another rank sends."""
        ...

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        """What does an exchange, as the library calls it and it is recorded.

        Parameters
        ----------
        even
            Whether all ranks have equally many elements.
        """
        ...

    def first(self, count: int) -> Ranks | None:
        """The first ``count`` ranks as a world of their own; None on all others. Every rank has to ask."""
        ...

    def abort(self, reason: str) -> NoReturn:
        """Say why on standard error and end every rank at once."""
        ...


def mpi_name(operation: Operation | Collective, even: bool) -> str:
    """What MPI calls an exchange.

    Parameters
    ----------
    even
        Whether all ranks have equally many elements.
    """
    names: dict[Operation | Collective, tuple[str, str]] = {
        "point_to_point": ("MPI_Send and MPI_Recv",) * 2,
        "all_reduce": ("MPI_Allreduce in place",) * 2,
        "all_gather": ("MPI_Allgather", "MPI_Allgatherv"),
        "reduce_scatter": ("MPI_Reduce_scatter_block", "MPI_Reduce_scatter"),
        "broadcast": ("MPI_Bcast",) * 2,
        "all_to_all": ("MPI_Alltoall",) * 2,
    }
    of_even, of_uneven = names[operation]
    return of_even if even else of_uneven


class OneRank:
    """A rank alone; needs no MPI."""

    rank = 0
    size = 1
    library = "none"
    communicator: Any = None

    def barrier(self) -> None:
        """Nobody to wait for."""

    def rest(self) -> None:
        """Nobody to wait for."""

    def broadcast(self, value: T) -> T:
        return value

    def gather(self, value: T) -> list[T]:
        return [value]

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def all_reduce(self, buffer: Any) -> Run:
        return lambda: None

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        def run() -> None:
            everyone[:] = mine

        return run

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        def run() -> None:
            mine[:] = whole

        return run

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        return lambda: None

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        def run() -> None:
            into[:] = given

        return run

    def send(self, buffer: Any, to: int) -> Run:
        raise MeasurementError("a rank alone has nobody to send to")

    def receive(self, buffer: Any, source: int) -> Run:
        raise MeasurementError("a rank alone has nobody to receive from")

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        return mpi_name(operation, even)

    def first(self, count: int) -> Ranks | None:
        return self

    def abort(self, reason: str) -> NoReturn:
        raise SystemExit(f"layerbench: {reason}")


class MPIRanks:
    """The ranks of ``MPI.COMM_WORLD``, or of another communicator of mpi4py."""

    def __init__(self, communicator: Any = None) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise LaunchError(f"MPI cannot be loaded: {error}") from error
        self._mpi = MPI
        self._world = MPI.COMM_WORLD if communicator is None else communicator
        self.communicator: Any = self._world
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self.library = " ".join(MPI.Get_library_version().split("\n")[0].split()).rstrip("\0 ")

    def barrier(self) -> None:
        self._world.Barrier()

    def rest(self) -> None:
        # A barrier of MPI asks for the others without pause.
        arrived = self._world.Ibarrier()
        while not arrived.Test():
            time.sleep(NAP)

    def broadcast(self, value: T) -> T:
        received: T = self._world.bcast(value)
        return received

    def gather(self, value: T) -> list[T]:
        return self._world.gather(value) or []

    def all_gather(self, value: T) -> list[T]:
        received: list[T] = self._world.allgather(value)
        return received

    def all_reduce(self, buffer: Any) -> Run:
        world, in_place, add = self._world, self._mpi.IN_PLACE, self._mpi.SUM

        def run() -> None:
            world.Allreduce(in_place, buffer, add)

        return run

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        world = self._world
        # Gathered as bits, because MPI knows no half precision.
        sent, received = (_bits(array) for array in (mine, everyone))
        if len(set(counts)) == 1:
            return lambda: world.Allgather(sent, received)
        message = [received, list(counts)]
        return lambda: world.Allgatherv(sent, message)

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        world, add = self._world, self._mpi.SUM
        if len(set(counts)) == 1:
            return lambda: world.Reduce_scatter_block(whole, mine, add)
        of_each = list(counts)
        return lambda: world.Reduce_scatter(whole, mine, of_each, add)

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        world, bits = self._world, _bits(buffer)
        return lambda: world.Bcast(bits, root)

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        world = self._world
        sent, received = (_bits(array) for array in (given, into))
        return lambda: world.Alltoall(sent, received)

    def send(self, buffer: Any, to: int) -> Run:
        world, bits = self._world, _bits(buffer)
        return lambda: world.Send(bits, to)

    def receive(self, buffer: Any, source: int) -> Run:
        world, bits = self._world, _bits(buffer)
        return lambda: world.Recv(bits, source)

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        return mpi_name(operation, even)

    def first(self, count: int) -> Ranks | None:
        inside = self.rank < count
        part = self._world.Split(0 if inside else self._mpi.UNDEFINED, self.rank)
        return MPIRanks(part) if inside else None

    def abort(self, reason: str) -> NoReturn:
        print(f"layerbench: rank {self.rank}: {reason}", file=sys.stderr, flush=True)
        time.sleep(HEARD)
        self._mpi.COMM_WORLD.Abort(1)
        raise SystemExit(1)


def _bits(array: Any) -> Any:
    """The same memory as unsigned integers of the same width."""
    return array.view(f"u{array.itemsize}")


def agreed(ranks: Ranks, action: Callable[[], T]) -> T:
    """Do something on every rank; if it fails on any, fail on all.

    Without this, a rank that meets an error leaves the others waiting for it in the next collective call.

    Raises
    ------
    LayerbenchError
        This rank's own error, or a MeasurementError that names the first rank that failed.
    """
    result: T | None = None
    own: LayerbenchError | None = None
    try:
        result = action()
    except LayerbenchError as error:
        own = error
    except MemoryError as error:
        own = MeasurementError(f"out of memory ({error})" if str(error) else "out of memory")
    complaints = ranks.all_gather(None if own is None else str(own))
    if own is not None:
        raise own
    for rank, complaint in enumerate(complaints):
        if complaint is not None:
            raise MeasurementError(f"rank {rank}: {complaint}")
    return result  # type: ignore[return-value]  # None only where T is None


def on_rank_0(ranks: Ranks, action: Callable[[], T]) -> T:
    """What rank 0 finds, on every rank, while the others leave the machine to it.

    Raises
    ------
    LayerbenchError
        On every rank, if rank 0 fails.
    """
    found = ranks.broadcast(agreed(ranks, lambda: action() if ranks.rank == 0 else None))
    assert found is not None
    return found
