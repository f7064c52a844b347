"""NCCL as CuPy has it: loading, types, and a communicator made over MPI that keeps no rank from ending.

``ncclCommInitRank`` returns when all ranks have called it. ``ncclCommDestroy`` and ``ncclCommAbort`` want those of one
host together, and wait until every CUDA graph that has captured an exchange is freed. A rank that fails would leave the
others within for ever. So ranks tell each other over MPI, on a communicator of their own, that they have come. A rank
that waits in vain ends all (while connecting), or gives its communicator up (at its end), and waits for that some
seconds only.
"""

from __future__ import annotations

import atexit
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from layerbench.collectives import Ranks, agreed
from layerbench.errors import LayerbenchError, MeasurementError, UnavailableError, UsageError
from layerbench.layers import DType
from layerbench.pinning import seat

CONNECTING = 60.0
"""Seconds that a rank which cannot connect gives the others to fail too, before it ends them."""

LEAVING = 5.0
"""Seconds that a rank gives the others to come to their end."""

NAP = 1e-3
"""Seconds between two looks."""


def load(what: str, otherwise: str) -> tuple[Any, Any]:
    """CuPy and its NCCL.

    Parameters
    ----------
    what
        What needs it, for the message.
    otherwise
        What to do without, for the message.

    Raises
    ------
    UnavailableError
        If either is missing.
    """
    remedy = f"install cupy for your CUDA with nvidia-nccl, or {otherwise}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing NCCL besides saying so
            import cupy
            from cupy.cuda import nccl
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UnavailableError(f"{what} needs CuPy, which cannot be loaded ({reason}); {remedy}") from error
    if not nccl.available:
        raise UnavailableError(f"{what} needs NCCL, which CuPy does not find; {remedy}")
    return cupy, nccl


def type_of(nccl: Any, dtype: Any, meant: DType | None = None) -> int | None:
    """NCCL's number for what an array's elements are; None if it has none.

    Parameters
    ----------
    dtype
        The array's. CuPy has no bfloat16, whose bits are in ``uint16``.
    meant
        What the bits stand for, where the array's own dtype cannot tell.
    """
    name = "BFLOAT16" if meant == "bf16" and dtype.name == "uint16" else dtype.name.upper()
    number: int | None = getattr(nccl, f"NCCL_{name}", None)
    return number


def version(nccl: Any) -> str:
    """NCCL's version in words; its number has two digits for the minor version since 2.9."""
    number = nccl.get_version()
    major, rest = divmod(number, 10000 if number >= 10000 else 1000)
    return f"NCCL {major}.{rest // 100}.{rest % 100}"


@contextmanager
def failures(cupy: Any, nccl: Any, what: str) -> Iterator[None]:
    """Errors of NCCL, and of the device, as measurement errors of one line.

    CuPy looks a status up that it may not know: then there is a KeyError.
    """
    try:
        yield
    except (nccl.NcclError, cupy.cuda.runtime.CUDARuntimeError) as error:
        raise MeasurementError(f"{what}: {' '.join(str(error).split())}") from error
    except KeyError as error:
        raise MeasurementError(f"{what}: NCCL reports status {error}") from error


