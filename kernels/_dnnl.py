"""oneDNN 3's C API through ctypes: memory descriptors, memories, primitive descriptors and primitives.

Only what the kernels use is bound. Enumeration values are those of oneDNN's ``dnnl_types.h``, which keeps them fixed
within a major version. Format tags are the exception taken care of: a layout is named by its structure
(``aBcd16b``), and the tag with that structure is looked up in the library that was loaded.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_void_p
from functools import cache

import numpy as np

from layerbench.device import Run
from layerbench.errors import KernelError

from ._dnnl_load import load

F32 = 3
FORWARD_TRAINING = 64
CONVOLUTION_DIRECT, CONVOLUTION_WINOGRAD = 0x1, 0x2
ELTWISE_TANH, ELTWISE_LOGISTIC = 33, 41

ARG_SRC, ARG_WEIGHTS, ARG_DST, ARG_SCRATCHPAD = 1, 33, 17, 80
ARG_DIFF_SRC, ARG_DIFF_DST, ARG_DIFF_WEIGHTS = 129, 145, 161

QUERY_IMPLEMENTATION = 8
QUERY_STRIDES = 14
QUERY_SCRATCHPAD = 136
QUERY_ARGUMENT = 255
QUERY_NDIMS, QUERY_DIMS, QUERY_PADDED_DIMS = 256, 257, 260
QUERY_FORMAT_KIND, QUERY_INNER_COUNT, QUERY_INNER_BLOCKS, QUERY_INNER_AXES = 262, 263, 264, 265

_ENGINE_CPU = 1
_SCRATCHPAD_USER = 1
_FORMAT_KIND_BLOCKED = 2
_TAG_ANY = 1
_TAGS_SCANNED = 2000
_ALIGNMENT = 64

_STATUS = {1: "out of memory", 2: "invalid arguments", 3: "not implemented", 5: "runtime error"}

Dims = tuple[int, ...]


class DnnlError(KernelError):
    """A call of the C API returned another status than success."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"oneDNN's {function} failed: {_STATUS.get(status, f'status {status}')}")
        self.status = status


def call(function: str, *arguments: object) -> None:
    """Call a function of the C API.

    Raises
    ------
    DnnlError
        If it does not return success.
    """
    status = getattr(load(), function)(*arguments)
    if status:
        raise DnnlError(function, status)


def dims(values: Sequence[int]) -> ctypes.Array[c_int64]:
    """Sizes as the C API takes them."""
    return (c_int64 * len(values))(*values)


class _Handle:
    """Owner of one C object, which is destroyed with it.

    It is passed to C functions as it is: a bare handle could outlive its owner within one expression.
    """

    def __init__(self, handle: c_void_p, destroy: str) -> None:
        self._as_parameter_ = handle
        weakref.finalize(self, getattr(load(), destroy), handle)


@cache
def engine() -> c_void_p:
    """The engine that stands for the host's cores."""
    handle = c_void_p()
    call("dnnl_engine_create", byref(handle), _ENGINE_CPU, c_size_t(0))
    return handle


@cache
def stream() -> c_void_p:
    """The one in-order stream that everything runs on."""
    handle = c_void_p()
    call("dnnl_stream_create", byref(handle), engine(), 1)
    return handle


