"""Gradients in host memory, summed by MPI."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from layerbench.collectives import MPIRanks
from layerbench.datamanager.buckets import Bucket, Packing
from layerbench.errors import MeasurementError, UnavailableError, UsageError
from layerbench.timeline import Timeline

SUMMED_BY_MPI = frozenset("fdgFDGbBhHiIlLqQ")
"""Type codes of NumPy that every MPI can add; half precision is not among them."""


class Sums(Protocol):
    """The sums over ranks of some buffers, in place, each of which can be started again when it is done."""

    def start(self, number: int) -> None:
        """Begin; the next number after the last one's, on all ranks."""
        ...

    def test(self, number: int) -> bool:
        """Move it on; whether it is done."""
        ...

    def wait(self, number: int) -> None:
        """Return when it is done; those before it are."""
        ...

    def free(self) -> None:
        """Give requests and communicators back to MPI."""
        ...


class Allreduce:
    """MPI's blocking all-reduce: done when it has started."""

    def __init__(self, communicator: Any, buffers: Sequence[np.ndarray]) -> None:
        from mpi4py import MPI

        self._in_place, self._add = MPI.IN_PLACE, MPI.SUM
        self._communicator, self._buffers = communicator, buffers

    def start(self, number: int) -> None:
        self._communicator.Allreduce(self._in_place, self._buffers[number], self._add)

    def test(self, number: int) -> bool:
        return True

    def wait(self, number: int) -> None:
        """Nothing to wait for."""

    def free(self) -> None:
        """Nothing is kept."""


class Iallreduce:
    """MPI's non-blocking all-reduce. In which order it adds is MPI's choice, and may depend on the size."""

    def __init__(self, communicator: Any, buffers: Sequence[np.ndarray]) -> None:
        from mpi4py import MPI

        self._in_place, self._add = MPI.IN_PLACE, MPI.SUM
        self._communicator, self._buffers = communicator, buffers
        self._requests: list[Any] = [MPI.REQUEST_NULL] * len(buffers)

    def start(self, number: int) -> None:
        self._requests[number] = self._communicator.Iallreduce(self._in_place, self._buffers[number], self._add)

    def test(self, number: int) -> bool:
        done: bool = self._requests[number].Test()
        return done

    def wait(self, number: int) -> None:
        self._requests[number].Wait()

    def free(self) -> None:
        """A request that is done is freed."""


class Persistent:
    """MPI 4's persistent all-reduce: planned once, started in each step."""

    def __init__(self, communicator: Any, buffers: Sequence[np.ndarray]) -> None:
        from mpi4py import MPI

        self._requests = [communicator.Allreduce_init(MPI.IN_PLACE, buffer, MPI.SUM) for buffer in buffers]

    def start(self, number: int) -> None:
        self._requests[number].Start()

    def test(self, number: int) -> bool:
        done: bool = self._requests[number].Test()
        return done

    def wait(self, number: int) -> None:
        self._requests[number].Wait()

    def free(self) -> None:
        for request in self._requests:
            request.Free()


