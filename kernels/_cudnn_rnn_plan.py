"""What a recurrent layer is to cuDNN: numbers for its descriptors, ways to compute it, and where its weights lie.

Pure: nothing here needs the library or a GPU. Values are those of cuDNN 9's ``cudnn_adv.h`` and ``cudnn_graph.h``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from layerbench.errors import KernelError
from layerbench.layers import LSTM, DType

Algorithm = Literal["standard", "persist_static", "persist_dynamic", "persist_static_small_h"]
Layout = Literal["unpacked", "packed"]
Math = Literal["default", "tensor_op", "fma"]
Cell = Literal["relu", "tanh", "lstm", "gru"]

ALGORITHMS: dict[Algorithm, int] = {
    "standard": 0,
    "persist_static": 1,
    "persist_dynamic": 2,
    "persist_static_small_h": 3,
}
LAYOUTS: dict[Layout, int] = {"unpacked": 0, "packed": 1}
"""How (T, N, X) lies in memory, time steps outermost. With sequences of one length both are the same bytes: to cuDNN
the unpacked one may have padding, which it has to look for."""

MATH: dict[Math, int] = {"default": 0, "tensor_op": 1, "fma": 3}
CELLS: dict[Cell, int] = {"relu": 0, "tanh": 1, "lstm": 2, "gru": 3}

GATES: dict[Cell, int] = {"relu": 1, "tanh": 1, "lstm": 4, "gru": 3}
"""Matrices that are multiplied by the input, and as many by the hidden state.

cuDNN numbers those of the input first. Gates are in the order input, forget, cell, output of an LSTM, which is the
canonical one, and reset, update, new of a GRU.
"""

DATA_TYPES: dict[DType, int] = {"fp32": 0, "tf32": 0, "fp64": 1, "fp16": 2, "bf16": 9}

MATH_TYPES: dict[DType, tuple[Math, ...]] = {
    "fp64": ("default",),
    "fp32": ("fma",),
    "tf32": ("default", "tensor_op"),
    "fp16": ("tensor_op",),
    "bf16": ("tensor_op",),
}
"""Of fp32 data, ``fma`` keeps to fp32 and ``default`` may use tf32. The type that would round fp32 to fp16 is not among
them."""

FORWARD_TRAINING = 1
ADD_GRADIENTS = 0
"""The one mode of weight gradients that cuDNN's recurrent layers have; what is there is added to, not replaced."""

_NO_BIAS, _UNIDIRECTIONAL, _LINEAR_INPUT = 0, 0, 0
_PADDED_IO: dict[Layout, int] = {"unpacked": 1, "packed": 0}
_FLOAT, _DOUBLE = 0, 1


@dataclass(frozen=True)
class Shape:
    """A recurrent layer with its batch.

    Attributes
    ----------
    cell
        What a time step computes.
    steps, batch, inputs, hidden
        T, N, I, H: input (T, N, I), output (T, N, H).
    """

    cell: Cell
    steps: int
    batch: int
    inputs: int
    hidden: int

    @property
    def gates(self) -> int:
        return GATES[self.cell]


def shape_of(layer: LSTM, batch: int) -> Shape:
    """The layer as a cuDNN cell."""
    return Shape("lstm", layer.time_steps, batch, layer.input_size, layer.hidden_size)


@dataclass(frozen=True)
class Plan:
    """A way to compute all passes of a layer: they share a reserve space, which only one algorithm understands."""

    algorithm: Algorithm
    layout: Layout
    math: Math

    @property
    def name(self) -> str:
        return f"{self.algorithm}, {self.layout}, {self.math} math"

    @property
    def settings(self) -> dict[str, str]:
        """What :func:`plan_of` makes the same plan from."""
        return {"algorithm": self.algorithm, "layout": self.layout, "math": self.math}


def plan_of(settings: Mapping[str, object]) -> Plan:
    """The plan of these settings.

    Raises
    ------
    KernelError
        If they name none.
    """
    for algorithm in ALGORITHMS:
        for layout in LAYOUTS:
            for math_type in MATH:
                plan = Plan(algorithm, layout, math_type)
                if plan.settings.items() <= settings.items():
                    return plan
    raise KernelError(f"cudnn_rnn: no plan is called {dict(settings)}")


def plans(dtype: DType) -> list[Plan]:
    """Every way there may be in a dtype, whether or not cuDNN supports it for a shape."""
    return [
        Plan(algorithm, layout, math_type)
        for algorithm in ALGORITHMS
        for layout in LAYOUTS
        for math_type in MATH_TYPES[dtype]
    ]


