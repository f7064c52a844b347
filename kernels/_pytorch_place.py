"""Where PyTorch keeps a layer and runs it: on the processor, or on the current GPU.

On a GPU the timed calls run on CuPy's current stream, whichever it is when they are called, so that the device's events
enclose them, and give their results and take their operands as CuPy arrays of the same memory, by DLPack. PyTorch's
operators allocate what they return. Where the stream is being captured into a graph, they take it from a pool of the
layer's own: what a graph writes to whenever it is replayed must not be given to anyone else meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol

import numpy as np

from layerbench.device import Run
from layerbench.errors import KernelError, MeasurementError, OutOfMemoryError
from layerbench.layers import DType

_TYPES: dict[DType, str] = {
    "fp64": "float64",
    "fp32": "float32",
    "tf32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}

GPU_TYPES = tuple(_TYPES)
"""Types of layers on a GPU."""


class Place(Protocol):
    """What a prepared layer needs of where it is."""

    def tensor(self, array: np.ndarray) -> Any:
        """A tensor here of the array's values, in the layer's type; it may share the array's memory."""
        ...

    def given(self, array: Any) -> Any:
        """A tensor that shares the memory of an array that the harness holds."""
        ...

    def shared(self, flat: Any) -> Any:
        """An array for the harness that shares the memory of a one-dimensional tensor."""
        ...

    def entered(self) -> AbstractContextManager[None]:
        """Within it, what PyTorch is asked to do is done in the order of the harness's own work."""
        ...

    def queued(self, run: Run, *, captured: bool = True) -> Run:
        """The timed call; ``captured`` says whether it can be captured in a graph."""
        ...


class OnHost:
    """The processor."""

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def tensor(self, array: np.ndarray) -> Any:
        return self._torch.from_numpy(array)

    def given(self, array: Any) -> Any:
        return self._torch.from_numpy(array)

    def shared(self, flat: Any) -> Any:
        return flat.numpy()

    def entered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def queued(self, run: Run, *, captured: bool = True) -> Run:
        return run


class OnGPU:
    """The current GPU.

    Parameters
    ----------
    dtype
        Its arithmetic is asked for before every call, since PyTorch's switches are those of the whole process.
    cupy
        The module.
    device
        As PyTorch names it.
    """

    _rounds: ClassVar[bool | None] = None
    """Whether PyTorch was last asked to round to TF32; asking it what it does takes as long as a launch."""

    def __init__(self, dtype: DType, cupy: Any, device: str = "cuda") -> None:
        import torch

        self._torch = torch
        self._device = device
        self._cupy = cupy
        self._dtype = getattr(torch, _TYPES[dtype])
        self._tf32 = dtype == "tf32"
        self._streams: dict[int, Any] = {}
        self._pool: Any = None
        torch.backends.cudnn.benchmark = True
        # Partial sums of 16-bit products are added up in fp32, as the vendor libraries' kernels here do.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

    def tensor(self, array: np.ndarray) -> Any:
        return self._torch.from_numpy(array).to(device=self._device, dtype=self._dtype)

    def given(self, array: Any) -> Any:
        # No stream is to wait for another: both libraries work on the same one. Nor has CuPy a type for bf16.
        if array.dtype == np.uint16:
            array = array.view(np.int16)
        tensor = self._torch.from_dlpack(array.__dlpack__(stream=-1))
        return tensor.view(self._dtype) if tensor.dtype == self._torch.int16 else tensor

    def shared(self, flat: Any) -> Any:
        if flat.dtype == self._torch.bfloat16:
            return self._cupy.from_dlpack(flat.view(self._torch.int16).__dlpack__(stream=-1)).view(np.uint16)
        return self._cupy.from_dlpack(flat.__dlpack__(stream=-1))

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._torch.cuda.stream(self._stream(self._cupy.cuda.get_current_stream().ptr)):
            self._ask()
            yield

    def queued(self, run: Run, *, captured: bool = True) -> Run:
        torch, current_stream = self._torch, self._cupy.cuda.get_current_stream

        def on_the_stream() -> None:
            self._ask()
            if torch.cuda.is_current_stream_capturing():
                self._into_graph(run, captured)
            else:
                run()

        def queued() -> None:
            pointer = current_stream().ptr
            try:
                if torch.cuda.current_stream().cuda_stream == pointer:
                    on_the_stream()
                else:
                    with torch.cuda.stream(self._stream(pointer)):
                        on_the_stream()
            except RuntimeError as error:
                raise refusal("pytorch", error) from error

        return queued

    def _ask(self) -> None:
        if OnGPU._rounds is not self._tf32:
            ask_for_tf32(self._torch, self._tf32)
            OnGPU._rounds = self._tf32

    def _into_graph(self, run: Run, captured: bool) -> None:
        if not captured:
            raise KernelError("pytorch: autograd runs a backward pass on the stream of its forward pass")
        if not hasattr(self._torch.cuda, "MemPool"):
            raise KernelError("pytorch: what a graph writes to needs a memory pool, as PyTorch has it from 2.5 on")
        if self._pool is None:
            self._pool = self._torch.cuda.MemPool()
        with self._torch.cuda.use_mem_pool(self._pool):
            run()

    def _stream(self, pointer: int) -> Any:
        if pointer not in self._streams:
            # PyTorch has a stream object of its own for CUDA's legacy default stream, whose handle is zero.
            cuda = self._torch.cuda
            self._streams[pointer] = cuda.ExternalStream(pointer) if pointer else cuda.default_stream()
        return self._streams[pointer]


def ask_for_tf32(torch: Any, wanted: bool) -> None:
    """Have float32 operands rounded to TF32 by every operator on a GPU from now on, or by none.

    Both are asked for: PyTorch's defaults differ between matrix products and convolutions.
    """
    backends = torch.backends
    if not hasattr(backends.cudnn, "conv"):  # before PyTorch 2.9
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = wanted
        return
    precision = "tf32" if wanted else "ieee"
    for backend in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        backend.fp32_precision = precision


def refusal(what: str, error: RuntimeError) -> MeasurementError:
    """One of PyTorch's errors as ours, in one line."""
    import torch

    line = f"{what}: {str(error).splitlines()[0]}"
    out_of_memory: Callable[..., Any] | None = getattr(torch, "OutOfMemoryError", None)
    if out_of_memory is not None and isinstance(error, out_of_memory):  # type: ignore[arg-type]
        return OutOfMemoryError(line)
    return KernelError(line)
