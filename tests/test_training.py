"""Making a training step ready: on one rank, on several, and where it cannot be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench import registry, suite
from layerbench.collectives import OneRank
from layerbench.errors import (
    KernelError,
    MeasurementError,
    OutOfMemoryError,
    UnavailableError,
    UsageError,
    VerificationError,
)
from layerbench.kernel import Budget
from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.training import memory_needed, prepare_step

from .ranks import ThreadRank, together

ONCE = Budget(runs=1)

CONV = Conv(name="conv", input=(8, 8), in_channels=3, out_channels=4, filter=(3, 3), backward_data_in_step=False)
FULL = FC(name="fc", in_features=4 * 9, out_features=5)
RECURRENT = LSTM(name="lstm", input_size=6, hidden_size=5, time_steps=4)
LAYERS: list[AnyLayer] = [CONV, FULL, RECURRENT]


def batch_for(step: Any, batch: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((batch, *field.shape)).astype(field.dtype) for field in step.fields]


@pytest.mark.parametrize("name", suite.names())
def test_every_built_in_suite_takes_a_step_in_which_values_keep_their_size(name: str) -> None:
    layers = suite.load(name).layers
    told: list[str] = []
    with prepare_step(layers, 1, OneRank(), kernels_name="numpy", budget=ONCE, progress=told.append) as step:
        assert {line.partition(":")[0] for line in told} == {layer.name for layer in layers}
        ready: list[int] = []
        step.forward(batch_for(step, 1))
        step.backward(ready.append)
        assert ready == list(reversed(range(len(layers))))
        for values in step.activations().values():
            assert 0.05 < np.std(values) < 3
        for layer, gradient in zip(layers, step.gradients, strict=True):
            assert gradient.shape == (layer.weights,)
            assert np.isfinite(gradient).all()
            assert 1e-4 < np.std(gradient) < 1e3, layer.name


def test_bf16_is_refused_where_arrays_of_a_device_have_no_such_type(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = registry.named("numpy")
    monkeypatch.setattr(kernel.device(), "name", "cuda", raising=False)
    monkeypatch.setattr(kernel, "supports", lambda layer, dtype: None)
    with pytest.raises(UnavailableError, match=r"bf16 .* not on cuda: use fp16"):
        prepare_step([FULL], 2, OneRank(), dtype="bf16", kernels_name="numpy", budget=ONCE)


def test_ranks_have_the_same_weights_and_lay_their_gradients_out_alike() -> None:
    samples = [3, 2]

    def work(ranks: ThreadRank) -> tuple[list[np.ndarray], dict[str, np.ndarray], list[np.ndarray]]:
        mine = samples[ranks.rank]
        step = prepare_step(LAYERS, mine, ranks, dtype="fp64", kernels_name="numpy", budget=ONCE)
        batch = batch_for(step, mine, ranks.rank)
        step.forward(batch)
        step.backward()
        return batch, step.activations(), list(step.gradients)

    first, second = (found for found in together(2, work) if not isinstance(found, BaseException))
    # Gradients of all samples on one rank are the sums of what ranks have of theirs.
    with prepare_step(LAYERS, 5, OneRank(), dtype="fp64", kernels_name="numpy", budget=ONCE) as whole:
        whole.forward([np.concatenate(arrays) for arrays in zip(first[0], second[0], strict=True)])
        whole.backward()
        activations = whole.activations()
        np.testing.assert_allclose(np.concatenate([first[1]["fc"], second[1]["fc"]]), activations["fc"], rtol=1e-9)
        for ours, theirs, all_of_it in zip(first[2], second[2], whole.gradients, strict=True):
            assert np.linalg.norm(ours + theirs - all_of_it) < 1e-12 * np.linalg.norm(all_of_it)


def test_layers_of_one_shape_have_weights_of_their_own() -> None:
    layers = [FC(name=f"fc{index}", in_features=50, out_features=50) for index in range(3)]
    with prepare_step(layers, 2, OneRank(), kernels_name="numpy", budget=ONCE) as step:
        step.forward(batch_for(step, 2))
        step.backward()
        for one, other in itertools.pairwise(step.gradients):
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("layers", "batch", "dtype", "said"),
    [
        ([], 1, "fp32", "a training step needs at least one layer"),
        (LAYERS, 0, "fp32", "rank 0 has no samples"),
        (LAYERS, 1, "int8", "another --dtype than int8"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(layers: list[AnyLayer], batch: int, dtype: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        prepare_step(layers, batch, OneRank(), dtype=dtype)
    assert "\n" not in str(error.value)


def test_a_step_that_does_not_fit_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(OutOfMemoryError, match=r"3 layers with 1000000000 samples needs .* and .* are free: lower"):
        prepare_step(LAYERS, 10**9, OneRank(), kernels_name="numpy")


def test_memory_that_is_needed_grows_with_what_layers_pass_on() -> None:
    alone = memory_needed([CONV], 2, "fp32")
    assert alone == 3 * CONV.bytes(2) + 4 * 2 * 4 * 36  # its output goes into the loss
    both = memory_needed([CONV, FULL], 2, "fp32")
    # The fully connected layer has 9 of the convolution's 36 pixels, for which there is room too.
    assert both == alone + FULL.operand_bytes(2) + 4 * 2 * 36
    assert memory_needed([CONV, FULL], 2, "fp64") == 2 * both
    assert memory_needed([], 2, "fp32") == 0


KERNEL_FILE = """
import importlib
from layerbench.device import Host

