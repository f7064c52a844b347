"""The float64 reference that every kernel is compared with, and the NumPy kernel that always works.

The reference is written to be read: a convolution is a sum over filter taps, an LSTM a loop over time steps.
It shares no code with any kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from layerbench.kernel import Kernel, Tensors
from layerbench.layers import FC, LSTM, AnyLayer, Conv, Pass

from ._numpy import NumpyKernel

Operand: TypeAlias = Callable[[str], np.ndarray]
"""An operand by name, in float64: only what a pass reads is converted."""


def reference(layer: AnyLayer, pass_: Pass, tensors: Tensors) -> dict[str, np.ndarray]:
    """What a pass computes, in float64.

    Parameters
    ----------
    tensors
        ``src``, the layer's weights by name, and for the backward passes ``diff_dst``; canonical shapes, any
        dtype that converts to float64. The batch is read off ``src``.

    Returns
    -------
    dict of ndarray
        ``dst`` (forward), ``diff_src`` (backward_data), or ``diff_`` and a weight's name for each weight
        (backward_weights); canonical shapes.
    """

    def exact(name: str) -> np.ndarray:
        return np.asarray(tensors[name], dtype=np.float64)

    match layer:
        case Conv():
            return _conv(layer, pass_, exact)
        case FC():
            return _fc(pass_, exact)
        case LSTM():
            return _lstm(pass_, exact)


def _conv(layer: Conv, pass_: Pass, exact: Operand) -> dict[str, np.ndarray]:
    """Sum over filter taps (r, s), each a matrix product on the input shifted by that tap.

    With groups g and over the padded input,
    ``dst[n, g, k, p, q] += weights[g, k, c, r, s] src[n, g, c, p stride + r dil, q stride + s dil]``;
    the backward passes are its two transposes.
    """
    groups, (high, wide) = layer.groups, layer.padding
    weights = exact("weights").reshape(groups, layer.out_channels // groups, -1, *layer.filter)
    padded = np.pad(exact("src"), ((0, 0), (0, 0), (high, high), (wide, wide)))
    batch, channels, *size = padded.shape
    grouped = (batch, groups, channels // groups, *size)
    pixels = (batch, groups, layer.out_channels // groups, layer.output[0] * layer.output[1])
    if pass_ == "forward":
        dst = np.zeros(pixels)
        for r, s, window in _taps(layer, padded.reshape(grouped)):
            dst += weights[..., r, s] @ window.reshape(*window.shape[:3], -1)
        return {"dst": dst.reshape(layer.output_shape(batch))}
    diff_dst = exact("diff_dst").reshape(pixels)
    if pass_ == "backward_data":
        diff_padded = np.zeros(grouped)
        for r, s, window in _taps(layer, diff_padded):
            window[...] += (weights[..., r, s].swapaxes(-1, -2) @ diff_dst).reshape(window.shape)
        inside = diff_padded[..., high : size[0] - high, wide : size[1] - wide]
        return {"diff_src": inside.reshape(layer.input_shape(batch))}
    diff_weights = np.zeros(weights.shape)
    for r, s, window in _taps(layer, padded.reshape(grouped)):
        products = diff_dst @ window.reshape(*window.shape[:3], -1).swapaxes(-1, -2)
        diff_weights[..., r, s] = products.sum(axis=0)
    return {"diff_weights": diff_weights.reshape(layer.weight_shapes["weights"])}


def _taps(layer: Conv, padded: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Each filter tap with the view of the padded input (..., H, W) it meets: (r, s, (..., P, Q))."""
    for r in range(layer.filter[0]):
        for s in range(layer.filter[1]):
            rows, columns = (
                slice(tap * dilation, tap * dilation + (out - 1) * stride + 1, stride)
                for tap, dilation, out, stride in zip((r, s), layer.dilation, layer.output, layer.stride, strict=True)
            )
            yield r, s, padded[..., rows, columns]


def _fc(pass_: Pass, exact: Operand) -> dict[str, np.ndarray]:
    if pass_ == "forward":
        return {"dst": exact("src") @ exact("weights").T}
    if pass_ == "backward_data":
        return {"diff_src": exact("diff_dst") @ exact("weights")}
    return {"diff_weights": exact("diff_dst").T @ exact("src")}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _lstm(pass_: Pass, exact: Operand) -> dict[str, np.ndarray]:
    """The cell with forget gates of Gers et al. (2000), and backpropagation through time."""
    src, weights_input, weights_hidden = (exact(name) for name in ("src", "weights_input", "weights_hidden"))
    time_steps, batch, _ = src.shape
    hidden = [np.zeros((batch, weights_hidden.shape[1]))]
    cell = [np.zeros_like(hidden[0])]
    gates = []
    for x in src:
        i, f, g, o = np.split(x @ weights_input.T + hidden[-1] @ weights_hidden.T, 4, axis=1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        cell.append(f * cell[-1] + i * g)
        hidden.append(o * np.tanh(cell[-1]))
        gates.append((i, f, g, o))
    if pass_ == "forward":
        return {"dst": np.stack(hidden[1:])}

    diff_dst = exact("diff_dst")
    diff_src = np.zeros_like(src)
    diff_input, diff_hidden = np.zeros_like(weights_input), np.zeros_like(weights_hidden)
    dh, dc = np.zeros_like(hidden[0]), np.zeros_like(cell[0])
    for t in reversed(range(time_steps)):
        i, f, g, o = gates[t]
        tanh_c = np.tanh(cell[t + 1])
        dh = dh + diff_dst[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        before_activation = np.concatenate(
            (
                dc * g * i * (1 - i),
                dc * cell[t] * f * (1 - f),
                dc * i * (1 - g**2),
                dh * tanh_c * o * (1 - o),
            ),
            axis=1,
        )
        diff_src[t] = before_activation @ weights_input
        diff_input += before_activation.T @ src[t]
        diff_hidden += before_activation.T @ hidden[t]
        dh = before_activation @ weights_hidden
        dc = dc * f
    if pass_ == "backward_data":
        return {"diff_src": diff_src}
    return {"diff_weights_input": diff_input, "diff_weights_hidden": diff_hidden}


KERNEL: Kernel = NumpyKernel()
