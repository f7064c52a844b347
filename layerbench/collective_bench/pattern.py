"""Values that are exchanged, and whether the right ones arrived.

They are small whole numbers, so that sums are exact in every type and in whatever order they are added up. They repeat
after :data:`PERIOD`, no power of two, and each rank begins elsewhere: a block in the wrong place is seen.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from layerbench.layers import DType

PERIOD = 61
SHIFT = 7
"""From rank to rank; it and the period have no common factor."""

TO = 13
"""From receiver to receiver, where a rank has a block for each."""

CHUNK = 2**18
"""Elements that are laid out or compared at once: a copy of everything that is expected would not always fit."""

POISON = -1
"""In what is to be overwritten; no value is negative."""

STORED: dict[DType, type[np.generic]] = {
    "fp64": np.float64,
    "fp32": np.float32,
    "fp16": np.float16,
    "bf16": np.uint16,
}
"""What holds each type: NumPy has no bf16, whose bits are kept."""

_EXACT: dict[DType, int] = {"fp64": 2**53, "fp32": 2**24, "fp16": 2**11, "bf16": 2**8}
"""Up to here every whole number is exact."""


def encoded(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Whole numbers as they are stored in a type."""
    if dtype == "bf16":
        return np.asarray(values.astype(np.float32).view(np.uint32) >> 16, dtype=np.uint16)
    return np.asarray(values.astype(STORED[dtype]))


def decoded(values: np.ndarray, dtype: DType) -> np.ndarray:
    """The numbers that are stored, as float64."""
    if dtype == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.float64)


def moved(source: int, to: int = 0) -> np.ndarray:
    """One period of what a rank sends, to all or to one."""
    return (np.arange(PERIOD) + SHIFT * source + TO * to) % PERIOD


def added(rank: int, ranks: int, dtype: DType) -> np.ndarray:
    """One period of what a rank adds to a sum over ``ranks`` of them.

    Of a type with few exact whole numbers the period is shorter, and of very many ranks the last ones add zeros.
    """
    period = max(3, min(PERIOD, (_EXACT[dtype] // ranks + 2) // 2 * 2 - 1))
    if rank >= _EXACT[dtype] // (period - 1):
        return np.zeros(period, np.int64)
    return (np.arange(period) + SHIFT * rank) % period


def total(ranks: int, dtype: DType) -> np.ndarray:
    """One period of the sum over all ranks."""
    return np.asarray(np.sum([added(rank, ranks, dtype) for rank in range(ranks)], axis=0))


class Pattern:
    """One period of values over and over.

    Parameters
    ----------
    arrays
        The module whose arrays are exchanged: NumPy, or one like it.
    values
        Whole numbers, one period of them.
    dtype
        Of what is exchanged.
    elements
        How many are laid out at most.
    start
        The element that comes first.
    """

    def __init__(self, arrays: Any, values: np.ndarray, dtype: DType, elements: int, start: int = 0) -> None:
        self._arrays, self._dtype, self._elements = arrays, dtype, elements
        self._values = np.roll(values, -(start % len(values)))

    @cached_property
    def _chunk(self) -> Any:
        period = len(self._values)
        copies = -(-min(CHUNK, max(1, self._elements)) // period)
        return self._arrays.asarray(np.tile(encoded(self._values, self._dtype), copies))

    def lay(self, into: Any) -> None:
        """Write it over an array."""
        for start in range(0, into.size, self._chunk.size):
            part = into[start : start + self._chunk.size]
            part[...] = self._chunk[: part.size]

    def wrong(self, got: Any, begin: int = 0) -> str | None:
        """The first element that is not as it should be, in words; None where all are.

        ``begin`` is the number of the array's first element.
        """
        for start in range(0, got.size, self._chunk.size):
            part = got[start : start + self._chunk.size]
            right = self._chunk[: part.size]
            if self._arrays.array_equal(part, right):
                continue
            place = int((part != right).astype(np.uint8).argmax())
            said, meant = (float(decoded(_host(each[place : place + 1]), self._dtype)[0]) for each in (part, right))
            return f"element {begin + start + place:,} is {said:g} and should be {meant:g}"
        return None


def _host(array: Any) -> np.ndarray:
    """An array of a device, as NumPy has it."""
    return np.asarray(array.get() if hasattr(array, "get") else array)
