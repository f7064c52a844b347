"""Fully connected layers by cuBLASLt: what is asked of the library, and that its answers are the three passes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.cuda import library
from layerbench.errors import KernelError, MeasurementError, OutOfMemoryError
from layerbench.kernel import ERROR_LIMITS, Availability, Budget, Choice, Job
from layerbench.layers import FC, PASSES, Conv, DType
from tests.kernels.simulated_lt import Offered, cuBLASLtError, simulated

CUBLAS = importlib.import_module("layerbench.kernels.cublas").KERNEL
reference = importlib.import_module("layerbench.kernels.reference").reference
contradiction = importlib.import_module("layerbench.kernels._cuda_environment").contradiction
arrays = importlib.import_module("layerbench.kernels._cuda_arrays")

LAYER = FC(name="fc", in_features=7, out_features=5)
BATCH = 3
TF32 = 4 << 16


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATE_DOUBLE_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A simulated GPU whose library offers three algorithms."""
    offers = [Offered(1, 3e-5), Offered(6, 1e-5, workspace=4096), Offered(20, 2e-5, cluster=3)]
    with simulated(monkeypatch, offers) as simulation:
        yield simulation


def operands(dtype: DType = "fp32", layer: FC = LAYER, batch: int = BATCH) -> dict[str, np.ndarray]:
    return verify.tensors(layer, dtype, 3, 0, batch)


def searched(dtype: DType = "fp32", budget: Budget | None = None) -> dict[Any, Choice]:
    choices: dict[Any, Choice] = CUBLAS.search(Job(LAYER, BATCH, dtype), operands(dtype), budget or Budget())
    return choices


def relative(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
def test_the_three_passes_match_the_reference(made: SimpleNamespace, dtype: DType) -> None:
    job, t = Job(LAYER, BATCH, dtype), operands(dtype)
    prepared = CUBLAS.prepare(job, t, searched(dtype))
    for pass_ in [*reversed(PASSES), *PASSES]:
        prepared.poison()
        prepared.run[pass_]()
        expected = reference(LAYER, pass_, t)
        results = prepared.results(pass_)
        assert results.keys() == expected.keys()
        for name, result in results.items():
            assert result.shape == expected[name].shape
            assert relative(result, expected[name]) <= ERROR_LIMITS[dtype]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    pass_=st.sampled_from(PASSES),
)
def test_every_shape_matches_the_reference(made: SimpleNamespace, sizes: tuple[int, int, int], pass_: Any) -> None:
    layer = FC(name="fc", in_features=sizes[0], out_features=sizes[1])
    t = operands("fp64", layer, sizes[2])
    job = Job(layer, sizes[2], "fp64")
    prepared = CUBLAS.prepare(job, t, CUBLAS.search(job, t, Budget(runs=1)))
    prepared.poison()
    prepared.run[pass_]()
    (result,), (expected,) = prepared.results(pass_).values(), reference(layer, pass_, t).values()
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


def test_the_fastest_algorithm_is_kept_with_what_tells_it_from_others(made: SimpleNamespace) -> None:
    choice = searched()["forward"]
    assert choice.algorithm == "algorithm 6, tile 128x128, stages 64x3, split-k 1, reduction none"
    assert choice.workspace_bytes == 4096
    assert choice.tried == 3


def test_names_tell_algorithms_apart(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [
        Offered(1, 2e-5, flags=2, cluster=3, swizzle=1),
        Offered(1, 3e-5, least=2),
        Offered(1, 1e-5),
    ]
    choice = searched()["forward"]
    assert bytes.fromhex(choice.settings["algorithm"])[:8] == (1).to_bytes(8, "little")
    assert choice.tried == 3
    assert choice.algorithm.endswith("variant 2")
    made.lt.offers[:] = made.lt.offers[:1]
    assert searched()["forward"].algorithm.endswith("swizzle 1, cluster 2x1x1, tensor cores")


def test_a_choice_travels_as_json_and_is_the_same_algorithm_elsewhere(made: SimpleNamespace) -> None:
    sent = json.loads(msgspec.json.encode(searched()))
    choices = {pass_: msgspec.convert(choice, Choice) for pass_, choice in sent.items()}
    made.lt.calls.clear()
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), choices)
    prepared.run["backward_data"]()
    assert set(made.lt.calls) == {6}


def test_another_version_of_the_library_is_refused(made: SimpleNamespace) -> None:
    choices = searched()
    made.lt.version = 120804
    with pytest.raises(KernelError, match=r"^cublas: fc forward: .*chosen by cuBLASLt 13\.10\.0, and here is 12\.8\.4"):
        CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), choices)


