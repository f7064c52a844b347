"""cuBLASLt through ``nvmath.bindings``: matrix products, the algorithms it offers for one, and the timed call.

Matrices are column-major, as cuBLASLt has them by default and all its algorithms take them. Alpha is 1 and beta 0, in
the scale type and in host memory, so the result's old values are not read and it stands for both C and D.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from layerbench.cuda import library
from layerbench.device import Run
from layerbench.errors import KernelError
from layerbench.layers import DType

CANDIDATES = 64
"""Algorithms asked for; the heuristics seldom know as many."""

INPUT_16F, INPUT_16BF, INPUT_TF32, INPUT_32F, INPUT_8I = (1 << bit for bit in (16, 17, 18, 19, 21))
ACCUMULATOR_16F = 1 << 8
TENSOR_CORES = 0xFE
"""``cublasLtNumericalImplFlags_t``: what an algorithm makes of its operands and adds up in, and its instructions."""

REDUCTIONS, REDUCTIONS_IN_COMPUTE_TYPE = 7, 2
"""``cublasLtReductionScheme_t``: how partial sums of a split product are added up; all, or none but in full."""


@dataclass(frozen=True)
class Arithmetic:
    """How products of a type are computed.

    Attributes
    ----------
    compute
        Name of the ``cublasComputeType_t``. The plain ones keep at least the precision asked for; only ``FAST`` ones
        round operands. The pedantic ones would forbid faster algorithms that are as exact.
    data, scale
        ``cudaDataType`` of the operands and the result, and of alpha and beta.
    host_scale
        The latter as NumPy has it.
    forbidden
        Numerical flags of algorithms that would compute something else, whatever the library offers.
    """

    compute: str
    data: int
    scale: int
    host_scale: type[np.floating[Any]]
    forbidden: int

    @property
    def reductions(self) -> int:
        """Allowed reduction schemes: partial sums in the result's type would not be those of an fp32 accumulator."""
        return REDUCTIONS if self.data == self.scale else REDUCTIONS_IN_COMPUTE_TYPE


_R_32F, _R_64F, _R_16F, _R_16BF = 0, 1, 2, 14

ARITHMETIC: dict[DType, Arithmetic] = {
    "fp64": Arithmetic(
        "COMPUTE_64F",
        _R_64F,
        _R_64F,
        np.float64,
        INPUT_16F | INPUT_16BF | INPUT_TF32 | INPUT_32F | INPUT_8I,
    ),
    "fp32": Arithmetic("COMPUTE_32F", _R_32F, _R_32F, np.float32, INPUT_16F | INPUT_16BF | INPUT_TF32 | INPUT_8I),
    "tf32": Arithmetic("COMPUTE_32F_FAST_TF32", _R_32F, _R_32F, np.float32, INPUT_16F | INPUT_16BF | INPUT_8I),
    "fp16": Arithmetic("COMPUTE_32F", _R_16F, _R_32F, np.float32, ACCUMULATOR_16F),
    "bf16": Arithmetic("COMPUTE_32F", _R_16BF, _R_32F, np.float32, ACCUMULATOR_16F),
}


@dataclass(frozen=True)
class Matrix:
    """A column-major matrix without gaps as it lies in memory, and whether the product takes its transpose."""

    rows: int
    columns: int
    transposed: bool = False


@dataclass(frozen=True)
class Algorithm:
    """An algorithm with its parameters as the library holds them (64 bytes), and its workspace in bytes."""

    data: bytes
    workspace: int


def load() -> ModuleType:
    """The bindings."""
    from nvmath.bindings import cublasLt

    module: ModuleType = cublasLt
    return module


def version() -> int:
    """The library's own version number: 131000 is 13.10.0."""
    return int(load().get_version())


def version_text(number: int) -> str:
    """A version number as people write it."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def handle() -> int:
    """The library's handle for the current device of this process."""
    return _handle(library.load().cuda.runtime.getDevice())


@functools.cache
def _handle(device: int) -> int:
    return int(load().create())


def _set(
    setter: Callable[..., None], type_of: Callable[[int], type], described: int, attribute: int, value: int
) -> None:
    held: np.ndarray = np.array([value], type_of(attribute))
    setter(described, attribute, held.ctypes.data, held.itemsize)


