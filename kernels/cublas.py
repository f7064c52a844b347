"""cuBLASLt, NVIDIA's library of matrix products: fully connected layers, on CuPy's memory through nvmath-python.

Every pass is one product. All algorithms that the library's heuristics offer within the workspace allowed are timed on
the layer's own operands, and the fastest is kept. What a type means is asked for with every product and never left to
an environment: fp32 is not rounded to TF32, tf32 is, and products of 16-bit types are added up in fp32, partial sums
of a split product too. Where an environment variable would override that, the layer is refused.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from layerbench.cuda import library
from layerbench.device import Device
from layerbench.errors import KernelError
from layerbench.kernel import ERROR_LIMITS, Availability, Budget, Choice, Choices, Job, RankLayer, Tensors
from layerbench.layers import FC, DType, Pass

from ._cuda_environment import contradiction

if TYPE_CHECKING:
    from ._cublas_fc import PreparedFC

_AMPERE = 80
"""Least compute capability whose tensor cores take TF32 and bf16."""


class CublasKernel:
    """The kernel library; see ``kernel.OnDevices``."""

    name = "cublas"
    preference: int | None = 3
    links_layers = True

    def availability(self) -> Availability:
        found = library.availability()
        if not found.ok:
            return found
        remedy = f"pip install 'layerbench[cuda{library.load().cuda.runtime.runtimeGetVersion() // 1000}]'"
        if importlib.util.find_spec("nvmath") is None:
            return Availability(ok=False, reason="nvmath-python is not installed", remedy=remedy)
        from ._cublas_lt import version, version_text

        try:
            number = version()
        except Exception as error:  # missing dependencies, a missing library and an old one each raise their own
            reason = f"nvmath-python cannot load cuBLASLt: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return Availability(ok=False, reason=reason, remedy=remedy)
        return Availability(ok=True, version=f"cuBLASLt {version_text(number)}, {found.version}")

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        if not isinstance(layer, FC):
            return f"does fully connected layers, not {layer.kind}"
        if dtype == "int8":
            return "does no int8: its integer products serve the forward pass only, and layers are trained"
        if dtype in {"tf32", "bf16"} and int(library.load().cuda.Device().compute_capability) < _AMPERE:
            return f"{dtype} needs a GPU of compute capability 8.0 or later"
        return contradiction(dtype)

    def device(self) -> Device:
        from layerbench.cuda.device import current

        return current()

    def devices(self) -> list[str]:
        return library.visible()

    def use(self, device: str) -> None:
        library.use(device)

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        from . import _cublas_fc

        with library.refusals(f"cublas: {job.layer.name}"):
            return _cublas_fc.search(self._layer(job), job, tensors, budget, self.device())

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> PreparedFC:
        from . import _cublas_fc

        with library.refusals(f"cublas: {job.layer.name}"):
            prepared = _cublas_fc.PreparedFC(self._layer(job), job, tensors, choices)
            # What fails only while it runs is told here, and not by whatever is asked of the GPU next.
            self.device().synchronize()
            return prepared

    def _layer(self, job: Job) -> FC:
        if isinstance(job.layer, FC):
            return job.layer
        raise KernelError(f"cublas: {job.layer.name}: {self.supports(job.layer, job.dtype)}")

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return ERROR_LIMITS[dtype]


KERNEL = CublasKernel()
