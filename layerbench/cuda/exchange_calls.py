"""What an exchange of device buffers is: a call that queues it, or one that waits until it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from layerbench.cuda import library
from layerbench.cuda.nccl import Communicator
from layerbench.device import Run
from layerbench.errors import MeasurementError
from layerbench.layers import DType
from layerbench.records import Collective, Operation

Copies = Sequence[tuple[Any, np.ndarray]]
"""Arrays on the device, each with its place in pinned memory."""


class Exchanges(Protocol):
    """Makes the calls that exchange CuPy arrays; see :class:`layerbench.collectives.Ranks`, whose methods these are."""

    library: str
    """Name and version of what exchanges."""

    def all_reduce(self, buffer: Any) -> Run: ...

    def all_gather_into(self, mine: Any, everyone: Any, counts: Sequence[int]) -> Run: ...

    def reduce_scatter_into(self, whole: Any, mine: Any, counts: Sequence[int]) -> Run: ...

    def broadcast_into(self, buffer: Any, root: int) -> Run: ...

    def all_to_all_into(self, given: Any, into: Any, ranks: int) -> Run: ...

    def send(self, buffer: Any, to: int) -> Run: ...

    def receive(self, buffer: Any, source: int) -> Run: ...

    def operation_name(self, operation: Operation | Collective, even: bool) -> str: ...

    def check(self) -> None:
        """Raise a MeasurementError if an exchange has failed since it was queued."""
        ...


@dataclass(frozen=True, eq=False)
class Queued:
    """An exchange by NCCL: each call queues it on the stream that is then current, which may be a capturing one.

    Attributes
    ----------
    communicator
        Of the ranks.
    what
        What to call it where it fails.
    queue
        Queues it on the stream of this pointer.
    arrays
        What it exchanges; kept, because ``queue`` knows their addresses only.
    """

    communicator: Communicator
    what: str
    queue: Callable[[int], None]
    arrays: tuple[Any, ...]

    def __call__(self) -> None:
        with self.communicator.failures(f"{self.what} failed"):
            self.queue(self.communicator.cupy.cuda.get_current_stream().ptr)


@dataclass(frozen=True, eq=False)
class Waited:
    """An exchange by MPI, which knows no streams: it begins when the current stream is done, and has ended on return.

    Attributes
    ----------
    cupy
        The module.
    what
        What to call it where it fails.
    exchange
        MPI's call.
    there, back
        What is copied to the host before, and to the device after it.
    kept
        Arrays of which ``exchange`` knows the addresses only.
    """

    waits: ClassVar[bool] = True

    cupy: Any
    what: str
    exchange: Run
    there: Copies = ()
    back: Copies = ()
    kept: tuple[Any, ...] = ()

    def __call__(self) -> None:
        from mpi4py import MPI

        with library.refusals(self.what):
            stream = self.cupy.cuda.get_current_stream()
            for array, host in self.there:
                array.get(stream=stream, out=host, blocking=False)
            stream.synchronize()
            try:
                self.exchange()
            except MPI.Exception as error:
                raise MeasurementError(f"{self.what} failed: {' '.join(str(error).split())}") from error
            if self.back:
                for array, host in self.back:
                    array.set(host, stream=stream)
                stream.synchronize()


def check_buffers(cupy: Any, *arrays: Any) -> None:
    """See that arrays are what is exchanged by address: contiguous, on the current device.

    Raises
    ------
    MeasurementError
        If one is not.
    """
    current = cupy.cuda.Device().id
    for array in arrays:
        if not hasattr(array, "__cuda_array_interface__"):
            raise MeasurementError(f"an exchange of device memory was given {type(array).__name__} of the host")
        if not array.flags.c_contiguous:
            raise MeasurementError("an exchange of device memory was given an array that is not contiguous")
        if array.device.id != current:
            raise MeasurementError(f"an exchange on device {current} was given memory of device {array.device.id}")


def check_counts(counts: Sequence[int], rank: int, mine: Any, whole: Any) -> None:
    """See that the blocks of all ranks are the whole, and this rank's fits: else memory of others would be written.

    Raises
    ------
    MeasurementError
        If not.
    """
    if counts[rank] != mine.size or sum(counts) != whole.size or mine.dtype != whole.dtype:
        blocks = "+".join(map(str, counts))
        raise MeasurementError(
            f"an exchange of {blocks} elements was given {mine.size} of {mine.dtype} by rank {rank}, and {whole.size} "
            f"of {whole.dtype} for all"
        )


def check_blocks(ranks: int, given: Any, into: Any) -> None:
    """See that two arrays have equal blocks for all ranks: else memory of others would be written.

    Raises
    ------
    MeasurementError
        If not.
    """
    if given.size % ranks or given.size != into.size or given.dtype != into.dtype:
        raise MeasurementError(
            f"an exchange of equal blocks over {ranks} ranks was given {given.size} elements of {given.dtype}, and "
            f"{into.size} of {into.dtype} to fill"
        )


def is_half(array: Any, dtype: DType) -> bool:
    """Whether an array holds a type of 16 bits that MPI cannot add."""
    return array.dtype == np.float16 or (dtype == "bf16" and array.dtype == np.uint16)
