"""Finding and loading cuDNN's shared library for the part of its C API that no Python package has: recurrent layers.

The wheel's own library comes first (``nvidia-cudnn-cu12`` or ``-cu13``), so that convolutions and recurrent layers are
computed by the same cuDNN; then the environment's ``lib`` folder and the system's library path. Loading it needs no
GPU.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import sys
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_ulonglong, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from layerbench.errors import KernelError, OutOfMemoryError, UnavailableError

MAJOR = 9
FILE = f"libcudnn.so.{MAJOR}"

NOT_SUPPORTED = range(3000, 4000)
"""Statuses by which cuDNN says that it cannot do what it was asked for."""

_NO_MEMORY = (4003, 4004)
_MESSAGE_BYTES = 1024

_Out = POINTER(c_void_p)
_Enum, _Enums, _Int32s = c_int, POINTER(c_int), POINTER(c_int32)

SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "cudnnGetVersion": (c_size_t, ()),
    "cudnnGetCudartVersion": (c_size_t, ()),
    "cudnnGetErrorString": (c_char_p, (_Enum,)),
    "cudnnGetLastErrorString": (None, (c_char_p, c_size_t)),
    "cudnnCreate": (_Enum, (_Out,)),
    "cudnnSetStream": (_Enum, (c_void_p, c_void_p)),
    "cudnnCreateTensorDescriptor": (_Enum, (_Out,)),
    "cudnnDestroyTensorDescriptor": (_Enum, (c_void_p,)),
    # descriptor, data type, dimensions, sizes, strides
    "cudnnSetTensorNdDescriptor": (_Enum, (c_void_p, _Enum, c_int, POINTER(c_int), POINTER(c_int))),
    # descriptor, dimensions asked for, data type, dimensions, sizes, strides
    "cudnnGetTensorNdDescriptor": (
        _Enum,
        (c_void_p, c_int, _Enums, POINTER(c_int), POINTER(c_int), POINTER(c_int)),
    ),
    "cudnnCreateDropoutDescriptor": (_Enum, (_Out,)),
    "cudnnDestroyDropoutDescriptor": (_Enum, (c_void_p,)),
    # descriptor, handle, rate, states, their bytes, seed
    "cudnnSetDropoutDescriptor": (_Enum, (c_void_p, c_void_p, c_float, c_void_p, c_size_t, c_ulonglong)),
    "cudnnCreateRNNDescriptor": (_Enum, (_Out,)),
    "cudnnDestroyRNNDescriptor": (_Enum, (c_void_p,)),
    # descriptor; algorithm, cell, biases, direction, input mode; data type, math precision, math type;
    # input size, hidden size, projection size, layers; dropout, flags
    "cudnnSetRNNDescriptor_v8": (_Enum, (c_void_p, *[_Enum] * 8, *[c_int32] * 4, c_void_p, c_uint32)),
    "cudnnGetRNNDescriptor_v8": (_Enum, (c_void_p, *[_Enums] * 8, *[_Int32s] * 4, _Out, POINTER(c_uint32))),
    # handle, descriptor, batch
    "cudnnBuildRNNDynamic": (_Enum, (c_void_p, c_void_p, c_int)),
    # handle, descriptor, mode, input; bytes of workspace and of reserve
    "cudnnGetRNNTempSpaceSizes": (
        _Enum,
        (c_void_p, c_void_p, _Enum, c_void_p, POINTER(c_size_t), POINTER(c_size_t)),
    ),
    "cudnnGetRNNWeightSpaceSize": (_Enum, (c_void_p, c_void_p, POINTER(c_size_t))),
    # handle, descriptor, layer, bytes and address of the weights, number of the matrix;
    # its descriptor and address, those of its bias
    "cudnnGetRNNWeightParams": (
        _Enum,
        (c_void_p, c_void_p, c_int32, c_size_t, c_void_p, c_int32, c_void_p, _Out, c_void_p, _Out),
    ),
    "cudnnCreateRNNDataDescriptor": (_Enum, (_Out,)),
    "cudnnDestroyRNNDataDescriptor": (_Enum, (c_void_p,)),
    # descriptor, data type, layout, longest sequence, batch, vector size, length of each sequence, padding
    "cudnnSetRNNDataDescriptor": (_Enum, (c_void_p, _Enum, _Enum, c_int, c_int, c_int, POINTER(c_int), c_void_p)),
    "cudnnGetRNNDataDescriptor": (
        _Enum,
        (c_void_p, _Enums, _Enums, *[POINTER(c_int)] * 3, c_int, POINTER(c_int), c_void_p),
    ),
    # handle, descriptor, mode, lengths on the device; x and its descriptor first, y; h, first and last; c, first and
    # last; weights, workspace and reserve, each its bytes first
    "cudnnRNNForward": (
        _Enum,
        (
            *(c_void_p, c_void_p, _Enum, c_void_p),
            *[c_void_p] * 4,
            *[c_void_p] * 6,
            *(c_size_t, c_void_p) * 3,
        ),
    ),
    # handle, descriptor, lengths on the device; y's descriptor, y, dy; x's descriptor, dx; h's descriptor, first,
    # gradient of the last, gradient of the first; those of c; weights, workspace and reserve
    "cudnnRNNBackwardData_v8": (
        _Enum,
        (
            *[c_void_p] * 3,
            *[c_void_p] * 5,
            *[c_void_p] * 8,
            *(c_size_t, c_void_p) * 3,
        ),
    ),
    # handle, descriptor, whether to add, lengths on the device; x, h, y, each its descriptor first; weight gradients,
    # workspace and reserve, each its bytes first
    "cudnnRNNBackwardWeights_v8": (
        _Enum,
        (
            *(c_void_p, c_void_p, _Enum, c_void_p),
            *[c_void_p] * 6,
            *(c_size_t, c_void_p) * 3,
        ),
    ),
}
"""Result and argument types of every function that is called. Enumerations are C's int; pointers are addresses."""


