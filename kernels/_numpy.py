"""The NumPy kernel: layers as matrix products in whatever BLAS NumPy was built with."""

from __future__ import annotations

import numpy as np

from layerbench.device import Device, Host
from layerbench.kernel import ERROR_LIMITS, Availability, Budget, Choice, Choices, Job, Prepared, RankLayer, Tensors
from layerbench.layers import FC, LSTM, PASSES, Conv, DType, Pass, SplitLSTM

from ._numpy_conv import NumpyConv, chunk_sizes, workspace_bytes
from ._numpy_fc import NumpyFC
from ._numpy_lstm import NumpyLSTM
from ._numpy_split_lstm import NumpySplitLSTM
from ._search import fastest

_LSTM_ALGORITHMS: dict[Pass, str] = {
    "forward": "gemm per step",
    "backward_data": "gemm per step",
    "backward_weights": "gemm over all steps",
}

_SPLIT_LSTM_ALGORITHMS: dict[Pass, str] = {
    "forward": "gemm per step, of own units",
    "backward_data": "gemm per step, of own units",
    "backward_weights": "gemm over all steps, of own units, states transposed",
}


class NumpyKernel:
    """Runs wherever layerbench does, so ``auto`` falls back on it."""

    name = "numpy"
    preference: int | None = 100
    splits_outputs = True
    links_layers = True

    def __init__(self) -> None:
        self._device = Host()

    def availability(self) -> Availability:
        return Availability(ok=True, version=np.__version__)

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        return None if dtype in {"fp32", "fp64"} else f"does fp32 and fp64, not {dtype}"

    def device(self) -> Device:
        return self._device

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        match job.layer:
            case Conv():
                return self._search_conv(job, job.layer, tensors, budget)
            case FC():
                return dict.fromkeys(PASSES, Choice(algorithm="gemm"))
            case LSTM():
                kept = NumpyLSTM(job.layer, tensors).workspace_bytes
                return {pass_: Choice(algorithm=name, workspace_bytes=kept) for pass_, name in _LSTM_ALGORITHMS.items()}
            case SplitLSTM():
                kept = NumpySplitLSTM(job.layer, job.first_unit, tensors).workspace_bytes
                named = _SPLIT_LSTM_ALGORITHMS.items()
                return {pass_: Choice(algorithm=name, workspace_bytes=kept) for pass_, name in named}

    def _search_conv(self, job: Job, layer: Conv, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        sizes = chunk_sizes(job, layer, budget.workspace)
        _limit_threads(job.threads)
        # One chunk of the largest size tells as much about all sizes as the whole batch, which takes longer.
        some = {
            name: tensor if name in layer.weight_shapes else tensor[: sizes[-1]] for name, tensor in tensors.items()
        }
        prepared = NumpyConv(layer, some, dict.fromkeys(PASSES, sizes[-1]))
        choices = {}
        for pass_ in PASSES:
            named = {f"im2col of {n} image{'s' if n > 1 else ''} + gemm": n for n in sizes}
            runs = {name: prepared.chunked(pass_, n) for name, n in named.items()}
            algorithm = fastest(runs, self._device, budget)
            images = named[algorithm]
            choices[pass_] = Choice(
                algorithm=algorithm,
                settings={"images": images},
                workspace_bytes=workspace_bytes(job, layer, pass_, images),
                tried=len(sizes),
            )
        return choices

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        _limit_threads(job.threads)
        match job.layer:
            case Conv():
                images = {pass_: choices[pass_].settings["images"] for pass_ in PASSES}
                return NumpyConv(job.layer, tensors, images)
            case FC():
                return NumpyFC(tensors)
            case LSTM():
                return NumpyLSTM(job.layer, tensors)
            case SplitLSTM():
                return NumpySplitLSTM(job.layer, job.first_unit, tensors)

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return ERROR_LIMITS[dtype]


def _limit_threads(threads: int) -> None:
    """Hold BLAS to a thread count from now on; NumPy's own loops have one thread."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=threads, user_api="blas")