def descriptor_values(shape: Shape, dtype: DType, plan: Plan) -> tuple[int, ...]:
    """What ``cudnnSetRNNDescriptor_v8`` is given between the descriptor and the dropout, in its order."""
    return (
        ALGORITHMS[plan.algorithm],
        CELLS[shape.cell],
        _NO_BIAS,
        _UNIDIRECTIONAL,
        _LINEAR_INPUT,
        DATA_TYPES[dtype],
        _DOUBLE if dtype == "fp64" else _FLOAT,  # half precision is summed in fp32
        MATH[plan.math],
        shape.inputs,
        shape.hidden,
        shape.hidden,  # of a projection: as large as the hidden state where there is none
        1,
    )


def padded_io(plan: Plan) -> int:
    """The flag that the unpacked layout needs."""
    return _PADDED_IO[plan.layout]


@dataclass(frozen=True)
class Matrix:
    """Where cuDNN has one matrix of weights.

    Attributes
    ----------
    offset
        Elements from the beginning of the weights to its first one.
    sizes, strides
        As its descriptor has them, in elements.
    """

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Packing:
    """Where the canonical weights lie among cuDNN's.

    Attributes
    ----------
    elements
        Of all of cuDNN's weights.
    offsets
        Of each weight tensor, that of each gate's (H, X) matrix, row by row, gates in the canonical order.
    shapes
        Canonical shape of each weight tensor: (gates H, X).
    """

    elements: int
    offsets: Mapping[str, tuple[int, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    def _gate(self, name: str) -> int:
        """Elements of one gate's matrix."""
        return math.prod(self.shapes[name]) // len(self.offsets[name])

    @property
    def span(self) -> tuple[int, int]:
        """Offset of the first weight, and that after the last one."""
        begin = min(min(offsets) for offsets in self.offsets.values())
        end = max(max(offsets) + self._gate(name) for name, offsets in self.offsets.items())
        return begin, end

    def pack(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Canonical tensors as cuDNN's weights: a new flat array, zero where nothing lies."""
        packed = np.zeros(self.elements, np.result_type(*(weights[name] for name in self.shapes)))
        for name, offsets in self.offsets.items():
            for offset, gate in zip(offsets, np.split(weights[name], len(offsets)), strict=True):
                packed[offset : offset + gate.size] = gate.reshape(-1)
        return packed

    def unpack(self, packed: np.ndarray) -> dict[str, np.ndarray]:
        """cuDNN's weights, or their gradients, as new canonical tensors."""
        found = {}
        for name, offsets in self.offsets.items():
            size = self._gate(name)
            gates = [packed[offset : offset + size] for offset in offsets]
            found[name] = np.concatenate(gates).reshape(self.shapes[name])
        return found


def packing(shape: Shape, elements: int, matrices: Sequence[Matrix]) -> Packing:
    """Read cuDNN's answer to where each matrix of weights is.

    Parameters
    ----------
    elements
        Of all weights.
    matrices
        In cuDNN's order: the gates of the input, then those of the hidden state.

    Raises
    ------
    KernelError
        If a matrix has another shape than (H, X), does not lie row by row, or they overlap.
    """
    gates, rows = shape.gates, shape.hidden
    named = {"weights_input": (shape.inputs, matrices[:gates]), "weights_hidden": (shape.hidden, matrices[gates:])}
    taken: list[tuple[int, int]] = []
    for name, (columns, of_gates) in named.items():
        for matrix in of_gates:
            # A stride along an axis of one element says nothing.
            strides = [stride for size, stride in zip(matrix.sizes, matrix.strides, strict=True) if size > 1]
            wanted = [stride for size, stride in zip((rows, columns), (columns, 1), strict=True) if size > 1]
            if math.prod(matrix.sizes) != rows * columns or matrix.sizes[-2:] != (rows, columns) or strides != wanted:
                raise KernelError(
                    f"cudnn_rnn: {name}: expected matrices of {rows} x {columns} by rows, "
                    f"and cuDNN has sizes {matrix.sizes} with strides {matrix.strides}"
                )
            taken.append((matrix.offset, matrix.offset + rows * columns))
    taken.sort()
    ends = [0, *(end for _, end in taken)]
    if any(begin < end for (begin, _), end in zip(taken, ends, strict=False)) or ends[-1] > elements:
        raise KernelError(f"cudnn_rnn: matrices at {taken} do not fit one after another in {elements} elements")
    return Packing(
        elements,
        {name: tuple(matrix.offset for matrix in of_gates) for name, (_, of_gates) in named.items()},
        {name: (gates * rows, columns) for name, (columns, _) in named.items()},
    )