class Desc(_Handle):
    """A memory descriptor: the logical sizes of a float32 tensor and where each element lies."""

    def __init__(self, handle: c_void_p) -> None:
        super().__init__(handle, "dnnl_memory_desc_destroy")

    @classmethod
    def of_tag(cls, sizes: Dims, tag: int) -> Desc:
        handle = c_void_p()
        call("dnnl_memory_desc_create_with_tag", byref(handle), len(sizes), dims(sizes), F32, tag)
        return cls(handle)

    @classmethod
    def of_strides(cls, sizes: Dims, strides: Dims) -> Desc:
        """The layout with these strides in elements."""
        handle = c_void_p()
        call("dnnl_memory_desc_create_with_strides", byref(handle), len(sizes), dims(sizes), F32, dims(strides))
        return cls(handle)

    @classmethod
    def of_layout(cls, sizes: Dims, layout: str) -> Desc:
        """The layout of that name: ``any``, or a structure as :attr:`layout` gives it.

        Raises
        ------
        DnnlError
            If the library has no such layout for a tensor of this many dimensions.
        """
        if layout == "any":
            return cls.of_tag(sizes, _TAG_ANY)
        if len(layout) == len(sizes) and layout.islower():
            strides, inner = [0] * len(sizes), 1
            for letter in reversed(layout):
                strides[ord(letter) - ord("a")] = inner
                inner *= sizes[ord(letter) - ord("a")]
            return cls.of_strides(sizes, tuple(strides))
        tag = _tags(len(sizes)).get(layout)
        if tag is None:
            raise DnnlError(f"dnnl_memory_desc_create_with_tag({layout})", 2)
        return cls.of_tag(sizes, tag)

    def _integer(self, query: int) -> int:
        value = c_int()
        call("dnnl_memory_desc_query", self, query, byref(value))
        return value.value

    def _integers(self, query: int, count: int) -> Dims:
        pointer = ctypes.POINTER(c_int64)()
        call("dnnl_memory_desc_query", self, query, byref(pointer))
        return tuple(pointer[i] for i in range(count))

    @property
    def sizes(self) -> Dims:
        return self._integers(QUERY_DIMS, self._integer(QUERY_NDIMS))

    @property
    def layout(self) -> str | None:
        """Name of the layout's structure, as oneDNN's tags are named; None for one that only oneDNN can read.

        Letters are dimensions from the slowest to the fastest, upper case where they are blocked, followed by the
        blocks from the slowest to the fastest: ``ABcd16b16a``.
        """
        if self._integer(QUERY_FORMAT_KIND) != _FORMAT_KIND_BLOCKED:
            return None
        rank = self._integer(QUERY_NDIMS)
        blocks = self._integer(QUERY_INNER_COUNT)
        sizes = self._integers(QUERY_INNER_BLOCKS, blocks)
        axes = self._integers(QUERY_INNER_AXES, blocks)
        outer = list(self._integers(QUERY_PADDED_DIMS, rank))
        for size, axis in zip(sizes, axes, strict=True):
            outer[axis] //= size
        strides = self._integers(QUERY_STRIDES, rank)
        # Of two dimensions with one stride, the one of size 1 is inside the other.
        order = sorted(range(rank), key=lambda axis: (-strides[axis], outer[axis] == 1, axis))
        letters = [chr(ord("A" if axis in axes else "a") + axis) for axis in order]
        inner = [f"{size}{chr(ord('a') + axis)}" for size, axis in zip(sizes, axes, strict=True)]
        return "".join(letters + inner)

    @property
    def nbytes(self) -> int:
        """Memory it takes, padding included."""
        function = load().dnnl_memory_desc_get_size
        function.restype = c_size_t
        return int(function(self))

    @property
    def padded(self) -> bool:
        """Whether it takes more memory than its elements."""
        return self.nbytes != 4 * math.prod(self.sizes)

    def equals(self, other: Desc) -> bool:
        return bool(load().dnnl_memory_desc_equal(self, other))


@cache
def _tags(rank: int) -> dict[str, int]:
    """The format tag of every blocked layout the library has for ``rank`` dimensions, by the name of its structure."""
    # Larger than any product of blocks, so that no dimension's stride leaves its place in the order open.
    sizes = (1 << 10,) * rank if rank <= 4 else (1 << 8,) * rank
    found: dict[str, int] = {}
    for tag in range(_TAG_ANY + 1, _TAGS_SCANNED):
        try:
            layout = Desc.of_tag(sizes, tag).layout
        except DnnlError:
            continue
        if layout is not None:
            found.setdefault(layout, tag)
    return found


def aligned(nbytes: int) -> np.ndarray:
    """An array of zeros, float32 and one-dimensional, that starts on a cache line."""
    raw = np.empty(nbytes + _ALIGNMENT, dtype=np.uint8)
    raw.fill(0)  # written, so that no page is touched for the first time within a timed call
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + nbytes].view(np.float32)


