"""A recurrent layer ready to run on a CUDA device by cuDNN: its memory, and the calls that are timed.

The weight gradients are zeroed before cuDNN adds to them, within the timed ``backward_weights``: a step that did not
would end with the sum of all steps. What a call consists of besides cuDNN's own is told in ``_cudnn_rnn_order``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from layerbench.cuda import library
from layerbench.device import Run
from layerbench.errors import KernelError
from layerbench.kernel import Tensors
from layerbench.layers import ITEMSIZE, PASSES, DType, Pass

from . import _cuda_arrays as arrays
from ._cudnn_library import check, load
from ._cudnn_rnn_descriptors import Descriptors
from ._cudnn_rnn_order import FIRST, Order, Step
from ._cudnn_rnn_plan import ADD_GRADIENTS, FORWARD_TRAINING, Plan, Shape

Fits = Callable[[Mapping[Pass, int]], None]

_STREAMS: dict[int, int] = {}
"""The stream that each handle was last given, by the handle's address."""


def workspace_bytes(descriptors: Descriptors) -> dict[Pass, int]:
    """Memory of each pass beside operands and results; what passes share counts for the one that writes it.

    The reserve space that is kept for ``backward_data`` counts for that.
    """
    scratch, reserve = descriptors.workspace_bytes, descriptors.reserve_bytes
    return {"forward": scratch + reserve, "backward_data": scratch + reserve, "backward_weights": scratch}


class Queue:
    """The passes of a prepared layer as calls that queue them.

    It does not know the layer, which would make a circle of references: memory that is dropped is free at once.

    Parameters
    ----------
    handle
        Address of cuDNN's.
    steps
        What is queued.
    used
        Everything whose address the steps have: it lives as long as they can be called.
    """

    def __init__(self, handle: int, steps: Mapping[Step, Run], used: tuple[Any, ...]) -> None:
        self._handle, self._steps, self._used = handle, steps, used
        self._current = library.load().cuda.get_current_stream
        self._order = Order()
        self.replaced = self._order.replaced

    def run(self, pass_: Pass) -> None:
        """Queue what the pass needs now."""
        self.queue(self._order.steps(pass_, capturing=self._current().is_capturing()))

    def queue(self, steps: tuple[Step, ...]) -> None:
        """Queue steps on the stream that is the current one now: it is another one while a graph is captured."""
        stream = self._current().ptr
        if _STREAMS.get(self._handle) != stream:
            check(load().cudnnSetStream(self._handle, stream), "cudnnSetStream")
            _STREAMS[self._handle] = stream
        for step in steps:
            self._steps[step]()


