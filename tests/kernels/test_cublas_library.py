"""Fully connected layers by the real cuBLASLt: what it holds without a GPU, and what it computes with one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from layerbench import verify
from layerbench.cuda import library
from layerbench.kernel import Budget, Job
from layerbench.layers import FC, PASSES, DType
from tests.kernels import simulated_lt_numbers
from tests.kernels.simulated_lt import SimulatedLt
from tests.kernels.simulated_lt_numbers import ENUMERATIONS, ComputeType, Operation

CUBLAS = importlib.import_module("layerbench.kernels.cublas").KERNEL
reference = importlib.import_module("layerbench.kernels.reference").reference

ON_GPU = library.availability()
needs_gpu = pytest.mark.skipif(not ON_GPU.ok, reason=ON_GPU.reason)
needs_nvmath = pytest.mark.skipif(
    importlib.util.find_spec("nvmath") is None, reason="nvmath-python is not installed: pip install nvmath-python"
)


@needs_nvmath
@pytest.mark.cuda_libraries
def test_the_simulation_has_the_numbers_of_the_real_bindings() -> None:
    from nvmath.bindings import cublas, cublasLt

    for enumeration in ENUMERATIONS:
        real = getattr(cublasLt, enumeration.__name__)
        assert {member.name: int(real[member.name]) for member in enumeration} == dict(
            enumeration.__members__.items()
        ), enumeration
    for simulated_one, real in ((ComputeType, cublas.ComputeType), (Operation, cublas.Operation)):
        assert all(int(real[member.name]) == member for member in simulated_one)
    for types, of in (
        (simulated_lt_numbers.DESC_TYPES, cublasLt.get_matmul_desc_attribute_dtype),
        (simulated_lt_numbers.PREFERENCE_TYPES, cublasLt.get_matmul_preference_attribute_dtype),
        (simulated_lt_numbers.CONFIG_TYPES, cublasLt.get_matmul_algo_config_attribute_dtype),
        (simulated_lt_numbers.CAP_TYPES, cublasLt.get_matmul_algo_cap_attribute_dtype),
    ):
        assert all(np.dtype(of(int(attribute))) == np.dtype(kind) for attribute, kind in types.items())
    assert cublasLt.matmul_algo_dtype == simulated_lt_numbers.ALGORITHM
    assert cublasLt.matmul_heuristic_result_dtype == simulated_lt_numbers.HEURISTIC


@needs_nvmath
@pytest.mark.cuda_libraries
def test_the_bindings_take_the_arguments_that_the_simulation_takes() -> None:
    from nvmath.bindings import cublasLt

    for name in ("matmul", "matmul_algo_check", "matmul_algo_get_heuristic", "matrix_layout_create"):
        real = getattr(cublasLt, name).__doc__.splitlines()[0].partition("(")[2].partition(")")[0].split(",")
        mine = list(inspect.signature(getattr(SimulatedLt, name)).parameters)[1:]
        assert len(real) == len(mine), name
    words = [word.split()[-1] for word in cublasLt.matmul.__doc__.splitlines()[0].partition("(")[2][:-1].split(",")]
    assert [word[0] for word in words[2:]] == list("aaabbbccddawws")


DRIVER = """
typedef int R;
R cuInit(unsigned flags) { return 100; }
R cuDriverGetVersion(int *version) { *version = 13020; return 0; }
R cuDeviceGetCount(int *count) { *count = 0; return 100; }
static R none(void) { return 100; }
R cuGetProcAddress_v2(const char *symbol, void **found, int version, unsigned long flags, int *status)
{
    if (status) *status = 0;
    *found = none;
    return 0;
}
R cuGetProcAddress(const char *symbol, void **found, int version, unsigned long flags)
{
    return cuGetProcAddress_v2(symbol, found, version, flags, 0);
}
"""
"""A driver that has no device: the library describes products with it, but cannot compute any."""

DESCRIBED = """
import importlib, json
import numpy as np
from layerbench.layers import FC, PASSES
fc = importlib.import_module("layerbench.kernels._cublas_fc")
from nvmath.bindings import cublasLt as lt

def read(getter, types, described, attribute):
    held, written = np.zeros(1, types(attribute)), np.zeros(1, np.uint64)
    getter(described, attribute, held.ctypes.data, held.itemsize, written.ctypes.data)
    assert written[0] == held.itemsize
    return int(held[0])

