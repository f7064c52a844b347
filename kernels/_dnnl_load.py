"""Finding and loading oneDNN's shared library, and saying why it cannot be loaded.

Looked for in this order: the file named by ``LAYERBENCH_LIBDNNL``, the files of an installed ``onednn-cpu-gomp``
distribution, the environment's ``lib`` folder, and the system's library path.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from layerbench.errors import UnavailableError

MAJOR = 3
VARIABLE = "LAYERBENCH_LIBDNNL"
DISTRIBUTION = "onednn-cpu-gomp"
INSTALL = f"pip install {DISTRIBUTION}"

_PACKAGES = {"libgomp": "libgomp1", "libstdc++": "libstdc++6"}
"""Debian's package for each system library that the wheel needs."""


class LibraryUnavailableError(UnavailableError):
    """oneDNN cannot be used here; ``remedy`` is the command that would mend it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"oneDNN: {reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class _Version(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
        ("patch", ctypes.c_int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    )


def version(library: ctypes.CDLL) -> tuple[int, int, int]:
    """(major, minor, patch) as the library itself says."""
    library.dnnl_version.restype = ctypes.POINTER(_Version)
    found = library.dnnl_version().contents
    return found.major, found.minor, found.patch


def _distribution_files() -> Iterator[Path]:
    """The wheel's libraries, wherever it was installed to: ``--prefix`` and ``--user`` installs included."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == f"libdnnl.so.{MAJOR}":
            yield Path(str(file.locate()))


def candidates() -> list[str]:
    """Paths and names under which the library may be found, in the order they are tried."""
    named = os.environ.get(VARIABLE)
    if named:
        return [named]
    paths = [*_distribution_files(), Path(sys.prefix, "lib", f"libdnnl.so.{MAJOR}")]
    found = [str(path) for path in paths if path.is_file()]
    system = ctypes.util.find_library("dnnl")
    return [*found, system] if system else found


def _remedy_of(problem: str) -> str:
    for library, package in _PACKAGES.items():
        if library in problem:
            return f"apt-get install {package}"
    return f"pip install --force-reinstall {DISTRIBUTION}"


def _nothing_found() -> LibraryUnavailableError:
    machine = platform.machine()
    if machine not in ("x86_64", "AMD64"):
        return LibraryUnavailableError(
            f"the {DISTRIBUTION} wheel is for x86-64 and this is {machine}",
            f"build oneDNN {MAJOR} and set {VARIABLE} to its libdnnl.so",
        )
    return LibraryUnavailableError(
        f"no libdnnl.so.{MAJOR} in the {DISTRIBUTION} wheel, in {Path(sys.prefix, 'lib')} or on the library path",
        INSTALL,
    )


def open_library(paths: list[str]) -> ctypes.CDLL:
    """The first of ``paths`` that loads and has the right major version.

    Raises
    ------
    LibraryUnavailableError
        If none does; says what was found instead.
    """
    problem: LibraryUnavailableError | None = None
    for path in paths:
        try:
            library = ctypes.CDLL(path)
            major, minor, patch = version(library)
        except (OSError, AttributeError) as error:
            text = " ".join(str(error).split())
            problem = problem or LibraryUnavailableError(f"{path} cannot be loaded: {text}", _remedy_of(text))
            continue
        if major == MAJOR:
            return library
        problem = problem or LibraryUnavailableError(
            f"{path} is oneDNN {major}.{minor}.{patch}, and version {MAJOR} is needed", INSTALL
        )
    raise problem or _nothing_found()


@cache
def load() -> ctypes.CDLL:
    """The library, loaded once.

    Raises
    ------
    LibraryUnavailableError
        If there is none that can be used.
    """
    return open_library(candidates())
