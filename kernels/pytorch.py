"""PyTorch, the peer: what its user would run, as fast as PyTorch lets it.

It is there to be compared with and is never chosen by itself. Two things are PyTorch's own and not a matter
of how it is called. Its operators return new tensors, so the weight gradients of convolutions and LSTMs are
copied into the buffer that the ranks all-reduce, as ``DistributedDataParallel`` does; the copy is timed. And
an LSTM's two gradients come from one recurrent backward: asked for apart, each pass runs it whole, so
``backward_together`` times both in one call.

It runs on the GPU where there is one that PyTorch and CuPy can both use, else on the processor, and the version says
which. On the GPU its convolutions and LSTMs are cuDNN's, chosen by its benchmark mode in the first call, and TF32 is
asked for or forbidden by the type of the layer. Where calls are captured in graphs, operators take what they return
from a pool of the layer's own; LSTMs are not captured, because autograd runs a backward pass on the stream of its
forward pass.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from layerbench.cuda import library
from layerbench.device import Device, Host
from layerbench.errors import KernelError
from layerbench.kernel import (
    ERROR_LIMITS,
    FAST_ALGORITHM_LIMIT,
    Availability,
    Budget,
    Choice,
    Choices,
    Job,
    Kernel,
    RankLayer,
    Tensors,
)
from layerbench.layers import FC, LSTM, PASSES, Conv, DType, Pass, SplitLSTM

from ._cuda_environment import contradiction
from ._pytorch_layers import MEMORY_FORMATS, TorchConv, TorchFC, TorchLSTM
from ._pytorch_place import GPU_TYPES, OnGPU, OnHost, Place, refusal
from ._search import fastest

_LSTM_ALGORITHMS: dict[Pass, str] = {
    "forward": "torch.nn.LSTM, training",
    "backward_data": "autograd.grad by input, the whole recurrent backward",
    "backward_weights": "autograd.grad by weights, the whole recurrent backward",
}
_FC_ALGORITHMS: dict[Pass, str] = dict.fromkeys(PASSES, "torch.mm")
_CONV_OPERATORS: dict[Pass, str] = {
    "forward": "conv2d",
    "backward_data": "convolution_backward",
    "backward_weights": "convolution_backward",
}

_AMPERE = 80
"""Compute capability, times ten, from which on there are tf32 and bf16."""


class PyTorchKernel:
    """The kernel library; see ``kernel.OnDevices``."""

    name = "pytorch"
    preference: int | None = None
    links_layers = True

    def __init__(self) -> None:
        self._host = Host()

    def availability(self) -> Availability:
        if importlib.util.find_spec("torch") is None:
            return Availability(ok=False, reason="torch is not installed", remedy="pip install torch")
        try:
            import torch
        except Exception as error:  # a broken installation raises whatever its loader does
            reason = f"torch cannot be imported: {type(error).__name__}: {error}"
            return Availability(ok=False, reason=reason, remedy="pip install --force-reinstall torch")
        version = str(torch.__version__).partition("+")[0]
        if _on_gpu():
            return Availability(ok=True, version=f"{version}, CUDA {torch.version.cuda}")
        if torch.cuda.is_available():
            return Availability(ok=True, version=f"{version}, CPU, since {library.availability().reason}")
        return Availability(ok=True, version=f"{version}, CPU")

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        if isinstance(layer, SplitLSTM):
            return "does whole LSTMs, not some of their units"
        if not _on_gpu():
            return None if dtype in {"fp32", "fp64"} else f"does fp32 and fp64, not {dtype}"
        if dtype not in GPU_TYPES:
            return f"does {', '.join(GPU_TYPES)}, not {dtype}"
        # PyTorch does not refuse: it computes tf32 in fp32 there, and bf16 without its instructions.
        if dtype in {"tf32", "bf16"} and (have := int(library.load().cuda.Device().compute_capability)) < _AMPERE:
            return f"{dtype} needs a GPU of compute capability 8.0, and this one has {have / 10:.1f}"
        return contradiction(dtype)

    def device(self) -> Device:
        if not _on_gpu():
            return self._host
        from layerbench.cuda.device import current

        return current()

    def devices(self) -> list[str]:
        return library.visible() if _on_gpu() else []

    def use(self, device: str) -> None:
        import torch

        library.use(device)
        # Both number the GPUs of a process as CUDA does.
        torch.cuda.set_device(library.load().cuda.runtime.getDevice())

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        match job.layer:
            case Conv():
                with _refusals(job), _place(job).entered():
                    return self._search_conv(job, job.layer, tensors, budget)
            case FC():
                return {pass_: Choice(algorithm=name) for pass_, name in _FC_ALGORITHMS.items()}
            case LSTM():
                return {pass_: Choice(algorithm=name) for pass_, name in _LSTM_ALGORITHMS.items()}
            case SplitLSTM():
                raise KernelError(f"pytorch: {self.supports(job.layer, job.dtype)}")

    def _search_conv(self, job: Job, layer: Conv, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        _limit_threads(job.threads)
        candidates = {
            memory_format: TorchConv(layer, tensors, dict.fromkeys(PASSES, memory_format), _place(job))
            for memory_format in MEMORY_FORMATS
        }
        choices = {}
        for pass_ in PASSES:
            named = {f"{_CONV_OPERATORS[pass_]}, {memory_format}": memory_format for memory_format in candidates}
            runs = {name: candidates[memory_format].run[pass_] for name, memory_format in named.items()}
            # The first call builds oneDNN's primitive, or has cuDNN's algorithms timed; later calls find it cached.
            for run in runs.values():
                run()
            algorithm = fastest(runs, self.device(), budget)
            choices[pass_] = Choice(
                algorithm=algorithm,
                settings={"memory_format": named[algorithm]},
                tried=len(runs),
            )
        return choices

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> TorchConv | TorchFC | TorchLSTM:
        _limit_threads(job.threads)
        place = _place(job)
        with _refusals(job), place.entered():
            match job.layer:
                case Conv():
                    formats = {pass_: choices[pass_].settings["memory_format"] for pass_ in PASSES}
                    return TorchConv(job.layer, tensors, formats, place)
                case FC():
                    return TorchFC(tensors, place)
                case LSTM():
                    return TorchLSTM(job.layer, tensors, place)
                case SplitLSTM():
                    raise KernelError(f"pytorch: {self.supports(job.layer, job.dtype)}")

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        # Which algorithm the benchmark mode took is not told: it may be Winograd's.
        if dtype == "fp32" and choice.algorithm.startswith("conv") and _on_gpu():
            return FAST_ALGORITHM_LIMIT
        return ERROR_LIMITS[dtype]


@functools.cache
def _on_gpu() -> bool:
    """Whether layers run on a GPU: PyTorch's build and CuPy must both be able to."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available()) and library.availability().ok


def _place(job: Job) -> Place:
    return OnGPU(job.dtype, library.load()) if _on_gpu() else OnHost()


@contextmanager
def _refusals(job: Job) -> Iterator[None]:
    """PyTorch's errors, out of memory among them, as ours."""
    what = f"pytorch: {job.layer.name}"
    try:
        with library.refusals(what) if _on_gpu() else nullcontext():
            yield
    except RuntimeError as error:
        raise refusal(what, error) from error


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


KERNEL: Kernel = PyTorchKernel()
