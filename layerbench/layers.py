"""Layer shapes: what is computed, in exact integers.

A layer is one sample's shape; the batch is given with each question, because it is what ranks split.
Multiply-accumulates (MACs) count useful work only. Bytes count compulsory traffic: each operand of the pass read
once and each result written once. All three passes of a layer read two of (input, weights, output) and write the
third, so a layer's bytes do not depend on the pass; what an implementation keeps between passes (an RNN's reserve
space, a workspace) is its own affair and is not counted. No layer has a bias.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import msgspec

from layerbench.errors import LayerError

Pass: TypeAlias = Literal["forward", "backward_data", "backward_weights"]
PASSES: tuple[Pass, ...] = get_args(Pass)

DType: TypeAlias = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "int8"]
DTYPES: tuple[DType, ...] = get_args(DType)
ITEMSIZE: dict[DType, int] = {"fp64": 8, "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "int8": 1}

Pair: TypeAlias = tuple[int, int]
Shape: TypeAlias = tuple[int, ...]


def _at_least(layer: object, least: int, *fields: str) -> None:
    for field in fields:
        value = getattr(layer, field)
        for part in value if isinstance(value, tuple) else (value,):
            if part < least:
                raise LayerError(field, f"must be a whole number of at least {least}, not {part}")


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every layer answers.

    Shapes are canonical: the order in which the float64 reference and every test hold a tensor. A kernel may keep
    its own layout. ``name`` is unique within a suite. ``backward_data_in_step`` is false for a network's first
    layer, whose input needs no gradient: the pass is measured all the same and left out of the step.
    """

    name: str
    backward_data_in_step: bool = True

    @property
    def kind(self) -> str:
        """The layer type as it is written in a suite file: ``conv``, ``fc`` or ``lstm``."""
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Canonical shape of each weight tensor, by name."""
        raise NotImplementedError

    def input_shape(self, batch: int) -> Shape:
        """Canonical shape of the input of ``batch`` samples."""
        raise NotImplementedError

    def output_shape(self, batch: int) -> Shape:
        """Canonical shape of the output of ``batch`` samples."""
        raise NotImplementedError

    def macs(self, batch: int) -> int:
        """Useful multiply-accumulates of any one pass over ``batch`` samples."""
        raise NotImplementedError

    @property
    def fan_in(self) -> int:
        """Products summed into one output value; random weights are scaled by its square root."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    def bytes(self, batch: int, dtype: DType = "fp32") -> int:
        """Compulsory traffic of any one pass in bytes: input, weights and output, each once."""
        elements = math.prod(self.input_shape(batch)) + self.weights + math.prod(self.output_shape(batch))
        return elements * ITEMSIZE[dtype]

    def bytes_weights_reread(self, batch: int, dtype: DType = "fp32") -> int | None:
        """Traffic in bytes where every time step is an operation of its own; None for layers without time steps."""
        return None

    def operand_bytes(self, batch: int, dtype: DType = "fp32") -> int:
        """Memory in bytes for input, weights and output and the gradient of each."""
        return 2 * self.bytes(batch, dtype)


class Conv(Layer, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="conv", kw_only=True):
    """A two-dimensional convolution (cross-correlation, as everywhere in deep learning).

    Pairs are (height, width). Canonical tensors: input (N, C, H, W), output (N, K, P, Q), weights ``weights``
    (K, C / groups, R, S), where the output size follows ``P = floor((H + 2 pad - dil (R - 1) - 1) / stride) + 1``.
    """

    input: Pair
    in_channels: int
    out_channels: int
    filter: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        _at_least(self, 1, "input", "in_channels", "out_channels", "filter", "stride", "dilation", "groups")
        _at_least(self, 0, "padding")
        for channels in ("in_channels", "out_channels"):
            if getattr(self, channels) % self.groups:
                raise LayerError(
                    "groups",
                    f"must divide {channels} = {getattr(self, channels)}, and {self.groups} does not",
                )
        for axis, direction in enumerate(("height", "width")):
            reach = self.dilation[axis] * (self.filter[axis] - 1) + 1
            padded = self.input[axis] + 2 * self.padding[axis]
            if reach > padded:
                raise LayerError(
                    "filter",
                    f"must fit the padded input: its {direction} reaches over {reach} pixels (with dilation), "
                    f"the padded input has {padded}",
                )

    @property
    def output(self) -> Pair:
        """Output (height, width) in pixels."""

        def size(axis: int) -> int:
            reach = self.dilation[axis] * (self.filter[axis] - 1) + 1
            return (self.input[axis] + 2 * self.padding[axis] - reach) // self.stride[axis] + 1

        return size(0), size(1)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"weights": (self.out_channels, self.in_channels // self.groups, *self.filter)}

    def input_shape(self, batch: int) -> Shape:
        return (batch, self.in_channels, *self.input)

    def output_shape(self, batch: int) -> Shape:
        return (batch, self.out_channels, *self.output)

    @property
    def fan_in(self) -> int:
        return self.in_channels // self.groups * math.prod(self.filter)

    def macs(self, batch: int) -> int:
        return batch * self.weights * math.prod(self.output)


class FC(Layer, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fc", kw_only=True):
    """A fully connected layer.

    Canonical tensors: input (N, I), output (N, O), weights ``weights`` (O, I).
    """

    in_features: int
    out_features: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "in_features", "out_features")

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"weights": (self.out_features, self.in_features)}

    def input_shape(self, batch: int) -> Shape:
        return (batch, self.in_features)

    def output_shape(self, batch: int) -> Shape:
        return (batch, self.out_features)

    @property
    def fan_in(self) -> int:
        return self.in_features

    def macs(self, batch: int) -> int:
        return batch * self.weights


