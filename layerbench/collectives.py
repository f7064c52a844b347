"""What ranks say to each other: over MPI, or nothing where there is one rank."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

from layerbench.device import Run
from layerbench.errors import LaunchError, LayerbenchError, MeasurementError

T = TypeVar("T")


class Ranks(Protocol):
    """The ranks of one launch, seen from one of them."""

    rank: int
    size: int
    library: str
    """Name and version of what connects them."""

    def barrier(self) -> None:
        """Return when every rank has come here."""
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

    def abort(self, reason: str) -> NoReturn:
        """Say why on standard error and end every rank at once."""
        ...


class OneRank:
    """A rank alone; needs no MPI."""

    rank = 0
    size = 1
    library = "none"

    def barrier(self) -> None:
        """Nobody to wait for."""

    def broadcast(self, value: T) -> T:
        return value

    def gather(self, value: T) -> list[T]:
        return [value]

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def all_reduce(self, buffer: Any) -> Run:
        return lambda: None

    def abort(self, reason: str) -> NoReturn:
        raise SystemExit(f"layerbench: {reason}")


class MPIRanks:
    """The ranks of ``MPI.COMM_WORLD``."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise LaunchError(f"MPI cannot be loaded: {error}") from error
        self._mpi = MPI
        self._world = MPI.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self.library = " ".join(MPI.Get_library_version().split("\n")[0].split()).rstrip("\0 ")

    def barrier(self) -> None:
        self._world.Barrier()

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

    def abort(self, reason: str) -> NoReturn:
        print(f"layerbench: rank {self.rank}: {reason}", file=sys.stderr, flush=True)
        self._world.Abort(1)
        raise SystemExit(1)


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
