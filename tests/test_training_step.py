"""A whole training step against float64: what its layers compute of a batch, and of each other."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.errors import DataError, MeasurementError
from layerbench.kernel import Budget, Job, Kernel
from layerbench.layers import FC, LSTM, AnyLayer, Conv, DType, Pass
from layerbench.timeline import Timeline
from layerbench.training_step import TrainingStep

NUMPY: Kernel = importlib.import_module("layerbench.kernels.reference").KERNEL
ONEDNN: Kernel = importlib.import_module("layerbench.kernels.onednn").KERNEL
reference = importlib.import_module("layerbench.kernels.reference").reference

onednn = pytest.mark.skipif(not ONEDNN.availability().ok, reason=f"oneDNN: {ONEDNN.availability().reason}")

BATCH = 3

NETWORK: list[AnyLayer] = [
    Conv(
        name="conv1",
        input=(9, 9),
        in_channels=2,
        out_channels=4,
        filter=(3, 3),
        padding=(1, 1),
        backward_data_in_step=False,
    ),
    Conv(name="conv2", input=(5, 5), in_channels=4, out_channels=6, filter=(2, 2), groups=2),  # of 9 x 9 pixels
    FC(name="fc1", in_features=24, out_features=7),  # of 6 channels, 2 x 2 of 4 x 4 pixels
    FC(name="fc2", in_features=7, out_features=3),
    LSTM(name="lstm1", input_size=4, hidden_size=5, time_steps=6),
    LSTM(name="lstm2", input_size=5, hidden_size=3, time_steps=6),
    FC(name="fc3", in_features=3, out_features=2),
]
"""Two chains: conv1 to fc2, and lstm1 to fc3."""


def operands_of(layers: Sequence[AnyLayer], dtype: DType) -> list[dict[str, np.ndarray]]:
    return [verify.tensors(layer, dtype, 5 + index, 0, BATCH) for index, layer in enumerate(layers)]


def built(
    kernel: Kernel, layers: Sequence[AnyLayer], dtype: DType, operands: list[dict[str, np.ndarray]]
) -> tuple[TrainingStep, list[Any]]:
    """A step, and its layers as they were prepared."""
    prepared = []
    for layer, tensors in zip(layers, operands, strict=True):
        job = Job(layer, BATCH, dtype)
        prepared.append(kernel.prepare(job, tensors, kernel.search(job, tensors, Budget(runs=1))))
    made: list[Any] = prepared
    return TrainingStep(layers, made, BATCH, operands[0]["src"].dtype, kernel.device()), made


def batch_of(step: TrainingStep, seed: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal((BATCH, *field.shape)).astype(field.dtype) for field in step.fields)


def run(step: TrainingStep, batch: tuple[np.ndarray, ...]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Activations and gradients of a batch, as copies."""
    step.forward(batch)
    step.backward()
    return step.activations(), [gradient.copy() for gradient in step.gradients]


