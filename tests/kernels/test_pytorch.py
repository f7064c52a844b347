"""The PyTorch peer against the float64 reference, and what it says where PyTorch is missing or broken."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, DType

PYTORCH = importlib.import_module("layerbench.kernels.pytorch").KERNEL
reference = importlib.import_module("layerbench.kernels.reference").reference

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: pip install torch"
)

LAYERS = [
    Conv(
        name="conv",
        input=(9, 8),
        in_channels=4,
        out_channels=6,
        filter=(3, 2),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    ),
    FC(name="fc", in_features=7, out_features=5),
    LSTM(name="lstm", input_size=5, hidden_size=4, time_steps=6),
]


def prepared_and_operands(layer: AnyLayer, batch: int, dtype: DType):  # type: ignore[no-untyped-def]
    t = verify.tensors(layer, dtype, 3, 0, batch)
    job = Job(layer, batch, dtype)
    return PYTORCH.prepare(job, t, PYTORCH.search(job, t, Budget(runs=1))), t


def assert_close(results: dict[str, np.ndarray], expected: dict[str, np.ndarray], limit: float) -> None:
    assert results.keys() == expected.keys()
    for name, result in results.items():
        assert result.shape == expected[name].shape
        assert np.linalg.norm(result - expected[name]) <= limit * np.linalg.norm(expected[name]), name


def test_importing_the_file_does_not_import_torch() -> None:
    code = "import sys, importlib; importlib.import_module('layerbench.kernels.pytorch'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_missing_torch_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    availability = PYTORCH.availability()
    assert not availability.ok
    assert availability.remedy == "pip install torch"
    assert "not installed" in availability.reason


def test_a_broken_torch_is_said_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    availability = PYTORCH.availability()
    assert not availability.ok
    assert "cannot be imported" in availability.reason


def test_it_is_never_chosen_by_itself() -> None:
    assert PYTORCH.preference is None


def test_it_says_what_it_cannot_do() -> None:
    assert PYTORCH.supports(LAYERS[0], "fp32") is None
    assert "int8" in PYTORCH.supports(LAYERS[0], "int8")


@needs_torch
def test_the_installed_torch_is_named() -> None:
    availability = PYTORCH.availability()
    assert availability.ok
    assert availability.version[0].isdigit()
    assert availability.version.endswith(", CPU") or ", CUDA " in availability.version


@needs_torch
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_passes_match_the_reference_in_any_order(layer: AnyLayer, dtype: DType) -> None:
    prepared, t = prepared_and_operands(layer, 3, dtype)
    limit = PYTORCH.error_limit(dtype, Choice(algorithm=""))
    for pass_ in [*reversed(PASSES), *PASSES]:
        prepared.run[pass_]()
        assert_close(prepared.results(pass_), reference(layer, pass_, t), limit)


@needs_torch
@settings(max_examples=30, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    filter_=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    batch=st.integers(1, 3),
    formats=st.tuples(*[st.sampled_from(["contiguous", "channels_last"])] * 3),
)
def test_convolutions_match_the_reference_in_both_memory_formats(
    channels: tuple[int, int],
    filter_: tuple[int, int],
    stride: tuple[int, int],
    size: tuple[int, int],
    padding: tuple[int, int],
    batch: int,
    formats: tuple[str, str, str],
) -> None:
    layer = Conv(
        name="conv",
        input=size,
        in_channels=channels[0],
        out_channels=channels[1],
        filter=filter_,
        stride=stride,
        padding=padding,
    )
    t = verify.tensors(layer, "fp32", 3, 0, batch)
    choices = {
        pass_: Choice(algorithm="", settings={"memory_format": f}) for pass_, f in zip(PASSES, formats, strict=True)
    }
    prepared = PYTORCH.prepare(Job(layer, batch, "fp32"), t, choices)
    for pass_ in PASSES:
        prepared.run[pass_]()
        assert_close(prepared.results(pass_), reference(layer, pass_, t), 1e-5)


@needs_torch
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_the_gradient_is_the_memory_of_the_weight_gradients(layer: AnyLayer) -> None:
    prepared, t = prepared_and_operands(layer, 2, "fp64")
    gradient = prepared.gradient
    prepared.run["backward_weights"]()
    assert gradient.shape == (layer.weights,)
    gradient *= 2
    doubled = {name: 2 * result for name, result in reference(layer, "backward_weights", t).items()}
    assert_close(prepared.results("backward_weights"), doubled, 1e-12)


@needs_torch
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_result_is_poisoned(layer: AnyLayer) -> None:
    prepared, t = prepared_and_operands(layer, 2, "fp64")
    for pass_ in PASSES:
        prepared.run[pass_]()
    prepared.poison()
    for pass_ in PASSES:
        assert all(np.isnan(result).all() for result in prepared.results(pass_).values())
    for pass_ in PASSES:
        prepared.run[pass_]()
        assert_close(prepared.results(pass_), reference(layer, pass_, t), 1e-12)


@needs_torch
def test_both_gradients_of_an_lstm_come_from_one_call() -> None:
    layer = LAYERS[2]
    prepared, t = prepared_and_operands(layer, 2, "fp64")
    prepared.poison()
    prepared.backward_together()
    for pass_ in PASSES[1:]:
        assert_close(prepared.results(pass_), reference(layer, pass_, t), 1e-12)
    assert prepared_and_operands(LAYERS[0], 2, "fp64")[0].backward_together is None


@needs_torch
def test_threads_are_those_of_the_job() -> None:
    import torch

    layer = LAYERS[1]
    t = verify.tensors(layer, "fp32", 3, 0, 2)
    for threads in (2, 1):
        job = Job(layer, 2, "fp32", threads)
        PYTORCH.prepare(job, t, PYTORCH.search(job, t, Budget()))
        assert torch.get_num_threads() == threads


@needs_torch
def test_what_torch_refuses_is_one_line() -> None:
    operands = verify.tensors(LAYERS[1], "fp32", 3, 0, 2)
    wider = FC(name="wider", in_features=9, out_features=5)
    operands["weights"] = verify.tensors(wider, "fp32", 3, 0, 2)["weights"]
    with pytest.raises(KernelError, match=r"^pytorch: fc: .*shapes") as caught:
        PYTORCH.prepare(Job(LAYERS[1], 2, "fp32"), operands, {})
    assert "\n" not in str(caught.value)
