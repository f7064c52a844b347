from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from layerbench import reference, suite
from layerbench.errors import UsageError
from layerbench.kernel_times import Estimate, devices, estimate, times
from layerbench.kernel_times.layer_time import shapes_of
from layerbench.layers import DTYPES, FC, LSTM, PASSES, AnyLayer, Conv, Pass, SplitLSTM

LAYERS: list[AnyLayer | SplitLSTM] = [
    *suite.load("alexnet").layers,
    Conv(name="grouped", input=(27, 27), in_channels=96, out_channels=256, filter=(5, 5), padding=(2, 2), groups=2),
    Conv(name="pixel", input=(1, 1), in_channels=1, out_channels=1, filter=(1, 1)),
    FC(name="one", in_features=1, out_features=1),
    FC(name="huge", in_features=65536, out_features=65536),
    LSTM(name="wide", input_size=64, hidden_size=4096, time_steps=100),
    SplitLSTM(name="part", input_size=128, hidden_size=128, units=3, time_steps=50),
]
BATCHES = [2**power for power in range(17)] + [100_000]
MACHINES = [(1e11, 1e10), (3.95e12, 250e9), (15.7e12, 900e9), (67e12, 3.35e12)]


def seconds(layer: AnyLayer | SplitLSTM, pass_: Pass, machine: tuple[float, float]) -> np.ndarray:
    return np.array([estimate(layer, pass_, batch, "fp32", *machine).seconds for batch in BATCHES])


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine[0] / 1e12:g}-TFLOPs")
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_times_are_sane_at_every_batch(layer: AnyLayer | SplitLSTM, machine: tuple[float, float]) -> None:
    peak, bandwidth = machine
    for pass_ in PASSES:
        found = seconds(layer, pass_, machine)
        roofline = np.array([max(2 * layer.macs(batch) / peak, layer.bytes(batch) / bandwidth) for batch in BATCHES])
        assert (found >= roofline * (1 - 1e-12)).all()
        growth = found[1:-1] / found[:-2]
        assert growth.min() >= 1 - 1e-9, "a larger batch takes no less"
        assert growth.max() <= 3, "twice the batch takes no more than three times as long"


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_times_are_smooth_in_the_batch(layer: AnyLayer | SplitLSTM) -> None:
    found = np.array([estimate(layer, "forward", batch, "fp32", 4e12, 250e9).seconds for batch in range(20, 60)])
    steps = found[1:] / found[:-1]
    assert steps.min() > 0.9
    assert steps.max() < 1.15


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_the_uncertainty_is_a_plausible_one(layer: AnyLayer | SplitLSTM) -> None:
    for machine in MACHINES:
        for batch in (1, 64, 100_000):
            assert 0.1 < estimate(layer, "forward", batch, "fp32", *machine).log_sigma < 2.5


def test_a_published_product_is_told_within_its_uncertainty() -> None:
    layer = FC(name="dense", in_features=2048, out_features=2048)
    frame = reference.published()
    for device in devices.shipped().values():
        for batch in (16, 128, 7000):
            listed = reference.params_of(layer, batch)
            assert listed is not None
            of_device = (
                (frame["device"] == device.name) & (frame["stage"] == "training") & (frame["precision"] == "fp32")
            )
            true = frame.loc[of_device & (frame["params"] == listed[1]), "time_seconds"]
            told = estimate(layer, "forward", batch, "fp32", device.peak_flops, device.bytes_per_second)
            assert abs(np.log(told.seconds / true.iloc[0])) < 2 * told.log_sigma


def test_another_precision_reaches_the_same_fraction_and_is_less_certain() -> None:
    layer = FC(name="dense", in_features=4096, out_features=4096)
    single = estimate(layer, "forward", 4096, "fp32", 10e12, 500e9)
    for dtype in DTYPES:
        told = estimate(layer, "forward", 4096, dtype, 10e12, 500e9)
        assert told.seconds == pytest.approx(single.seconds), "bound by arithmetic, of which there is as much"
        assert (told.log_sigma > single.log_sigma) == (dtype != "fp32")
    half = estimate(layer, "forward", 1, "fp16", 1e14, 500e9)
    assert half.seconds == pytest.approx(estimate(layer, "forward", 1, "fp32", 1e14, 1e12).seconds, rel=0.35)


def test_an_lstm_is_the_product_of_its_inputs_and_those_of_its_state() -> None:
    layer = LSTM(name="state", input_size=300, hidden_size=512, time_steps=25)
    for pass_ in PASSES:
        inputs, state = shapes_of(layer, pass_, 16)
        assert (inputs.op, state.op) == ("gemm", "rnn")
        assert inputs.macs + state.macs == layer.macs(16)
    whole = SplitLSTM(name="state", input_size=300, hidden_size=512, units=512, time_steps=25)
    assert shapes_of(whole, "forward", 16) == shapes_of(layer, "forward", 16)


def test_the_groups_of_a_convolution_do_its_work_together() -> None:
    layer = next(layer for layer in LAYERS if layer.name == "grouped")
    (shape,) = shapes_of(layer, "forward", 8)
    assert shape.macs == layer.macs(8)
    assert 4 * shape.elements == layer.bytes(8)


@pytest.mark.parametrize(
    ("batch", "peak", "bandwidth", "told"),
    [
        (0, 1e12, 1e11, "batch must be at least 1, not 0"),
        (1, 0.0, 1e11, "peak_flops must be a positive number, not 0"),
        (1, 1e12, -1.0, "bytes_per_second must be a positive number, not -1"),
        (1, float("nan"), 1e11, "peak_flops must be a positive number, not nan"),
    ],
)
def test_what_cannot_be_is_told(batch: int, peak: float, bandwidth: float, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        estimate(LAYERS[0], "forward", batch, "fp32", peak, bandwidth)


def test_the_package_loads_nothing_heavy_before_an_estimate() -> None:
    program = (
        "import sys, layerbench.kernel_times, layerbench.kernel_times.commands\n"
        "print(sorted({'numpy', 'pandas', 'msgspec', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_an_estimate_is_a_value() -> None:
    assert estimate(LAYERS[0], "forward", 8, "fp32", 1e13, 5e11) == estimate(
        LAYERS[0], "forward", 8, "fp32", 1e13, 5e11
    )
    assert Estimate(1.0, 0.1) == Estimate(1.0, 0.1)
    assert {table.op for table in times.tables(times.published(), devices.shipped()).values()} == {
        "conv",
        "gemm",
        "rnn",
    }
