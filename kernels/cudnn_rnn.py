"""cuDNN's recurrent layers, on NVIDIA GPUs, through its C API.

The three passes are cuDNN's own: ``cudnnRNNForward`` in training mode, ``cudnnRNNBackwardData_v8`` and
``cudnnRNNBackwardWeights_v8``, without biases. Every algorithm that cuDNN supports for a shape is timed and the fastest
kept: its persistent kernels hold the weights in registers over all time steps where they fit. fp32 keeps to fp32, tf32
is asked for by its name only, and half precision is summed in fp32.

Convolutions and fully connected layers are other files' of the same device.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from layerbench.cuda import library
from layerbench.device import Device
from layerbench.errors import KernelError, LayerbenchError
from layerbench.kernel import ERROR_LIMITS, Availability, Budget, Choice, Choices, Job, Kernel, RankLayer, Tensors
from layerbench.layers import LSTM, PASSES, DType, Pass, SplitLSTM

from . import _cudnn_library as cudnn

if TYPE_CHECKING:
    from layerbench.device import Run

    from ._cudnn_rnn_plan import Plan
    from ._cudnn_rnn_run import Fits, PreparedRNN

_AMPERE = 80
"""Compute capability, times ten, from which on there are tf32 and bf16."""

_TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
_CONTRADICTED: dict[str, DType] = {"0": "tf32", "1": "fp32"}
"""By the override's value, the dtype that NVIDIA's libraries would not compute in although they are asked to."""


class CudnnRNN:
    """The kernel library; see ``kernel.OnDevices``."""

    name = "cudnn_rnn"
    preference: int | None = 2
    links_layers = True

    def availability(self) -> Availability:
        found = library.availability()
        if not found.ok:
            return found
        try:
            version, built_for = cudnn.version(), cudnn.cuda_major()
            cuda = int(library.load().cuda.runtime.runtimeGetVersion()) // 1000
        except cudnn.LibraryUnavailableError as error:
            return Availability(ok=False, reason=f"cuDNN: {error.reason}", remedy=_install())
        except LayerbenchError as error:
            return Availability(ok=False, reason=str(error))
        named = f"cuDNN {'.'.join(map(str, version))}"
        if built_for != cuda:
            reason = f"{named} is built for CUDA {built_for}, and CuPy for CUDA {cuda}"
            return Availability(ok=False, version=named, reason=reason, remedy=_install())
        return Availability(ok=True, version=f"{named}, {found.version}")

    def devices(self) -> list[str]:
        return library.visible()

    def use(self, device: str) -> None:
        library.use(device)

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        if isinstance(layer, SplitLSTM):
            return "does whole LSTMs, not some of their units"
        if not isinstance(layer, LSTM):
            return f"does recurrent layers, not {layer.kind}"
        if dtype == "int8":
            return "does recurrent layers in fp64, fp32, tf32, bf16 and fp16, not in int8"
        override = os.environ.get(_TF32_OVERRIDE, "")
        if _CONTRADICTED.get(override) == dtype:
            return f"{_TF32_OVERRIDE}={override} keeps NVIDIA's libraries from computing in {dtype}: unset it"
        if dtype in {"bf16", "tf32"} and library.availability().ok:
            capability = int(library.load().cuda.Device().compute_capability)
            if capability < _AMPERE:
                return f"{dtype} needs a GPU of compute capability 8.0, and this one has {capability / 10:.1f}"
        return None

    def device(self) -> Device:
        from layerbench.cuda.device import current

        return current()

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        from ._cudnn_rnn_plan import plans, shape_of
        from ._cudnn_rnn_race import race
        from ._cudnn_rnn_run import PreparedRNN

        shape = shape_of(self._layer(job), job.batch)
        what = f"cudnn_rnn: {job.layer.name}"

        def start(plan: Plan, fits: Fits) -> Mapping[Pass, Run]:
            # cuDNN allocates beside CuPy, whose pool still has the memory of the plan before.
            library.load().get_default_memory_pool().free_all_blocks()
            with library.refusals(what):
                prepared = PreparedRNN(shape, job.dtype, plan, tensors, fits)
                self.device().synchronize()
                return prepared.run

        with library.refusals(what):
            return race(job.layer, plans(job.dtype), start, self.device(), budget)

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> PreparedRNN:
        from ._cudnn_rnn_plan import plan_of, shape_of
        from ._cudnn_rnn_run import PreparedRNN

        shape = shape_of(self._layer(job), job.batch)
        plans = {plan_of(choices[pass_].settings) for pass_ in PASSES}
        if len(plans) > 1:
            raise KernelError(
                f"cudnn_rnn: {job.layer.name}: all passes share a reserve space and need one algorithm, not "
                + " and ".join(sorted(plan.name for plan in plans))
            )
        with library.refusals(f"cudnn_rnn: {job.layer.name}"):
            prepared = PreparedRNN(shape, job.dtype, plans.pop(), tensors)
            # What fails only while it runs is told here, and not by whatever is asked of the GPU next.
            self.device().synchronize()
            return prepared

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return ERROR_LIMITS[dtype]

    def _layer(self, job: Job) -> LSTM:
        if not isinstance(job.layer, LSTM):
            raise KernelError(f"cudnn_rnn: {job.layer.name}: {self.supports(job.layer, job.dtype)}")
        return job.layer


def _install() -> str:
    cuda = int(library.load().cuda.runtime.runtimeGetVersion()) // 1000
    return f"pip install 'layerbench[cuda{cuda}]'"


KERNEL: Kernel = CudnnRNN()