found = {}
for dtype in ("fp64", "fp32", "tf32", "fp16", "bf16"):
    for pass_ in PASSES:
        product = fc.product(FC(name="fc", in_features=7, out_features=5), 3, dtype, pass_)
        names, layouts = lt.MatmulDescAttribute, lt.MatrixLayoutAttribute
        found[f"{dtype} {pass_}"] = [
            [
                read(lt.matmul_desc_get_attribute, lt.get_matmul_desc_attribute_dtype, product._description, each)
                for each in (names.COMPUTE_TYPE, names.SCALE_TYPE, names.POINTER_MODE, names.TRANSA, names.TRANSB,
                             names.TRANSC, names.EPILOGUE)
            ],
            [
                [
                    read(lt.matrix_layout_get_attribute, lt.get_matrix_layout_attribute_dtype, layout, each)
                    for each in (layouts.TYPE, layouts.ORDER, layouts.ROWS, layouts.COLS, layouts.LD,
                                 layouts.BATCH_COUNT)
                ]
                for layout in product._layouts
            ],
        ]
print(json.dumps([found, fc.version()]))
"""


@needs_nvmath
@pytest.mark.cuda_libraries
def test_the_real_library_holds_what_it_was_told(tmp_path: Path) -> None:
    environment = dict(os.environ)
    if library.driver() is None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("neither a driver nor a C compiler to make one that has no device")
        source = tmp_path / "driver.c"
        source.write_text(DRIVER)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
        environment["LD_LIBRARY_PATH"] = f"{tmp_path}:{environment.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found, version = json.loads(done.stdout)
    assert version > 110000
    compute = {"fp64": [70, 1], "fp32": [68, 0], "tf32": [77, 0], "fp16": [68, 0], "bf16": [68, 0]}
    data = {"fp64": 1, "fp32": 0, "tf32": 0, "fp16": 2, "bf16": 14}
    transposed = {"forward": [1, 0], "backward_data": [0, 0], "backward_weights": [0, 1]}
    # Seven inputs, five outputs, three samples; rows of a row-major array are columns here, and so apart.
    src, weights, dst = [7, 3, 7], [7, 5, 7], [5, 3, 5]
    matrices = {
        "forward": [weights, src, dst, dst],
        "backward_data": [weights, dst, src, src],
        "backward_weights": [src, dst, weights, weights],
    }
    for dtype, kind in data.items():
        for pass_ in PASSES:
            described, layouts = found[f"{dtype} {pass_}"]
            assert described == [*compute[dtype], 0, *transposed[pass_], 0, 1]
            assert layouts == [[kind, 0, *matrix, 1] for matrix in matrices[pass_]]


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
def test_a_gpu_agrees_with_the_reference(dtype: DType) -> None:
    available = CUBLAS.availability()
    if not available.ok:
        pytest.skip(available.reason)
    layer = FC(name="fc", in_features=512, out_features=384)
    reason = CUBLAS.supports(layer, dtype)
    if reason:
        pytest.skip(reason)
    job, t = Job(layer, 64, dtype), verify.tensors(layer, dtype, 3, 0, 64)
    choices = CUBLAS.search(job, t, Budget())
    verified = verify.verify(CUBLAS, job, t, choices)
    assert all(each.ok for each in verified.values()), verified
    prepared = CUBLAS.prepare(job, t, choices)
    for pass_ in PASSES:
        seconds = CUBLAS.device().time_parts([prepared.run[pass_]], 10)[0]
        assert 0 < seconds < 0.01
    for pass_ in PASSES:
        seconds = CUBLAS.device().replayed().time_parts([prepared.run[pass_]], 10)[0]
        assert 0 < seconds < 0.01


@needs_gpu
@pytest.mark.gpu
def test_fp32_is_closer_to_the_reference_than_tf32_on_a_gpu() -> None:
    layer = FC(name="fc", in_features=1024, out_features=256)
    if not CUBLAS.availability().ok or CUBLAS.supports(layer, "tf32"):
        pytest.skip("no tf32 here")
    t = verify.tensors(layer, "fp32", 3, 0, 32)
    expected = reference(layer, "forward", t)["dst"]
    errors = {}
    for dtype in ("fp32", "tf32"):
        job = Job(layer, 32, dtype)
        prepared = CUBLAS.prepare(job, t, CUBLAS.search(job, t, Budget()))
        difference = prepared.results("forward")["dst"] - expected
        errors[dtype] = np.linalg.norm(difference) / np.linalg.norm(expected)
    assert errors["fp32"] < 2e-6 < errors["tf32"]
