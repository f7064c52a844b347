"""What exchanges of device buffers use of CuPy, on processors: the late streams of the data manager's tests, and more.

Added are pinned memory and asynchronous copies, NCCL's other calls and its groups, and GPUs with bus numbers. Nothing
is done when it is queued; a group is queued as one when it ends. Signatures are those of CuPy 14.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[1] / "datamanager"))

import simulated_nccl as late

UNIQUE_ID = b"made by rank 0"
TYPES = {
    "INT8": 0, "UINT8": 1, "INT32": 2, "UINT32": 3, "INT64": 4, "UINT64": 5,
    "FLOAT16": 6, "FLOAT32": 7, "FLOAT64": 8, "BFLOAT16": 9,
}  # fmt: skip
"""As in NCCL's header."""
DTYPES = ("i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "u2")

pinned: list[np.ndarray] = []
counted = {"empty": 0, "pinned": 0}
ended: list[str] = []
"""How communicators were given back."""


class Array(late.Array):
    def __init__(self, memory: np.ndarray, device: int) -> None:
        super().__init__(memory, device)
        self.shape, self.itemsize = memory.shape, memory.itemsize
        if not memory.size:
            self.data = namespace(ptr=0)

    def __getitem__(self, key: Any) -> Array:
        return Array(self.memory[key], self.device.id)

    def get(
        self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        assert out is not None
        assert not blocking
        self._check(out)
        stream.queue(lambda: np.copyto(out, self.memory))
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        self._check(arr)
        stream.queue(lambda: np.copyto(self.memory, arr))

    def _check(self, host: np.ndarray) -> None:
        assert host.shape == self.shape
        assert host.dtype == self.dtype
        assert any(np.shares_memory(host, memory) for memory in pinned) or not host.size, "a copy would be synchronous"


class NcclError(late.NcclError):
    """Of NCCL."""


class Group:
    """Calls between ``groupStart`` and ``groupEnd``."""

    depth = 0
    calls: list[tuple[int, Callable[[], object]]] = []  # noqa: RUF012 - one for all

    @classmethod
    def start(cls) -> None:
        cls.depth += 1

    @classmethod
    def end(cls) -> None:
        assert cls.depth > 0
        cls.depth -= 1
        calls, cls.calls = cls.calls, []
        if calls:
            (stream,) = {pointer for pointer, _ in calls}
            late.Stream.by_pointer[stream].queue(lambda: [call() for _, call in calls])


class NcclCommunicator:
    """Over MPI; a class attribute says how it fails."""

    failing = ""
    """A method that raises, or ``async`` for an exchange that fails later."""
    used: list[str] = []  # noqa: RUF012

    def __init__(self, ndev: int, commId: bytes, rank: int) -> None:
        if self.failing == "init":
            raise NcclError("NCCL_ERROR_SYSTEM_ERROR: unhandled system error")
        while self.failing == "init hangs":
            time.sleep(0.01)
        assert commId == UNIQUE_ID
        # Not collective, as a rank may fail before it comes here: any other call than Dup.
        self._ranks = (
            MPI.COMM_WORLD.Create_group(MPI.COMM_WORLD.group.Incl(range(ndev)), 7) if not self.failing else None
        )
        self._rank, self._size, self.alive = rank, ndev, True

    def _queue(self, name: str, stream: int, work: Callable[[], object]) -> None:
        assert self.alive, "used after its end"
        if self.failing == name:
            raise NcclError("NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error\n(see NCCL_DEBUG)")
        self.used.append(name)
        if Group.depth:
            Group.calls.append((stream, work))
        else:
            late.Stream.by_pointer[stream].queue(work)

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        assert op == 0
        self._queue("allReduce", stream, lambda: self._sum(sendbuf, recvbuf, count, datatype))

    def reduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, root: int, stream: int) -> None:
        assert op == 0
        assert sendbuf
        assert recvbuf
        into = recvbuf if root == self._rank else 0
        self._queue("reduce", stream, lambda: self._sum(sendbuf, into, count, datatype))

    def reduceScatter(self, sendbuf: int, recvbuf: int, recvcount: int, datatype: int, op: int, stream: int) -> None:
        width = np.dtype(DTYPES[datatype]).itemsize

        def work() -> None:
            for root in range(self._size):
                into = recvbuf if root == self._rank else 0
                self._sum(sendbuf + root * recvcount * width, into, recvcount, datatype)

        self._queue("reduceScatter", stream, work)

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        sent, received = (
            memory_at(at, many, datatype) for at, many in ((sendbuf, count), (recvbuf, count * self._size))
        )
        self._queue("allGather", stream, lambda: self._ranks.Allgather(sent, received))

    def broadcast(self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int) -> None:
        assert sendbuff
        assert recvbuff
        assert count

        def work() -> None:
            received = memory_at(recvbuff, count, datatype)
            if root == self._rank:
                np.copyto(received, memory_at(sendbuff, count, datatype))
            self._ranks.Bcast(received, root)

        self._queue("broadcast", stream, work)

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._queue("send", stream, lambda: self._ranks.Send(memory_at(sendbuf, count, datatype), peer))

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._queue("recv", stream, lambda: self._ranks.Recv(memory_at(recvbuf, count, datatype), peer))

    def _sum(self, sent: int, into: int, count: int, datatype: int) -> None:
        everyones = self._ranks.allgather(np.array(memory_at(sent, count, datatype)))
        if not into:
            return
        received = memory_at(into, count, datatype)
        if datatype == TYPES["BFLOAT16"]:
            total = sum((bits.astype("u4") << 16).view("f4") for bits in everyones)
            np.copyto(received, total.view("u4") >> 16, casting="unsafe")  # type: ignore[union-attr]
        else:
            np.copyto(received, sum(each.astype("f8") for each in everyones), casting="unsafe")  # type: ignore[arg-type]

    def check_async_error(self) -> None:
        if self.failing == "async":
            raise NcclError("NCCL_ERROR_REMOTE_ERROR: remote process exited")

    def destroy(self) -> None:
        self._end("destroyed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        while self.failing == "end hangs":
            time.sleep(0.01)
        assert self.alive, "ended twice"
        self.alive = False
        ended.append(how)
        print(how, flush=True)


def memory_at(address: int, count: int, datatype: int) -> np.ndarray:
    dtype = np.dtype(DTYPES[datatype])
    nbytes = count * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_byte * nbytes).from_address(address)).view(dtype)


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    counted["empty"] += 1
    return Array(np.full(shape, 77, dtype), late.Device.current[-1])


