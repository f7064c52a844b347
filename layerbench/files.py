"""A file is replaced whole, and several that belong together only once all are written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from layerbench.errors import StoreError, UsageError


def replace(path: Path, contents: bytes | Iterable[bytes]) -> None:
    """Write the file that a user named, of contents at hand or in pieces.

    Raises
    ------
    UsageError
        If it is a folder.
    StoreError
        If it cannot be written; what was there is left as it was.
    """
    try:
        if path.is_dir():
            raise UsageError(f"--output {path} is a folder: name a file")
        if path.exists() and not path.is_file():
            # A device or a pipe takes what is written to it; a rename would put a file in its place.
            _write(path, contents)
        else:
            _rename_over(_followed(path), contents)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; name another file with --output"
        ) from error


def all_or_none(folder: Path, make: Callable[[Path], Sequence[str]]) -> list[Path]:
    """Write all files apart, and only then put each in its place: what fails before leaves the old ones whole.

    Parameters
    ----------
    folder
        Where to; made if it is not there.
    make
        Writes the files into the folder that it is given, and returns their names in it. They may be in folders below,
        which it makes.

    Returns
    -------
    list of Path
        The files in their places, in the order in which ``make`` named them.

    Raises
    ------
    OSError
        If one cannot be written, or where one is to be there is a folder.
    """
    draft = folder / f".draft-{os.getpid()}"
    try:
        draft.mkdir(parents=True, exist_ok=True)
        names = make(draft)
        for name in names:
            if (folder / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            (draft / name).replace(folder / name)
    finally:
        # An interruption too must leave nothing behind.
        shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in names]


def _followed(path: Path) -> Path:
    """What a link leads to, so that the link stays."""
    try:
        return path.resolve()
    except (RuntimeError, ValueError) as error:
        # RuntimeError: links that lead in a circle; ValueError: a null character.
        raise OSError(str(error)) from error


def _rename_over(target: Path, contents: bytes | Iterable[bytes]) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        _write(draft, contents)
        draft.replace(target)
    except BaseException:
        # An interruption too must leave no half a file behind.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _write(path: Path, contents: bytes | Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines([contents] if isinstance(contents, bytes) else contents)
