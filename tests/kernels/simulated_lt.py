"""cuBLASLt's bindings and the little of CuPy that its products need, on the processor, strict where the library is.

Descriptors, layouts and preferences are numbers that stand for what was set; attributes are read from addresses in
exactly the types that the real bindings name; a product reads and writes memory by address, leading dimension and
transposition alone, and only within memory that was allocated.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from layerbench.cuda import library
from layerbench.kernel import Availability
from tests.kernels.simulated_lt_numbers import (
    ALGORITHM,
    BF16,
    CAP_TYPES,
    CONFIG_TYPES,
    DESC_TYPES,
    ENUMERATIONS,
    HEURISTIC,
    PREFERENCE_TYPES,
    STORED,
    VALID,
    ComputeType,
    MatmulAlgoCapAttribute,
    MatmulAlgoConfigAttribute,
    MatmulDescAttribute,
    MatmulPreferenceAttribute,
    Operation,
    PointerMode,
)


class cuBLASLtError(Exception):
    """As the bindings raise it, with their advice."""

    def __init__(self, what: str = "a parameter is wrong (CUBLAS_STATUS_INVALID_VALUE)") -> None:
        super().__init__(f"{what}. You can set CUBLASLT_LOG_LEVEL=5 environment variable to learn more.")


@dataclass(frozen=True)
class Offered:
    """An algorithm of the simulated library.

    ``seconds`` is what it takes, ``fails`` whether its product is refused, ``least`` the fewest columns of d that its
    check allows.
    """

    number: int
    seconds: float = 1e-5
    workspace: int = 0
    flags: int = 0
    state: int = 0
    fails: bool = False
    reduction: int = 0
    splits: int = 1
    swizzle: int = 0
    cluster: int = 0
    least: int = 1

    @property
    def words(self) -> list[int]:
        return [self.number, 20, self.splits, self.reduction, self.swizzle, self.cluster, self.least, 0]


@dataclass
class Memory:
    """What was allocated on the device; addresses outside are wild."""

    ranges: list[tuple[int, int, Any]] = field(default_factory=list)

    def check(self, address: int, nbytes: int) -> None:
        if not any(start <= address and address + nbytes <= stop for start, stop, _ in self.ranges):
            raise AssertionError(f"{nbytes} bytes at {address:#x} are not device memory")


class DeviceArray(np.ndarray):
    """A CuPy array, as far as it is used here."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    def set(self, arr: np.ndarray) -> None:
        assert arr.dtype == self.dtype
        assert arr.shape == self.shape
        self[...] = arr

    def get(self) -> np.ndarray:
        return np.array(self)


class SimulatedCuPy:
    """One GPU of a compute capability."""

    def __init__(self, capability: str = "90") -> None:
        self.memory = Memory()
        self.stream = SimpleNamespace(ptr=0)
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: self.stream,
            Device=lambda: SimpleNamespace(compute_capability=capability),
            runtime=SimpleNamespace(
                getDevice=lambda: 0,
                runtimeGetVersion=lambda: 13000,
                CUDARuntimeError=type("CUDARuntimeError", (RuntimeError,), {}),
            ),
            driver=SimpleNamespace(CUDADriverError=type("CUDADriverError", (RuntimeError,), {})),
            memory=SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
            compiler=SimpleNamespace(CompileException=type("CompileException", (Exception,), {})),
        )

    def empty(self, shape: Any, dtype: Any) -> DeviceArray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.full(count + 512, 0xAB, np.uint8)
        start = -raw.ctypes.data % 512
        array = raw[start : start + count].view(dtype).reshape(shape).view(DeviceArray)
        self.memory.ranges.append((array.ctypes.data, array.ctypes.data + count, raw))
        return array

    @staticmethod
    def copyto(dst: DeviceArray, src: DeviceArray) -> None:
        assert dst.dtype == src.dtype
        np.copyto(dst, src)


