"""Batches of shard files that together are larger than memory: raw, ``.npy`` or ``.npz``."""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerbench.datamanager import naming
from layerbench.datamanager.casting import Normalise, casts, staged
from layerbench.datamanager.order import Order, Samples
from layerbench.datamanager.pieces import pieces, told
from layerbench.datamanager.pool import Pool
from layerbench.datamanager.shard_files import Member, Raw, find, members
from layerbench.datamanager.source import Field, Out, Piece, Stage
from layerbench.datamanager.unpacking import Unpacking
from layerbench.errors import UsageError
from layerbench.suite_format import printable

OPEN_FILES = 16
"""Files that are kept open, of however many shards."""

OPEN_ARCHIVES = 2
"""Shards with compressed members that are: the one that is read, and the one after it."""

BLOCK_BYTES = 2**20
"""About what is decompressed at once."""


class Shards:
    """Batches of the samples of shard files, one shard after another; a batch may have samples of several.

    ``read`` waits for the disk: samples come straight into the batch's memory, and where they are stored in another
    dtype than is delivered, to the end of their place there. ``cast`` converts and normalises them from there, if that
    is asked for. Files are read and not mapped, so that memory does not fill with pages that were read before, and a
    file that is cut off meanwhile is an error and not the end of the process.

    Members of a ``.npz`` file are the arrays of a batch. Those that are stored are read where they lie. Those that are
    compressed are decompressed from the front, about 1 MiB at a time and once an epoch, and each rank reads through all
    of them.

    In a random order the samples of all shards are mixed. Only where members are compressed are samples of a shard kept
    together: shards come in a random order, and the samples of each; a shard is then decompressed whole, and two of
    them may be in memory.

    Parameters
    ----------
    shards
        A folder (all ``.npy`` and ``.npz`` files in it, sorted by name; with ``raw`` all files), a file, a pattern such
        as ``train-*.npy``, or a list of files.
    batch_size, rank, ranks, shuffle, epochs, drop_last
        As in :class:`~layerbench.datamanager.order.Order`.
    names
        Of ``.npz`` files the members that are wanted, in this order; None: all, in the first file's order. Of other
        files what the one field is called.
    dtypes
        What each array is delivered as; None, for one or all, leaves it.
    normalise
        How each array is normalised; None, for one or all, leaves it.
    raw
        What files hold that are neither ``.npy`` nor ``.npz``.

    Raises
    ------
    UsageError
        If a shard cannot be read, is damaged or cut off, or holds other samples than the first; or there are too few
        samples for a batch.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        batch_size: int,
        *,
        names: Sequence[str] | None = None,
        dtypes: Sequence[Any] | None = None,
        normalise: Sequence[Normalise | None] | None = None,
        raw: Raw | None = None,
        rank: int = 0,
        ranks: int = 1,
        shuffle: int | None = None,
        epochs: int | None = 1,
        drop_last: bool = True,
    ) -> None:
        self._shards = _alike([members(path, raw) for path in find(shards, raw)], names)
        first = self._shards[0]
        # Files without members have one array, which is called as asked for.
        called = list(names) if names is not None else [member.name or "samples" for member in first]
        self._casts = casts(
            [(name, member.shape, member.dtype) for name, member in zip(called, first, strict=True)], dtypes, normalise
        )
        lengths = [shard[0].samples for shard in self._shards]
        self._starts = [0, *itertools.accumulate(lengths)][:-1]
        compressed = any(member.compressed for shard in self._shards for member in shard)
        together = tuple(lengths) if compressed else None
        try:
            self.order = Order(sum(lengths), batch_size, rank, ranks, shuffle, epochs, drop_last, together)
        except UsageError as error:
            named = shards if isinstance(shards, str | os.PathLike) else first[0].path
            raise UsageError(f"{naming.path(named)}: {error}") from None
        self._files: Pool[Path, io.FileIO] = Pool(OPEN_FILES, self._open, io.FileIO.close)
        self._archives: Pool[Member, Unpacking] = Pool(OPEN_ARCHIVES * len(first), self._unpack, Unpacking.close)
        self.fields: Sequence[Field] = [cast.field for cast in self._casts]
        self.batch_size = batch_size
        self.batches = self.order.batches
        read = Stage("read", self._read)
        copies = all(cast.is_copy for cast in self._casts)
        self.stages: Sequence[Stage] = [read] if copies else [read, Stage("cast", self._cast)]

    def plan(self) -> Iterator[Sequence[Piece]]:
        """The pieces of each batch: about 2 MiB each, so that several workers share a large batch."""
        self._files.reopen()
        self._archives.reopen()
        sample_bytes = sum(field.nbytes for field in self.fields)
        for samples in self.order:
            yield [piece._replace(origin=self._origin(piece.item)) for piece in pieces(samples, sample_bytes)]

    def close(self) -> None:
        """Close the files."""
        self._files.close()
        self._archives.close()

    def _origin(self, samples: Samples) -> str:
        shard, _, here = next(self._runs(samples))
        others = "" if len(here) == len(samples) else " and of other shards"
        return f"{printable(self._shards[shard][0].path.name)} ({told(here)}{others})"

    def _runs(self, samples: Samples) -> Iterator[tuple[int, slice, Samples]]:
        """Parts of a piece that are in one shard each: shard, part, and samples counted from the shard's first."""
        done = 0
        if isinstance(samples, range):
            while done < len(samples):
                shard = bisect.bisect_right(self._starts, samples[done]) - 1
                start = samples[done] - self._starts[shard]
                stop = min(start + len(samples) - done, self._shards[shard][0].samples)
                yield shard, slice(done, done + stop - start), range(start, stop)
                done += stop - start
            return
        shards = np.searchsorted(self._starts, samples, side="right") - 1
        for end in (*(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(samples)):
            shard = int(shards[done])
            yield shard, slice(done, end), samples[done:end] - self._starts[shard]
            done = end

    def _read(self, samples: Samples, out: Out) -> list[np.ndarray]:
        found = [staged(place, cast.stored) for place, cast in zip(out, self._casts, strict=True)]
        as_bytes = [array.reshape(-1).view(np.uint8).reshape(len(samples), -1) for array in found]
        for shard, part, here in self._runs(samples):
            for member, rows in zip(self._shards[shard], as_bytes, strict=True):
                if member.compressed:
                    with self._archives.use(member) as archive:
                        archive.copy(here, rows[part])
                else:
                    with self._files.use(member.path) as file:
                        _read_samples(file.fileno(), member, here, rows[part])
        return found

    def _cast(self, found: list[np.ndarray], out: Out) -> None:
        for cast, stored, place in zip(self._casts, found, out, strict=True):
            cast.in_place(stored, place)

    def _open(self, path: Path) -> io.FileIO:
        file = io.FileIO(path)
        # The system reads ahead what is read in sequence, and would read too much of what is not.
        advice = os.POSIX_FADV_SEQUENTIAL if self.order.shuffle is None else os.POSIX_FADV_RANDOM
        os.posix_fadvise(file.fileno(), 0, 0, advice)
        return file

    def _unpack(self, member: Member) -> Unpacking:
        if self.order.shuffle is not None:
            return Unpacking(member, max(1, member.samples))
        return Unpacking(member, max(1, BLOCK_BYTES // member.sample_bytes))


def _read_samples(descriptor: int, member: Member, samples: Samples, rows: np.ndarray) -> None:
    size = member.sample_bytes
    if isinstance(samples, range):
        _read_at(descriptor, member, member.offset + samples.start * size, rows.reshape(-1))
        return
    offsets = (member.offset + samples * size).tolist()
    if len(offsets) > 1:
        # The disk is asked for all before any is waited for, and can take them in its own order.
        for offset in offsets:
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
    for offset, row in zip(offsets, rows, strict=True):
        _read_at(descriptor, member, offset, row)


def _read_at(descriptor: int, member: Member, offset: int, into: np.ndarray) -> None:
    done = 0
    while done < len(into):
        count = os.preadv(descriptor, [into[done:].data], offset + done)
        if not count:
            raise OSError(
                f"{member}: is cut off: expected {len(into)} bytes from {offset} on, and it ends at {offset + done}"
            )
        done += count


def _alike(shards: list[list[Member]], names: Sequence[str] | None) -> list[list[Member]]:
    """The wanted members of each shard, in the same order; shards without samples are left out.

    Raises
    ------
    UsageError
        If a shard has not all of them, or other samples than the first.
    """
    first = {member.name: member for member in shards[0]}
    if names is not None and (isinstance(names, str) or not names or len(set(names)) < len(names)):
        raise UsageError(f"names must be a list of different names, not {names!r}")
    if names is None or "" in first:
        wanted = list(first)
        if names is not None and len(names) != 1:
            raise UsageError(f"{shards[0][0]}: has one array, and names are {len(names)}: {', '.join(names)}")
    else:
        wanted = list(names)
    chosen = []
    for shard in shards:
        by_name = {member.name: member for member in shard}
        for name in wanted:
            if name not in by_name:
                has = ", ".join(printable(each) for each in by_name if each) or "one array without a name"
                # What a file without members holds has no name.
                lacks = (
                    f"has no {printable(name)!r}" if name else f"lacks one array without a name, as {shards[0][0]} has"
                )
                raise UsageError(f"{printable(str(shard[0].path))}: {lacks}; it has {has}")
            member, expected = by_name[name], first[name]
            if (member.shape, member.dtype) != (expected.shape, expected.dtype):
                raise UsageError(
                    f"{member}: has samples of shape {member.shape} and {member.dtype}, and {expected.path.name} of "
                    f"{expected.shape} and {expected.dtype}: mixed sizes make no batch"
                )
        chosen.append([by_name[name] for name in wanted])
    return [shard for shard in chosen if shard[0].samples] or chosen[:1]