def test_an_algorithm_that_refuses_a_small_batch_is_verified_with_the_whole(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [Offered(6, least=3)]
    job, t = Job(LAYER, BATCH, "fp32"), operands()
    choices = searched()
    with pytest.raises(KernelError, match="refuses the algorithm for these sizes"):
        CUBLAS.prepare(Job(LAYER, 2, "fp32"), operands(batch=2), choices)
    verified = verify.verify(CUBLAS, job, t, choices)
    assert all(each.ok and each.batch == BATCH for each in verified.values())


def test_what_fails_to_run_is_left_out(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [Offered(1, 1e-6, fails=True), Offered(2, 1e-6, state=15), Offered(6, 1e-5)]
    choice = searched()["backward_weights"]
    assert choice.algorithm.startswith("algorithm 6,")
    assert choice.tried == 1


def test_where_nothing_runs_the_first_reason_is_told(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [Offered(1, fails=True), Offered(6, fails=True)]
    with pytest.raises(
        KernelError, match=r"^cublas: fc forward: none of 2 algorithms runs: .*EXECUTION_FAILED"
    ) as seen:
        searched()
    assert "CUBLASLT_LOG_LEVEL" not in str(seen.value)


def test_where_nothing_is_offered_the_library_is_quoted(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [Offered(1, workspace=2**20)]
    with pytest.raises(KernelError, match=r"^cublas: fc forward: cuBLASLt offers no algorithm: .*NOT_SUPPORTED"):
        searched(budget=Budget(workspace=1000))


def test_the_workspace_is_limited_by_the_budget_and_by_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated(monkeypatch, [Offered(1, 1e-6, workspace=5000), Offered(6, 1e-5)], free=3000) as made:
        assert searched()["forward"].algorithm.startswith("algorithm 6,")
        searched(budget=Budget(workspace=1000))
        assert made.lt.limits == [3000] * 3 + [1000] * 3


def test_fp32_takes_no_algorithm_that_rounds_its_operands_and_tf32_does(made: SimpleNamespace) -> None:
    made.lt.offers[:] = [Offered(1, 1e-6, flags=TF32 | 2), Offered(6, 1e-5, flags=8 << 16 | 1)]
    assert searched("fp32")["forward"].algorithm.startswith("algorithm 6,")
    assert searched("tf32")["forward"].algorithm.startswith("algorithm 1,")
    made.lt.offers.pop()
    with pytest.raises(KernelError, match="only some that compute in another type"):
        searched("fp32")


def test_tf32_rounds_operands_and_fp32_does_not(made: SimpleNamespace) -> None:
    t = operands("fp32")
    expected = reference(LAYER, "forward", t)["dst"]
    errors = {}
    for dtype in ("fp32", "tf32"):
        prepared = CUBLAS.prepare(Job(LAYER, BATCH, dtype), t, searched(dtype))
        errors[dtype] = relative(prepared.results("forward")["dst"], expected)
    assert errors["fp32"] < 1e-6 < 1e-5 < errors["tf32"] < ERROR_LIMITS["tf32"]


def test_sixteen_bit_products_are_added_up_in_fp32(made: SimpleNamespace) -> None:
    in_result = Offered(1, 1e-6, reduction=4, splits=2)
    in_half = Offered(2, 1e-6, flags=1 << 8)
    made.lt.offers[:] = [in_result, in_half, Offered(6, 1e-5, reduction=2, splits=2)]
    for dtype in ("fp16", "bf16"):
        assert searched(dtype)["forward"].algorithm.startswith("algorithm 6,")
    assert searched("fp32")["forward"].algorithm.startswith(("algorithm 1,", "algorithm 2,"))


def test_a_call_queues_on_the_stream_that_is_current_then(made: SimpleNamespace) -> None:
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), searched())
    made.lt.streams.clear()
    for pointer in (0, 4711):
        made.cupy.stream = SimpleNamespace(ptr=pointer)
        prepared.run["forward"]()
    assert made.lt.streams == [0, 4711]


def test_a_call_allocates_nothing(made: SimpleNamespace) -> None:
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), searched())
    before = len(made.cupy.memory.ranges)
    for run in prepared.run.values():
        run()
    assert len(made.cupy.memory.ranges) == before


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_gradient_is_the_memory_of_the_weight_gradient(made: SimpleNamespace, dtype: DType) -> None:
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, dtype), operands(dtype), searched(dtype))
    prepared.run["backward_weights"]()
    assert prepared.gradient.shape == (LAYER.weights,)
    assert prepared.gradient.dtype == arrays.storage(dtype)
    prepared.gradient[...] = 0
    assert not prepared.results("backward_weights")["diff_weights"].any()


def test_poison_reaches_every_result(made: SimpleNamespace) -> None:
    for dtype in ("fp32", "bf16"):
        prepared = CUBLAS.prepare(Job(LAYER, BATCH, dtype), operands(dtype), searched(dtype))
        prepared.poison()
        for pass_ in PASSES:
            assert all(np.isnan(result).all() for result in prepared.results(pass_).values())