def _at(address: int, dtype: Any, count: int) -> np.ndarray:
    raw = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(raw, dtype)


def _written(address: int, size: int, types: Any, attribute: int) -> int:
    expected = np.dtype(types[attribute])
    if size != expected.itemsize:
        raise cuBLASLtError
    return int(_at(address, expected, 1)[0])


def _values(stored: np.ndarray, kind: int, compute: int) -> np.ndarray:
    """Stored numbers as the product reads them."""
    if kind == BF16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if compute == ComputeType.COMPUTE_32F_FAST_TF32:
        bits = stored.view(np.uint32)
        return ((bits + 0x0FFF + (bits >> 13 & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)
    return stored


class SimulatedLt:
    """The module ``nvmath.bindings.cublasLt``."""

    matmul_algo_dtype = ALGORITHM
    matmul_heuristic_result_dtype = HEURISTIC
    cuBLASLtError = cuBLASLtError

    def __init__(self, memory: Memory, offers: list[Offered]) -> None:
        self.offers = offers
        self.seconds = 0.0
        self.streams: list[int] = []
        self.calls: list[int] = []
        self.version = 131000
        self.limits: list[int] = []
        self._memory = memory
        self._numbers = itertools.count(1000)
        self.descriptions: dict[int, dict[Any, int]] = {}
        self.layouts: dict[int, tuple[int, int, int, int]] = {}
        self.preferences: dict[int, dict[Any, int]] = {}
        for enumeration in ENUMERATIONS:
            setattr(self, enumeration.__name__, enumeration)
        self.get_matmul_desc_attribute_dtype = DESC_TYPES.__getitem__
        self.get_matmul_preference_attribute_dtype = PREFERENCE_TYPES.__getitem__
        self.get_matmul_algo_config_attribute_dtype = CONFIG_TYPES.__getitem__
        self.get_matmul_algo_cap_attribute_dtype = CAP_TYPES.__getitem__

    def get_version(self) -> int:
        return self.version

    def create(self) -> int:
        return 7

    def matmul_desc_create(self, compute_type: int, scale_type: int) -> int:
        if (compute_type, scale_type) not in VALID:
            raise cuBLASLtError
        number = next(self._numbers)
        self.descriptions[number] = {"compute": compute_type, "scale": scale_type}
        return number

    def matmul_desc_destroy(self, number: int) -> None:
        del self.descriptions[number]

    def matmul_desc_set_attribute(self, number: int, attribute: int, address: int, size: int) -> None:
        self.descriptions[number][attribute] = _written(address, size, DESC_TYPES, attribute)

    def matrix_layout_create(self, kind: int, rows: int, cols: int, ld: int) -> int:
        if ld < rows:
            raise cuBLASLtError
        number = next(self._numbers)
        self.layouts[number] = (kind, rows, cols, ld)
        return number

    def matrix_layout_destroy(self, number: int) -> None:
        del self.layouts[number]

    def matmul_preference_create(self) -> int:
        number = next(self._numbers)
        self.preferences[number] = {}
        return number

    def matmul_preference_destroy(self, number: int) -> None:
        del self.preferences[number]

    def matmul_preference_set_attribute(self, number: int, attribute: int, address: int, size: int) -> None:
        self.preferences[number][attribute] = _written(address, size, PREFERENCE_TYPES, attribute)

    def _shape(self, desc: int, a: int, b: int, c: int, d: int) -> tuple[int, int, int]:
        described, layouts = self.descriptions[desc], [self.layouts[each] for each in (a, b, c, d)]
        kinds = {layout[0] for layout in layouts}
        if len(kinds) != 1 or not kinds <= VALID[described["compute"], described["scale"]]:
            raise cuBLASLtError
        (m, k), (k_b, n) = (
            layout[1:3] if described.get(attribute, 0) == 0 else layout[2:0:-1]
            for layout, attribute in zip(
                layouts, (MatmulDescAttribute.TRANSA, MatmulDescAttribute.TRANSB), strict=False
            )
        )
        if k != k_b or layouts[2][1:3] != (m, n) or layouts[3][1:3] != (m, n):
            raise cuBLASLtError
        return m, n, k

    def matmul_algo_get_heuristic(
        self, handle: int, desc: int, a: int, b: int, c: int, d: int, preference: int, count: int, out: int, found: int
    ) -> None:
        assert handle == 7
        self._shape(desc, a, b, c, d)
        asked = self.preferences[preference]
        limit = asked[MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES]
        mask = asked[MatmulPreferenceAttribute.REDUCTION_SCHEME_MASK]
        self.limits.append(limit)
        within = [o for o in self.offers if o.workspace <= limit and (not o.reduction or o.reduction & mask)][:count]
        if not within:
            raise cuBLASLtError("the function requires a feature that is absent (CUBLAS_STATUS_NOT_SUPPORTED)")
        results = _at(out, HEURISTIC, count)
        for result, offer in zip(results, within, strict=False):
            result["algo"]["data_"] = offer.words
            result["workspace_size"] = offer.workspace
            result["state"] = offer.state
        _at(found, np.int32, 1)[0] = len(within)

    def _offer(self, address: int) -> Offered:
        words = _at(address, np.uint64, 8).tolist()
        (offer,) = [offer for offer in self.offers if offer.words == words]
        return offer

    def matmul_algo_check(self, handle: int, desc: int, a: int, b: int, c: int, d: int, algo: int, result: int) -> None:
        _, n, _ = self._shape(desc, a, b, c, d)
        offer = self._offer(algo)
        if n < offer.least:
            raise cuBLASLtError("the configuration is not supported (CUBLAS_STATUS_NOT_SUPPORTED)")
        _at(result, HEURISTIC, 1)[0]["workspace_size"] = offer.workspace

    def matmul_algo_config_get_attribute(self, algo: int, attribute: int, out: int, size: int, written: int) -> None:
        offer = self._offer(algo)
        kind = CONFIG_TYPES[MatmulAlgoConfigAttribute(attribute)]
        assert size == np.dtype(kind).itemsize
        _at(out, kind, 1)[0] = {
            MatmulAlgoConfigAttribute.ID: offer.number,
            MatmulAlgoConfigAttribute.TILE_ID: 20,
            MatmulAlgoConfigAttribute.SPLITK_NUM: offer.splits,
            MatmulAlgoConfigAttribute.REDUCTION_SCHEME: offer.reduction,
            MatmulAlgoConfigAttribute.CTA_SWIZZLING: offer.swizzle,
            MatmulAlgoConfigAttribute.STAGES_ID: 15,
            MatmulAlgoConfigAttribute.CLUSTER_SHAPE_ID: offer.cluster,
        }.get(MatmulAlgoConfigAttribute(attribute), 0)

    def matmul_algo_cap_get_attribute(self, algo: int, attribute: int, out: int, size: int, written: int) -> None:
        assert attribute == MatmulAlgoCapAttribute.NUMERICAL_IMPL_FLAGS
        assert size == 8
        _at(out, np.uint64, 1)[0] = self._offer(algo).flags

    def matmul(
        self,
        handle: int,
        desc: int,
        alpha: int,
        a: int,
        adesc: int,
        b: int,
        bdesc: int,
        beta: int,
        c: int,
        cdesc: int,
        d: int,
        ddesc: int,
        algo: int,
        workspace: int,
        workspace_size: int,
        stream: int,
    ) -> None:
        assert handle == 7
        self._shape(desc, adesc, bdesc, cdesc, ddesc)
        described, offer = self.descriptions[desc], self._offer(algo)
        if workspace_size < offer.workspace:
            raise cuBLASLtError
        if workspace_size:
            self._memory.check(workspace, workspace_size)
            _at(workspace, np.uint8, workspace_size)[:] = 0xCD
        if offer.fails:
            raise cuBLASLtError("the program cannot run on the GPU (CUBLAS_STATUS_EXECUTION_FAILED)")
        assert described[MatmulDescAttribute.POINTER_MODE] == PointerMode.HOST
        scale = STORED[described["scale"]]
        factor, kept = _at(alpha, scale, 1)[0], _at(beta, scale, 1)[0]
        compute = described["compute"]
        left = self._matrix(a, adesc, compute)
        right = self._matrix(b, bdesc, compute)
        left = left.T if described[MatmulDescAttribute.TRANSA] else left
        right = right.T if described[MatmulDescAttribute.TRANSB] else right
        wide = np.float64 if scale is np.float64 else np.float32
        result = factor * (left.astype(wide) @ right.astype(wide))
        if kept:
            result += kept * self._matrix(c, cdesc, compute)
        self._store(d, ddesc, result)
        self.seconds += offer.seconds
        self.streams.append(stream)
        self.calls.append(offer.number)

    def _stored(self, address: int, layout: int) -> np.ndarray:
        kind, rows, cols, ld = self.layouts[layout]
        itemsize = np.dtype(STORED[kind]).itemsize
        assert address % 256 == 0, "the heuristics were promised that much alignment"
        self._memory.check(address, itemsize * (ld * (cols - 1) + rows))
        flat = _at(address, STORED[kind], ld * (cols - 1) + rows)
        return np.lib.stride_tricks.as_strided(flat, (rows, cols), (itemsize, ld * itemsize))

    def _matrix(self, address: int, layout: int, compute: int) -> np.ndarray:
        return _values(np.array(self._stored(address, layout)), self.layouts[layout][0], compute)

    def _store(self, address: int, layout: int, values: np.ndarray) -> None:
        stored = self._stored(address, layout)
        if self.layouts[layout][0] == BF16:
            bits = values.astype(np.float32).view(np.uint32)
            stored[...] = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        else:
            stored[...] = values


class SimulatedDevice:
    """Times calls by what the simulated algorithms take."""

    name = "cuda"

    def __init__(self, lt: SimulatedLt, free: int = 2**30) -> None:
        self._lt = lt
        self._free = free

    def time_parts(self, parts: Any, repetitions: int, before_each: Callable[[], None] | None = None) -> list[float]:
        def seconds(part: Callable[[], None]) -> float:
            before = self._lt.seconds
            for _ in range(repetitions):
                part()
            return (self._lt.seconds - before) / repetitions

        return [seconds(part) for part in parts]

    def synchronize(self) -> None:
        pass

    def free_memory(self) -> int:
        return self._free


@contextmanager
def simulated(monkeypatch: Any, offers: list[Offered], *, free: int = 2**30) -> Iterator[SimpleNamespace]:
    """CuPy, nvmath and a device in place of the real ones."""
    cupy = SimulatedCuPy()
    lt = SimulatedLt(cupy.memory, offers)
    device = SimulatedDevice(lt, free)
    bindings = SimpleNamespace(
        cublasLt=lt, cublas=SimpleNamespace(ComputeType=ComputeType, Operation=Operation), __spec__=None
    )
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "nvmath", SimpleNamespace(bindings=bindings, __spec__=SimpleNamespace()))
        patched.setitem(sys.modules, "nvmath.bindings", bindings)
        patched.setattr(library, "load", lambda: cupy)
        patched.setattr(library, "availability", lambda: Availability(True, "CuPy 14.2.0, CUDA 13.0, driver 580"))
        patched.setitem(sys.modules, "layerbench.cuda.device", SimpleNamespace(current=lambda: device))
        # The handle is made once in a process, and is not of this library.
        handles = importlib.import_module("layerbench.kernels._cublas_lt")._handle
        handles.cache_clear()
        yield SimpleNamespace(cupy=cupy, lt=lt, device=device)
        handles.cache_clear()
