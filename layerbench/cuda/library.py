"""CuPy, through which CUDA is used: whether it can be, which GPUs it shows, and what its errors mean.

Nothing here touches a GPU before it is asked to. All of CuPy that is used is its public interface, as of version 14.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from layerbench.environment import nvidia_driver
from layerbench.errors import KernelError, LayerbenchError, MeasurementError, OutOfMemoryError, UnavailableError
from layerbench.kernel import Availability
from layerbench.units import size

DRIVER = "libcuda.so.1"
"""The library that comes with NVIDIA's driver, and with nothing else."""

INSUFFICIENT_DRIVER = 35
NO_DEVICE = 100
OUT_OF_MEMORY = 2
"""Of ``cudaError_t``; the driver's ``CUresult`` has the same number for it."""

LOST = {
    46: "cudaErrorDevicesUnavailable",
    214: "cudaErrorECCUncorrectable",
    220: "cudaErrorNvlinkUncorrectable",
    700: "cudaErrorIllegalAddress",
    702: "cudaErrorLaunchTimeout",
    710: "cudaErrorAssert",
    714: "cudaErrorHardwareStackError",
    715: "cudaErrorIllegalInstruction",
    716: "cudaErrorMisalignedAddress",
    717: "cudaErrorInvalidAddressSpace",
    718: "cudaErrorInvalidPc",
    719: "cudaErrorLaunchFailure",
    999: "cudaErrorUnknown",
}
"""After these a process can do nothing more with its GPU: every later call fails alike (``cudaError_t``)."""

LOST_WORDS = re.compile(
    r"illegal memory access|unspecified launch failure|illegal instruction|misaligned address|uncorrectable|"
    r"hardware stack error|fallen off the bus|device(\(s\))? (is|are|is/are) (busy or )?unavailable|"
    r"_ILLEGAL_ADDRESS|_LAUNCH_FAILED|_ECC_UNCORRECTABLE",
    re.IGNORECASE,
)
"""How other libraries tell the same, without a number."""


def availability() -> Availability:
    """Whether CuPy and a GPU can be used here, and if not why and what would mend it; never raises."""
    try:
        import cupy
    except ImportError as error:
        return _without_cupy(error)
    except Exception as error:  # a broken installation may fail in any way
        return Availability(False, reason=f"CuPy cannot be loaded: {_one_line(error)}", remedy=_install())
    try:
        return _of(cupy)
    except Exception as error:
        return Availability(False, reason=f"CUDA cannot be used: {_one_line(error)}")


def _without_cupy(error: ImportError) -> Availability:
    missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
    reason = "CuPy is not installed" if missing else f"CuPy cannot be loaded: {_one_line(error)}"
    if driver_cuda() is None:
        # Without a driver there is no GPU to install anything for.
        return Availability(False, reason=f"there is no NVIDIA driver here ({DRIVER} cannot be loaded), and {reason}")
    return Availability(False, reason=reason, remedy=_install())


def _of(cupy: Any) -> Availability:
    runtime = cupy.cuda.runtime
    toolkit = int(runtime.runtimeGetVersion())
    # Zero where there is no driver at all, which the runtime calls an insufficient one.
    supported = int(runtime.driverGetVersion())
    version = f"CuPy {cupy.__version__}, CUDA {_cuda(toolkit)}"
    if not supported:
        return Availability(False, version, f"there is no NVIDIA driver here ({DRIVER} cannot be loaded)")
    driver = nvidia_driver()
    version += f", driver {driver or f'for CUDA {_cuda(supported)}'}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if error.status == INSUFFICIENT_DRIVER:
            return Availability(
                False,
                version,
                f"the NVIDIA driver{f' {driver}' if driver else ''} is too old: it supports CUDA {_cuda(supported)}, "
                f"and CuPy needs CUDA {_cuda(toolkit)}",
                # A driver of the same major version, or from before those there are packages for, has to be replaced.
                _install(supported) if 12 <= supported // 1000 < toolkit // 1000 else "",
            )
        if error.status != NO_DEVICE:
            return Availability(False, version, f"no GPU can be used here: {_one_line(error)}{hidden}")
        count = 0
    if not count:
        return Availability(False, version, f"this process sees no GPU{hidden}")
    return Availability(True, version)


@functools.cache
def load() -> Any:
    """CuPy, once a GPU was seen.

    Raises
    ------
    UnavailableError
        If it cannot be used, with the reason and what would mend it.
    """
    found = availability()
    if not found.ok:
        raise UnavailableError(f"{found.reason} ({found.remedy})" if found.remedy else found.reason)
    import cupy

    return cupy


def visible() -> list[str]:
    """The UUIDs of the GPUs that this process sees, in CUDA's order; the PCI bus id of one that has none.

    The UUID of a GPU is the same to every process, whatever order and selection each of them sees.
    """
    if not availability().ok:
        return []
    runtime = load().cuda.runtime
    return [_uuid(index) or str(runtime.deviceGetPCIBusId(index)) for index in range(int(runtime.getDeviceCount()))]