class LibraryUnavailableError(UnavailableError):
    """cuDNN cannot be used here; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cuDNN: {reason}")
        self.reason = reason


def version_of(number: int) -> tuple[int, int, int]:
    """(major, minor, patch) of cuDNN's version number, which has five digits since version 9: 92801 is 9.28.1."""
    if number < 10000:
        return number // 1000, number // 100 % 10, number % 100
    return number // 10000, number // 100 % 100, number % 100


def _wheel() -> Iterator[Path]:
    try:
        found = importlib.util.find_spec("nvidia.cudnn")
    except (ImportError, ValueError):
        return
    for folder in (found.submodule_search_locations or ()) if found else ():
        yield Path(folder, "lib", FILE)


def candidates() -> list[str]:
    """Paths and names under which the library may be found, in the order they are tried."""
    paths = [str(path) for path in (*_wheel(), Path(sys.prefix, "lib", FILE)) if path.is_file()]
    system = ctypes.util.find_library("cudnn")
    return [*paths, system] if system else paths


def open_library(paths: list[str]) -> ctypes.CDLL:
    """The first of ``paths`` that loads and has the right major version, with its functions' types set.

    Raises
    ------
    LibraryUnavailableError
        If none does; says what was found instead.
    """
    problem = ""
    for path in paths:
        try:
            library = ctypes.CDLL(path)
            library.cudnnGetVersion.restype = c_size_t
            version = version_of(library.cudnnGetVersion())
            if version[0] == MAJOR:
                return _typed(library)
        except (OSError, AttributeError) as error:
            problem = problem or f"{path} cannot be loaded: {' '.join(str(error).split())}"
        else:
            problem = problem or f"{path} is version {'.'.join(map(str, version))}, and version {MAJOR} is needed"
    raise LibraryUnavailableError(
        problem or f"no {FILE} in the nvidia-cudnn wheel, in {Path(sys.prefix, 'lib')} or on the library path"
    )


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@cache
def load() -> ctypes.CDLL:
    """The library, loaded once.

    Raises
    ------
    LibraryUnavailableError
        If there is none that can be used.
    """
    return open_library(candidates())


def version() -> tuple[int, int, int]:
    """(major, minor, patch) of the library that is loaded."""
    return version_of(load().cudnnGetVersion())


def cuda_major() -> int:
    """Major version of the CUDA that the library was built for."""
    return int(load().cudnnGetCudartVersion()) // 1000


class StatusError(KernelError):
    """cuDNN refused a call; ``status`` is what it returned."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def check(status: int, what: str) -> None:
    """Raise if a call did not succeed.

    Parameters
    ----------
    status
        What the function returned.
    what
        The function.

    Raises
    ------
    StatusError
        With cuDNN's word for the status, and the last thing it had to say.
    OutOfMemoryError
        If it could not allocate what it needs.
    """
    if status == 0:
        return
    library = load()
    last = ctypes.create_string_buffer(_MESSAGE_BYTES)
    library.cudnnGetLastErrorString(last, _MESSAGE_BYTES)
    said = " ".join(last.value.decode(errors="replace").split())
    message = f"cuDNN: {what}: {library.cudnnGetErrorString(status).decode()}" + (f": {said}" if said else "")
    if status in _NO_MEMORY:
        raise OutOfMemoryError(message)
    raise StatusError(message, status)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the library that returns a status; raises as :func:`check` does."""
    check(getattr(load(), name)(*arguments), name)


def ints(*values: int) -> Any:
    """A C array of ints."""
    return (c_int * len(values))(*values)
