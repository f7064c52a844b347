"""A file is replaced whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
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
