"""Whether cuDNN can be used, and if not what is said of it."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from layerbench.cuda import library
from layerbench.kernel import Availability
from tests.kernels.simulated_arrays import CuPy, Stream
from tests.kernels.simulated_cudnn import FrontEnd

loading = importlib.import_module("layerbench.kernels._cudnn_load")
errors = importlib.import_module("layerbench.kernels._cudnn_errors")
KERNEL = importlib.import_module("layerbench.kernels.cudnn").KERNEL


@pytest.fixture
def front_end(monkeypatch: pytest.MonkeyPatch) -> FrontEnd:
    """A front end that suits CuPy, in its place."""
    cupy = CuPy()
    module = FrontEnd(cupy, [])
    monkeypatch.setattr(library, "load", lambda: cupy)
    monkeypatch.setattr(library, "availability", lambda: Availability(ok=True, version="CuPy 14.2.0"))
    monkeypatch.setitem(sys.modules, "cudnn", module)
    monkeypatch.setattr(loading, "cuda_of_library", lambda: 13)
    loading._handle_of.cache_clear()
    return module


def test_what_is_there_is_told(front_end: FrontEnd) -> None:
    version = "cuDNN 9.28.1, nvidia-cudnn-frontend 1.32.0, CuPy 14.2.0"
    assert KERNEL.availability() == Availability(ok=True, version=version)


def test_without_a_gpu_that_is_the_reason(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    no = Availability(ok=False, reason="this process sees no GPU", remedy="")
    monkeypatch.setattr(library, "availability", lambda: no)
    assert KERNEL.availability() == no


def test_a_missing_front_end(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", None)
    found = KERNEL.availability()
    assert (found.ok, found.reason) == (False, "nvidia-cudnn-frontend is not installed")
    assert found.remedy == "pip install nvidia-cudnn-frontend"


def test_a_broken_front_end(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("libcudart.so.13: cannot open\nshared object file")

    monkeypatch.setattr(loading, "load", broken)
    found = KERNEL.availability()
    assert found.reason == (
        "nvidia-cudnn-frontend cannot be loaded: OSError: libcudart.so.13: cannot open shared object file"
    )
    assert found.remedy.startswith("pip install --force-reinstall")


def test_an_old_front_end(front_end: FrontEnd) -> None:
    front_end.pygraph = SimpleNamespace(build_plan_at_index=None)
    front_end.__version__ = "1.5.0"
    found = KERNEL.availability()
    assert found.reason == "nvidia-cudnn-frontend 1.5.0 is too old: its graphs have no create_execution_plan"
    assert found.remedy == "pip install --upgrade nvidia-cudnn-frontend"


def test_a_missing_library(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise RuntimeError("Unable to find symbol cudnnGetVersion")

    monkeypatch.setattr(front_end, "backend_version", missing)
    found = KERNEL.availability()
    assert found.reason == "cuDNN's library cannot be found or loaded (Unable to find symbol cudnnGetVersion)"
    assert found.remedy == "pip install 'nvidia-cudnn-cu13>=9.8,<10'"


@pytest.mark.parametrize(("version", "told"), [(8907, "8.9.7"), (100203, "10.2.3")])
def test_another_major_version(front_end: FrontEnd, version: int, told: str) -> None:
    front_end.version = version
    found = KERNEL.availability()
    assert found.reason == f"cuDNN {told} is installed, and version 9 is needed"
    assert found.remedy == "pip install 'nvidia-cudnn-cu13>=9.8,<10'"


def test_a_library_for_another_cuda(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "cuda_of_library", lambda: 12)
    found = KERNEL.availability()
    assert found.reason == "cuDNN 9.28.1 is built for CUDA 12, and CuPy for CUDA 13"
    assert found.remedy == "pip install 'nvidia-cudnn-cu13>=9.8,<10'"
    monkeypatch.setattr(loading, "cuda_of_library", lambda: None)
    assert KERNEL.availability().ok


def test_versions_are_read_as_cudnn_writes_them() -> None:
    assert [loading.dotted(version) for version in (92801, 90800, 8907, 8400, 91002)] == [
        "9.28.1",
        "9.8.0",
        "8.9.7",
        "8.4.0",
        "9.10.2",
    ]


def test_there_is_one_handle_in_a_process(front_end: FrontEnd) -> None:
    assert loading.handle() is loading.handle()


def test_the_handle_is_told_a_stream_once(front_end: FrontEnd) -> None:
    handle = loading.handle()
    cupy = library.load()
    handle.follow()
    handle.follow()
    assert (handle.raw.stream, front_end.set_streams) == (0, 1)
    with cupy.on(Stream(5)):
        handle.follow()
        assert handle.raw.stream == 5
    handle.follow()
    assert (handle.raw.stream, front_end.set_streams) == (0, 3)


def test_long_errors_are_cut_and_have_no_line_breaks() -> None:
    assert errors.one_line(RuntimeError("one\n  two")) == "one two"
    assert errors.one_line(KeyError()) == "KeyError"
    assert len(errors.one_line(RuntimeError("x" * 9999))) == errors.LONGEST
