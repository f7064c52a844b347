"""Whether CUDA can be used and why not, which GPUs there are, and what errors of CUDA become."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerbench.cuda import library, sources
from layerbench.errors import (
    KernelError,
    LayerbenchError,
    MeasurementError,
    OutOfMemoryError,
    UnavailableError,
    VerificationError,
)
from tests.cuda import simulated_kernels, simulation
from tests.cuda.simulation import (
    CompileException,
    CUDADriverError,
    CUDARuntimeError,
    Simulation,
    forget,
    simulated,
)
from tests.cuda.simulation import OutOfMemoryError as PoolError

UUIDS = ["GPU-00010203-0405-0607-0809-0a0b0c0d0e0f", "GPU-01010203-0405-0607-0809-0a0b0c0d0e0f"]


class Driver:
    """NVIDIA's driver: it writes where it is pointed to, as a C function does."""

    def __init__(self, version: int = 13020, refuses: bool = False) -> None:
        self._version, self._refuses = version, refuses

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self._version
        return 0

    def cuDeviceGet(self, handle: Any, index: ctypes.c_int) -> int:
        handle._obj.value = index.value + 100
        return 0

    def cuDeviceGetUuid_v2(self, uuid: Any, handle: ctypes.c_int) -> int:
        if self._refuses:
            return 801
        uuid._obj[:] = [handle.value - 100, *range(1, 16)]
        return 0


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(library, "nvidia_driver", lambda: "580.65.06")
    yield
    forget()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    simulation = simulated(monkeypatch)
    monkeypatch.setattr(library, "driver", Driver)
    return simulation


def without_cupy(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    monkeypatch.setattr(library, "driver", lambda: driver)
    forget()

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "cupy":
                raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])


def test_what_is_there_is_told_with_its_versions(sim: Simulation) -> None:
    found = library.availability()
    assert found.ok
    assert found.version == "CuPy 14.2.0, CUDA 13.2, driver 580.65.06"
    assert library.load() is sim.cupy


@pytest.mark.parametrize(("driver", "extra"), [(13000, "cuda13"), (12090, "cuda12"), (14000, "cuda13")])
def test_cupy_is_missing(monkeypatch: pytest.MonkeyPatch, driver: int, extra: str) -> None:
    without_cupy(monkeypatch, Driver(driver))
    found = library.availability()
    assert (found.ok, found.reason) == (False, "CuPy is not installed")
    assert found.remedy == f"pip install 'layerbench[{extra}]'"
    with pytest.raises(UnavailableError, match=rf"CuPy is not installed \(pip install 'layerbench\[{extra}\]'\)"):
        library.load()


def test_cupy_and_driver_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cupy(monkeypatch, None)
    found = library.availability()
    assert found.reason == "there is no NVIDIA driver here (libcuda.so.1 cannot be loaded), and CuPy is not installed"
    assert found.remedy == "", "there is no GPU to install anything for"
    assert library.visible() == []


def test_cupy_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cupy(monkeypatch, Driver())

    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "cupy":
                raise ImportError("\n====\nCuPy failed to import\nlibfoo.so: no such file\n====")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert library.availability().reason == "CuPy cannot be loaded: CuPy failed to import"


