"""Which gradients are exchanged together, and the memory in which they are.

The last layer's gradient is ready first, so buckets are made from the end. Many small exchanges cost many latencies, a
single large one cannot begin before the last gradient is there; a bucket of some megabytes is between the two, and a
smaller first one lets the exchange begin early.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from layerbench.errors import UsageError
from layerbench.suite_format import flat as on_one_line
from layerbench.suite_format import printable, shown

BUCKET_BYTES = 25 * 2**20
"""Bytes at which a bucket is full."""

FIRST_BYTES = 2**20
"""Bytes at which the first one is."""


@dataclass(frozen=True)
class Bucket:
    """Gradients that are exchanged together.

    Attributes
    ----------
    indices
        Which gradients, in descending order; in this order they lie in the bucket's memory.
    bytes
        Of all of them.
    packed
        Whether they are copied into memory of the bucket's own. One gradient alone is exchanged where it is.
    """

    indices: tuple[int, ...]
    bytes: int
    packed: bool


def buckets(
    gradients: Sequence[Any], bucket_bytes: int = BUCKET_BYTES, first_bytes: int = FIRST_BYTES
) -> tuple[Bucket, ...]:
    """Divide gradients among buckets, in the order in which buckets are complete if the last gradient is ready first.

    A bucket is closed when it has reached its size, so it may be larger by less than one gradient. A gradient that
    fills a bucket by itself has one to itself, so that it need not be copied; what was gathered before it is closed
    then. A bucket holds one dtype; of each dtype there is one that gathers.

    Parameters
    ----------
    gradients
        Arrays in the order of the forward pass. None and arrays without elements are in no bucket.
    bucket_bytes, first_bytes
        Sizes at which a bucket is closed, and the bucket that is closed first; of the two the smaller counts for that.

    Raises
    ------
    UsageError
        If a size is no whole number of at least 1.
    """
    for name, value in (("bucket_bytes", bucket_bytes), ("first_bytes", first_bytes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name}: expected a whole number of bytes, at least 1, not {printable(shown(value))}")
    closed: list[list[int]] = []
    gathering: dict[Any, list[int]] = {}
    gathered: dict[Any, int] = {}

    def close(dtype: Any) -> None:
        if dtype in gathering:
            closed.append(gathering.pop(dtype))
            del gathered[dtype]

    for index in reversed(range(len(gradients))):
        gradient = gradients[index]
        if gradient is None or not gradient.size:
            continue
        dtype = gradient.dtype
        if gradient.nbytes >= bucket_bytes:
            close(dtype)
        gathering.setdefault(dtype, []).append(index)
        gathered[dtype] = gathered.get(dtype, 0) + gradient.nbytes
        if gathered[dtype] >= (bucket_bytes if closed else min(first_bytes, bucket_bytes)):
            close(dtype)
    # One that never filled up is complete with its lowest gradient, which may be before others that did.
    complete = sorted([*closed, *gathering.values()], key=lambda indices: -indices[-1])
    return tuple(
        Bucket(tuple(indices), sum(gradients[index].nbytes for index in indices), len(indices) > 1)
        for indices in complete
    )


def flat(gradients: Sequence[Any]) -> list[Any]:
    """One-dimensional views of gradients, on the host or on a device; None where there is nothing to exchange.

    Raises
    ------
    UsageError
        If one is no array that can be replaced by a sum where it is, or two share memory.
    """
    views: list[Any] = []
    places: list[tuple[int, int, int]] = []
    for index, gradient in enumerate(gradients):
        if gradient is None:
            views.append(None)
            continue
        interface = getattr(gradient, "__cuda_array_interface__", None) or getattr(
            gradient, "__array_interface__", None
        )
        if interface is None:
            what = printable(on_one_line(shown(gradient)))
            raise UsageError(f"gradient {index}: expected an array or None, not {what}")
        if not gradient.size:
            views.append(None)
            continue
        address, read_only = interface["data"]
        for wrong, problem in (
            (not gradient.flags.c_contiguous, "is not contiguous in C's order"),
            (read_only, "is read-only"),
            (not gradient.dtype.isnative, f"has another byte order ({gradient.dtype}) than this machine"),
        ):
            if wrong:
                raise UsageError(f"gradient {index}: {problem}; it is replaced by its sum where it is")
        views.append(gradient.reshape(-1))
        places.append((address, address + gradient.nbytes, index))
    for (_, stop, first), (start, _, second) in itertools.pairwise(sorted(places)):
        if start < stop:
            low, high = sorted((first, second))
            raise UsageError(f"gradients {low} and {high} share memory and would be summed twice; pass one of them")
    return views


class Packing:
    """The memory of buckets: of packed ones an array for each, allocated once; of the others the gradient itself.

    Parameters
    ----------
    gradients
        As :func:`flat` returns them.
    of
        How they are divided.
    empty
        Allocates an array of so many elements of a dtype.

    Attributes
    ----------
    buffers
        What is summed over ranks, of each bucket.
    """

    def __init__(self, gradients: Sequence[Any], of: Sequence[Bucket], empty: Callable[[int, Any], Any]) -> None:
        self.buffers: list[Any] = []
        self._moves: list[list[tuple[Any, Any]]] = []
        self._move_of: dict[int, tuple[Any, Any]] = {}
        for bucket in of:
            if not bucket.packed:
                self.buffers.append(gradients[bucket.indices[0]])
                self._moves.append([])
                continue
            dtype = gradients[bucket.indices[0]].dtype
            buffer = empty(bucket.bytes // dtype.itemsize, dtype)
            buffer.fill(0)  # the system gives memory at the first touch: not in the first step
            ends = list(itertools.accumulate((gradients[index].size for index in bucket.indices), initial=0))
            moves = [
                (gradients[index], buffer[start:stop])
                for index, (start, stop) in zip(bucket.indices, itertools.pairwise(ends), strict=True)
            ]
            self.buffers.append(buffer)
            self._moves.append(moves)
            self._move_of |= dict(zip(bucket.indices, moves, strict=True))

    def pack(self, index: int) -> None:
        """Copy a gradient to its place in its bucket; of one that is exchanged where it is, nothing."""
        if index in self._move_of:
            gradient, place = self._move_of[index]
            place[...] = gradient

    def unpack(self, number: int) -> None:
        """Copy what a bucket holds back to its gradients."""
        for gradient, place in self._moves[number]:
            gradient[...] = place