class Ordered:
    """Sums whose every bit is known: each element is ((g0 + g1) + g2) + ..., the gradients of ranks 0, 1, 2, ...

    They are the same whatever algorithm MPI would choose, and however gradients are packed. Each rank is sent its block
    of everyone's buffer (``Ialltoallv``), adds the blocks up in rank order, and all gather the sums (``Iallgatherv``).
    With p ranks a buffer of n bytes costs each of them n (p - 1) / p bytes sent and as many received in each of the
    two, 2 n (p - 1) / p together, which is what a ring and a recursive halving and doubling need too (Thakur,
    Rabenseifner and Gropp, Optimization of collective communication operations in MPICH, 2005). The blocks of the
    others need memory: n bytes for each buffer. MPI moves bits only, so half precision can be summed.
    """

    def __init__(self, communicator: Any, buffers: Sequence[np.ndarray]) -> None:
        from mpi4py import MPI

        ranks, rank = communicator.Get_size(), communicator.Get_rank()
        self._scatter = communicator
        # A rank gathers when its own sum is ready, which may be before or after others have scattered the next buffer;
        # on one communicator all would have to do so in one order.
        self._gather = communicator.Dup()
        self._turn = 0
        self._scattering: list[Any] = [None] * len(buffers)
        self._gathering: list[Any] = [MPI.REQUEST_NULL] * len(buffers)
        self._blocks: list[list[np.ndarray]] = []
        self._messages: list[tuple[Any, Any, Any]] = []
        for buffer in buffers:
            counts = [len(buffer) // ranks + (other < len(buffer) % ranks) for other in range(ranks)]
            mine = counts[rank]
            received = np.empty(ranks * mine, buffer.dtype)
            received.fill(0)  # the first touch, as in Packing
            whole, everyones = _bits(buffer), _bits(received)
            wide = buffer.itemsize // whole.itemsize
            of_each = [count * wide for count in counts]
            self._blocks.append([received[other * mine : (other + 1) * mine] for other in range(ranks)])
            self._messages.append(
                ([whole, of_each], [everyones, [mine * wide] * ranks], everyones[: mine * wide]),
            )

    def start(self, number: int) -> None:
        whole, everyones, _ = self._messages[number]
        self._scattering[number] = self._scatter.Ialltoallv(whole, everyones)

    def test(self, number: int) -> bool:
        if self._scattering[number] is not None:
            if not self._scattering[number].Test() or self._turn != number:
                return False
            self._add_and_gather(number)
        done: bool = self._gathering[number].Test()
        return done

    def _add_and_gather(self, number: int) -> None:
        total, *others = self._blocks[number]
        for block in others:
            np.add(total, block, out=total)
        whole, _, sums = self._messages[number]
        self._gathering[number] = self._gather.Iallgatherv(sums, whole)
        self._scattering[number] = None
        self._turn = (number + 1) % len(self._blocks)

    def wait(self, number: int) -> None:
        after = number + 1
        while not self.test(number):
            # While this one's sums are under way, the next one's can be added up.
            if after < len(self._blocks) and self._scattering[after] is not None:
                self.test(after)
            os.sched_yield()

    def free(self) -> None:
        self._gather.Free()


def _bits(array: np.ndarray) -> np.ndarray:
    """The same memory as unsigned integers, of the same width if there are such."""
    return array.view(f"u{array.itemsize}" if array.itemsize in (1, 2, 4, 8) else "u1")


SUMS: dict[str, type[Allreduce] | type[Iallreduce] | type[Persistent] | type[Ordered]] = {
    "allreduce": Allreduce,
    "iallreduce": Iallreduce,
    "persistent": Persistent,
    "ordered": Ordered,
}
"""By the names of methods."""


class MPIBackend:
    """Sums gradients in host memory.

    Parameters
    ----------
    method
        A key of :data:`SUMS`.
    gradients, buckets, names
        As :func:`layerbench.datamanager.buckets.flat` returns them; how they are divided; what to call each bucket.
    divisor
        What sums are divided by: 1, or the number of ranks.
    timeline
        Where the time of each exchange goes, if anywhere.

    Raises
    ------
    UsageError
        If gradients of some dtype cannot be summed so.
    UnavailableError
        If this MPI lacks what the method needs.
    """

    def __init__(
        self,
        method: str,
        gradients: Sequence[Any],
        buckets: Sequence[Bucket],
        names: Sequence[str],
        divisor: int,
        timeline: Timeline | None,
    ) -> None:
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                _refuse_dtype(index, gradient.dtype, method)
        if method == "persistent":
            _refuse_old_mpi()
        self._method, self._names, self._divisor, self._timeline = method, names, divisor, timeline
        self._packing = Packing(gradients, buckets, np.empty)
        self._under_way: list[tuple[int, int, int]] = []
        self._sums: Sums

    def connect(self, ranks: MPIRanks, communicator: Any) -> None:
        from mpi4py import MPI

        self._error = MPI.Exception
        self._sums = SUMS[self._method](communicator, self._packing.buffers)

    def pack(self, index: int) -> None:
        self._packing.pack(index)

    def start(self, number: int, step: int) -> None:
        begin = time.perf_counter_ns()
        try:
            self._sums.start(number)
        except self._error as error:
            raise self._failure(number, error) from error
        self._under_way.append((number, step, begin))

    def progress(self) -> bool:
        for under_way in tuple(self._under_way):
            try:
                done = self._sums.test(under_way[0])
            except self._error as error:
                raise self._failure(under_way[0], error) from error
            if done:
                self._complete(*under_way)
        return not self._under_way

    def finish(self) -> None:
        for under_way in tuple(self._under_way):
            try:
                self._sums.wait(under_way[0])
            except self._error as error:
                raise self._failure(under_way[0], error) from error
            self._complete(*under_way)

    def _complete(self, number: int, step: int, begin: int) -> None:
        self._under_way.remove((number, step, begin))
        if self._timeline is not None:
            self._timeline.add("communication", self._names[number], begin, time.perf_counter_ns(), step)
        if self._divisor != 1:
            buffer = self._packing.buffers[number]
            np.divide(buffer, self._divisor, out=buffer)
        self._packing.unpack(number)

    def _failure(self, number: int, error: Exception) -> MeasurementError:
        return MeasurementError(f"the exchange of {self._names[number]} failed: {' '.join(str(error).split())}")

    def stop(self) -> None:
        """All calls are the caller's."""

    def free(self) -> None:
        self._sums.free()

    def abandon(self) -> None:
        """MPI has no way to give up a collective; the memory stays until the end."""


def _refuse_dtype(index: int, dtype: np.dtype[Any], method: str) -> None:
    if method == "ordered":
        if dtype.kind not in "fciu":
            raise UsageError(f"gradient {index}: expected numbers, not {dtype}")
    elif dtype.char not in SUMMED_BY_MPI:
        hint = '; method="ordered" adds it without MPI' if dtype.char == "e" else ""
        raise UsageError(f"gradient {index}: MPI cannot add {dtype}{hint}")


def _refuse_old_mpi() -> None:
    """Persistent collectives are tried, because a library may lack them whatever version it names."""
    from mpi4py import MPI

    try:
        request = MPI.COMM_SELF.Allreduce_init(MPI.IN_PLACE, np.zeros(1), MPI.SUM)
    except (AttributeError, NotImplementedError, MPI.Exception) as error:
        version = ".".join(map(str, MPI.Get_version()))
        raise UnavailableError(
            f'method="persistent" needs persistent collectives, which MPI has from version 4 and this one ({version}) '
            'has not; use method="iallreduce"'
        ) from error
    request.Free()
