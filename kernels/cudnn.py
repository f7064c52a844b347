"""cuDNN's convolutions on NVIDIA GPUs, through its graph API.

Every pass is searched over all plans that cuDNN's heuristics and its fallback engines offer, in NCHW and NHWC: see
``_cudnn_race``. Operands lie in the layout of the plan; conversion is outside the timed calls, and so is all
allocation. fp32 is done without tensor cores, which would make it tf32; what may use them is told to cuDNN plan by plan
and does not depend on the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerbench.device import Device
from layerbench.errors import KernelError
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
from layerbench.layers import Conv, DType, Pass

from ._cuda_environment import contradiction

if TYPE_CHECKING:
    from layerbench.kernel import Prepared

LEAST_CAPABILITY: dict[DType, int] = {"bf16": 80, "tf32": 80, "fp16": 53}
"""Compute capability, times ten, from which a GPU has the dtype; the others are everywhere."""


class CuDNN:
    """The kernel library; see ``kernel.Kernel``."""

    name = "cudnn"
    preference: int | None = 1
    links_layers = True
    companions = ("cudnn_rnn", "cublas")

    def availability(self) -> Availability:
        from ._cudnn_load import availability

        return availability()

    def devices(self) -> list[str]:
        from layerbench.cuda import library

        return library.visible()

    def use(self, device: str) -> None:
        from layerbench.cuda import library

        library.use(device)

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        from ._cudnn_graph import DATA_TYPES

        if not isinstance(layer, Conv):
            return f"does convolutions, not {layer.kind}"
        if dtype not in DATA_TYPES:
            return f"does {', '.join(DATA_TYPES)}, not {dtype}"
        return contradiction(dtype) or _lacking(dtype)

    def device(self) -> Device:
        from layerbench.cuda.device import current

        return current()

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        from . import _cudnn_race

        return _cudnn_race.search(_convolution(job), job, tensors, self.device(), budget)

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        from ._cudnn_conv import PreparedConv

        return PreparedConv(_convolution(job), job, tensors, choices)

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        notes = choice.settings.get("notes", ())
        if any(note == "FFT" or note.startswith("WINOGRAD") for note in notes):
            return max(FAST_ALGORITHM_LIMIT, ERROR_LIMITS[dtype])
        return ERROR_LIMITS[dtype]


def _convolution(job: Job) -> Conv:
    if not isinstance(job.layer, Conv):
        raise KernelError(f"cudnn: {job.layer.name}: does convolutions, not {job.layer.kind}")
    return job.layer


def _lacking(dtype: DType) -> str | None:
    """Why the current GPU has not the dtype; None if it has, or there is none to ask."""
    least = LEAST_CAPABILITY.get(dtype)
    if least is None:
        return None
    from layerbench.cuda import library

    if not library.availability().ok:
        return None
    capability = int(library.load().cuda.Device().compute_capability)
    if capability >= least:
        return None
    return f"{dtype} needs a GPU of compute capability {least / 10}, and this one has {capability / 10}"


KERNEL = CuDNN()
