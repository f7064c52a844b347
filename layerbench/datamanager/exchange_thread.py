"""A thread that starts exchanges and moves them on, while the thread that computes does not call MPI."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

from layerbench.collectives import MPIRanks
from layerbench.datamanager.backend import Backend
from layerbench.errors import LayerbenchError, MeasurementError, UnavailableError, UsageError
from layerbench.suite_format import printable, shown

SHORTEST = 50e-6
"""Seconds that the thread sleeps between two looks after something has happened."""

LONGEST = 500e-6
"""Seconds to which that doubles, so that the thread takes little from a core that others compute on."""

STOPPING = 2.0
"""Seconds that the thread has to leave; each of its calls takes microseconds."""


class ThreadBackend:
    """Another backend, all of whose calls after :meth:`connect` are made by a thread.

    While the caller computes, the thread looks after exchanges now and then; while he waits in :meth:`finish`, without
    pause.

    Parameters
    ----------
    backend
        Sums gradients in host memory.
    cores
        Which the thread may use; None for those of the caller.

    Raises
    ------
    UnavailableError
        If MPI was not started such that several threads may call it.
    UsageError
        If the cores cannot be used.
    """

    def __init__(self, backend: Backend, cores: Iterable[int] | None) -> None:
        from mpi4py import MPI

        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise UnavailableError(
                'progress="thread" needs an MPI that several threads may call (MPI_THREAD_MULTIPLE), and it was '
                'started without; set mpi4py.rc.thread_level = "multiple" before mpi4py.MPI is imported, or use '
                'progress="calls"'
            )
        self._backend = backend
        self._stopping = False
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        allowed = None if cores is None else list(cores)
        self._thread = threading.Thread(
            target=self._work, args=(allowed,), name="layerbench gradient exchange", daemon=True
        )
        self._thread.start()
        error = self._answers.get()
        if error is not None:
            self._thread.join()
            what = printable(shown(allowed))
            raise UsageError(f"cores: expected cores of this machine, not {what}: {error}") from error

    def connect(self, ranks: MPIRanks, communicator: Any) -> None:
        self._backend.connect(ranks, communicator)

    def pack(self, index: int) -> None:
        self._orders.put(functools.partial(self._backend.pack, index))

    def start(self, number: int, step: int) -> None:
        self._orders.put(functools.partial(self._backend.start, number, step))

    def progress(self) -> bool:
        return self._backend.progress() if self._stopping and not self._thread.is_alive() else False

    def finish(self) -> None:
        self._orders.put(self._finish)
        error = self._answers.get()
        if isinstance(error, LayerbenchError):
            raise error
        if error is not None:
            raise MeasurementError(
                f"the thread that exchanges gradients failed: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error

    def stop(self) -> None:
        self._stopping = True
        self._orders.put(None)
        self._thread.join(STOPPING)

    def free(self) -> None:
        self._backend.free()

    def abandon(self) -> None:
        self._backend.abandon()

    def _work(self, cores: list[int] | None) -> None:
        try:
            if cores is not None:
                os.sched_setaffinity(0, cores)  # 0 is the calling thread
        except (OSError, OverflowError, TypeError, ValueError) as error:
            self._answers.put(error)
            return
        self._answers.put(None)
        try:
            self._drive()
        except BaseException as error:
            self._answers.put(error)

    def _drive(self) -> None:
        nap, under_way = SHORTEST, False
        while True:
            try:
                order = self._orders.get(timeout=nap) if under_way else self._orders.get()
            except queue.Empty:
                nap = min(2 * nap, LONGEST)
            else:
                nap = SHORTEST
                if order is None:
                    return  # all that was to be started has been: other ranks may wait for it
                order()
            under_way = not self._backend.progress()

    def _finish(self) -> None:
        # Not the backend's own waiting, from which MPI does not come back if another rank has gone.
        while not self._backend.progress():
            if self._stopping:
                return
            os.sched_yield()
        self._answers.put(None)
