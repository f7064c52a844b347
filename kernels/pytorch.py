"""PyTorch, the peer: what its user would run, as fast as PyTorch lets it.

It is there to be compared with and is never chosen by itself. Two things are PyTorch's own and not a matter
of how it is called. Its operators return new tensors, so the weight gradients of convolutions and LSTMs are
copied into the buffer that the ranks all-reduce, as ``DistributedDataParallel`` does; the copy is timed. And
an LSTM's two gradients come from one recurrent backward: asked for apart, each pass runs it whole, so
``backward_together`` times both in one call.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from layerbench.device import Device, Host
from layerbench.errors import KernelError
from layerbench.kernel import ERROR_LIMITS, Availability, Budget, Choice, Choices, Job, Kernel, RankLayer, Tensors
from layerbench.layers import FC, LSTM, PASSES, Conv, DType, Pass, SplitLSTM

from ._pytorch_layers import MEMORY_FORMATS, TorchConv, TorchFC, TorchLSTM
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


class PyTorchKernel:
    """On the processor; another device needs its :class:`Device` and operands moved there."""

    name = "pytorch"
    preference: int | None = None
    links_layers = True

    def __init__(self) -> None:
        self._device = Host()

    def availability(self) -> Availability:
        if importlib.util.find_spec("torch") is None:
            return Availability(ok=False, reason="torch is not installed", remedy="pip install torch")
        try:
            import torch
        except Exception as error:  # a broken installation raises whatever its loader does
            reason = f"torch cannot be imported: {type(error).__name__}: {error}"
            return Availability(ok=False, reason=reason, remedy="pip install --force-reinstall torch")
        return Availability(ok=True, version=str(torch.__version__))

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        if isinstance(layer, SplitLSTM):
            return "does whole LSTMs, not some of their units"
        return None if dtype in {"fp32", "fp64"} else f"does fp32 and fp64, not {dtype}"

    def device(self) -> Device:
        return self._device

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        match job.layer:
            case Conv():
                with _refusals(job):
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
            memory_format: TorchConv(layer, tensors, dict.fromkeys(PASSES, memory_format))
            for memory_format in MEMORY_FORMATS
        }
        choices = {}
        for pass_ in PASSES:
            named = {f"{_CONV_OPERATORS[pass_]}, {memory_format}": memory_format for memory_format in candidates}
            runs = {name: candidates[memory_format].run[pass_] for name, memory_format in named.items()}
            # The first call builds oneDNN's primitive, which later calls find in PyTorch's cache.
            for run in runs.values():
                run()
            algorithm = fastest(runs, self._device, budget)
            choices[pass_] = Choice(
                algorithm=algorithm,
                settings={"memory_format": named[algorithm]},
                tried=len(runs),
            )
        return choices

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> TorchConv | TorchFC | TorchLSTM:
        _limit_threads(job.threads)
        with _refusals(job):
            match job.layer:
                case Conv():
                    formats = {pass_: choices[pass_].settings["memory_format"] for pass_ in PASSES}
                    return TorchConv(job.layer, tensors, formats)
                case FC():
                    return TorchFC(tensors)
                case LSTM():
                    return TorchLSTM(job.layer, tensors)
                case SplitLSTM():
                    raise KernelError(f"pytorch: {self.supports(job.layer, job.dtype)}")

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return ERROR_LIMITS[dtype]


@contextmanager
def _refusals(job: Job) -> Iterator[None]:
    """PyTorch's errors, out of memory among them, as ours."""
    try:
        yield
    except RuntimeError as error:
        raise KernelError(f"pytorch: {job.layer.name}: {str(error).splitlines()[0]}") from error


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


KERNEL: Kernel = PyTorchKernel()