def expected_of(
    operands: list[dict[str, np.ndarray]], batch: tuple[np.ndarray, ...]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Activations and weight gradients of NETWORK in float64, put together by hand."""
    layers = {layer.name: layer for layer in NETWORK}
    tensors = {layer.name: dict(of) for layer, of in zip(NETWORK, operands, strict=True)}

    def computed(name: str, pass_: Pass) -> Any:
        return reference(layers[name], pass_, tensors[name])

    images, sequences = batch

    def forward(name: str, src: np.ndarray) -> np.ndarray:
        tensors[name]["src"] = src
        output: np.ndarray = computed(name, "forward")["dst"]
        return output

    conv1 = forward("conv1", images)
    conv2 = forward("conv2", conv1[:, :, ::2, ::2])
    fc1 = forward("fc1", conv2[:, :, [0, 3]][:, :, :, [0, 3]].reshape(BATCH, 24))
    fc2 = forward("fc2", fc1)
    lstm1 = forward("lstm1", sequences.swapaxes(0, 1))
    lstm2 = forward("lstm2", lstm1)
    fc3 = forward("fc3", lstm2[5])

    def backward(name: str, diff_dst: np.ndarray) -> np.ndarray:
        tensors[name]["diff_dst"] = diff_dst
        gradient: np.ndarray = computed(name, "backward_data")["diff_src"]
        return gradient

    diff_lstm2 = np.zeros(lstm2.shape)
    diff_lstm2[5] = backward("fc3", fc3)
    backward("lstm1", backward("lstm2", diff_lstm2))
    diff_conv2 = np.zeros(conv2.shape)
    of_pixels = backward("fc1", backward("fc2", fc2)).reshape(BATCH, 6, 2, 2)
    for row in (0, 1):
        for column in (0, 1):
            diff_conv2[:, :, 3 * row, 3 * column] = of_pixels[:, :, row, column]
    diff_conv1 = np.zeros(conv1.shape)
    diff_conv1[:, :, ::2, ::2] = backward("conv2", diff_conv2)
    backward("conv1", diff_conv1)
    return {"fc2": fc2, "fc3": fc3}, {name: computed(name, "backward_weights") for name in layers}


@pytest.mark.parametrize(
    ("kernel", "dtype", "limit"),
    [(NUMPY, "fp64", 1e-12), (NUMPY, "fp32", 1e-5), pytest.param(ONEDNN, "fp32", 1e-5, marks=onednn)],
)
def test_a_step_computes_what_its_layers_put_together_compute(kernel: Kernel, dtype: DType, limit: float) -> None:
    operands = operands_of(NETWORK, dtype)
    step, prepared = built(kernel, NETWORK, dtype, operands)
    assert [(field.name, field.shape) for field in step.fields] == [("conv1", (2, 9, 9)), ("lstm1", (6, 4))]
    assert all(field.dtype == operands[0]["src"].dtype for field in step.fields)
    for seed in (1, 2):
        batch = batch_of(step, seed)
        activations, _ = run(step, batch)
        expected, gradients = expected_of(operands, batch)
        assert activations.keys() == expected.keys()
        for name, values in activations.items():
            assert np.linalg.norm(values - expected[name]) <= limit * np.linalg.norm(expected[name]), name
        for layer, made in zip(NETWORK, prepared, strict=True):
            found = made.results("backward_weights")
            assert found.keys() == gradients[layer.name].keys()
            for name, values in found.items():
                exact = gradients[layer.name][name]
                assert np.linalg.norm(values - exact) <= limit * np.linalg.norm(exact), (layer.name, name)


def test_gradients_are_those_of_half_the_sum_of_squared_outputs() -> None:
    operands = operands_of(NETWORK, "fp64")
    step, prepared = built(NUMPY, NETWORK, "fp64", operands)
    batch = batch_of(step, 3)
    run(step, batch)
    generator = np.random.default_rng(4)
    for index, layer in enumerate(NETWORK):
        for name in layer.weight_shapes:
            gradient = prepared[index].results("backward_weights")[f"diff_{name}"]
            place = tuple(generator.integers(0, gradient.shape))
            losses = []
            for shift in (1e-5, -1e-5):
                moved = operands[index][name].copy()
                moved[place] += shift
                shifted = [*operands[:index], operands[index] | {name: moved}, *operands[index + 1 :]]
                outputs, _ = run(built(NUMPY, NETWORK, "fp64", shifted)[0], batch)
                losses.append(sum(float(np.sum(output**2)) / 2 for output in outputs.values()))
            difference = (losses[0] - losses[1]) / 2e-5
            assert gradient[place] == pytest.approx(difference, rel=1e-6, abs=1e-8), (layer.name, name)


@pytest.mark.parametrize("kernel", [NUMPY, pytest.param(ONEDNN, marks=onednn)])
def test_every_activation_and_gradient_depends_on_every_sample(kernel: Kernel) -> None:
    step, _ = built(kernel, NETWORK, "fp32", operands_of(NETWORK, "fp32"))
    batch = batch_of(step, 1)
    activations, gradients = run(step, batch)
    for sample in range(BATCH):
        changed = tuple(array.copy() for array in batch)
        for array in changed:
            array[sample] *= np.float32(1.5)
        other_activations, other_gradients = run(step, changed)
        for name, values in activations.items():
            assert (values[sample] != other_activations[name][sample]).any()
        for layer, before, after in zip(NETWORK, gradients, other_gradients, strict=True):
            computed = before != 0  # what pads a kernel's layout is always 0
            assert np.mean((before != after)[computed]) > 0.9, layer.name


@pytest.mark.parametrize("kernel", [NUMPY, pytest.param(ONEDNN, marks=onednn)])
def test_a_batch_gives_the_same_bits_whatever_came_before_it_and_wherever_it_lies(kernel: Kernel) -> None:
    step, _ = built(kernel, NETWORK, "fp32", operands_of(NETWORK, "fp32"))
    first, other = batch_of(step, 1), batch_of(step, 2)
    activations, gradients = run(step, first)
    for _ in range(5):
        run(step, other)
        again_activations, again_gradients = run(step, tuple(array.copy() for array in first))
        for name, values in activations.items():
            assert values.tobytes() == again_activations[name].tobytes()
        for before, after in zip(gradients, again_gradients, strict=True):
            assert before.tobytes() == after.tobytes()


REPEAT = """
import importlib
import numpy as np
from layerbench.collectives import OneRank
from layerbench.kernel import Budget
from layerbench.layers import FC, LSTM, Conv
from layerbench.training import prepare_step

layers = [
    Conv(name="conv1", input=(32, 32), in_channels=3, out_channels=32, filter=(5, 5), padding=(2, 2),
         backward_data_in_step=False),
    Conv(name="conv2", input=(16, 16), in_channels=32, out_channels=48, filter=(3, 3), padding=(1, 1)),
    FC(name="fc", in_features=48 * 64, out_features=100),
    LSTM(name="lstm", input_size=64, hidden_size=64, time_steps=8),
]
step = prepare_step(layers, 6, OneRank(), threads={threads}, kernels_name="onednn", budget=Budget(runs=1))
generator = np.random.default_rng(0)
batches = [
    [generator.standard_normal((6, *field.shape), dtype=np.float32) for field in step.fields] for _ in range(3)
]
seen = {{}}
for _ in range(10):
    for number, batch in enumerate(batches):
        step.forward(batch)
        step.backward()
        arrays = [*step.activations().values(), *step.gradients]
        assert all(np.isfinite(array).all() for array in arrays)
        found = [array.tobytes() for array in arrays]
        assert seen.setdefault(number, found) == found, number
assert len(set(map(tuple, seen.values()))) == 3
"""


@onednn
@pytest.mark.parametrize("threads", [1, 2])
def test_steps_are_bit_identical_with_any_number_of_threads(threads: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    code = REPEAT.format(threads=threads)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gradients_become_ready_from_the_last_layer_on_and_are_complete_then() -> None:
    step, _ = built(NUMPY, NETWORK, "fp64", operands_of(NETWORK, "fp64"))
    batch = batch_of(step, 1)
    _, complete = run(step, batch)
    for gradient in step.gradients:
        gradient.fill(np.nan)
    ready: dict[int, np.ndarray] = {}
    calls = []

    def on_gradient(index: int) -> None:
        ready[index] = step.gradients[index].copy()
        calls.append(NETWORK[index].name)

    step.forward(batch)
    step.backward(on_gradient, lambda: calls.append("between"))
    assert list(ready) == [6, 5, 4, 3, 2, 1, 0]
    for index, gradient in ready.items():
        np.testing.assert_array_equal(gradient, complete[index])
    # A recurrent layer's weights come second.
    assert calls == [
        *("fc3", "between", "between"),
        *("between", "lstm2", "between"),
        *("between", "lstm1", "between"),
        *("fc2", "between", "between"),
        *("fc1", "between", "between"),
        *("conv2", "between", "between"),
        *("conv1", "between"),
    ]


def test_the_timeline_has_every_pass_of_a_step_one_after_another() -> None:
    step, _ = built(NUMPY, NETWORK, "fp64", operands_of(NETWORK, "fp64"))
    batch = batch_of(step, 1)
    run(step, batch)
    step.timeline = Timeline()
    step.forward(batch, 7)
    step.backward()
    spans = step.timeline.spans
    assert {(span.lane, span.step) for span in spans} == {("compute", 7)}
    assert all(before.stop <= after.start for before, after in itertools.pairwise(spans))
    assert [span.name for span in spans] == [
        *(f"{layer.name} forward" for layer in NETWORK),
        *("fc3 backward_weights", "fc3 backward_data"),
        *("lstm2 backward_data", "lstm2 backward_weights"),
        *("lstm1 backward_data", "lstm1 backward_weights"),
        *("fc2 backward_weights", "fc2 backward_data"),
        *("fc1 backward_weights", "fc1 backward_data"),
        *("conv2 backward_weights", "conv2 backward_data"),
        "conv1 backward_weights",
    ]


def test_a_span_of_the_timeline_ends_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    step, _ = built(NUMPY, NETWORK, "fp64", operands_of(NETWORK, "fp64"))
    batch = batch_of(step, 1)
    waited: list[int] = []
    monkeypatch.setattr(step.device, "synchronize", lambda: waited.append(time.perf_counter_ns()))
    run(step, batch)
    assert not waited, "nothing is waited for where no time is kept"
    step.timeline = Timeline()
    step.forward(batch)
    step.backward()
    assert len(waited) == len(step.timeline.spans)
    assert all(span.start <= at <= span.stop for span, at in zip(step.timeline.spans, waited, strict=True))


def test_activations_are_new_arrays_every_time() -> None:
    step, _ = built(NUMPY, NETWORK, "fp64", operands_of(NETWORK, "fp64"))
    step.forward(batch_of(step, 1))
    first = step.activations()
    kept = {name: values.copy() for name, values in first.items()}
    step.forward(batch_of(step, 2))
    assert all((kept[name] == values).all() for name, values in first.items())
    assert all((step.activations()[name] != values).any() for name, values in first.items())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda batch: batch[:1], "a batch needs 2 arrays (conv1, lstm1), and 1 came"),
        (
            lambda batch: (batch[0][:2], batch[1]),
            "conv1: a batch must be float32 of sizes (3, 2, 9, 9), not float32 of (2, 2, 9, 9)",
        ),
        (
            lambda batch: (batch[0], batch[1].swapaxes(0, 1)),
            "lstm1: a batch must be float32 of sizes (3, 6, 4), not float32 of (6, 3, 4)",
        ),
        (
            lambda batch: (batch[0].astype(np.uint8), batch[1]),
            "conv1: a batch must be float32 of sizes (3, 2, 9, 9), not uint8 of (3, 2, 9, 9)",
        ),
    ],
)
def test_another_batch_than_the_fields_have_is_refused(spoil: Callable[[Any], Any], said: str) -> None:
    step, _ = built(NUMPY, NETWORK, "fp32", operands_of(NETWORK, "fp32"))
    with pytest.raises(DataError) as error:
        step.forward(spoil(batch_of(step, 1)))
    assert str(error.value) == said


LARGE: list[AnyLayer] = [
    Conv(name="conv1", input=(64, 64), in_channels=4, out_channels=8, filter=(3, 3), padding=(1, 1)),
    Conv(name="conv2", input=(32, 32), in_channels=8, out_channels=16, filter=(3, 3), padding=(1, 1)),
    FC(name="fc", in_features=16 * 256, out_features=256),
    LSTM(name="lstm", input_size=256, hidden_size=32, time_steps=20),
]


@pytest.mark.parametrize("kernel", [NUMPY, pytest.param(ONEDNN, marks=onednn)])
def test_a_step_allocates_nothing_and_gives_all_memory_back(kernel: Kernel) -> None:
    tracemalloc.start()
    try:
        step, prepared = built(kernel, LARGE, "fp32", operands_of(LARGE, "fp32"))
        batch = batch_of(step, 1)
        for _ in range(2):
            step.forward(batch)
            step.backward()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        step.forward(batch)
        step.backward()
        _, peak = tracemalloc.get_traced_memory()
        largest = 4 * BATCH * 8 * 64 * 64
        assert peak - before < largest / 2
        prepared.clear()
        with step:
            pass
        after, _ = tracemalloc.get_traced_memory()
        held = sum(layer.operand_bytes(BATCH) for layer in LARGE)
        assert before - after > held
    finally:
        tracemalloc.stop()


def test_a_closed_step_says_so() -> None:
    step, _ = built(NUMPY, NETWORK, "fp32", operands_of(NETWORK, "fp32"))
    batch = batch_of(step, 1)
    step.close()
    step.close()
    with pytest.raises(MeasurementError, match="has been closed"):
        step.forward(batch)