class Communicator:
    """NCCL's communicator of the ranks of one of MPI, on the current device of each.

    Making one is collective. See :func:`communicator`.

    Attributes
    ----------
    cupy, nccl
        The modules.
    device
        The number of the device that it uses.
    handle
        CuPy's ``NcclCommunicator``; None when it has been given back.

    Raises
    ------
    LayerbenchError
        On every rank, if any of them cannot connect.
    """

    def __init__(self, ranks: Ranks, cupy: Any, nccl: Any) -> None:
        self.cupy, self.nccl = cupy, nccl
        self.device: int = cupy.cuda.Device().id
        self.handle: Any = None
        self._broken = False
        _refuse_shared(ranks, cupy)
        # Another one: who leaves early has not done all that the others have on the first.
        self._meeting = ranks.communicator.Dup()
        try:
            self._connect(ranks)
        except LayerbenchError:
            self._give_up()
            self._meeting.Free()
            raise

    def _connect(self, ranks: Ranks) -> None:
        def name() -> Any:
            with failures(self.cupy, self.nccl, "NCCL cannot begin"):
                return self.nccl.get_unique_id() if ranks.rank == 0 else None

        named = ranks.broadcast(agreed(ranks, name))
        own: MeasurementError | None = None
        try:
            with failures(self.cupy, self.nccl, "NCCL cannot connect the ranks"):
                self.handle = self.nccl.NcclCommunicator(ranks.size, named, ranks.rank)
        except MeasurementError as error:
            own = error
        if self._meet(own is not None, None if own is None else CONNECTING) is None:
            ranks.abort(f"{own}; other ranks still wait to be connected")

        def outcome() -> None:
            if own is not None:
                raise own

        agreed(ranks, outcome)

    @contextmanager
    def failures(self, what: str) -> Iterator[None]:
        """Errors within as measurement errors; after one, the communicator is given up at the end."""
        try:
            with failures(self.cupy, self.nccl, what):
                yield
        except MeasurementError:
            self._broken = True
            raise

    def serves(self, device: int) -> bool:
        """Whether it connects this device, and nothing has failed yet."""
        return self.handle is not None and not self._broken and self.device == device

    def check(self) -> None:
        """See that no exchange that was queued has failed since.

        Raises
        ------
        MeasurementError
            If one has, or the other ranks were lost.
        """
        if self.handle is not None:
            with self.failures("an exchange by NCCL failed"):
                self.handle.check_async_error()

    def close(self) -> None:
        """Give it back, together with the other ranks.

        If they do not come, or something has failed on any, it is given up instead, which waits for nobody.
        """
        if self.handle is None:
            return
        from mpi4py import MPI

        if MPI.Is_finalized() or self._meet(self._broken, LEAVING) is not False:
            self._give_up()
        elif _done_within(LEAVING, self.handle.destroy):
            self._meeting.Free()
        self.handle = None

    def _give_up(self) -> None:
        if self.handle is not None:
            # It ends the kernels that wait for other ranks, and with them what streams wait for.
            _done_within(LEAVING, self.handle.abort)
            self.handle = None

    def _meet(self, mine: bool, patience: float | None) -> bool | None:
        """Whether this is so on any rank; None if the others do not come within so many seconds.

        Without patience, they are waited for.
        """
        from mpi4py import MPI

        any_of = np.array([mine], np.int32)
        arrived = self._meeting.Iallreduce(MPI.IN_PLACE, any_of, MPI.MAX)
        deadline = None if patience is None else time.monotonic() + patience
        while not arrived.Test():
            if deadline is not None and time.monotonic() > deadline:
                # MPI may still write there.
                self._kept = any_of
                return None
            time.sleep(NAP)
        return bool(any_of[0])


def _done_within(seconds: float, action: Callable[[], object]) -> bool:
    """Whether it has ended after so many seconds; else it is left to a thread that keeps nothing from ending."""
    thread = threading.Thread(target=action, name="end of NCCL", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _refuse_shared(ranks: Ranks, cupy: Any) -> None:
    """Raise a UsageError on every rank if two of them have one GPU, which NCCL takes for a mistake, or hangs."""
    first: dict[tuple[str, str], int] = {}
    for rank, gpu in enumerate(ranks.all_gather((seat().machine, str(cupy.cuda.Device().pci_bus_id)))):
        other = first.setdefault(gpu, rank)
        if other != rank:
            raise UsageError(
                f"--collectives nccl: ranks {other} and {rank} share GPU {gpu[1]} of one machine, and NCCL connects "
                "one rank of each GPU; use --collectives staged"
            )


_made: dict[int, Communicator] = {}


def communicator(ranks: Ranks) -> Communicator:
    """NCCL's communicator of these ranks on their current devices, made when it is first asked for; collective.

    Connecting takes about a second, and memory of the device: one serves all layers of a launch.

    Raises
    ------
    LayerbenchError
        On every rank, if any of them cannot connect.
    """

    def current() -> tuple[Any, Any, bool]:
        cupy, nccl = load("--collectives nccl", "use --collectives staged")
        with failures(cupy, nccl, "no GPU is current"):
            device = cupy.cuda.Device().id
        return cupy, nccl, made is not None and made.serves(device)

    key = ranks.communicator.handle
    made = _made.get(key)
    cupy, nccl, serves = agreed(ranks, current)
    if made is not None and all(ranks.all_gather(serves)):
        return made
    if made is not None:
        made.close()
        del _made[key]
    _made[key] = Communicator(ranks, cupy, nccl)
    return _made[key]


def check() -> None:
    """See that no exchange that was queued has failed since.

    Raises
    ------
    MeasurementError
        If one has.
    """
    for made in _made.values():
        made.check()


def close() -> None:
    """Give every communicator back: together with the other ranks, or, if they do not come, without them."""
    if _made:
        # Graphs that nothing refers to any more may be part of a circle.
        gc.collect()
    while _made:
        _made.popitem()[1].close()


# MPI is still there: it ends when Python does, after what is registered here.
atexit.register(close)