def alloc_pinned_memory(size: int) -> np.ndarray:
    assert size > 0
    counted["pinned"] += 1
    # As large as a power of two, as CuPy's pool gives it.
    pinned.append(np.full(1 << max(9, (size - 1).bit_length()), 0xAB, np.uint8))
    return pinned[-1]


def get_unique_id() -> bytes:
    if NcclCommunicator.failing == "id":
        raise NcclError("NCCL_ERROR_SYSTEM_ERROR: no network interface")
    return b"made by rank %d" % MPI.COMM_WORLD.rank


def install(bus: str) -> Any:
    """Make it what ``import cupy`` finds; returned too. The current GPU has this PCI bus id."""
    cupy = late.install()
    cuda, nccl, runtime = cupy.cuda, cupy.cuda.nccl, cupy.cuda.runtime
    late.Device.pci_bus_id = bus  # type: ignore[attr-defined]
    vars(nccl).update({f"NCCL_{name}": number for name, number in TYPES.items()})
    vars(nccl).update(
        NcclError=NcclError,
        NcclCommunicator=NcclCommunicator,
        get_unique_id=get_unique_id,
        get_version=lambda: 23203,
        groupStart=Group.start,
        groupEnd=Group.end,
    )
    vars(runtime).update(runtimeGetVersion=lambda: 13000, driverGetVersion=lambda: 13000, getDeviceCount=lambda: 1)
    vars(cuda).update(
        alloc_pinned_memory=alloc_pinned_memory,
        memory=namespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
        driver=namespace(CUDADriverError=type("CUDADriverError", (RuntimeError,), {})),
        compiler=namespace(CompileException=type("CompileException", (Exception,), {})),
    )
    vars(cupy).update(empty=empty, __version__="14.2.0")
    return cupy


def namespace(**names: Any) -> ModuleType:
    module = ModuleType("simulated")
    vars(module).update(names)
    return module
