"""oneDNN, Intel's and Arm's library of deep learning primitives for processors, through its C API.

Every pass is searched over the implementations oneDNN has for it, its algorithms, and the layouts its operands may
take, since the first one it offers is not always the fastest: see ``_onednn_race``. Operands lie in the layout that
the chosen implementation wants; conversion is outside the timed calls, and so is all allocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerbench.device import Device, Host
from layerbench.kernel import (
    ERROR_LIMITS,
    FAST_ALGORITHM_LIMIT,
    Availability,
    Budget,
    Choice,
    Choices,
    Job,
    RankLayer,
    Tensors,
)
from layerbench.layers import LSTM, DType, Pass, SplitLSTM

from ._dnnl_load import LibraryUnavailableError, load, version

if TYPE_CHECKING:
    from layerbench.kernel import Prepared


class OneDNN:
    """The kernel library; see ``kernel.Kernel``."""

    name = "onednn"
    preference: int | None = 10
    splits_outputs = True
    links_layers = True

    def availability(self) -> Availability:
        try:
            found = version(load())
        except LibraryUnavailableError as error:
            return Availability(ok=False, reason=error.reason, remedy=error.remedy)
        return Availability(ok=True, version=".".join(map(str, found)))

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        if dtype != "fp32":
            return f"{layer.kind} is done in fp32 only, not in {dtype}"
        return None

    def device(self) -> Device:
        return Host()

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        from . import _onednn_lstm, _onednn_single, _onednn_split_lstm

        layer = job.layer
        if isinstance(layer, LSTM):
            return _onednn_lstm.search(layer, job, budget)
        if isinstance(layer, SplitLSTM):
            return _onednn_split_lstm.search(layer, job, budget)
        return _onednn_single.search(layer, job, tensors, budget)

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        from ._onednn_lstm_run import PreparedLSTM
        from ._onednn_single import PreparedLayer
        from ._onednn_split_lstm import PreparedSplitLSTM

        layer = job.layer
        if isinstance(layer, LSTM):
            return PreparedLSTM(layer, job, tensors, choices)
        if isinstance(layer, SplitLSTM):
            return PreparedSplitLSTM(layer, job, tensors, choices)
        return PreparedLayer(layer, job, tensors, choices)

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return FAST_ALGORITHM_LIMIT if "wino" in choice.algorithm else ERROR_LIMITS[dtype]


KERNEL = OneDNN()