class LSTM(Layer, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lstm", kw_only=True):
    """One long short-term memory layer over a whole sequence, from a zero state.

    Canonical tensors: input (T, N, I), output (T, N, H) with every time step's hidden state, weights
    ``weights_input`` (4 H, I) and ``weights_hidden`` (4 H, H), the gates in the order input, forget, cell, output.
    """

    input_size: int
    hidden_size: int
    time_steps: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "input_size", "hidden_size", "time_steps")

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        gates = 4 * self.hidden_size
        return {"weights_input": (gates, self.input_size), "weights_hidden": (gates, self.hidden_size)}

    def input_shape(self, batch: int) -> Shape:
        return (self.time_steps, batch, self.input_size)

    def output_shape(self, batch: int) -> Shape:
        return (self.time_steps, batch, self.hidden_size)

    @property
    def fan_in(self) -> int:
        return self.input_size + self.hidden_size

    def macs(self, batch: int) -> int:
        return batch * self.time_steps * self.weights

    def bytes_weights_reread(self, batch: int, dtype: DType = "fp32") -> int:
        """Traffic in bytes where no time step finds anything left in cache by the step before.

        Each step reads the weights, x(t) and h(t-1) and writes h(t) and c(t), whose old value lies where the new
        one goes. This is the usual cost of an LSTM whose weights do not stay in cache.
        """
        step = self.weights + batch * (self.input_size + 3 * self.hidden_size)
        return self.time_steps * step * ITEMSIZE[dtype]


class SplitLSTM(Layer, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="split-lstm", kw_only=True):
    """Some of the units of an LSTM layer; no suite names it, it is what a rank has where units are split.

    It computes ``units`` of ``hidden_size`` units, and is given the hidden states of all of them before every time
    step. Canonical tensors: input (T, N, I), output (T, N, U), weights ``weights_input`` (4 U, I) and
    ``weights_hidden`` (4 U, H), the gates in the order input, forget, cell, output.
    """

    input_size: int
    hidden_size: int
    units: int
    time_steps: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "input_size", "hidden_size", "units", "time_steps")

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        gates = 4 * self.units
        return {"weights_input": (gates, self.input_size), "weights_hidden": (gates, self.hidden_size)}

    def input_shape(self, batch: int) -> Shape:
        return (self.time_steps, batch, self.input_size)

    def output_shape(self, batch: int) -> Shape:
        return (self.time_steps, batch, self.units)

    @property
    def fan_in(self) -> int:
        return self.input_size + self.hidden_size

    def macs(self, batch: int) -> int:
        return batch * self.time_steps * self.weights

    def bytes(self, batch: int, dtype: DType = "fp32") -> int:
        """Compulsory traffic of any one pass: also the hidden states that come from elsewhere."""
        others = self.time_steps * batch * (self.hidden_size - self.units)
        return super().bytes(batch, dtype) + others * ITEMSIZE[dtype]

    def bytes_weights_reread(self, batch: int, dtype: DType = "fp32") -> int:
        """As of :class:`LSTM`: weights, x(t), all of h(t-1), and of the own units h(t) and c(t), at every time step."""
        step = self.weights + batch * (self.input_size + self.hidden_size + 2 * self.units)
        return self.time_steps * step * ITEMSIZE[dtype]


AnyLayer: TypeAlias = Conv | FC | LSTM
"""The layer types a suite file may name, told apart by ``kind``."""

KINDS: dict[str, type[Conv] | type[FC] | type[LSTM]] = {"conv": Conv, "fc": FC, "lstm": LSTM}
