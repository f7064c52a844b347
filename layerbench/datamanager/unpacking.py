"""A compressed array, read from the front on in blocks."""

from __future__ import annotations

import threading
import zipfile
from typing import IO

import numpy as np

from layerbench.datamanager.shard_files import Member

_KEPT = 3
"""Blocks that are kept, for pieces that several workers ask for in another order than the file's."""

_READ_BYTES = 2**20


class Unpacking:
    """Samples of a compressed member, decompressed once as long as they are asked for about in order.

    Parameters
    ----------
    member
        Which array.
    block
        Samples that are decompressed at once.
    """

    def __init__(self, member: Member, block: int) -> None:
        self._member = member
        self._block = block
        self._archive = zipfile.ZipFile(member.path)
        self._content: IO[bytes] | None = None
        self._next = 0
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def copy(self, samples: range | np.ndarray, into: np.ndarray) -> None:
        """Copy samples, as bytes.

        Parameters
        ----------
        samples
            Which ones, counted from the member's first. If it is not a range they are all of one block.
        into
            Of shape (samples, bytes of a sample).
        """
        if not isinstance(samples, range):
            block = int(samples.min()) // self._block
            np.take(self._rows(block), samples - block * self._block, axis=0, out=into, mode="clip")
            return
        done = 0
        while done < len(samples):
            block, first = divmod(samples[done], self._block)
            rows = self._rows(block)[first : first + len(samples) - done]
            np.copyto(into[done : done + len(rows)], rows)
            done += len(rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._content is not None:
                self._content.close()
            self._archive.close()
            self._kept = {}

    def _rows(self, block: int) -> np.ndarray:
        with self._lock:
            if block in self._kept:
                return self._kept[block]
            if self._content is None or block < self._next:
                self._rewind()
            while self._next <= block:
                if len(self._kept) == _KEPT:
                    # Before the next is read, so that no more are held than that.
                    del self._kept[min(self._kept)]
                self._kept[self._next] = self._read()
                self._next += 1
            return self._kept[block]

    def _rewind(self) -> None:
        if self._content is not None:
            self._content.close()
        self._content = self._archive.open(f"{self._member.name}.npy")
        self._content.read(self._member.offset)
        self._next, self._kept = 0, {}

    def _read(self) -> np.ndarray:
        assert self._content is not None
        samples = min(self._block, self._member.samples - self._next * self._block)
        rows = np.empty((samples, self._member.sample_bytes), np.uint8)
        into, done = rows.reshape(-1), 0
        try:
            while done < len(into):
                # Python's reader holds what it is asked for several times over.
                contents = self._content.read(min(_READ_BYTES, len(into) - done))
                if not contents:
                    raise OSError(f"{self._member}: is cut off: expected {len(into) - done} more bytes")
                into[done : done + len(contents)] = np.frombuffer(contents, np.uint8)
                done += len(contents)
        except BaseException:
            # Where the file stands now is not known: who asks again begins at the front.
            self._content.close()
            self._content = None
            raise
        return rows
