"""Times of layers on any device, by the devices that were published.

A fully connected layer is the matrix product that :func:`layerbench.reference.params_of` says. An LSTM is the product
of all inputs with their weights, at once, and the products of its state. Of a grouped convolution the channels of one
group count, and dilation counts in the output's size alone: neither is among the published shapes.

All is learnt in single precision. In another a layer is taken to reach the same fraction of that precision's roofline,
and what that may be wrong by is in ``log_sigma``.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import threadpoolctl

from layerbench.errors import UsageError
from layerbench.kernel_times import Estimate, devices, model, times
from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.model import Model
from layerbench.kernel_times.shapes import CELLS, Shape, conv, parse, recurrent
from layerbench.kernel_times.transfer import NORMAL_QUANTILE
from layerbench.layers import FC, ITEMSIZE, AnyLayer, Conv, DType, Pass, SplitLSTM
from layerbench.reference import params_of

OTHER_PRECISION = 0.4
"""Standard deviation of the logarithm for another precision than was measured: a judgement, a factor of 1.5."""

DOUBLED = 8
"""How often a batch is doubled to see that no larger one takes less: beyond 256 times a batch, work adds to time."""


def of_layer(
    layer: AnyLayer | SplitLSTM, pass_: Pass, batch: int, dtype: DType, peak_flops: float, bytes_per_second: float
) -> Estimate:
    """As :func:`layerbench.kernel_times.estimate`."""
    if batch < 1:
        raise UsageError(f"batch must be at least 1, not {batch}")
    device = Device("", _positive("peak_flops", peak_flops), _positive("bytes_per_second", bytes_per_second))
    # A batch never takes longer than a larger one, as a part of which it can be computed.
    batches = [batch << doubled for doubled in range(DOUBLED + 1)]
    seconds, errors = np.zeros(len(batches)), np.zeros(len(batches))
    for shapes in zip(*(shapes_of(layer, pass_, size) for size in batches), strict=True):
        found = _models()[shapes[0].op].any_shapes(device, shapes)
        rooflines = [shape.roofline(peak_flops, bytes_per_second, ITEMSIZE[dtype]) for shape in shapes]
        part = np.array(rooflines) * np.exp(found.excess)
        seconds += part
        # Parts run on one device with one library, so that their errors go together.
        errors += part * found.half / NORMAL_QUANTILE
    sigma = float(errors[0] / seconds[0])
    bound = max(2 * layer.macs(batch) / peak_flops, layer.bytes(batch, dtype) / bytes_per_second)
    return Estimate(max(float(seconds.min()), bound), sigma if dtype == "fp32" else math.hypot(sigma, OTHER_PRECISION))


def shapes_of(layer: AnyLayer | SplitLSTM, pass_: Pass, batch: int) -> list[Shape]:
    """The operations a pass of a layer is made of."""
    if isinstance(layer, FC):
        return [_product(layer, pass_, batch)]
    if isinstance(layer, Conv):
        pixels = (math.prod(layer.input), math.prod(layer.output))
        channels = (layer.in_channels, layer.out_channels)
        padded = any(layer.padding)
        return [conv(pass_, batch, channels, pixels, layer.filter, layer.stride, padded, layer.groups)]
    units = layer.units if isinstance(layer, SplitLSTM) else layer.hidden_size
    into = FC(name=layer.name, in_features=layer.input_size, out_features=CELLS["lstm"] * units)
    state = recurrent(pass_, units, layer.hidden_size, batch, layer.time_steps, CELLS["lstm"])
    return [_product(into, pass_, batch * layer.time_steps), state]


def _product(layer: FC, pass_: Pass, batch: int) -> Shape:
    listed = params_of(layer, batch, pass_)
    assert listed is not None  # of a fully connected layer there always is one
    op, params = listed
    return parse(op, "forward", params, f"layer {layer.name}")


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{name} must be a positive number, not {value:g}")
    return value


@cache
def _models() -> dict[str, Model]:
    """By operation, of all published devices."""
    found = {}
    with threadpoolctl.threadpool_limits(1):
        for op, table in times.tables(times.published(), devices.shipped()).items():
            fitted = model.fit(table)
            assert fitted is not None  # a table has rows
            found[op] = fitted
    return found
