"""cuDNN and its Python front end: whether they are here, fit each other and CuPy, and this process's handle.

The front end is ``nvidia-cudnn-frontend``, whose module is called ``cudnn``; cuDNN itself is a library that it loads.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from typing import Any

from layerbench.cuda import library
from layerbench.kernel import Availability

from ._cudnn_errors import one_line

MAJOR = 9
"""The major version of cuDNN that is needed."""

FRONT_END = "nvidia-cudnn-frontend"
NEEDED = ("build_plan_at_index", "create_execution_plan", "execute_plan_at_index", "get_engine_and_knobs_at_index")
"""What a graph of the front end must have; old ones lack some."""


def load() -> Any:
    """The front end's module.

    Raises
    ------
    ImportError
        If it is not installed, or whatever a broken installation raises.
    """
    return importlib.import_module("cudnn")


def availability() -> Availability:
    """Whether convolutions can be run here, and if not why and what would mend it; never raises."""
    found = library.availability()
    if not found.ok:
        return found
    try:
        cudnn = load()
    except Exception as error:  # a broken installation raises whatever its loader does
        if isinstance(error, ModuleNotFoundError) and error.name == "cudnn":
            return Availability(False, reason=f"{FRONT_END} is not installed", remedy=f"pip install {FRONT_END}")
        reason = f"{FRONT_END} cannot be loaded: {type(error).__name__}: {one_line(error)}"
        return Availability(False, reason=reason, remedy=f"pip install --force-reinstall --no-deps {FRONT_END}")
    front_end = getattr(cudnn, "__version__", "of unknown version")
    missing = [name for name in NEEDED if not hasattr(cudnn.pygraph, name)]
    if missing:
        reason = f"{FRONT_END} {front_end} is too old: its graphs have no {missing[0]}"
        return Availability(False, reason=reason, remedy=f"pip install --upgrade {FRONT_END}")
    try:
        toolkit = int(library.load().cuda.runtime.runtimeGetVersion()) // 1000
        return _of_library(cudnn, front_end, toolkit, found.version)
    except Exception as error:
        return Availability(False, reason=f"cuDNN cannot be used: {one_line(error)}")


def _of_library(cudnn: Any, front_end: str, toolkit: int, cupy: str) -> Availability:
    wheel = f"nvidia-cudnn-cu{toolkit}"
    install = f"pip install '{wheel}>={MAJOR}.8,<{MAJOR + 1}'"
    try:
        version = int(cudnn.backend_version())
    except Exception as error:
        reason = f"cuDNN's library cannot be found or loaded ({one_line(error)})"
        return Availability(False, reason=reason, remedy=install)
    if major_of(version) != MAJOR:
        reason = f"cuDNN {dotted(version)} is installed, and version {MAJOR} is needed"
        return Availability(False, f"cuDNN {dotted(version)}", reason, install)
    built_for = cuda_of_library()
    if built_for not in (None, toolkit):
        reason = f"cuDNN {dotted(version)} is built for CUDA {built_for}, and CuPy for CUDA {toolkit}"
        return Availability(False, f"cuDNN {dotted(version)}", reason, install)
    return Availability(True, f"cuDNN {dotted(version)}, {FRONT_END} {front_end}, {cupy}")


def major_of(version: int) -> int:
    """cuDNN's major version: 9 of 92801, 8 of 8907."""
    return version // 10000 if version >= 90000 else version // 1000


def dotted(version: int) -> str:
    """9.28.1 of 92801, 8.9.7 of 8907."""
    hundreds = version % 10000 if version >= 90000 else version % 1000
    return f"{major_of(version)}.{hundreds // 100}.{hundreds % 100}"


def cuda_of_library() -> int | None:
    """CUDA's major version that cuDNN is built for; None where it does not say."""
    try:
        # By its SONAME, which finds the one that the front end has loaded.
        told = ctypes.CDLL(f"libcudnn.so.{MAJOR}").cudnnGetCudartVersion
    except (OSError, AttributeError):
        return None
    told.restype = ctypes.c_size_t
    return int(told()) // 1000 or None


class Handle:
    """A handle of cuDNN, which works on CuPy's current stream as soon as it has been told.

    Attributes
    ----------
    raw
        As the front end takes it.
    """

    def __init__(self) -> None:
        self._cudnn = load()
        self._current = library.load().cuda.get_current_stream
        self.raw = self._cudnn.create_handle()
        self._stream: int | None = None

    def follow(self) -> None:
        """Work on what is the current stream now; while a graph is captured, that is the capturing one."""
        stream = self._current().ptr
        # Setting it asks the driver several questions, even where it is the same.
        if stream != self._stream:
            self._cudnn.set_stream(self.raw, stream)
            self._stream = stream


@functools.cache
def _handle_of(_device: int) -> Handle:
    return Handle()


def handle() -> Handle:
    """The handle of the current GPU, one in a process."""
    return _handle_of(int(library.load().cuda.runtime.getDevice()))