def use(device: str) -> None:
    """Make a GPU the current one of this thread, and of all that ask for the current one.

    Parameters
    ----------
    device
        As :func:`visible` names it.

    Raises
    ------
    UnavailableError
        If this process does not see it.
    """
    cupy = load()
    names = visible()
    if device not in names:
        raise UnavailableError(f"GPU {device} is not here: this process sees {', '.join(names) or 'none'}")
    with refusals(f"GPU {device}"):
        cupy.cuda.Device(names.index(device)).use()


def attribute(name: str) -> int:
    """An attribute of the current GPU, by its name in ``cudaDeviceAttr`` without ``cudaDevAttr``."""
    runtime = load().cuda.runtime
    return int(runtime.deviceGetAttribute(getattr(runtime, f"cudaDevAttr{name}"), runtime.getDevice()))


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn errors of CUDA and CuPy into those of layerbench.

    Parameters
    ----------
    what
        What is being done, which begins the message.

    Raises
    ------
    OutOfMemoryError
        If the GPU's memory does not suffice.
    KernelError
        If CUDA refused a call, or a source does not compile.
    MeasurementError
        If the GPU is lost, or has failed.
    UnavailableError
        If CuPy does not find a library of CUDA that it loads when it is first needed.
    """
    try:
        yield
    except LayerbenchError:
        raise
    except Exception as error:
        told = _told(what, error, load())
        if told is None:
            raise
        raise told from error


def _told(what: str, error: Exception, cupy: Any) -> LayerbenchError | None:
    """Our error in place of one of CUDA or CuPy; None for any other."""
    cuda = cupy.cuda
    text = _one_line(error)
    status = getattr(error, "status", None)
    if isinstance(error, cuda.memory.OutOfMemoryError):
        return OutOfMemoryError(f"{what}: {_memory(text)}")
    of_cuda = isinstance(error, cuda.runtime.CUDARuntimeError | cuda.driver.CUDADriverError)
    if of_cuda and status == OUT_OF_MEMORY:
        return OutOfMemoryError(f"{what}: the GPU has not enough memory ({text}){_free(cupy)}")
    if (of_cuda and status in LOST) or (isinstance(error, RuntimeError) and LOST_WORDS.search(text)):
        return MeasurementError(f"{what}: the GPU failed or was lost ({text}); start again, it cannot be used any more")
    if isinstance(error, RuntimeError) and "failed to load" in text:
        return UnavailableError(f"{what}: a library of CUDA is missing ({text}): {_install()}")
    if of_cuda:
        return KernelError(f"{what}: CUDA refused it ({text})")
    if isinstance(error, cuda.compiler.CompileException):
        return KernelError(f"{what}: a CUDA source does not compile ({text[:300]})")
    return None


def _memory(text: str) -> str:
    """Bytes wanted and in use, of the message of CuPy's pool."""
    wanted = re.search(r"allocating ([\d,]+) bytes", text)
    if not wanted:
        return f"the GPU has not enough memory ({text})"
    used = re.search(r"allocated so far: ([\d,]+) bytes", text)
    beside = f" beside the {size(_number(used[1]))} in use" if used else ""
    return f"{size(_number(wanted[1]))} do not fit the GPU{beside}; use a smaller batch"


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))


def _free(cupy: Any) -> str:
    try:
        free, total = cupy.cuda.runtime.memGetInfo()
    except Exception:  # what failed before may fail here too
        return ""
    return f"; {size(int(free))} of {size(int(total))} are free; use a smaller batch"


def driver() -> Any:
    """NVIDIA's driver by ctypes; None where there is none."""
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        return None


def driver_cuda() -> int | None:
    """The newest CUDA the driver supports, 1000 major + 10 minor; None where there is no driver."""
    version = ctypes.c_int(0)
    library = driver()
    if library is None or library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value


def graph_nodes(graph: Any) -> int | None:
    """How many kernels and copies a CuPy graph has, asked of the driver; None where it does not tell."""
    library, count = driver(), ctypes.c_size_t(0)
    handle = getattr(graph, "graph", 0)
    if library is None or not handle:
        return None
    if library.cuGraphGetNodes(ctypes.c_void_p(handle), None, ctypes.byref(count)) != 0:
        return None
    return count.value


def _uuid(index: int) -> str | None:
    """A GPU's UUID as NVML writes it, asked of the driver; None where it does not tell.

    CuPy gives the 16 bytes as a string of C, which ends at the first zero.
    """
    library = driver()
    handle, found = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
    if (
        library is None
        or library.cuDeviceGet(ctypes.byref(handle), ctypes.c_int(index)) != 0
        or library.cuDeviceGetUuid_v2(ctypes.byref(found), handle) != 0
    ):
        return None
    return f"GPU-{uuid.UUID(bytes=bytes(found))}"


def _install(supported: int | None = None) -> str:
    """The line that installs what fits the driver; the newest CUDA where there is no driver to ask."""
    supported = supported or driver_cuda() or 13000
    return f"pip install 'layerbench[cuda{12 if supported < 13000 else 13}]'"


def _cuda(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _one_line(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip().strip("=")), "")
    return first or type(error).__name__
