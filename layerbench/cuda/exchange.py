"""Ranks that exchange buffers in the memory of GPUs: by NCCL, by an MPI that takes them, or through pinned memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from layerbench.collectives import Ranks, agreed
from layerbench.cuda import aware, library, nccl
from layerbench.cuda.exchange_calls import Exchanges
from layerbench.cuda.exchange_mpi import MPIExchanges
from layerbench.cuda.exchange_nccl import NCCLExchanges
from layerbench.cuda.exchange_staged import StagedExchanges
from layerbench.device import Run
from layerbench.errors import LayerbenchError, UnavailableError, UsageError
from layerbench.layers import DType
from layerbench.records import Collective, Operation

T = TypeVar("T")

METHODS = ("auto", "nccl", "mpi", "staged")
"""Of exchange, as ``--collectives`` has them."""


class ConnectedRanks:
    """Ranks whose exchanges take one-dimensional CuPy arrays on the current device; all else is said over MPI.

    Attributes
    ----------
    unconnected
        The ranks of MPI, whose exchanges take buffers of the host.
    library
        What exchanges, and what connects the ranks.
    why
        Why ``auto`` did not take what is usually quickest; empty where it did, or nothing was left to it.
    """

    def __init__(self, ranks: Ranks, exchanges: Exchanges, collectives: str, dtype: DType, why: str = "") -> None:
        self.unconnected, self.why = ranks, why
        self.rank, self.size, self.communicator = ranks.rank, ranks.size, ranks.communicator
        self._exchanges, self._collectives, self._dtype = exchanges, collectives, dtype
        told = exchanges.library
        self.library = told if ranks.library in told else f"{told}; {ranks.library}"

    def barrier(self) -> None:
        self._exchanges.check()
        self.unconnected.barrier()

    def rest(self) -> None:
        self._exchanges.check()
        self.unconnected.rest()

    def broadcast(self, value: T) -> T:
        return self.unconnected.broadcast(value)

    def gather(self, value: T) -> list[T]:
        return self.unconnected.gather(value)

    def all_gather(self, value: T) -> list[T]:
        return self.unconnected.all_gather(value)

    def all_reduce(self, buffer: Any) -> Run:
        return self._exchanges.all_reduce(buffer)

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run:
        return self._exchanges.all_gather_into(mine, everyone, counts)

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run:
        return self._exchanges.reduce_scatter_into(whole, mine, counts)

    def broadcast_into(self, buffer: Any, root: int) -> Run:
        return self._exchanges.broadcast_into(buffer, root)

    def all_to_all_into(self, given: Any, into: Any) -> Run:
        return self._exchanges.all_to_all_into(given, into, self.size)

    def send(self, buffer: Any, to: int) -> Run:
        return self._exchanges.send(buffer, to)

    def receive(self, buffer: Any, source: int) -> Run:
        return self._exchanges.receive(buffer, source)

    def operation_name(self, operation: Operation | Collective, even: bool) -> str:
        return self._exchanges.operation_name(operation, even)

    def first(self, count: int) -> Ranks | None:
        part = self.unconnected.first(count)
        return None if part is None else connected(part, self._collectives, self._dtype)

    def abort(self, reason: str) -> NoReturn:
        self.unconnected.abort(reason)


def connected(ranks: Ranks, collectives: str, dtype: DType) -> Ranks:
    """Ranks whose exchanges take CuPy arrays; a rank alone stays as it is. Every rank has to ask.

    Parameters
    ----------
    ranks
        Of MPI.
    collectives
        One of :data:`METHODS`. ``auto`` is NCCL where it can connect the ranks, else an MPI that is known to take
        device memory and can add the dtype, else by way of pinned memory.
    dtype
        Of what is in the buffers: ``bf16`` is in ``uint16`` arrays.

    Raises
    ------
    UsageError
        If there is no such method, or ranks share a GPU, which NCCL refuses.
    UnavailableError
        If NCCL or CuPy is missing, or MPI is known not to take device memory.
    MeasurementError
        If connecting failed, on this rank or another.
    """
    if collectives not in METHODS:
        raise UsageError(f"--collectives {collectives}: unknown; known are {', '.join(METHODS)}")
    if ranks.size == 1:
        return ranks
    if isinstance(ranks, ConnectedRanks):
        ranks = ranks.unconnected
    cupy = agreed(ranks, library.load)
    if collectives == "auto":
        return _auto(ranks, cupy, dtype)
    if collectives == "nccl":
        return ConnectedRanks(ranks, _by_nccl(ranks, dtype), collectives, dtype)
    if collectives == "mpi":
        agreed(ranks, _refuse_unaware)
        return ConnectedRanks(ranks, MPIExchanges(ranks, cupy, dtype), collectives, dtype)
    return ConnectedRanks(ranks, StagedExchanges(ranks, cupy, dtype), collectives, dtype)


def _by_nccl(ranks: Ranks, dtype: DType) -> NCCLExchanges:
    return NCCLExchanges(nccl.communicator(ranks), ranks.rank, dtype)


_without_nccl: dict[int, str] = {}
"""Why the ranks of an MPI communicator cannot be connected: they are not tried again for each layer."""


def _auto(ranks: Ranks, cupy: Any, dtype: DType) -> Ranks:
    key = ranks.communicator.handle
    if key not in _without_nccl:
        try:
            return ConnectedRanks(ranks, _by_nccl(ranks, dtype), "auto", dtype)
        except LayerbenchError as error:  # on every rank
            _without_nccl[key] = str(error)
    why = _without_nccl[key]
    adds = dtype not in {"fp16", "bf16"}
    found = all(ranks.all_gather(aware.awareness().aware is True))
    exchanges = MPIExchanges(ranks, cupy, dtype) if found and adds else StagedExchanges(ranks, cupy, dtype)
    return ConnectedRanks(ranks, exchanges, "auto", dtype, why)


def _refuse_unaware() -> None:
    """Raise an UnavailableError if it is known that MPI takes no device memory."""
    told = aware.awareness()
    if told.aware is False:
        raise UnavailableError(
            f"--collectives mpi: this MPI takes no memory of a GPU ({told.why}); use --collectives nccl, or staged"
        )
