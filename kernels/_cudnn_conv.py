"""A convolution prepared for cuDNN: each pass has its operands in the layout of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from layerbench.cuda import library
from layerbench.device import Run
from layerbench.kernel import Choices, Job, Tensors
from layerbench.layers import PASSES, Conv, DType, Pass, Shape

from . import _cuda_arrays as arrays
from ._cudnn_errors import running
from ._cudnn_graph import Layout, Operand, Plan, Problem, rebuilt
from ._cudnn_load import handle
from ._cudnn_race import Scratch, executed

_READ: dict[str, tuple[Pass, ...]] = {
    "src": ("forward", "backward_weights"),
    "weights": ("forward", "backward_data"),
    "diff_dst": ("backward_data", "backward_weights"),
}
"""Which passes read an operand."""

_WRITTEN: dict[Pass, str] = {"forward": "dst", "backward_data": "diff_src", "backward_weights": "diff_weights"}
"""A pass's result."""

_BY_PASS: dict[Pass, dict[Operand, str]] = {
    "forward": {"src": "src", "weights": "weights", "dst": "dst"},
    "backward_data": {"src": "diff_src", "weights": "weights", "dst": "diff_dst"},
    "backward_weights": {"src": "src", "weights": "diff_weights", "dst": "diff_dst"},
}
"""Which tensor is in an operand's place."""


@dataclass(frozen=True)
class Laid:
    """A tensor in the device's memory.

    Attributes
    ----------
    memory
        C-contiguous: of canonical shape, or with the channels last.
    view
        The same in canonical shape.
    """

    memory: Any
    view: Any

    @property
    def pointer(self) -> int:
        return int(self.memory.data.ptr)


def laid_out(shape: Shape, layout: Layout, dtype: DType) -> Laid:
    """Memory for a tensor of canonical shape (four sizes) in a layout."""
    if layout == "NCHW":
        memory = arrays.empty(shape, dtype)
        return Laid(memory, memory)
    first, channels, rows, columns = shape
    memory = arrays.empty((first, rows, columns, channels), dtype)
    return Laid(memory, memory.transpose(0, 3, 1, 2))


class PreparedConv:
    """The three passes, ready to run; see :class:`layerbench.kernel.PreparedLinked`."""

    def __init__(self, layer: Conv, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._dtype = job.dtype
        plans = {pass_: Plan.of(choices[pass_].settings) for pass_ in PASSES}
        self._layouts = {pass_: plan.layout for pass_, plan in plans.items()}
        shapes: dict[str, Shape] = {
            "src": layer.input_shape(job.batch),
            "weights": layer.weight_shapes["weights"],
            "diff_dst": layer.output_shape(job.batch),
        }
        with running(f"cudnn: {layer.name}"):
            self._copyto = library.load().copyto
            on = handle()
            self._operands = {
                name: self._filled(shape, [plans[pass_].layout for pass_ in _READ[name]], tensors[name])
                for name, shape in shapes.items()
            }
            self._results = {
                name: laid_out(shapes[like], plans[pass_].layout, job.dtype)
                for (pass_, name), like in zip(_WRITTEN.items(), ("diff_dst", "src", "weights"), strict=True)
            }
            self.poison()
            self.gradient = self._results["diff_weights"].memory.reshape(-1)
            built = {
                pass_: rebuilt(Problem(layer, job.batch, job.dtype, pass_, plan.layout), {"handle": on.raw}, plan)
                for pass_, plan in plans.items()
            }
            # Passes of a layer run one after another and may share it.
            self._scratch = Scratch()
            self._scratch.pointer(max(each.workspace_bytes for each in built.values()))
            self.run: Mapping[Pass, Run] = {
                pass_: executed(
                    each,
                    {place: self._in_place(pass_, name).pointer for place, name in _BY_PASS[pass_].items()},
                    self._scratch.pointer(each.workspace_bytes),
                    on,
                    f"cudnn: {layer.name} {pass_}",
                )
                for pass_, each in built.items()
            }
            # The first run of a kernel loads it, which can be done neither while the stream is held nor in a capture.
            for run in self.run.values():
                run()
            library.load().cuda.get_current_stream().synchronize()

    def _filled(self, shape: Shape, layouts: list[Layout], values: np.ndarray) -> dict[Layout, Laid]:
        """An operand in every layout in which it is read."""
        canonical = arrays.to_device(values, self._dtype)
        filled: dict[Layout, Laid] = {}
        for layout in dict.fromkeys(layouts):
            if layout == "NCHW":
                filled[layout] = Laid(canonical, canonical)
            else:
                filled[layout] = laid_out(shape, layout, self._dtype)
                self._copyto(filled[layout].view, canonical)
        return filled

    def _in_place(self, pass_: Pass, name: str) -> Laid:
        """The tensor of that name that a pass reads or writes."""
        if name in self._results:
            return self._results[name]
        return self._operands[name][self._layouts[pass_]]

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        for laid in self._operands[operand].values():
            self._copyto(laid.view, array)

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        self._copyto(out, self._results[result].view)

    def poison(self) -> None:
        for laid in self._results.values():
            arrays.poison(laid.memory, self._dtype)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        laid = self._results[name := _WRITTEN[pass_]]
        host = arrays.to_host(laid.memory, self._dtype)
        return {name: host if laid.view is laid.memory else np.ascontiguousarray(host.transpose(0, 3, 1, 2))}