class Memory(_Handle):
    """A tensor: a descriptor and the float32 buffer that holds it."""

    def __init__(self, desc: Desc, buffer: np.ndarray | None = None) -> None:
        nbytes = desc.nbytes
        self.desc = desc
        self.buffer = aligned(-(-nbytes // 4) * 4) if buffer is None else buffer
        if self.buffer.nbytes < nbytes:
            raise KernelError(f"a buffer of {self.buffer.nbytes} bytes was given where {nbytes} are needed")
        handle = c_void_p()
        call("dnnl_memory_create", byref(handle), desc, engine(), c_void_p(self.buffer.ctypes.data))
        super().__init__(handle, "dnnl_memory_destroy")

    @classmethod
    def of_array(cls, array: np.ndarray) -> Memory:
        """An array's own memory, with its strides."""
        sizes, strides = array.shape, tuple(stride // array.itemsize for stride in array.strides)
        memory = cls.__new__(cls)
        memory.desc, memory.buffer = Desc.of_strides(sizes, strides), array
        handle = c_void_p()
        call("dnnl_memory_create", byref(handle), memory.desc, engine(), c_void_p(array.ctypes.data))
        _Handle.__init__(memory, handle, "dnnl_memory_destroy")
        return memory


class Pointer(_Handle):
    """A tensor that lies in whatever array it is pointed to."""

    def __init__(self, desc: Desc) -> None:
        handle = c_void_p()
        call("dnnl_memory_create", byref(handle), desc, engine(), None)
        super().__init__(handle, "dnnl_memory_destroy")
        self.desc = desc

    def to(self, array: np.ndarray) -> None:
        """Point to an array's memory, which the caller keeps alive for as long as it is used."""
        call("dnnl_memory_set_data_handle", self, c_void_p(array.ctypes.data))


class _Arg(ctypes.Structure):
    _fields_ = (("arg", c_int), ("memory", c_void_p))


class PrimitiveDesc(_Handle):
    """One implementation of an operation for given descriptors."""

    def __init__(self, handle: c_void_p) -> None:
        super().__init__(handle, "dnnl_primitive_desc_destroy")

    @property
    def implementation(self) -> str:
        """The implementation's name as the library has it: ``brgconv:avx512_core``."""
        text = ctypes.c_char_p()
        call("dnnl_primitive_desc_query", self, QUERY_IMPLEMENTATION, 0, byref(text))
        return (text.value or b"").decode()

    def desc(self, argument: int) -> Desc:
        """Descriptor of an execution argument."""
        return self._queried(QUERY_ARGUMENT, argument)

    def _queried(self, query: int, index: int) -> Desc:
        function = load().dnnl_primitive_desc_query_md
        function.restype = c_void_p
        borrowed, handle = function(self, query, index), c_void_p()
        call("dnnl_memory_desc_clone", byref(handle), c_void_p(borrowed))
        return Desc(handle)

    @property
    def scratchpad(self) -> Desc:
        return self._queried(QUERY_SCRATCHPAD, 0)


class PostOps(_Handle):
    """What is done to a result, in order, before it is stored."""

    def __init__(self) -> None:
        handle = c_void_p()
        call("dnnl_post_ops_create", byref(handle))
        super().__init__(handle, "dnnl_post_ops_destroy")

    def sum(self) -> PostOps:
        """Add what the result's memory held before."""
        call("dnnl_post_ops_append_sum", self, c_float(1), 0, 0)
        return self

    def eltwise(self, algorithm: int) -> PostOps:
        """Apply a function to every element."""
        call("dnnl_post_ops_append_eltwise", self, algorithm, c_float(1), c_float(0))
        return self


class Attributes(_Handle):
    """Primitive attributes: scratch memory is the caller's, so that no call allocates."""

    def __init__(self, post_ops: PostOps | None = None) -> None:
        handle = c_void_p()
        call("dnnl_primitive_attr_create", byref(handle))
        super().__init__(handle, "dnnl_primitive_attr_destroy")
        call("dnnl_primitive_attr_set_scratchpad_mode", self, _SCRATCHPAD_USER)
        if post_ops is not None:
            call("dnnl_primitive_attr_set_post_ops", self, post_ops)


def implementations(create: str, *arguments: object) -> list[PrimitiveDesc]:
    """Every implementation the library offers for an operation, the one it prefers first; none where it offers none.

    Parameters
    ----------
    create
        The C function that creates the primitive descriptor.
    arguments
        What it takes after the engine.
    """
    handle = c_void_p()
    if getattr(load(), create)(byref(handle), engine(), *arguments):
        return []
    found = []
    while True:
        clone = c_void_p()
        call("dnnl_primitive_desc_clone", byref(clone), handle)
        found.append(PrimitiveDesc(clone))
        if load().dnnl_primitive_desc_next_impl(handle):
            break
    load().dnnl_primitive_desc_destroy(handle)
    return found


class Primitive(_Handle):
    """An operation that is ready to run."""

    def __init__(self, pd: PrimitiveDesc) -> None:
        handle = c_void_p()
        call("dnnl_primitive_create", byref(handle), pd)
        super().__init__(handle, "dnnl_primitive_destroy")

    def bind(self, arguments: Mapping[int, Memory | Pointer]) -> Run:
        """A call without parameters that runs the operation on these memories and returns when it is done."""
        array = (_Arg * len(arguments))(*[_Arg(key, memory._as_parameter_) for key, memory in arguments.items()])
        execute: Callable[..., int] = load().dnnl_primitive_execute
        wait: Callable[..., int] = load().dnnl_stream_wait
        handle, queue, count = self._as_parameter_, stream(), c_int(len(arguments))
        keep = (self, arguments)

        def run() -> None:
            if execute(handle, queue, count, array) or wait(queue):
                raise KernelError(f"oneDNN could not run a primitive with {len(keep[1])} arguments")

        return run


def reorder(source: Memory | Pointer, target: Memory | Pointer) -> Run:
    """A call that copies a tensor into another layout."""
    found = c_void_p()
    call(
        "dnnl_reorder_primitive_desc_create",
        byref(found),
        source.desc,
        engine(),
        target.desc,
        engine(),
        None,
    )
    return Primitive(PrimitiveDesc(found)).bind({ARG_SRC: source, ARG_DST: target})
