"""cuDNN's front end on the processor.

What is promised holds here, and no more: a plan runs only where it was built, on the stream that its handle was given,
with a workspace that is large enough; its operands are bare addresses, read and written with the strides that the graph
declares. A pass is computed by the float64 reference. Signatures are those of ``nvidia-cudnn-frontend`` 1.32.
"""

from __future__ import annotations

import enum
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from layerbench.layers import Conv, Pass
from tests.kernels.simulated_arrays import CuPy

reference = importlib.import_module("layerbench.kernels.reference").reference
arrays = importlib.import_module("layerbench.kernels._cuda_arrays")


class data_type(enum.Enum):
    FLOAT, DOUBLE, HALF, BFLOAT16 = range(4)


class heur_mode(enum.Enum):
    A, B, FALLBACK = range(3)


class knob_type(enum.Enum):
    NOT_SET, TILE_SIZE, STAGES = range(3)


class numerical_note(enum.Enum):
    TENSOR_CORE, DOWN_CONVERT_INPUTS, REDUCED_PRECISION_REDUCTION, FFT, WINOGRAD, WINOGRAD_TILE_4x4 = range(6)


class cudnnGraphNotSupportedError(Exception):
    """A graph or a plan cannot be done."""


NUMBERS = {knob_type.TILE_SIZE: 2, knob_type.STAGES: 14, knob_type.NOT_SET: 5}

DTYPES = {data_type.FLOAT: "fp32", data_type.DOUBLE: "fp64", data_type.HALF: "fp16", data_type.BFLOAT16: "bf16"}


@dataclass(frozen=True)
class Engine:
    """A plan that the heuristics offer: what it is called, what it is like, and how slow it is (seconds).

    ``loading`` is what its first run takes more.
    """

    number: int
    knobs: tuple[tuple[knob_type, int], ...] = ()
    seconds: float = 1e-6
    loading: float = 0.0
    workspace: int = 0
    notes: tuple[str, ...] = ()
    layout: str = ""
    least_batch: int = 1
    mode: heur_mode = heur_mode.A
    fault: str = ""
    error: float = 0.0

    @property
    def name(self) -> str:
        return "_".join([f"eng{self.number}", *(f"k{NUMBERS[knob]}={value}" for knob, value in self.knobs)])


@dataclass
class Tensor:
    dim: list[int] = field(default_factory=list)
    stride: list[int] = field(default_factory=list)
    data_type: data_type | None = None
    uid: int = -1
    output: bool = False

    def set_output(self, value: bool) -> Tensor:
        self.output = value
        return self

    def set_data_type(self, value: data_type) -> Tensor:
        self.data_type = value
        return self

    def set_uid(self, value: int) -> Tensor:
        self.uid = value
        return self

    def set_dim(self, value: list[int]) -> Tensor:
        self.dim = value
        return self

    def set_stride(self, value: list[int]) -> Tensor:
        self.stride = value
        return self

    @property
    def layout(self) -> str:
        _, channels, rows, columns = self.dim
        told = {
            (channels * rows * columns, rows * columns, columns, 1): "NCHW",
            (channels * rows * columns, 1, columns * channels, channels): "NHWC",
        }
        return told[tuple(self.stride)]

    def at(self, address: int, itemsize: int) -> np.ndarray:
        """The tensor at an address, as bytes of its elements, with its strides."""
        span = (1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True))) * itemsize
        buffer = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * span).from_address(address))
        elements = buffer.view({2: np.uint16, 4: np.float32, 8: np.float64}[itemsize])
        return np.lib.stride_tricks.as_strided(elements, self.dim, [s * itemsize for s in self.stride])


