"""cuDNN's recurrent layers on a GPU, against the float64 reference."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import LSTM, PASSES, DType, Pass

plans = importlib.import_module("layerbench.kernels._cudnn_rnn_plan")
KERNEL: Any = importlib.import_module("layerbench.kernels.cudnn_rnn").KERNEL


def operands(layer: LSTM, dtype: DType, batch: int) -> dict[str, np.ndarray]:
    return verify.tensors(layer, dtype, 1, 0, batch)


def verify_limit(dtype: DType) -> float:
    return float(KERNEL.error_limit(dtype, Choice("")))


@pytest.fixture
def on_gpu() -> None:
    if not (found := KERNEL.availability()).ok:
        pytest.skip(found.reason)


GPU_LIMITS: tuple[DType, ...] = ("fp64", "fp32", "tf32", "fp16", "bf16")


def gpu_plans(layer: LSTM, dtype: DType, batch: int) -> list[Any]:
    """All plans that cuDNN supports for a layer, as choices."""
    found = []
    for plan in plans.plans(dtype):
        choices = dict.fromkeys(PASSES, Choice(plan.name, plan.settings))
        try:
            KERNEL.prepare(Job(layer, batch, dtype), operands(layer, dtype, batch), choices)
        except KernelError:
            continue
        found.append(choices)
    return found


def gpu_right(layer: LSTM, batch: int, dtype: DType, found: dict[str, np.ndarray], pass_: Pass) -> None:
    reference = importlib.import_module("layerbench.kernels.reference").reference
    for name, expected in reference(layer, pass_, operands(layer, dtype, batch)).items():
        error = np.linalg.norm(found[name].astype(np.float64) - expected) / np.linalg.norm(expected)
        assert error <= verify_limit(dtype), f"{name}: {error}"


SHAPES = [(5, 4, 6, 3), (128, 128, 50, 128), (64, 96, 7, 32), (33, 17, 3, 1), (1, 1, 1, 1)]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", GPU_LIMITS)
@pytest.mark.parametrize(("inputs", "hidden", "steps", "batch"), SHAPES)
def test_every_algorithm_agrees_with_the_reference_in_any_order(
    on_gpu: None, inputs: int, hidden: int, steps: int, batch: int, dtype: DType
) -> None:
    layer = LSTM(name="lstm", input_size=inputs, hidden_size=hidden, time_steps=steps)
    if refusal := KERNEL.supports(layer, dtype):
        pytest.skip(refusal)
    found = gpu_plans(layer, dtype, batch)
    assert any(choices["forward"].settings["algorithm"] == "standard" for choices in found)
    for choices in found:
        ready = KERNEL.prepare(Job(layer, batch, dtype), operands(layer, dtype, batch), choices)
        ready.poison()
        order = ["forward", *PASSES, "backward_data", "backward_weights", "backward_weights", "forward"]
        for pass_ in [*order, "backward_weights", "backward_data", "backward_data"]:
            ready.run[pass_]()
            gpu_right(layer, batch, dtype, ready.results(pass_), pass_)


@pytest.mark.gpu
def test_backward_weights_twice_gives_the_same_bits(on_gpu: None) -> None:
    layer = LSTM(name="lstm", input_size=128, hidden_size=128, time_steps=50)
    for choices in gpu_plans(layer, "fp32", 16):
        ready = KERNEL.prepare(Job(layer, 16, "fp32"), operands(layer, "fp32", 16), choices)
        for pass_ in PASSES:
            ready.run[pass_]()
        first = ready.results("backward_weights")
        ready.run["backward_weights"]()
        for name, again in ready.results("backward_weights").items():
            np.testing.assert_allclose(again, first[name], rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_captured_step_is_right_however_often_it_is_replayed(on_gpu: None, dtype: DType) -> None:
    cupy = importlib.import_module("layerbench.cuda.library").load()
    layer = LSTM(name="lstm", input_size=128, hidden_size=128, time_steps=20)
    for choices in gpu_plans(layer, dtype, 32):
        ready = KERNEL.prepare(Job(layer, 32, dtype), operands(layer, dtype, 32), choices)
        KERNEL.device().synchronize()
        graphs: dict[Pass, Any] = {}
        with (stream := cupy.cuda.Stream(non_blocking=True)):
            for pass_ in PASSES:
                stream.begin_capture()
                ready.run[pass_]()
                graphs[pass_] = stream.end_capture()
                graphs[pass_].launch(stream)
            for pass_ in ("backward_data", "backward_data", "backward_weights", "forward", "backward_weights"):
                graphs[pass_].launch(stream)
                stream.synchronize()
                gpu_right(layer, 32, dtype, ready.results(pass_), pass_)
        # The handle outlives the test, and shall not be left with the test's stream.
        ready.run["forward"]()
        KERNEL.device().synchronize()


@pytest.mark.gpu
def test_the_search_chooses_the_same_of_the_same_and_what_it_chose_verifies(on_gpu: None) -> None:
    layer = LSTM(name="lstm", input_size=128, hidden_size=128, time_steps=50)
    job, tensors = Job(layer, 128, "fp32"), operands(layer, "fp32", 128)
    choices = KERNEL.search(job, tensors, Budget())
    assert all(check.ok for check in verify.verify(KERNEL, job, tensors, choices).values())
    assert choices["forward"].tried >= 2