def test_layers_are_linked_by_put_and_take(made: SimpleNamespace) -> None:
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), searched())
    other = verify.tensors(LAYER, "fp32", 4, 0, BATCH)
    t = {**operands(), "src": other["src"], "diff_dst": other["diff_dst"]}
    for name in ("src", "diff_dst"):
        prepared.put(name, arrays.to_device(other[name], "fp32"))
    for pass_, result in (("forward", "dst"), ("backward_data", "diff_src")):
        prepared.run[pass_]()
        expected = reference(LAYER, pass_, t)[result]
        out = arrays.empty(expected.shape, "fp32")
        prepared.take(result, out)
        assert relative(arrays.to_host(out, "fp32"), expected) < 1e-5


def test_descriptors_end_with_the_layer(made: SimpleNamespace) -> None:
    prepared = CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), searched())
    assert len(made.lt.descriptions) == 3
    assert not made.lt.preferences
    del prepared
    assert not made.lt.descriptions
    assert not made.lt.layouts


def test_what_fails_only_while_it_runs_is_told_by_prepare(made: SimpleNamespace) -> None:
    choices = searched()

    def lost() -> None:
        raise MeasurementError("waiting for the GPU: it was lost")

    made.device.synchronize = lost
    with pytest.raises(MeasurementError, match="it was lost"):
        CUBLAS.prepare(Job(LAYER, BATCH, "fp32"), operands(), choices)


def test_a_full_gpu_is_told_as_one(made: SimpleNamespace) -> None:
    def full(*_: object) -> None:
        raise made.cupy.cuda.memory.OutOfMemoryError("Out of memory allocating 4,096 bytes")

    made.cupy.empty = full
    with pytest.raises(OutOfMemoryError, match=r"^cublas: fc: "):
        searched()


def test_a_lost_gpu_is_told_as_one(made: SimpleNamespace) -> None:
    made.device.synchronize = lambda: (_ for _ in ()).throw(RuntimeError("an illegal memory access was encountered"))
    with pytest.raises(MeasurementError, match=r"^cublas: fc: the GPU failed or was lost"):
        searched()


def test_it_says_what_it_cannot_do(made: SimpleNamespace) -> None:
    conv = Conv(name="conv", input=(4, 4), in_channels=1, out_channels=1, filter=(1, 1))
    assert CUBLAS.supports(conv, "fp32") == "does fully connected layers, not conv"
    assert "int8" in CUBLAS.supports(LAYER, "int8")
    assert all(CUBLAS.supports(LAYER, dtype) is None for dtype in ("fp64", "fp32", "tf32", "fp16", "bf16"))


def test_a_gpu_before_ampere_has_neither_tf32_nor_bf16(made: SimpleNamespace) -> None:
    made.cupy.cuda.Device = lambda: SimpleNamespace(compute_capability="75")
    assert CUBLAS.supports(LAYER, "fp16") is None
    for dtype in ("tf32", "bf16"):
        assert "compute capability 8.0" in CUBLAS.supports(LAYER, dtype)


@pytest.mark.parametrize(
    ("dtype", "name", "value"),
    [
        ("tf32", "NVIDIA_TF32_OVERRIDE", "0"),
        ("fp32", "NVIDIA_TF32_OVERRIDE", "1"),
        ("fp32", "CUBLAS_EMULATE_SINGLE_PRECISION", "1"),
        ("fp64", "CUBLAS_EMULATE_DOUBLE_PRECISION", "1"),
    ],
)
def test_an_environment_that_contradicts_is_told(
    made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, dtype: DType, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    told = CUBLAS.supports(LAYER, dtype)
    assert f"{name}={value}" in told
    assert "unset it" in told
    assert contradiction("bf16") is None


def test_an_environment_that_agrees_is_no_matter() -> None:
    assert contradiction("fp32", {"NVIDIA_TF32_OVERRIDE": "0", "CUBLAS_EMULATE_SINGLE_PRECISION": "0"}) is None
    assert contradiction("tf32", {"NVIDIA_TF32_OVERRIDE": "1", "CUBLAS_EMULATE_SINGLE_PRECISION": "1"}) is None


def test_availability_is_that_of_cuda_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "availability", lambda: Availability(False, reason="no GPU", remedy="buy one"))
    assert CUBLAS.availability() == Availability(False, reason="no GPU", remedy="buy one")


def test_availability_names_the_library_or_says_what_to_install(
    made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUBLAS.availability().version == "cuBLASLt 13.10.0, CuPy 14.2.0, CUDA 13.0, driver 580"

    def broken() -> int:
        raise cuBLASLtError("no libcublasLt.so.13\nhere")

    made.lt.get_version = broken
    found = CUBLAS.availability()
    assert not found.ok
    assert found.reason.startswith("nvmath-python cannot load cuBLASLt: cuBLASLtError: no libcublasLt.so.13")
    assert "\n" not in found.reason
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = CUBLAS.availability()
    assert (found.ok, found.remedy) == (False, "pip install 'layerbench[cuda13]'")
    assert "nvmath-python is not installed" in found.reason


def test_importing_the_file_imports_no_library() -> None:
    code = (
        "import sys, importlib; importlib.import_module('layerbench.kernels.cublas');"
        "print([name for name in ('nvmath', 'cupy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
