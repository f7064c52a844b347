"""Which images a folder has, and of which classes."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from layerbench.datamanager import naming
from layerbench.errors import UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
"""What an image's file name ends with, in letters of either case."""


class ImageFile(NamedTuple):
    """An image: its path below the folder, and its label."""

    path: str
    label: int


def contents(path: Path) -> bytes:
    """All of a file.

    Raises
    ------
    OSError
        If it cannot be read, or is no file.
    """
    # A pipe would be waited for without end; opened without blocking, it is seen for what it is.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(f"is a {'folder' if stat.S_ISDIR(kind) else 'pipe or device'}, not a file")
        with io.FileIO(descriptor, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def find(folder: Path) -> tuple[tuple[str, ...], list[ImageFile]]:
    """The classes of a folder and its images, sorted.

    Raises
    ------
    UsageError
        If a folder cannot be read, or there is no image.
    """
    kinds = f"images ({' '.join(SUFFIXES)})"
    own, below = _entries(folder)
    classes = {name: list(_deep(folder / name, name, ())) for name in below}
    found = sum(map(len, classes.values()))
    if own and found:
        raise UsageError(
            f"{naming.path(folder)}: has images both in itself ({naming.path(own[0])}) and in sub-folders, which would "
            "be classes; move its own into a sub-folder, or elsewhere"
        )
    if not own and not found:
        raise UsageError(f"{naming.path(folder)}: has no {kinds}, neither in itself nor in sub-folders")
    if own:
        return (), [ImageFile(name, 0) for name in own]
    return tuple(classes), [ImageFile(path, label) for label, paths in enumerate(classes.values()) for path in paths]


def _deep(folder: Path, path: str, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that it is in
    own, below = _entries(folder)
    yield from (f"{path}/{name}" for name in own)
    for name in below:
        yield from _deep(folder / name, f"{path}/{name}", (*above, real))


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a folder, and of the folders; what is named as an image is taken for one."""
    images, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(SUFFIXES):
                    images.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = naming.reason(error)
        raise UsageError(f"{naming.path(folder)}: cannot be read: {reason}; expected a folder of images") from None
    return sorted(images), sorted(folders)