def _get(getter: Callable[..., None], type_of: Callable[[int], type], described: int, attribute: int) -> int:
    held: np.ndarray = np.zeros(1, type_of(attribute))
    written = np.zeros(1, np.uint64)
    getter(described, attribute, held.ctypes.data, held.itemsize, written.ctypes.data)
    return int(held[0])


class Product:
    """The product ``d = op(a) op(b)`` of matrices of one type, described to the library.

    Parameters
    ----------
    dtype
        The type of all three; it decides how the product is computed.
    a, b, d
        The operands, and the result, which is not transposed.
    """

    def __init__(self, dtype: DType, a: Matrix, b: Matrix, d: Matrix) -> None:
        from nvmath.bindings import cublas

        self._lt = lt = load()
        self._arithmetic = arithmetic = ARITHMETIC[dtype]
        self._compute = int(cublas.ComputeType[arithmetic.compute])
        self._one = np.ones(1, arithmetic.host_scale)
        self._zero = np.zeros(1, arithmetic.host_scale)
        self._description = int(lt.matmul_desc_create(self._compute, arithmetic.scale))
        weakref.finalize(self, lt.matmul_desc_destroy, self._description)
        names = lt.MatmulDescAttribute
        for attribute, value in (
            (names.POINTER_MODE, lt.PointerMode.HOST),
            (names.TRANSA, cublas.Operation.T if a.transposed else cublas.Operation.N),
            (names.TRANSB, cublas.Operation.T if b.transposed else cublas.Operation.N),
        ):
            _set(
                lt.matmul_desc_set_attribute,
                lt.get_matmul_desc_attribute_dtype,
                self._description,
                int(attribute),
                int(value),
            )
        self._layouts = [self._layout(matrix) for matrix in (a, b, d, d)]

    def _layout(self, matrix: Matrix) -> int:
        layout = int(self._lt.matrix_layout_create(self._arithmetic.data, matrix.rows, matrix.columns, matrix.rows))
        weakref.finalize(self, self._lt.matrix_layout_destroy, layout)
        return layout

    def offered(self, workspace: int) -> list[Algorithm]:
        """The algorithms that the heuristics name, best guess first, of those that compute what is asked for.

        Parameters
        ----------
        workspace
            The most scratch memory that one may use, in bytes.

        Raises
        ------
        KernelError
            If there is none.
        """
        lt = self._lt
        found, count = np.zeros(CANDIDATES, lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        preference = int(lt.matmul_preference_create())
        try:
            names = lt.MatmulPreferenceAttribute
            for attribute, value in (
                (names.MAX_WORKSPACE_BYTES, workspace),
                (names.REDUCTION_SCHEME_MASK, self._arithmetic.reductions),
            ):
                _set(
                    lt.matmul_preference_set_attribute,
                    lt.get_matmul_preference_attribute_dtype,
                    preference,
                    int(attribute),
                    value,
                )
            lt.matmul_algo_get_heuristic(
                handle(),
                self._description,
                *self._layouts,
                preference,
                CANDIDATES,
                found.ctypes.data,
                count.ctypes.data,
            )
        except lt.cuBLASLtError as error:
            raise KernelError(f"cuBLASLt offers no algorithm: {one_line(error)}") from error
        finally:
            lt.matmul_preference_destroy(preference)
        usable = [
            Algorithm(each["algo"].tobytes(), int(each["workspace_size"]))
            for each in found[: count[0]]
            if each["state"] == 0 and each["workspace_size"] <= workspace
        ]
        true = [algorithm for algorithm in usable if not self._flags(algorithm) & self._arithmetic.forbidden]
        if not true:
            why = "none that fits the workspace allowed" if not usable else "only some that compute in another type"
            raise KernelError(f"cuBLASLt offers {why}")
        return true

    def checked(self, data: bytes) -> Algorithm:
        """An algorithm that was found elsewhere, or for other sizes, with the workspace it needs for this product.

        Raises
        ------
        KernelError
            If it cannot compute this product.
        """
        lt = self._lt
        algorithm, result = _held(data), np.zeros(1, lt.matmul_heuristic_result_dtype)
        try:
            lt.matmul_algo_check(handle(), self._description, *self._layouts, algorithm.ctypes.data, result.ctypes.data)
        except lt.cuBLASLtError as error:
            raise KernelError(f"cuBLASLt refuses the algorithm for these sizes: {one_line(error)}") from error
        if result[0]["state"] != 0:
            raise KernelError(f"cuBLASLt refuses the algorithm for these sizes: status {result[0]['state']}")
        return Algorithm(data, int(result[0]["workspace_size"]))

    def bound(self, algorithm: Algorithm, matrices: Sequence[Any], workspace: Any) -> Run:
        """The timed call on CuPy arrays; it queues the product on the stream that is current when it is called.

        Parameters
        ----------
        algorithm
            One of :meth:`offered` or :meth:`checked`.
        matrices
            Operands and result: a, b, d.
        workspace
            An array of at least the algorithm's workspace; calls that do not overlap may share it.
        """
        lt = self._lt
        matmul, failure = lt.matmul, lt.cuBLASLtError
        current_stream = library.load().cuda.get_current_stream
        held = _held(algorithm.data)
        a, b, d = matrices
        arguments = (
            handle(),
            self._description,
            self._one.ctypes.data,
            a.data.ptr,
            self._layouts[0],
            b.data.ptr,
            self._layouts[1],
            self._zero.ctypes.data,
            d.data.ptr,
            self._layouts[2],
            d.data.ptr,
            self._layouts[3],
            held.ctypes.data,
            workspace.data.ptr if algorithm.workspace else 0,
            algorithm.workspace,
        )
        # The library is given addresses: what they point to must live as long as the call.
        alive = (self, held, *matrices, workspace)

        def run(_alive: object = alive) -> None:
            try:
                matmul(*arguments, current_stream().ptr)
            except failure as error:
                raise KernelError(f"cuBLASLt: {one_line(error)}") from error

        return run

    def named(self, algorithm: Algorithm) -> str:
        """What tells an algorithm from others, in words."""
        lt, held = self._lt, _held(algorithm.data)
        names = lt.MatmulAlgoConfigAttribute

        def number(attribute: int) -> int:
            return _get(
                lt.matmul_algo_config_get_attribute,
                lt.get_matmul_algo_config_attribute_dtype,
                held.ctypes.data,
                int(attribute),
            )

        parts = [
            f"algorithm {number(names.ID)}",
            f"tile {_word(lt.MatmulTile, number(names.TILE_ID))}",
            f"stages {_word(lt.MatmulStages, number(names.STAGES_ID))}",
            f"split-k {number(names.SPLITK_NUM)}",
            f"reduction {_word(lt.ReductionScheme, number(names.REDUCTION_SCHEME), prefixed=False)}",
        ]
        for attribute, word in (
            (names.CTA_SWIZZLING, "swizzle"),
            (names.CUSTOM_OPTION, "option"),
            (names.INNER_SHAPE_ID, "inner shape"),
        ):
            if value := number(attribute):
                parts.append(f"{word} {value}")
        if cluster := number(names.CLUSTER_SHAPE_ID):
            parts.append(f"cluster {_word(lt.ClusterShape, cluster)}")
        flags = self._flags(algorithm)
        if flags & TENSOR_CORES:
            parts.append("tensor cores")
        return ", ".join(parts)

    def _flags(self, algorithm: Algorithm) -> int:
        lt, held = self._lt, _held(algorithm.data)
        return _get(
            lt.matmul_algo_cap_get_attribute,
            lt.get_matmul_algo_cap_attribute_dtype,
            held.ctypes.data,
            int(lt.MatmulAlgoCapAttribute.NUMERICAL_IMPL_FLAGS),
        )


def _held(data: bytes) -> np.ndarray:
    """An algorithm at an address, aligned for the library's 64-bit words."""
    return np.frombuffer(data, np.uint64).copy()


def _word(enumeration: Any, number: int, *, prefixed: bool = True) -> str:
    """The library's name of a number, less the word that all of its kind begin with; the number where it has none."""
    try:
        name: str = enumeration(number).name
    except ValueError:
        return str(number)
    return (name.partition("_")[2] if prefixed else name).lower().replace("_", " ")


def one_line(error: Exception) -> str:
    """What the library says, without its advice on logging."""
    return str(error).splitlines()[0].partition(". You can set")[0] if str(error) else type(error).__name__