class PreparedRNN:
    """See ``kernel.PreparedLinked``. Operands lie in the canonical layout, weights in cuDNN's.

    Parameters
    ----------
    fits
        Called with :func:`workspace_bytes` before anything large is allocated; raises where that is too much.

    Raises
    ------
    KernelError
        If cuDNN does not support the plan for this shape.
    OutOfMemoryError
        If the device's memory does not suffice.
    """

    def __init__(self, shape: Shape, dtype: DType, plan: Plan, tensors: Tensors, fits: Fits = lambda _: None) -> None:
        cupy = library.load()
        self._dtype = dtype
        self._descriptors = about = Descriptors(cupy.cuda.Device().id, shape, dtype, plan)
        fits(workspace_bytes(about))
        self._src, self._diff_dst = (arrays.to_device(tensors[name], dtype) for name in ("src", "diff_dst"))
        self._dst, self._diff_src = (arrays.empty(array.shape, dtype) for array in (self._diff_dst, self._src))
        itemsize = ITEMSIZE[dtype]
        self._diff_weights = arrays.empty((about.weight_bytes // itemsize,), dtype)
        self._packing = about.packing(self._diff_weights.data.ptr, itemsize)
        self._weights = arrays.to_device(self._packing.pack(tensors), dtype)
        self._workspace, self._reserve, self._kept = (
            cupy.empty(size, np.uint8) for size in (about.workspace_bytes, about.reserve_bytes, about.reserve_bytes)
        )
        begin, end = self._packing.span
        self.gradient = self._diff_weights[begin:end]
        self._operands = {"src": self._src, "diff_dst": self._diff_dst}
        self._computed = {"dst": self._dst, "diff_src": self._diff_src}
        assert about.handle.value is not None
        used = (about, self._src, self._diff_dst, self._dst, self._diff_src, self._weights, self._workspace)
        self._queue = Queue(about.handle.value, self._steps(shape), (*used, self._reserve, self._kept, self.gradient))
        self.run: Mapping[Pass, Run] = {pass_: partial(self._queue.run, pass_) for pass_ in PASSES}
        self._queue.queue(FIRST)
        self.run["forward"]()

    def _steps(self, shape: Shape) -> dict[Step, Run]:
        """Each step as a call without arguments; every address is known by now."""
        about, functions = self._descriptors, load()
        workspace, reserve, kept, gradients = (
            array.data for array in (self._workspace, self._reserve, self._kept, self._diff_weights)
        )
        src, dst, diff_dst, diff_src, weights = (
            array.data.ptr for array in (self._src, self._dst, self._diff_dst, self._diff_src, self._weights)
        )
        reserve_bytes, weight_bytes = about.reserve_bytes, about.weight_bytes
        layer, x, y, h = (about.handle, about.layer), about.x, about.y, about.h
        c = h if shape.cell == "lstm" else None
        scratch = (about.workspace_bytes, workspace.ptr, reserve_bytes)
        # NULL: lengths on the device, since cuDNN 8.9.1; a state that is zero at first, or not wanted at last.
        of_forward = (
            *(*layer, FORWARD_TRAINING, None, x, src, y, dst),
            *(h, None, None, c, None, None, weight_bytes, weights, *scratch),
        )
        of_data = (
            *(*layer, None, y, dst, diff_dst, x, diff_src),
            *(h, None, None, None, c, None, None, None, weight_bytes, weights, *scratch, reserve.ptr),
        )
        of_weights = (
            *(*layer, ADD_GRADIENTS, None, x, src, h, None, y, dst),
            *(weight_bytes, gradients.ptr, *scratch, reserve.ptr),
        )

        def forward(into: int) -> Run:
            return lambda: check(functions.cudnnRNNForward(*of_forward, into), "cudnnRNNForward")

        def backward_weights() -> None:
            gradients.memset_async(0, weight_bytes)
            check(functions.cudnnRNNBackwardWeights_v8(*of_weights), "cudnnRNNBackwardWeights_v8")

        return {
            "forward": forward(reserve.ptr),
            "forward_kept": forward(kept.ptr),
            "restore": lambda: reserve.copy_from_device_async(kept, reserve_bytes),
            "backward_data": lambda: check(functions.cudnnRNNBackwardData_v8(*of_data), "cudnnRNNBackwardData_v8"),
            "backward_weights": backward_weights,
        }

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        _copy(array, own := self._operands[operand], own, operand)
        self._queue.replaced(operand)

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        _copy(own := self._computed[result], out, own, result)

    def poison(self) -> None:
        for array in (self._dst, self._diff_src, self._diff_weights):
            arrays.poison(array, self._dtype)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": arrays.to_host(self._dst, self._dtype)}
        if pass_ == "backward_data":
            return {"diff_src": arrays.to_host(self._diff_src, self._dtype)}
        gradients = self._packing.unpack(arrays.to_host(self._diff_weights, self._dtype))
        return {f"diff_{name}": gradient for name, gradient in gradients.items()}


def _copy(source: Any, target: Any, own: Any, what: str) -> None:
    """Queue a copy between contiguous arrays of the same size and type; ``own`` is the one whose form is known.

    Raises
    ------
    KernelError
        If the other has another form.
    """
    other = source if own is target else target
    if other.dtype != own.dtype or other.size != own.size or not other.flags.c_contiguous:
        raise KernelError(
            f"cudnn_rnn: {what} is a contiguous {own.dtype} array of {own.size} elements, "
            f"not {other.dtype} of {other.shape}"
        )
    target.data.copy_from_device_async(source.data, own.nbytes)
