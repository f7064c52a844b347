"""Shard files: which arrays they hold, and where in a file their samples are."""

from __future__ import annotations

import glob
import os
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from layerbench.datamanager import naming
from layerbench.datamanager.casting import dtype_asked
from layerbench.errors import UsageError
from layerbench.suite_format import printable

_LOCAL_HEADER = 30
"""Bytes of a zip file's local header before the member's name."""


@dataclass(frozen=True)
class Raw:
    """What files without a header hold.

    Attributes
    ----------
    dtype
        Of a sample's numbers, such as ``uint8`` or ``>f4``.
    shape
        Of a sample.
    """

    dtype: Any
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what no file could hold."""
        dtype_asked("raw", self.dtype)
        if not all(isinstance(length, int) and length > 0 for length in self.shape):
            raise UsageError(f"raw: a sample's shape must be of whole numbers of at least 1, not {self.shape!r}")


@dataclass(frozen=True)
class Member:
    """One array of a shard.

    Attributes
    ----------
    path
        The shard's file.
    name
        Of the member in a ``.npz`` file, without ``.npy``; empty in other files.
    compressed
        Whether it can only be read from the front.
    offset
        Bytes before the first sample: in the file, or in what a compressed member becomes.
    samples, shape, dtype
        How many samples, and of what each is.
    """

    path: Path
    name: str
    compressed: bool
    offset: int
    samples: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def sample_bytes(self) -> int:
        """Of one sample, as stored."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def __str__(self) -> str:
        """How messages name it."""
        return naming.path(self.path) + (f" ({printable(self.name)})" if self.name else "")


def find(shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], raw: Raw | None) -> list[Path]:
    """The shard files that are meant: of a folder or a pattern sorted by name, of a list in its order.

    Raises
    ------
    UsageError
        If there is none.
    """
    if not isinstance(shards, str | os.PathLike):
        try:
            found = [Path(shard) for shard in shards]
        except TypeError:
            raise UsageError(f"shards must be a path, a pattern or a list of paths, not {shards!r}") from None
        if not found:
            raise UsageError("expected at least one shard file, and the list of them is empty")
        return found
    path = Path(shards)
    text = naming.path(shards)
    suffixes = "files" if raw else ".npy or .npz files"
    try:
        if path.is_dir():
            inside = sorted(path.iterdir())
            found = [each for each in inside if not each.name.startswith(".") and each.is_file()]
            # Beside the shards may lie a description of them; of files without a header, all are shards.
            found = [each for each in found if raw or each.suffix in (".npy", ".npz")]
            if not found:
                raise UsageError(f"{text}: the folder has no {suffixes}")
            return found
        if path.exists():
            return [path]
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UsageError(f"{text}: cannot be read: {naming.reason(error)}; expected shard files") from None
    found = [Path(each) for each in sorted(glob.glob(os.fspath(shards)))]  # noqa: PTH207  a pattern may be absolute
    if not found:
        raise UsageError(f"{text}: no such file or folder, and as a pattern it fits none; expected {suffixes}")
    return found


def members(path: Path, raw: Raw | None) -> list[Member]:
    """The arrays of a shard.

    Raises
    ------
    UsageError
        If it cannot be read, is damaged, or does not hold arrays of samples.
    """
    try:
        # A pipe would be waited for without end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{naming.path(path)}: is not a file; expected a shard")
        if path.suffix == ".npz":
            return _npz(path)
        with path.open("rb") as file:
            if raw is not None and path.suffix != ".npy":
                return [_raw(path, raw, os.fstat(file.fileno()).st_size)]
            return [_npy(path, file)]
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        # RuntimeError: a password is wanted; NotImplementedError: a method of compression that Python does not have.
        raise UsageError(f"{naming.path(path)}: cannot be read: {naming.reason(error)}") from None


def _raw(path: Path, raw: Raw, size: int) -> Member:
    member = Member(path, "", False, 0, 0, tuple(raw.shape), np.dtype(raw.dtype))
    _check(member)
    samples, rest = divmod(size, member.sample_bytes)
    if rest:
        raise UsageError(
            f"{naming.path(path)}: has {size} bytes, {rest} more than {samples} samples of {member.sample_bytes} bytes "
            f"({member.dtype}, shape {member.shape}); it is cut off, or of something else"
        )
    return Member(path, "", False, 0, samples, member.shape, member.dtype)


def _npy(path: Path, file: IO[bytes]) -> Member:
    shape, dtype = _header(file, naming.path(path))
    member = Member(path, "", False, file.tell(), shape[0], shape[1:], dtype)
    _check(member)
    _check_size(str(member), file.tell() + member.samples * member.sample_bytes, os.fstat(file.fileno()).st_size)
    return member


def _npz(path: Path) -> list[Member]:
    found = []
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as content:
                shape, dtype = _header(content, f"{naming.path(path)} ({printable(name)})")
                header = content.tell()
            compressed = info.compress_type != zipfile.ZIP_STORED
            offset = header if compressed else header + _content_offset(info, file)
            member = Member(path, name, compressed, offset, shape[0], shape[1:], dtype)
            _check(member)
            _check_size(str(member), header + member.samples * member.sample_bytes, info.file_size)
            found.append(member)
    if not found:
        raise UsageError(f"{naming.path(path)}: has no arrays")
    if different := next((member for member in found if member.samples != found[0].samples), None):
        raise UsageError(
            f"{different}: has {different.samples} samples and {printable(found[0].name)} has {found[0].samples}; they "
            "must be equally many"
        )
    return found


def _content_offset(info: zipfile.ZipInfo, file: IO[bytes]) -> int:
    """Where a member's content begins: behind a header whose length only that header tells."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    name_bytes, extra_bytes = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    return info.header_offset + _LOCAL_HEADER + name_bytes + extra_bytes


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise UsageError(f"{where}: is of .npy version {version[0]}.{version[1]}; expected arrays of numbers")
    except ValueError as error:
        raise UsageError(f"{where}: is no .npy array, or its header is damaged: {naming.reason(error)}") from None
    if not shape:
        raise UsageError(f"{where}: is a single number; expected an array whose first axis is samples")
    if dtype.hasobject:
        raise UsageError(f"{where}: holds pickled Python objects, which are not loaded; expected numbers")
    if fortran_order and len(shape) > 1:
        raise UsageError(
            f"{where}: is in Fortran order, so that no sample lies in one piece; save numpy.ascontiguousarray of it"
        )
    return shape, dtype


def _check(member: Member) -> None:
    if member.dtype.kind not in "biufc":
        raise UsageError(f"{member}: holds {member.dtype}; expected numbers")
    if member.sample_bytes <= 0:
        raise UsageError(f"{member}: a sample of shape {member.shape} has no bytes")


def _check_size(where: str, expected: int, actual: int) -> None:
    if actual < expected:
        raise UsageError(f"{where}: is cut off: expected {expected} bytes by its header, found {actual}")