class FrontEnd:
    """The module ``cudnn``; ``engines`` are what its heuristics offer."""

    __version__ = "1.32.0"

    def __init__(self, cupy: CuPy, engines: Sequence[Engine], version: int = 92801) -> None:
        self.version = version
        self.data_type, self.heur_mode, self.knob_type = data_type, heur_mode, knob_type
        self.numerical_note = numerical_note
        self.cudnnGraphNotSupportedError = cudnnGraphNotSupportedError
        self.set_streams = 0
        front_end = self

        class pygraph(Graph):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(front_end, cupy, engines, **kwargs)

        self.pygraph = pygraph

    def backend_version(self) -> int:
        return self.version

    def create_handle(self) -> SimpleNamespace:
        return SimpleNamespace(stream=0)

    def set_stream(self, handle: SimpleNamespace, stream: int) -> None:
        handle.stream = stream
        self.set_streams += 1


class Graph:
    def __init__(
        self,
        front_end: FrontEnd,
        cupy: CuPy,
        engines: Sequence[Engine],
        *,
        io_data_type: data_type,
        intermediate_data_type: data_type,
        compute_data_type: data_type,
        handle: SimpleNamespace,
    ) -> None:
        assert compute_data_type is intermediate_data_type
        assert compute_data_type is (data_type.DOUBLE if io_data_type is data_type.DOUBLE else data_type.FLOAT)
        self._cupy = cupy
        self._engines = engines
        self._tensors: dict[str, Tensor] = {}
        self._plans: list[Engine] = []
        self._built: set[int] = set()
        self._ran: set[int] = set()
        self._deselected: set[str] = set()
        self._most = float("inf")
        self._pass: Pass = "forward"
        self._window: dict[str, list[int]] = {}
        self._ready = False

    def tensor(self, *, name: str, dim: list[int], stride: list[int], data_type: data_type, uid: int) -> Tensor:
        return Tensor(dim, stride, data_type, uid)

    def _conv(self, pass_: Pass, operands: dict[str, Tensor], result: str, **window: Any) -> Tensor:
        self._pass, self._window = pass_, window
        self._tensors = {**operands, result: Tensor()}
        return self._tensors[result]

    def conv_fprop(self, *, image: Tensor, weight: Tensor, **window: Any) -> Tensor:
        return self._conv("forward", {"src": image, "weights": weight}, "dst", **window)

    def conv_dgrad(self, *, loss: Tensor, filter: Tensor, **window: Any) -> Tensor:
        return self._conv("backward_data", {"dst": loss, "weights": filter}, "src", **window)

    def conv_wgrad(self, *, image: Tensor, loss: Tensor, **window: Any) -> Tensor:
        return self._conv("backward_weights", {"src": image, "dst": loss}, "weights", **window)

    def validate(self) -> None:
        assert len({tensor.layout for tensor in self._tensors.values() if min(tensor.dim[1:]) > 1}) <= 1
        assert len({tensor.data_type for tensor in self._tensors.values()}) == 1
        assert [tensor.output for tensor in self._tensors.values()] == [False, False, True]
        self._layer = self._described()
        batch = self._tensors["src"].dim[0]
        assert tuple(self._tensors["dst"].dim) == self._layer.output_shape(batch)

    def _described(self) -> Conv:
        src, weights, dst = (self._tensors[name].dim for name in ("src", "weights", "dst"))
        rest = {name: tuple(self._window[name]) for name in ("padding", "stride", "dilation")}
        return Conv(
            name="described",
            input=tuple(src[2:]),
            in_channels=src[1],
            out_channels=dst[1],
            filter=tuple(weights[2:]),
            groups=src[1] // weights[1],
            **rest,
        )

    def build_operation_graph(self) -> None:
        self._ready = True

    def _offers(self, engine: Engine) -> bool:
        tensor = self._tensors["src"]
        return engine.layout in ("", tensor.layout) and tensor.dim[0] >= engine.least_batch

    def create_execution_plans(self, modes: list[heur_mode]) -> None:
        assert self._ready
        assert not self._plans, "planning is one-shot"
        self._plans = [engine for mode in modes for engine in self._engines if engine.mode is mode]
        self._plans = [engine for engine in self._plans if self._offers(engine)]
        if not self._plans:
            raise cudnnGraphNotSupportedError("No valid engine configs\nfor this graph")

    def create_execution_plan(self, engine_id: int, knobs: dict[knob_type, int]) -> None:
        assert self._ready
        wanted = (engine_id, knobs)
        for engine in self._engines:
            if (engine.number, dict(engine.knobs)) == wanted and self._offers(engine):
                unlike = replace(engine, knobs=(), error=1.0)
                self._plans.append(unlike if engine.fault == "replay" else engine)
                return
        raise cudnnGraphNotSupportedError("no such engine config")

    def get_execution_plan_count(self) -> int:
        return len(self._plans)

    def get_plan_name_at_index(self, index: int) -> str:
        return self._plans[index].name

    def get_engine_and_knobs_at_index(self, index: int) -> tuple[int, dict[knob_type, int]]:
        return self._plans[index].number, dict(self._plans[index].knobs)

    def deselect_numeric_notes(self, notes: list[numerical_note]) -> None:
        self._deselected |= {note.name for note in notes}

    def deselect_workspace_greater_than(self, nbytes: int) -> None:
        self._most = nbytes

    def build_plan_at_index(self, index: int) -> None:
        engine = self._plans[index]
        if self._deselected & set(engine.notes):
            raise cudnnGraphNotSupportedError("Deselecting execution plan")
        if engine.workspace > self._most:
            raise cudnnGraphNotSupportedError("Skipping plan since workspace violation")
        if engine.fault == "build":
            raise cudnnGraphNotSupportedError(f"{engine.name} cannot be\nfinalized")
        self._built.add(index)

    def get_workspace_size_plan_at_index(self, index: int) -> int:
        assert index in self._built
        return self._plans[index].workspace

    def execute_plan_at_index(
        self, tensor_dict: dict[int, int], workspace: int | None = None, index: int = 0, handle: Any = None
    ) -> None:
        engine = self._plans[index]
        assert index in self._built
        assert handle.stream == self._cupy.stream.ptr, "it would run on another stream"
        assert set(tensor_dict) == {tensor.uid for tensor in self._tensors.values()}
        if engine.workspace:
            assert self._cupy.live[workspace] >= engine.workspace
        if engine.fault == "run":
            raise RuntimeError(f"{engine.name}: CUDNN_STATUS_EXECUTION_FAILED")
        if engine.fault == "lost" or (engine.fault == "lost later" and index in self._ran):
            raise RuntimeError("an illegal memory access was encountered")
        if engine.fault == "run later" and index in self._ran:
            raise RuntimeError(f"{engine.name}: CUDNN_STATUS_EXECUTION_FAILED")
        self._cupy.clock += engine.seconds + (index not in self._ran) * engine.loading
        self._ran.add(index)
        self._compute(tensor_dict, engine.error)

    def _compute(self, pointers: dict[int, int], error: float) -> None:
        stored = self._tensors["src"].data_type
        assert stored is not None
        dtype = DTYPES[stored]
        itemsize = arrays.storage(dtype).itemsize
        seen = {name: tensor.at(pointers[tensor.uid], itemsize) for name, tensor in self._tensors.items()}

        def read(name: str) -> np.ndarray:
            values = np.ascontiguousarray(seen[name])
            return arrays.bf16_values(values) if dtype == "bf16" else values.view(arrays.storage(dtype))

        operands = {name: read(name) for name in seen}
        operands["diff_dst"] = operands["dst"]
        (result,) = reference(self._layer, self._pass, operands).values()
        result = result * (1 + error)
        written = {"forward": "dst", "backward_data": "src", "backward_weights": "weights"}[self._pass]
        bits = arrays.bf16_bits(result) if dtype == "bf16" else result.astype(arrays.storage(dtype))
        seen[written][...] = bits.view(np.uint16) if itemsize == 2 else bits