class Other(importlib.import_module("layerbench.kernels._numpy").NumpyKernel):
    name = "other"
{body}

KERNEL = Other()
"""


def kernel_file(folder: Path, body: str) -> str:
    path = folder / "other.py"
    path.write_text(KERNEL_FILE.format(body="\n".join(f"    {line}" for line in body.splitlines())))
    return str(path)


def test_a_kernel_that_does_not_pass_on_its_results_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="other: does not pass on its results"):
        prepare_step(LAYERS, 1, OneRank(), kernels_name=kernel_file(tmp_path, "links_layers = False"))


def test_a_kernel_that_computes_something_wrong_is_not_used_on_any_rank(tmp_path: Path) -> None:
    body = "def error_limit(self, dtype, choice):\n    return -1.0 if 'step' in choice.algorithm else 1e-5"
    file = kernel_file(tmp_path, body)
    first, second = together(2, lambda ranks: prepare_step(LAYERS, 1, ranks, kernels_name=file, budget=ONCE))
    assert isinstance(first, VerificationError)
    assert str(first).startswith("lstm: forward by other's gemm per step has a relative error of ")
    assert type(second) is MeasurementError
    assert str(second) == f"rank 0: {first}"


def test_layers_of_one_network_have_to_be_on_one_device(tmp_path: Path) -> None:
    # Each time it is asked, the device has another name: as if every layer ran elsewhere.
    body = (
        "asked = 0\n"
        "def device(self):\n"
        "    self.asked += 1\n"
        "    device = Host()\n"
        "    device.name = f'device {self.asked}'\n"
        "    return device"
    )
    with pytest.raises(UnavailableError, match="would run on device") as error:
        prepare_step(LAYERS, 1, OneRank(), kernels_name=kernel_file(tmp_path, body))
    assert "\n" not in str(error.value)


def test_gradients_that_ranks_lay_out_differently_are_refused(tmp_path: Path) -> None:
    body = (
        "def prepare(self, job, tensors, choices):\n"
        "    prepared = super().prepare(job, tensors, choices)\n"
        "    if job.layer.name == 'fc':\n"
        "        prepared.gradient = prepared.gradient[job.batch - 1 :]\n"
        "    return prepared"
    )
    file = kernel_file(tmp_path, body)

    def work(ranks: ThreadRank) -> None:
        prepare_step(LAYERS, 2 - ranks.rank, ranks, kernels_name=file, budget=ONCE)

    for error in together(2, work):
        assert isinstance(error, KernelError)
        assert str(error).startswith("fc: ranks are to add up gradients that the kernel lays out in 179 elements on")
