"""What all exchanges of gradients have in common: which gradients are ready in a step, its end, and the end of all."""

from __future__ import annotations

import atexit
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from layerbench.collectives import MPIRanks, agreed
from layerbench.datamanager.backend import BLOCKING_METHODS, PROGRESS, Backend
from layerbench.datamanager.buckets import buckets, flat
from layerbench.datamanager.communicator import OwnCommunicator
from layerbench.datamanager.exchange_checks import (
    method_for,
    refuse_differences,
    refuse_no_communicator,
    refuse_unknown,
    refuse_whole_numbers,
)
from layerbench.datamanager.exchange_mpi import MPIBackend
from layerbench.datamanager.exchange_nccl import NCCLBackend
from layerbench.datamanager.exchange_thread import ThreadBackend
from layerbench.errors import UsageError
from layerbench.suite_format import printable, shown
from layerbench.timeline import Timeline


class Exchange(ABC):
    """Steps, in each of which every gradient is ready once and then summed.

    The classes of :mod:`layerbench.datamanager.exchange` say when.

    Attributes
    ----------
    buckets
        What is exchanged together, in the order of the exchanges.
    waited_seconds
        Seconds that the caller has spent in :meth:`wait`. Of gradients on a device it is not what they took, because
        the device waits, not the caller.
    """

    def __init__(
        self,
        gradients: Sequence[Any],
        communicator: Any,
        *,
        bucket_bytes: int,
        first_bytes: int,
        method: str,
        methods: Sequence[str],
        progress: str,
        cores: Iterable[int] | None,
        average: bool,
        timeline: Timeline | None,
    ) -> None:
        refuse_no_communicator(communicator)
        self.waited_seconds = 0.0
        self._step = 0
        self._number_of_gradients = len(gradients)
        self._closed = self._broken = False
        self._backend: Backend | None = None
        self._own: OwnCommunicator | None = None
        divisor = 1
        views: list[Any] = []

        def check() -> str:
            views[:] = flat(gradients)
            self.buckets = buckets(views, bucket_bytes, first_bytes)
            refuse_unknown("progress", progress, PROGRESS)
            if average:
                refuse_whole_numbers(views)
            return method_for(views, method, methods)

        def make() -> None:
            if chosen == "nccl":
                blocking = methods is BLOCKING_METHODS
                self._backend = NCCLBackend(views, self.buckets, self._names(), divisor, timeline, blocking)
                return
            self._backend = MPIBackend(chosen, views, self.buckets, self._names(), divisor, timeline)
            if progress == "thread":
                self._backend = ThreadBackend(self._backend, cores)

        if communicator is None or communicator.Get_size() == 1:
            check()
            self._begin_step()
            return
        own = OwnCommunicator(communicator)
        ranks = MPIRanks(own.communicator)
        divisor = ranks.size if average else 1
        try:
            chosen = agreed(ranks, check)
            options = {"bucket_bytes": bucket_bytes, "first_bytes": first_bytes, "method": method, "average": average}
            refuse_differences(ranks, views, options)
            agreed(ranks, make)
            agreed(ranks, lambda: self._connect(ranks, own.communicator))
        except BaseException:
            if self._backend is not None:
                self._backend.stop()
            own.free()
            raise
        self._own = own
        self._process = os.getpid()
        atexit.register(self._at_exit)
        self._begin_step()

    def _connect(self, ranks: MPIRanks, communicator: Any) -> None:
        assert self._backend is not None
        self._backend.connect(ranks, communicator)

    def _names(self) -> list[str]:
        """What the timeline and messages call each bucket."""
        return [f"bucket {number}" for number in range(len(self.buckets))]

    def _begin_step(self) -> None:
        self._missing = {index for bucket in self.buckets for index in bucket.indices}
        self._begun = False

    def ready(self, index: int) -> None:
        """Say that a gradient is complete. Until :meth:`wait` has returned, leave it alone.

        On a device it is complete when the current stream has done what is queued on it.

        Parameters
        ----------
        index
            Which one. Each is ready once in a step, in any order; of those that are None or empty nothing need be said.

        Raises
        ------
        UsageError
            If there is no such gradient, or it is ready already.
        MeasurementError
            If an exchange failed.
        """
        if index not in self._missing:
            self._refuse_unless_empty(index)
            return
        self._begun = True
        self._missing.discard(index)
        if self._backend is not None:
            try:
                self._is_ready(index, self._backend)
            except BaseException:
                self._broken = True
                raise

    def progress(self) -> None:
        """Move exchanges on; to be called between pieces of computation unless a thread does it. It does not wait.

        Raises
        ------
        MeasurementError
            If an exchange failed.
        """
        if self._backend is not None and self._begun:
            try:
                self._backend.progress()
            except BaseException:
                self._broken = True
                raise

    def wait(self) -> None:
        """End the step: when it returns all gradients hold their sums over ranks, or their mean.

        On a device they do for what the current stream is given from now on.

        Raises
        ------
        UsageError
            If some gradient is not ready. What is missing can still be made ready.
        MeasurementError
            If an exchange failed.
        """
        self._refuse_if_over()
        if self._missing:
            few = ", ".join(str(index) for index in sorted(self._missing, reverse=True)[:8])
            more = ", ..." if len(self._missing) > 8 else ""
            raise UsageError(
                f"wait() before all gradients are ready in step {self._step}: ready() was not called for {few}{more}"
            )
        if self._backend is not None:
            begin = time.perf_counter()
            try:
                self._finish(self._backend)
            except BaseException:
                self._broken = True
                raise
            finally:
                self.waited_seconds += time.perf_counter() - begin
        self._step += 1
        self._begin_step()

    @abstractmethod
    def _is_ready(self, index: int, backend: Backend) -> None:
        """A gradient is complete, for the first time in this step."""

    @abstractmethod
    def _finish(self, backend: Backend) -> None:
        """All gradients are complete: end with all exchanges done."""

    def _refuse_if_over(self) -> None:
        if self._closed or self._broken:
            raise UsageError("the exchange of gradients is " + ("closed" if self._closed else "broken: close it"))

    def _refuse_unless_empty(self, index: int) -> None:
        self._refuse_if_over()
        number = self._number_of_gradients
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < number:
            what = printable(shown(index))
            raise UsageError(f"ready({what}): there is no such gradient; the {number} there are count from 0")
        if any(index in bucket.indices for bucket in self.buckets):
            raise UsageError(f"ready({index}): gradient {index} is ready already in step {self._step}; wait() ends it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._close(orderly=kind is None)

    def close(self) -> None:
        """Let go of memory, thread and communicators; all ranks call it, and it waits for them.

        After a step that is not finished it waits for some seconds only; see
        :mod:`layerbench.datamanager.exchange`.
        """
        self._close(orderly=True)

    def _close(self, orderly: bool) -> None:
        if self._closed:
            return
        self._closed, self._missing = True, set()
        if self._backend is None or self._own is None:
            return
        self._backend.stop()
        if self._own.leave(self._backend.progress, orderly and not self._begun and not self._broken):
            self._backend.free()
            self._own.free()
            atexit.unregister(self._at_exit)
            self._backend = self._own = None
        else:
            # What MPI may still write to stays in memory, for which the exit's own reference to this object cares.
            self._backend.abandon()

    def _at_exit(self) -> None:
        from mpi4py import MPI

        if self._own is None or os.getpid() != self._process or MPI.Is_finalized():
            return
        if not self._closed:
            if not self._begun and not self._broken:
                return  # never closed, but nothing is under way
            self._close(orderly=False)
        if self._own is not None:
            self._own.end()
