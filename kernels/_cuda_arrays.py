"""Operands between the host and a CUDA device.

CuPy has no bf16: on the device such an array is uint16, the upper halves of float32 values. The host holds them as
float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerbench.cuda import library
from layerbench.layers import DType

_STORAGE: dict[DType, np.dtype[Any]] = {
    "fp64": np.dtype(np.float64),
    "fp32": np.dtype(np.float32),
    "tf32": np.dtype(np.float32),
    "bf16": np.dtype(np.uint16),
    "fp16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}

_BF16_NAN = 0x7FC0
_QUIET = 0x0040
"""The bit of a bf16 NaN without which cutting off its lower half could leave an infinity."""


def storage(dtype: DType) -> np.dtype[Any]:
    """The type of an array's elements on the device."""
    return _STORAGE[dtype]


def bf16_bits(values: np.ndarray) -> np.ndarray:
    """float32 values as bf16, rounded to nearest, ties to even.

    Returns
    -------
    ndarray
        uint16, of the same shape, contiguous.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
    # The carry of rounding would turn a NaN whose bits are all ones into zero.
    return np.where(np.isnan(values), (bits >> 16).astype(np.uint16) | np.uint16(_QUIET), rounded)


def bf16_values(bits: np.ndarray) -> np.ndarray:
    """What bf16 bits (uint16) stand for, as float32 of the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_device(array: np.ndarray, dtype: DType) -> Any:
    """A copy on the current device: a C-contiguous CuPy array of the dtype's storage type.

    The host's array may be changed as soon as the call returns.
    """
    host = bf16_bits(array) if dtype == "bf16" else np.ascontiguousarray(array, storage(dtype))
    copy = empty(array.shape, dtype)
    copy.set(host)
    return copy


def to_host(array: Any, dtype: DType) -> np.ndarray:
    """A copy in the host's memory, C-contiguous; bf16 as float32, others in their own type.

    Waits for what the current stream has queued.
    """
    copy: np.ndarray = np.ascontiguousarray(array.get())
    return bf16_values(copy) if dtype == "bf16" else copy


def empty(shape: Sequence[int], dtype: DType) -> Any:
    """A C-contiguous CuPy array of the dtype's storage type, whatever the memory holds."""
    return library.load().empty(tuple(shape), storage(dtype))


def poison(array: Any, dtype: DType) -> None:
    """Fill an array with NaN, or, where its type has none, with its most negative value."""
    if dtype == "bf16":
        array.fill(_BF16_NAN)
    elif array.dtype.kind == "i":
        array.fill(np.iinfo(array.dtype).min)
    else:
        array.fill(np.nan)
