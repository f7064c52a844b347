"""Finding cuDNN, and whether its real library and header agree with how it is called. No GPU is needed for either."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_ulonglong,
    c_void_p,
)
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from layerbench.errors import KernelError, OutOfMemoryError
from layerbench.kernel import Availability

library = importlib.import_module("layerbench.kernels._cudnn_library")
descriptors = importlib.import_module("layerbench.kernels._cudnn_rnn_descriptors")
plans = importlib.import_module("layerbench.kernels._cudnn_rnn_plan")
cudnn_rnn = importlib.import_module("layerbench.kernels.cudnn_rnn")


def stand_in(folder: Path, source: str) -> str:
    """A shared library built from C."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a stand-in library")
    code, built = folder / "stand_in.c", folder / library.FILE
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, code], check=True)
    return str(built)


@pytest.mark.parametrize(("number", "expected"), [(92801, (9, 28, 1)), (90100, (9, 1, 0)), (8907, (8, 9, 7))])
def test_a_version_number_is_read(number: int, expected: tuple[int, int, int]) -> None:
    assert library.version_of(number) == expected


def test_another_major_version_is_refused_by_number(tmp_path: Path) -> None:
    path = stand_in(tmp_path, "unsigned long cudnnGetVersion(void) { return 8907; }")
    with pytest.raises(library.LibraryUnavailableError, match=r"is version 8\.9\.7, and version 9 is needed"):
        library.open_library([path])


def test_a_library_without_the_functions_is_refused(tmp_path: Path) -> None:
    path = stand_in(tmp_path, "unsigned long cudnnGetVersion(void) { return 92801; }")
    with pytest.raises(library.LibraryUnavailableError, match=r"cannot be loaded: .*cudnnGetCudartVersion"):
        library.open_library([path])


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / library.FILE
    broken.write_bytes(b"not a library")
    with pytest.raises(library.LibraryUnavailableError, match="cannot be loaded") as caught:
        library.open_library([str(broken)])
    assert "\n" not in str(caught.value)
    with pytest.raises(library.LibraryUnavailableError, match=r"no libcudnn\.so\.9 in the nvidia-cudnn wheel"):
        library.open_library([])


def test_the_wheel_is_looked_at_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = tmp_path / "nvidia" / "cudnn" / "lib" / library.FILE
    built.parent.mkdir(parents=True)
    built.touch()
    nvidia = ModuleType("nvidia")
    nvidia.__path__ = [str(tmp_path / "nvidia")]
    monkeypatch.setitem(sys.modules, "nvidia", nvidia)
    monkeypatch.delitem(sys.modules, "nvidia.cudnn", raising=False)
    monkeypatch.setattr(library.ctypes.util, "find_library", lambda _: "libcudnn.so.9")
    assert library.candidates()[0] == str(built)
    assert library.candidates()[-1] == "libcudnn.so.9"


def test_without_a_gpu_its_reason_is_the_kernel_s() -> None:
    found = importlib.import_module("layerbench.cuda.library").availability()
    if found.ok:
        pytest.skip("there is a GPU")
    assert cudnn_rnn.KERNEL.availability() == found


def test_a_missing_cudnn_and_one_for_another_cuda_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = importlib.import_module("layerbench.cuda.library")
    runtime = type("runtime", (), {"runtimeGetVersion": staticmethod(lambda: 13020)})
    cupy = type("cupy", (), {"cuda": type("cuda", (), {"runtime": runtime})})
    monkeypatch.setattr(cuda, "availability", lambda: Availability(True, "CuPy"))
    monkeypatch.setattr(cuda, "load", lambda: cupy)

    def missing() -> Any:
        return library.open_library([])

    monkeypatch.setattr(library, "load", missing)
    found = cudnn_rnn.KERNEL.availability()
    assert not found.ok
    assert found.reason.startswith("cuDNN: no libcudnn.so.9")
    assert found.remedy == "pip install 'layerbench[cuda13]'"
    for major, expected in ((12, False), (13, True)):
        there = type(
            "there",
            (),
            {
                "cudnnGetVersion": staticmethod(lambda: 92801),
                "cudnnGetCudartVersion": staticmethod(lambda of=major: of * 1000),
            },
        )
        monkeypatch.setattr(library, "load", lambda there=there: there)
        found = cudnn_rnn.KERNEL.availability()
        assert found.ok is expected
        assert found.version.startswith("cuDNN 9.28.1")
        assert found.ok or "built for CUDA 12, and CuPy for CUDA 13" in found.reason


