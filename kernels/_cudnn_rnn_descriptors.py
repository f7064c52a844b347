"""cuDNN's descriptors of a recurrent layer, and what it says of the memory it needs."""

from __future__ import annotations

import ctypes
import math
import weakref
from ctypes import byref, c_int, c_size_t, c_void_p
from functools import cache

from layerbench.errors import KernelError
from layerbench.layers import DType

from . import _cudnn_rnn_plan as plans
from ._cudnn_library import call, ints, load
from ._cudnn_rnn_plan import Matrix, Packing, Plan, Shape

_WEIGHT_AXES = 3


def made(kind: str) -> c_void_p:
    """A new descriptor of a kind, ``Tensor`` for one; see :func:`destroyed_with`."""
    descriptor = c_void_p()
    call(f"cudnnCreate{kind}Descriptor", byref(descriptor))
    return descriptor


def _destroy(library: ctypes.CDLL, kind: str, descriptor: c_void_p) -> None:
    getattr(library, f"cudnnDestroy{kind}Descriptor")(descriptor)


def destroyed_with(owner: object, kind: str) -> c_void_p:
    """A new descriptor that lives as long as its owner."""
    descriptor = made(kind)
    # At the end of the process the library may be gone before its descriptors.
    weakref.finalize(owner, _destroy, load(), kind, descriptor).atexit = False
    return descriptor


def describe_tensor(descriptor: c_void_p, dtype: DType, *sizes: int) -> None:
    """Set a tensor that lies row by row."""
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    data_type = plans.DATA_TYPES[dtype]
    call("cudnnSetTensorNdDescriptor", descriptor, data_type, len(sizes), ints(*sizes), ints(*strides))


def read_tensor(descriptor: c_void_p) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and strides of a tensor of at most three axes."""
    data_type, axes = c_int(), c_int()
    sizes, strides = ints(*[0] * _WEIGHT_AXES), ints(*[0] * _WEIGHT_AXES)
    call("cudnnGetTensorNdDescriptor", descriptor, _WEIGHT_AXES, byref(data_type), byref(axes), sizes, strides)
    count = min(axes.value, _WEIGHT_AXES)
    return tuple(sizes[:count]), tuple(strides[:count])


def describe_sequences(descriptor: c_void_p, shape: Shape, dtype: DType, plan: Plan, vector: int) -> None:
    """Set the data of all time steps, (T, N, ``vector``); every sequence is of full length."""
    lengths = ints(*[shape.steps] * shape.batch)
    data_type, layout = plans.DATA_TYPES[dtype], plans.LAYOUTS[plan.layout]
    sizes = (shape.steps, shape.batch, vector)
    call("cudnnSetRNNDataDescriptor", descriptor, data_type, layout, *sizes, lengths, None)


def describe_layer(descriptor: c_void_p, dropout: c_void_p | None, shape: Shape, dtype: DType, plan: Plan) -> None:
    """Set the layer and the way to compute it."""
    values = plans.descriptor_values(shape, dtype, plan)
    call("cudnnSetRNNDescriptor_v8", descriptor, *values, dropout, plans.padded_io(plan))


@cache
def handle(device: int) -> c_void_p:
    """cuDNN's handle on the current device; made once for each device's number."""
    created = c_void_p()
    call("cudnnCreate", byref(created))
    return created


class Descriptors:
    """A layer, its input, output and states, computed in one way, on the current device.

    Attributes
    ----------
    handle, layer, x, y, h
        cuDNN's; h describes hidden and cell states, (1, N, H).
    workspace_bytes
        Scratch memory of any one call.
    reserve_bytes
        What goes from a training forward to the backward passes.
    weight_bytes
        All weights as cuDNN lays them out.

    Raises
    ------
    StatusError
        If cuDNN does not support it.
    """

    def __init__(self, device: int, shape: Shape, dtype: DType, plan: Plan) -> None:
        self._shape = shape
        self.handle = handle(device)
        self.layer = destroyed_with(self, "RNN")
        self.x, self.y = (destroyed_with(self, "RNNData") for _ in range(2))
        self.h = destroyed_with(self, "Tensor")
        dropout = destroyed_with(self, "Dropout")
        # At a rate of zero there are no random states, and cuDNN asks for no memory for them.
        call("cudnnSetDropoutDescriptor", dropout, self.handle, 0.0, None, 0, 0)
        describe_layer(self.layer, dropout, shape, dtype, plan)
        describe_sequences(self.x, shape, dtype, plan, shape.inputs)
        describe_sequences(self.y, shape, dtype, plan, shape.hidden)
        describe_tensor(self.h, dtype, 1, shape.batch, shape.hidden)
        if plan.algorithm == "persist_dynamic":
            call("cudnnBuildRNNDynamic", self.handle, self.layer, shape.batch)
        workspace, reserve, weights = c_size_t(), c_size_t(), c_size_t()
        training = plans.FORWARD_TRAINING
        sizes = byref(workspace), byref(reserve)
        call("cudnnGetRNNTempSpaceSizes", self.handle, self.layer, training, self.x, *sizes)
        call("cudnnGetRNNWeightSpaceSize", self.handle, self.layer, byref(weights))
        self.workspace_bytes, self.reserve_bytes, self.weight_bytes = workspace.value, reserve.value, weights.value

    def packing(self, weights: int, itemsize: int) -> Packing:
        """Where the canonical weights lie in cuDNN's, which begin at the address ``weights``.

        Raises
        ------
        KernelError
            If they do not lie row by row, one after another.
        """
        matrix, bias = destroyed_with(self, "Tensor"), destroyed_with(self, "Tensor")
        matrices = []
        for number in range(2 * self._shape.gates):
            address, of_bias = c_void_p(), c_void_p()
            call(
                "cudnnGetRNNWeightParams",
                *(self.handle, self.layer, 0, self.weight_bytes, weights, number),
                *(matrix, byref(address), bias, byref(of_bias)),
            )
            offset, rest = divmod((address.value or 0) - weights, itemsize)
            if address.value is None or rest:
                raise KernelError(f"cudnn_rnn: cuDNN has matrix {number} of the weights at no element of theirs")
            matrices.append(Matrix(offset, *read_tensor(matrix)))
        return plans.packing(self._shape, self.weight_bytes // itemsize, matrices)
