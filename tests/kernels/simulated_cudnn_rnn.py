"""cuDNN's recurrent layers and as much of CuPy as they are used with, in the host's memory, for tests without a GPU.

Functions are called through C, with the types that are given to ctypes, and with their parameters in the order of
``cudnn_adv.h``. A reserve space holds the number of what a call left there, so that copying it copies that: a backward
call on a reserve space that holds something else than it has to gives NaN. Numbers are those of the float64 reference.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from layerbench.layers import LSTM

library = importlib.import_module("layerbench.kernels._cudnn_library")
reference = importlib.import_module("layerbench.kernels.reference").reference

STREAM = 4096
"""Address of the stream that is the current one at first."""

_TYPES: dict[int, Any] = {0: np.float32, 1: np.float64, 2: np.float16}


class Pointer:
    """Device memory, as ``cupy.cuda.MemoryPointer``."""

    def __init__(self, array: np.ndarray, cuda: Cuda) -> None:
        self._array, self._cuda, self.ptr = array, cuda, array.ctypes.data

    def memset_async(self, value: int, size: int) -> None:
        self._cuda.queue(lambda: ctypes.memset(self.ptr, value, size))

    def copy_from_device_async(self, source: Pointer, size: int) -> None:
        self._cuda.queue(lambda: ctypes.memmove(self.ptr, source.ptr, size))


class Array:
    """Device memory, as ``cupy.ndarray``."""

    def __init__(self, array: np.ndarray, cuda: Cuda) -> None:
        self._array, self._cuda, self.data = array, cuda, Pointer(array, cuda)
        self.shape, self.dtype, self.size, self.nbytes = array.shape, array.dtype, array.size, array.nbytes
        self.flags = array.flags

    def __getitem__(self, key: Any) -> Array:
        return Array(self._array[key], self._cuda)

    def set(self, values: np.ndarray) -> None:
        assert values.dtype == self.dtype
        self._array[...] = values

    def get(self) -> np.ndarray:
        return self._array.copy()

    def fill(self, value: float) -> None:
        self._array.fill(value)


@dataclass
class Cuda:
    """A device with one stream, which does what is queued at once, or captures it."""

    graph: list[Callable[[], object]] | None = None
    allocated: int = 0
    stream: int = STREAM

    def queue(self, work: Callable[[], object]) -> None:
        if self.graph is None:
            work()
        else:
            self.graph.append(work)

    @contextmanager
    def capture(self) -> Iterator[list[Callable[[], object]]]:
        """Capture what is queued, on another stream."""
        graph = self.graph = []
        self.stream += 1
        yield graph
        self.graph = None
        self.stream -= 1

    def empty(self, shape: Any, dtype: Any) -> Array:
        self.allocated += 1
        return Array(np.full(shape, 7, dtype), self)

    @property
    def cupy(self) -> Any:
        def current() -> Any:
            return SimpleNamespace(ptr=self.stream, is_capturing=lambda: self.graph is not None)

        def device() -> Any:
            return SimpleNamespace(id=0, compute_capability="90")

        cuda = SimpleNamespace(Device=device, get_current_stream=current)
        pool = SimpleNamespace(free_all_blocks=lambda: None)
        return SimpleNamespace(cuda=cuda, empty=self.empty, get_default_memory_pool=lambda: pool)


@dataclass
class Cudnn:
    """The library.

    Attributes
    ----------
    gap
        Elements that lie unused before each matrix of weights.
    workspace
        Bytes of workspace it asks for.
    unsupported
        By function, the algorithms that it refuses.
    """

    cuda: Cuda
    gap: int = 3
    workspace: int = 64
    unsupported: dict[str, tuple[int, ...]] = field(default_factory=dict)
    destroyed: int = 0
    stream: int | None = None

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._things: dict[int, Any] = {}
        self._left: dict[int, tuple[Any, ...]] = {}
        for name, (result, arguments) in library.SIGNATURES.items():
            if name not in {"cudnnGetVersion", "cudnnGetCudartVersion", "cudnnGetErrorString"}:
                setattr(self, name, ctypes.CFUNCTYPE(result, *arguments)(self._python(name)))

    def cudnnGetErrorString(self, status: int) -> bytes:
        return f"STATUS_{status}".encode()

    def _python(self, name: str) -> Callable[..., Any]:
        own = getattr(self, f"_{name}", None)
        if own is None:
            return self._create if "Create" in name else self._destroy

        def call(*arguments: Any) -> int:
            return own(*arguments) or 0

        return own if name == "cudnnGetLastErrorString" else call

    def _create(self, out: Any) -> int:
        out[0] = number = next(self._numbers)
        self._things[number] = None
        return 0

    def _destroy(self, number: int) -> int:
        del self._things[number]
        self.destroyed += 1
        return 0

    def _refusal(self, name: str, algorithm: int) -> int:
        return 3000 if algorithm in self.unsupported.get(name, ()) else 0

    def _cudnnGetLastErrorString(self, out: Any, size: int) -> None:
        return None

    def _cudnnSetStream(self, handle: int, stream: int) -> None:
        self.stream = stream

    def _cudnnSetDropoutDescriptor(
        self, number: int, handle: int, rate: float, states: int, size: int, seed: int
    ) -> None:
        assert (rate, states, size, seed) == (0.0, None, 0, 0)

    def _cudnnSetTensorNdDescriptor(self, number: int, data_type: int, axes: int, sizes: Any, strides: Any) -> None:
        self._things[number] = (data_type, sizes[:axes], strides[:axes])

    def _cudnnGetTensorNdDescriptor(
        self, number: int, asked: int, data_type: Any, axes: Any, sizes: Any, strides: Any
    ) -> None:
        data_type[0], found_sizes, found_strides = self._things[number]
        axes[0] = len(found_sizes)
        for axis in range(min(asked, len(found_sizes))):
            sizes[axis], strides[axis] = found_sizes[axis], found_strides[axis]

    def _cudnnSetRNNDescriptor_v8(
        self, number: int, algorithm: int, cell: int, bias: int, direction: int, input_mode: int, data_type: int,
        precision: int, math: int, inputs: int, hidden: int, projection: int, layers: int, dropout: int, flags: int,
    ) -> int:  # fmt: skip
        assert (cell, bias, direction, input_mode, projection, layers) == (2, 0, 0, 0, hidden, 1)
        assert dropout in self._things
        self._things[number] = (inputs, hidden, data_type, flags, algorithm)
        return self._refusal("cudnnSetRNNDescriptor_v8", algorithm)

    def _cudnnSetRNNDataDescriptor(
        self, number: int, data_type: int, layout: int, steps: int, batch: int, vector: int, lengths: Any, padding: Any
    ) -> None:
        assert lengths[:batch] == [steps] * batch
        self._things[number] = (data_type, layout, (steps, batch, vector))

    def _cudnnBuildRNNDynamic(self, handle: int, layer: int, batch: int) -> int:
        algorithm = self._things[layer][-1]
        assert algorithm == 2
        return self._refusal("cudnnBuildRNNDynamic", algorithm)

    def _cudnnGetRNNTempSpaceSizes(
        self, handle: int, layer: int, mode: int, x: int, workspace: Any, reserve: Any
    ) -> None:
        assert mode == 1
        assert self._things[x][1] == 1 - self._things[layer][3]  # the flag of padding is for the unpacked layout only
        workspace[0], reserve[0] = self.workspace, 8

    def _itemsize(self, layer: int) -> int:
        return np.dtype(_TYPES[self._things[layer][2]]).itemsize

    def _sizes(self, layer: int) -> list[tuple[int, int]]:
        inputs, hidden = self._things[layer][:2]
        return [(hidden, inputs)] * 4 + [(hidden, hidden)] * 4

    def _elements(self, layer: int) -> int:
        return sum(self.gap + rows * columns for rows, columns in self._sizes(layer))

    def _cudnnGetRNNWeightSpaceSize(self, handle: int, layer: int, size: Any) -> None:
        size[0] = self._elements(layer) * self._itemsize(layer)

    def _cudnnGetRNNWeightParams(
        self, handle: int, layer: int, pseudo: int, size: int, weights: int, number: int, matrix: int, address: Any,
        bias: int, bias_address: Any,
    ) -> None:  # fmt: skip
        assert pseudo == 0
        sizes = self._sizes(layer)
        before = sum(self.gap + rows * columns for rows, columns in sizes[:number]) + self.gap
        rows, columns = sizes[number]
        address[0] = weights + before * self._itemsize(layer)
        self._things[matrix] = (self._things[layer][2], [1, rows, columns], [rows * columns, columns, 1])

    def _at(self, address: int, shape: tuple[int, ...], layer: int) -> np.ndarray:
        """What lies at an address; an array that can be written to."""
        dtype = np.dtype(_TYPES[self._things[layer][2]])
        size = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)

    def _sequences(self, address: int, about: int, layer: int) -> np.ndarray:
        return self._at(address, self._things[about][2], layer)

    def _matrices(self, address: int, layer: int) -> list[np.ndarray]:
        flat, found, at = self._at(address, (self._elements(layer),), layer), [], 0
        for rows, columns in self._sizes(layer):
            at += self.gap
            found.append(flat[at : at + rows * columns].reshape(rows, columns))
            at += rows * columns
        return found

    def _leave(self, reserve: int, *left: Any) -> None:
        ctypes.c_int64.from_address(reserve).value = number = next(self._numbers)
        self._left[number] = left

    def _find(self, reserve: int, kind: str) -> tuple[Any, ...] | None:
        left = self._left.get(ctypes.c_int64.from_address(reserve).value, ("nothing",))
        return left[1:] if left[0] == kind else None

    def _check(self, workspace_bytes: int, reserve_bytes: int) -> None:
        assert (workspace_bytes, reserve_bytes) == (self.workspace, 8)
        assert self.stream == self.cuda.stream, "the handle has another stream"

    def _cudnnRNNForward(
        self, handle: int, layer: int, mode: int, lengths: int, x_about: int, x: int, y_about: int, y: int, h: int,
        hx: int, hy: int, c: int, cx: int, cy: int, weight_bytes: int, weights: int, workspace_bytes: int,
        workspace: int, reserve_bytes: int, reserve: int,
    ) -> int:  # fmt: skip
        assert (mode, lengths, hx, hy, cx, cy) == (1, None, None, None, None, None)
        assert self._things[h] == self._things[c]
        self._check(workspace_bytes, reserve_bytes)

        def work() -> None:
            src, matrices = self._sequences(x, x_about, layer), self._matrices(weights, layer)
            tensors = {
                "src": src.copy(),
                "weights_input": np.concatenate(matrices[:4]),
                "weights_hidden": np.concatenate(matrices[4:]),
            }
            steps, _, inputs = src.shape
            about = LSTM(name="simulated", input_size=inputs, hidden_size=len(matrices[-1]), time_steps=steps)
            dst = reference(about, "forward", tensors)["dst"].astype(src.dtype)
            self._sequences(y, y_about, layer)[...] = dst
            self._leave(reserve, "state", about, tensors, dst)

        self.cuda.queue(work)
        return self._refusal("cudnnRNNForward", self._things[layer][-1])

    def _cudnnRNNBackwardData_v8(
        self, handle: int, layer: int, lengths: int, y_about: int, y: int, dy: int, x_about: int, dx: int, h: int,
        hx: int, dhy: int, dhx: int, c: int, cx: int, dcy: int, dcx: int, weight_bytes: int, weights: int,
        workspace_bytes: int, workspace: int, reserve_bytes: int, reserve: int,
    ) -> None:  # fmt: skip
        assert (lengths, hx, dhy, dhx, cx, dcy, dcx) == (None,) * 7
        assert self._things[h] == self._things[c]
        self._check(workspace_bytes, reserve_bytes)

        def work() -> None:
            diff_src, state = self._sequences(dx, x_about, layer), self._find(reserve, "state")
            if state is None or not np.array_equal(self._sequences(y, y_about, layer), state[2]):
                diff_src.fill(np.nan)
                self._leave(reserve, "nonsense")
                return
            about, tensors, dst = state
            np.testing.assert_array_equal(np.concatenate(self._matrices(weights, layer)[4:]), tensors["weights_hidden"])
            tensors = tensors | {"diff_dst": self._sequences(dy, y_about, layer).copy()}
            diff_src[...] = reference(about, "backward_data", tensors)["diff_src"]
            self._leave(reserve, "gradients", about, tensors, dst)

        self.cuda.queue(work)

    def _cudnnRNNBackwardWeights_v8(
        self, handle: int, layer: int, add: int, lengths: int, x_about: int, x: int, h: int, hx: int, y_about: int,
        y: int, weight_bytes: int, dweights: int, workspace_bytes: int, workspace: int, reserve_bytes: int,
        reserve: int,
    ) -> None:  # fmt: skip
        assert (add, lengths, hx) == (0, None, None)
        assert self._things[h] is not None
        self._check(workspace_bytes, reserve_bytes)

        def work() -> None:
            matrices, left = self._matrices(dweights, layer), self._find(reserve, "gradients")
            read = self._sequences(x, x_about, layer), self._sequences(y, y_about, layer)
            if left is None or not (np.array_equal(read[0], left[1]["src"]) and np.array_equal(read[1], left[2])):
                for matrix in matrices:
                    matrix.fill(np.nan)
                return
            found = reference(left[0], "backward_weights", left[1])
            gates = [*np.split(found["diff_weights_input"], 4), *np.split(found["diff_weights_hidden"], 4)]
            for matrix, gate in zip(matrices, gates, strict=True):
                np.add(matrix, gate, out=matrix, casting="same_kind")

        self.cuda.queue(work)