# The real library


@pytest.fixture
def real() -> Any:
    try:
        return library.load()
    except library.LibraryUnavailableError as error:
        pytest.skip(error.reason)


SHAPE = plans.Shape("lstm", 7, 3, 5, 4)


@pytest.mark.cuda_libraries
def test_the_library_has_every_function_and_is_version_9(real: Any) -> None:
    assert {name: tuple(getattr(real, name).argtypes) for name in library.SIGNATURES} == {
        name: types for name, (_, types) in library.SIGNATURES.items()
    }
    assert library.version()[0] == 9
    assert library.cuda_major() in (12, 13)


@pytest.mark.cuda_libraries
@pytest.mark.parametrize("cell", list(plans.CELLS))
@pytest.mark.parametrize("dtype", list(plans.DATA_TYPES))
def test_what_is_set_in_a_layer_s_descriptor_is_read_back(real: Any, cell: Any, dtype: Any) -> None:
    descriptor, dropout = descriptors.made("RNN"), descriptors.made("Dropout")
    shape = plans.Shape(cell, 7, 3, 5, 4)
    for plan in plans.plans(dtype):
        if plan.algorithm != "standard":
            continue
        descriptors.describe_layer(descriptor, dropout, shape, dtype, plan)
        enums, sizes = [c_int(-1) for _ in range(8)], [c_int32(-1) for _ in range(4)]
        kept, flags = c_void_p(), c_uint32(99)
        library.call("cudnnGetRNNDescriptor_v8", descriptor, *map(byref, [*enums, *sizes, kept, flags]))
        found = tuple(value.value for value in (*enums, *sizes))
        assert found == plans.descriptor_values(shape, dtype, plan)
        assert kept.value == dropout.value
        assert flags.value == (1 if plan.layout == "unpacked" else 0)
    assert real.cudnnDestroyRNNDescriptor(descriptor) == 0
    assert real.cudnnDestroyDropoutDescriptor(dropout) == 0


@pytest.mark.cuda_libraries
@pytest.mark.parametrize("layout", list(plans.LAYOUTS))
def test_what_is_set_in_the_data_s_descriptor_is_read_back(real: Any, layout: Any) -> None:
    descriptor = descriptors.made("RNNData")
    descriptors.describe_sequences(descriptor, SHAPE, "bf16", plans.Plan("standard", layout, "fma"), 5)
    found = [c_int(-1) for _ in range(5)]
    lengths = library.ints(*[0] * SHAPE.batch)
    padding = c_double()
    library.call("cudnnGetRNNDataDescriptor", descriptor, *map(byref, found), SHAPE.batch, lengths, byref(padding))
    assert [value.value for value in found] == [9, plans.LAYOUTS[layout], SHAPE.steps, SHAPE.batch, 5]
    assert list(lengths) == [SHAPE.steps] * SHAPE.batch
    assert real.cudnnDestroyRNNDataDescriptor(descriptor) == 0


@pytest.mark.cuda_libraries
def test_what_is_set_in_a_tensor_s_descriptor_is_read_back(real: Any) -> None:
    descriptor = descriptors.made("Tensor")
    descriptors.describe_tensor(descriptor, "fp16", 1, 3, 4)
    assert descriptors.read_tensor(descriptor) == ((1, 3, 4), (12, 4, 1))
    assert real.cudnnDestroyTensorDescriptor(descriptor) == 0


@pytest.mark.cuda_libraries
def test_a_refusal_is_told_by_name(real: Any) -> None:
    with pytest.raises(KernelError, match=r"cuDNN: cudnnSetTensorNdDescriptor: CUDNN_STATUS_BAD_PARAM") as caught:
        library.call("cudnnSetTensorNdDescriptor", None, 0, 3, library.ints(1, 3, 4), library.ints(12, 4, 1))
    assert 2000 <= caught.value.status < 3000
    assert "\n" not in str(caught.value)
    with pytest.raises(OutOfMemoryError, match="ALLOCATION_FAILED"):
        library.check(4004, "cudnnCreate")


_WORDS = {
    "void": None,
    "int": c_int,
    "int32_t": c_int32,
    "uint32_t": c_uint32,
    "size_t": c_size_t,
    "float": c_float,
    "unsigned long long": c_ulonglong,
    "cudaStream_t": c_void_p,
}