def test_there_is_no_driver(sim: Simulation) -> None:
    # The runtime tells that the driver is insufficient then, and gives its version as 0.
    sim.driver, sim.refused = 0, (35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    found = library.availability()
    assert found.reason == "there is no NVIDIA driver here (libcuda.so.1 cannot be loaded)"
    assert found.remedy == ""


@pytest.mark.parametrize(
    ("driver", "cuda", "remedy"),
    [(12040, "12.4", "pip install 'layerbench[cuda12]'"), (13000, "13.0", ""), (11080, "11.8", "")],
)
def test_the_driver_is_too_old(sim: Simulation, driver: int, cuda: str, remedy: str) -> None:
    sim.driver, sim.refused = driver, (35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    found = library.availability()
    assert found.reason == f"the NVIDIA driver 580.65.06 is too old: it supports CUDA {cuda}, and CuPy needs CUDA 13.2"
    assert found.remedy == remedy


@pytest.mark.parametrize("refused", [None, (100, "cudaErrorNoDevice: no CUDA-capable device is detected")])
def test_no_gpu_is_visible(sim: Simulation, monkeypatch: pytest.MonkeyPatch, refused: tuple[int, str] | None) -> None:
    sim.devices, sim.refused = 0, refused
    assert library.availability().reason == "this process sees no GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert library.availability().reason == "this process sees no GPU (CUDA_VISIBLE_DEVICES is '')"
    assert library.visible() == []


def test_a_gpu_that_does_not_answer_is_told_with_cuda_s_reason(sim: Simulation) -> None:
    sim.refused = (802, "cudaErrorSystemNotReady: system not yet initialized")
    assert library.availability().reason == (
        "no GPU can be used here: cudaErrorSystemNotReady: system not yet initialized"
    )


def test_gpus_have_the_names_that_every_process_gives_them(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    sim.devices = 2
    assert library.visible() == UUIDS, "a zero byte does not end it"
    monkeypatch.setattr(library, "driver", lambda: Driver(refuses=True))
    assert library.visible() == ["0000:00:00.0", "0000:01:00.0"]


def test_a_gpu_is_made_the_current_one(sim: Simulation) -> None:
    sim.devices = 2
    library.use(UUIDS[1])
    assert sim.using == 1
    with pytest.raises(UnavailableError, match=f"GPU GPU-x is not here: this process sees {UUIDS[0]}, "):
        library.use("GPU-x")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            PoolError("Out of memory allocating 6,442,450,944 bytes (allocated so far: 1,073,741,824 bytes)."),
            OutOfMemoryError,
            "work: 6.44 GB do not fit the GPU beside the 1.07 GB in use; use a smaller batch",
        ),
        (
            CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory"),
            OutOfMemoryError,
            "work: the GPU has not enough memory (cudaErrorMemoryAllocation: out of memory); 267 MB of 268 MB are free",
        ),
        (CUDADriverError(2, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), OutOfMemoryError, "not enough memory"),
        (
            CUDARuntimeError(700, "cudaErrorIllegalAddress: an illegal memory access was encountered"),
            MeasurementError,
            "work: the GPU failed or was lost (cudaErrorIllegalAddress: an illegal memory access was encountered)",
        ),
        (CUDADriverError(719, "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure"), MeasurementError, "lost"),
        (CUDARuntimeError(214, "cudaErrorECCUncorrectable: uncorrectable ECC error"), MeasurementError, "lost"),
        (CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy or unavailable"), MeasurementError, "lost"),
        (RuntimeError("other library: unspecified launch failure\nat line 3"), MeasurementError, "lost"),
        (CUDARuntimeError(1, "cudaErrorInvalidValue: invalid argument"), KernelError, "CUDA refused it"),
        (
            RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file"),
            UnavailableError,
            "a library of CUDA is missing (CuPy failed to load libnvrtc.so.13: OSError: no such file): pip install",
        ),
        (CompileException("blocking.cu(3): error: no\nmore"), KernelError, "a CUDA source does not compile"),
    ],
)
def test_errors_of_cuda_become_ours_in_one_line(
    sim: Simulation, error: Exception, kind: type[LayerbenchError], words: str
) -> None:
    with pytest.raises(kind) as caught, library.refusals("work"):
        raise error
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), VerificationError("no"), KeyError("no")])
def test_other_errors_stay_what_they_are(sim: Simulation, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, library.refusals("work"):
        raise error
    assert caught.value is error


def test_without_a_driver_there_is_no_version_of_it() -> None:
    if library.driver() is None:
        assert library.driver_cuda() is None
    else:
        assert (library.driver_cuda() or 0) >= 11000


@pytest.mark.cuda_libraries
def test_the_real_cupy_is_understood() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'layerbench[cuda13]'")
    found = library.availability()
    assert found.ok or found.reason
    assert cupy.__version__ in found.version
    runtime = cupy.cuda.runtime
    for error, kind in (
        (runtime.CUDARuntimeError(2), OutOfMemoryError),
        (runtime.CUDARuntimeError(700), MeasurementError),
        (runtime.CUDARuntimeError(1), KernelError),
        (cupy.cuda.memory.OutOfMemoryError(3 * 10**9, 10**9), OutOfMemoryError),
        (cupy.cuda.compiler.CompileException("no", "", "", (), "nvrtc"), KernelError),
    ):
        told = library._told("work", error, cupy)
        assert type(told) is kind
    told = library._told("work", cupy.cuda.memory.OutOfMemoryError(3 * 10**9, 10**9), cupy)
    assert str(told) == "work: 3 GB do not fit the GPU beside the 1 GB in use; use a smaller batch"
    for status, name in library.LOST.items():
        assert str(runtime.CUDARuntimeError(status)).startswith(name)
    for name in ("L2CacheSize", "ClockRate", "MultiProcessorCount"):
        assert isinstance(getattr(runtime, f"cudaDevAttr{name}"), int)


NULL_DRIVER = r"""
#include <string.h>
typedef int Status;
Status cuInit(unsigned int flags) { return 100; }
Status cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
Status cuDeviceGetCount(int* count) { *count = 0; return 100; }
Status cuGetErrorName(int error, const char** name) { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
Status cuGetErrorString(int error, const char** text) { *text = "no device"; return 0; }
static Status refuse(void) { return 100; }
Status cuGetProcAddress_v2(const char* name, void** found, int version, unsigned long flags, int* status)
{
    *found = !strcmp(name, "cuInit") ? (void*)cuInit
        : !strcmp(name, "cuDriverGetVersion") ? (void*)cuDriverGetVersion
        : !strcmp(name, "cuDeviceGetCount") ? (void*)cuDeviceGetCount
        : !strcmp(name, "cuGetErrorName") ? (void*)cuGetErrorName
        : !strcmp(name, "cuGetErrorString") ? (void*)cuGetErrorString
        : !strcmp(name, "cuGetProcAddress") ? (void*)cuGetProcAddress_v2 : (void*)refuse;
    if (status) { *status = 0; }
    return 0;
}
Status cuGetProcAddress(const char* name, void** found, int version, unsigned long flags)
{ return cuGetProcAddress_v2(name, found, version, flags, 0); }
"""
"""A driver that has no GPU."""


@pytest.mark.cuda_libraries
@pytest.mark.parametrize(
    ("driver", "reason", "remedy"),
    [
        (99090, "this process sees no GPU (CUDA_VISIBLE_DEVICES is '3')", ""),
        (11040, "the NVIDIA driver is too old: it supports CUDA 11.4, and CuPy needs CUDA 1", ""),
    ],
)
def test_the_real_cupy_with_a_driver_that_has_no_gpu(tmp_path: Path, driver: int, reason: str, remedy: str) -> None:
    pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'layerbench[cuda13]'")
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    (tmp_path / "driver.c").write_text(NULL_DRIVER.replace("VERSION", str(driver)))
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"],
        check=True,
        timeout=60,
    )
    program = (
        "from layerbench.cuda import library\n"
        "library.nvidia_driver = lambda: None\n"
        "found = library.availability()\n"
        "print(found.ok, found.reason, found.remedy, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ok, told, mend = done.stdout.strip().split("|")
    assert ok == "False"
    assert told.startswith(reason)
    assert mend == remedy


@pytest.mark.cuda_libraries
def test_what_is_asked_of_cupy_is_there() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'layerbench[cuda13]'")
    simulated_cuda = Simulation().cupy.cuda
    cuda = cupy.cuda
    for simulated_room, real in (
        (Simulation().cupy, cupy),
        (simulated_cuda, cuda),
        (simulated_cuda.runtime, cuda.runtime),
        (simulated_cuda.Device, cuda.Device),
        (simulation.Stream, cuda.Stream),
        (simulation.Event, cuda.Event),
        (simulation.Graph, cuda.Graph),
        (simulated_kernels.RawModule, cupy.RawModule),
    ):
        ours = {"queue", "resolve", "unfinished", "refuse_in_capture"}
        for name in vars(simulated_room):
            if not name.startswith("_") and name not in ours:
                assert hasattr(real, name), f"{real} has no {name}"
    assert hasattr(cuda.Graph, "graph")
    assert hasattr(cuda.MemoryPointer, "memset_async")
    for name in ("free_bytes", "free_all_blocks"):
        assert hasattr(cuda.MemoryPool, name)
    assert cupy.RawModule(code=sources.text("flush"), options=sources.OPTIONS).options == sources.OPTIONS
