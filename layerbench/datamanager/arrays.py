"""Batches of arrays in memory and of memory maps."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from layerbench.datamanager.casting import Cast, Normalise, casts, per_field
from layerbench.datamanager.order import Order, Samples
from layerbench.datamanager.pieces import pieces
from layerbench.datamanager.source import Field, Out, Piece, Stage
from layerbench.errors import UsageError

_LARGE_SAMPLE = 16 * 2**10
"""Bytes from which a sample is converted by itself: the call is then little beside the work."""

_GATHERED_BYTES = 2**18
_TOUCHES = 512
"""NumPy lets other threads run only in loops of more than some 500 elements."""


class Arrays:
    """Batches of arrays of equally many samples, which are their first axis.

    Arrays in memory have one stage: ``cast`` copies, converts and normalises samples into their place in the batch.
    Memory maps have ``read`` before it, which makes the pages of the samples resident, so that the disk is waited for
    there and not while converting.

    Parameters
    ----------
    arrays
        NumPy arrays or memory maps (``numpy.memmap``, or ``numpy.load`` with ``mmap_mode="r"``).
    batch_size, rank, ranks, shuffle, epochs, drop_last
        As in :class:`~layerbench.datamanager.order.Order`.
    names
        Of the fields.
    dtypes
        What each array is delivered as; None, for one or all, leaves it.
    normalise
        How each array is normalised; None, for one or all, leaves it.

    Raises
    ------
    UsageError
        If arrays differ in length, are not of numbers, or give no batch.
    """

    def __init__(
        self,
        *arrays: np.ndarray,
        batch_size: int,
        names: Sequence[str] | None = None,
        dtypes: Sequence[Any] | None = None,
        normalise: Sequence[Normalise | None] | None = None,
        rank: int = 0,
        ranks: int = 1,
        shuffle: int | None = None,
        epochs: int | None = 1,
        drop_last: bool = True,
    ) -> None:
        if not arrays:
            raise UsageError("expected at least one array")
        called = [f"array {number}" for number in range(1, len(arrays) + 1)]
        called = [name or default for name, default in zip(per_field("names", names, len(arrays)), called, strict=True)]
        for name, array in zip(called, arrays, strict=True):
            if not isinstance(array, np.ndarray) or array.ndim == 0:
                raise UsageError(
                    f"{name}: expected a NumPy array or memory map of samples, not a {type(array).__name__}"
                )
            if len(array) != len(arrays[0]):
                raise UsageError(
                    f"{name} has {len(array)} samples and {called[0]} has {len(arrays[0])}: they must be equally many"
                )
        self.order = Order(len(arrays[0]), batch_size, rank, ranks, shuffle, epochs, drop_last)
        stored = [(name, array.shape[1:], array.dtype) for name, array in zip(called, arrays, strict=True)]
        self._casts = casts(stored, dtypes, normalise)
        self._maps = [_mapping(array) for array in arrays]
        # A view without the subclass: a memory map's own slices cost a Python call each.
        self._arrays = [np.asarray(array) for array in arrays]
        self.fields: Sequence[Field] = [cast.field for cast in self._casts]
        self.batch_size = batch_size
        self.batches = self.order.batches
        cast = Stage("cast", self._cast)
        self.stages: Sequence[Stage] = [Stage("read", self._read), cast] if any(self._maps) else [cast]

    def plan(self) -> Iterator[Sequence[Piece]]:
        """The pieces of each batch: about 2 MiB each, so that several workers share a large batch."""
        sample_bytes = sum(field.nbytes for field in self.fields)
        for samples in self.order:
            yield pieces(samples, sample_bytes)

    def close(self) -> None:
        """Nothing is open; the arrays stay, so that the source can be used again."""

    def _read(self, samples: Samples, out: Out) -> Samples:
        for array, mapping in zip(self._arrays, self._maps, strict=True):
            # Of a map that does not lie in one piece, the cast itself waits for the disk.
            if mapping is not None and array.flags.c_contiguous and array.nbytes:
                _make_resident(array, mapping, samples)
        return samples

    def _cast(self, samples: Samples, out: Out) -> None:
        for cast, array, place in zip(self._casts, self._arrays, out, strict=True):
            if isinstance(samples, range):
                cast.into(array[samples.start : samples.stop], place)
            else:
                _gather(cast, array, samples, place)


def _gather(cast: Cast, array: np.ndarray, samples: np.ndarray, place: np.ndarray) -> None:
    sample_bytes = array[:1].nbytes
    if sample_bytes >= _LARGE_SAMPLE:
        for target, sample in zip(place, samples, strict=True):
            cast.into(array[sample], target)
        return
    # Of an array that does not lie in one piece, take would copy all of it first.
    in_one_piece = array.flags.c_contiguous
    if cast.is_copy and in_one_piece:
        # Any mode but "raise" writes to the place itself; the samples are all there.
        np.take(array, samples, axis=0, out=place, mode="clip")
        return
    count = max(1, _GATHERED_BYTES // max(1, sample_bytes))
    for start in range(0, len(samples), count):
        chosen = samples[start : start + count]
        gathered = np.take(array, chosen, axis=0, mode="clip") if in_one_piece else array[chosen]
        cast.into(gathered, place[start : start + count])


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """The memory map that an array's memory is part of, if it is."""
    base: object = array
    while base is not None:
        if isinstance(base, mmap.mmap):
            return base
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return None


def _make_resident(array: np.ndarray, mapping: mmap.mmap, samples: Samples) -> None:
    """Wait until the pages of samples are in memory, with other threads running meanwhile."""
    stored = array.reshape(-1).view(np.uint8)
    size = array[:1].nbytes
    if isinstance(samples, range):
        runs = [(samples.start * size, samples.stop * size)]
    elif size >= mmap.PAGESIZE:
        runs = [(sample * size, (sample + 1) * size) for sample in samples.tolist()]
    else:
        np.take(stored, samples * size, mode="clip")
        np.take(stored, samples * size + (size - 1), mode="clip")
        return
    # All are asked for before any is waited for: the disk can take them in its own order.
    offset = stored.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    for start, stop in runs:
        first = (offset + start) // mmap.PAGESIZE * mmap.PAGESIZE
        # Some file systems do not take advice; touching does it as well.
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_WILLNEED, first, offset + stop - first)
    for start, stop in runs:
        run = stored[start:stop]
        run[:: max(1, min(mmap.PAGESIZE, len(run) // _TOUCHES))].max()
        run[-1:].max()