def _type(words: str) -> Any:
    """What a parameter of C is to ctypes: addresses where cuDNN only keeps them, pointers where it reads or writes."""
    words = re.sub(r"\bconst\b", "", words).strip()
    stars = words.count("*") + words.count("[]")
    name = re.sub(r"\w+\s*$", "", words.replace("[]", "").replace("*", " ")).strip()
    # An opaque struct's name ends in Descriptor_t or is the handle's; the rest are enumerations.
    base = _WORDS.get(name, c_void_p if re.search(r"Descriptor_t|Handle_t", name) else c_int)
    if stars and (name == "void" or "devSeqLengths" in words):
        return c_void_p if stars == 1 else POINTER(c_void_p)
    if stars:
        return c_char_p if name == "char" else POINTER(base)
    return base


def header() -> str:
    """The wheel's own header without comments."""
    spec = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cudnn")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    text = "".join(
        (Path(folder) / "include" / f"cudnn_{part}.h").read_text()
        for folder in folders
        for part in ("graph", "ops", "adv")
        if (Path(folder) / "include" / f"cudnn_{part}.h").is_file()
    )
    if not text:
        pytest.skip("no nvidia-cudnn wheel with its header")
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


@pytest.mark.cuda_libraries
@pytest.mark.parametrize("name", list(library.SIGNATURES))
def test_types_are_those_of_the_header(name: str) -> None:
    found = re.search(rf"([\w\s*]+?)\s*CUDNNWINAPI\s+{name}\(([^;]*)\);", header())
    assert found is not None
    parameters = [" ".join(words.split()) for words in found[2].split(",") if words.strip() != "void"]
    assert [_type(words) for words in parameters] == list(library.SIGNATURES[name][1])
    result = found[1].split()[-1]
    expected = {"cudnnStatus_t": c_int, "size_t": c_size_t, "void": None, "*": c_char_p}
    assert library.SIGNATURES[name][0] == expected.get(result, c_char_p)


@pytest.mark.cuda_libraries
@pytest.mark.parametrize(
    ("constant", "value"),
    [
        *[(f"CUDNN_RNN_ALGO_{name.upper()}", value) for name, value in plans.ALGORITHMS.items()],
        *[(f"CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_{name.upper()}", value) for name, value in plans.LAYOUTS.items()],
        *[(f"CUDNN_{name.upper()}_MATH", value) for name, value in plans.MATH.items()],
        *[(f"CUDNN_{'RNN_' * (name in ('relu', 'tanh'))}{name.upper()}", value) for name, value in plans.CELLS.items()],
        ("CUDNN_DATA_FLOAT", plans.DATA_TYPES["fp32"]),
        ("CUDNN_DATA_DOUBLE", plans.DATA_TYPES["fp64"]),
        ("CUDNN_DATA_HALF", plans.DATA_TYPES["fp16"]),
        ("CUDNN_DATA_BFLOAT16", plans.DATA_TYPES["bf16"]),
        ("CUDNN_FWD_MODE_TRAINING", plans.FORWARD_TRAINING),
        ("CUDNN_WGRAD_MODE_ADD", plans.ADD_GRADIENTS),
        ("CUDNN_RNN_NO_BIAS", 0),
        ("CUDNN_UNIDIRECTIONAL", 0),
        ("CUDNN_LINEAR_INPUT", 0),
        ("CUDNN_STATUS_NOT_SUPPORTED", 3000),
        ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", 4004),
    ],
)
def test_numbers_are_those_of_the_header(constant: str, value: int) -> None:
    found = re.search(rf"\b{constant}\s*=\s*(\d+)", header())
    assert found is not None
    assert int(found[1]) == value


def test_every_function_that_is_called_has_its_types() -> None:
    for name in ("_cudnn_rnn_descriptors", "_cudnn_rnn_run", "_cudnn_library"):
        module = importlib.import_module(f"layerbench.kernels.{name}")
        assert module.__file__ is not None
        called = set(re.findall(r"\bcudnn[A-Z]\w+", Path(module.__file__).read_text()))
        made = {
            f"cudnn{verb}{kind}Descriptor" for verb in ("Create", "Destroy") for kind in ("RNN", "RNNData", "Tensor")
        }
        assert (called - {"cudnnCreate", "cudnnDestroy"}) | made <= set(library.SIGNATURES)
    assert ctypes.sizeof(c_int) == 4
