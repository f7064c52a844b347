"""How the layers of a suite follow each other in a network: which output is the next layer's input, and how.

A suite has convolutions, fully connected and recurrent layers. What stands between them in a network, activations and
pooling, is not in it, so that sizes often do not meet. Here a layer is given some of the elements of the output before
it, in their order: every k-th pixel where the next layer wants fewer, as pooling would leave, and the last time step
where a fully connected layer follows a recurrent one. That is linear; its adjoint, by which gradients go back, puts
each where it was taken from and 0 elsewhere.

Where nothing fits, the layer begins a chain of its own, whose input is a batch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerbench.layers import FC, LSTM, AnyLayer, Conv, Pair, Shape


@dataclass(frozen=True)
class Connection:
    """The elements of a layer's output that are the next one's input.

    Arrays are canonical and contiguous, and may be of any library that NumPy's functions know.

    Attributes
    ----------
    picked
        Which they are, for each axis of the output.
    whole
        Whether they are all of them: the output's memory then serves as the next layer's input as it is, reshaped.
    """

    picked: tuple[slice, ...]
    whole: bool

    def forward(self, output: Any, into: Any) -> None:
        """Copy what is picked of an output into the next layer's input."""
        picked = output[self.picked]
        np.copyto(into.reshape(picked.shape), picked)

    def backward(self, diff_input: Any, into: Any) -> None:
        """Copy the gradient of the next layer's input into that of the output, which is 0 where nothing is picked."""
        picked = into[self.picked]
        if not self.whole:
            into.fill(0)
        np.copyto(picked, diff_input.reshape(picked.shape))


@dataclass(frozen=True)
class Chain:
    """Layers each of which computes on the output of the one before; ``connections`` has what is between them."""

    layers: tuple[AnyLayer, ...]
    connections: tuple[Connection, ...] = ()


def chains(layers: Sequence[AnyLayer]) -> tuple[Chain, ...]:
    """The chains that a suite's layers make, in order; every layer is in one of them."""
    found: list[Chain] = []
    for layer in layers:
        between = connection(found[-1].layers[-1], layer) if found else None
        if between is None:
            found.append(Chain((layer,)))
        else:
            last = found[-1]
            found[-1] = Chain((*last.layers, layer), (*last.connections, between))
    return tuple(found)


def connection(layer: AnyLayer, following: AnyLayer) -> Connection | None:
    """How a layer's output becomes the next one's input; None where it cannot.

    A layer without ``backward_data`` in its step is the first of a network and follows no other.
    """
    if not following.backward_data_in_step:
        return None
    everything = slice(None)
    match layer, following:
        case Conv(), Conv() if layer.out_channels == following.in_channels:
            return _fewer_pixels(layer.output, following.input)
        case Conv(), FC() if following.in_features % layer.out_channels == 0:
            pixels = _rectangle(layer.output, following.in_features // layer.out_channels)
            return _fewer_pixels(layer.output, pixels) if pixels else None
        case FC(), FC() if layer.out_features == following.in_features:
            return Connection((everything, everything), whole=True)
        case LSTM(), LSTM() if (layer.hidden_size, layer.time_steps) == (following.input_size, following.time_steps):
            return Connection((everything, everything, everything), whole=True)
        case LSTM(), FC() if layer.hidden_size == following.in_features:
            return Connection((slice(layer.time_steps - 1, None), everything, everything), whole=layer.time_steps == 1)
    return None


def _fewer_pixels(there: Pair, wanted: Pair) -> Connection | None:
    """Every k-th row and column from the first, with k as large as leaves enough of them, and no more than enough."""
    if wanted[0] > there[0] or wanted[1] > there[1]:
        return None
    rows, columns = (_spread(*sizes) for sizes in zip(there, wanted, strict=True))
    return Connection((slice(None), slice(None), rows, columns), whole=there == wanted)


def _spread(there: int, wanted: int) -> slice:
    stride = (there - 1) // (wanted - 1) if wanted > 1 else 1
    return slice(0, (wanted - 1) * stride + 1, stride)


def _rectangle(there: Pair, pixels: int) -> Pair | None:
    """Height and width of so many pixels within those there are, of the proportions that are nearest to theirs."""
    height, width = there
    fitting = [
        (rows, pixels // rows) for rows in range(1, height + 1) if pixels % rows == 0 and pixels // rows <= width
    ]
    return min(fitting, key=lambda size: abs(size[0] * width - size[1] * height), default=None)


def sample_shape(layer: AnyLayer) -> Shape:
    """The shape of one sample of a layer's input."""
    shape = layer.input_shape(1)
    axis = _batch_axis(layer)
    return shape[:axis] + shape[axis + 1 :]


def samples_first(layer: AnyLayer, array: Any) -> Any:
    """A view of a layer's canonical input with the samples along its first axis, as batches have them."""
    return np.moveaxis(array, _batch_axis(layer), 0)


def has_samples_first(layer: AnyLayer) -> bool:
    """Whether a layer's canonical input is laid out as batches are; that of an LSTM has time steps first."""
    return _batch_axis(layer) == 0


def _batch_axis(layer: AnyLayer) -> int:
    return 1 if isinstance(layer, LSTM) else 0
