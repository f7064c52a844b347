"""What environment variables make of NVIDIA's arithmetic, against what was asked for.

``NVIDIA_TF32_OVERRIDE`` overrides what a program asks of every NVIDIA library: 0 forbids TF32, and what else it may
be set to is reserved, 1 being seen to force it. cuBLAS since CUDA 12.9 computes fp32 and fp64 products by emulation
where it is told so by ``CUBLAS_EMULATE_SINGLE_PRECISION`` and ``CUBLAS_EMULATE_DOUBLE_PRECISION``. A time taken under
any of these would be filed under the wrong type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from layerbench.layers import DType

_EMULATION: dict[DType, str] = {
    "fp32": "CUBLAS_EMULATE_SINGLE_PRECISION",
    "fp64": "CUBLAS_EMULATE_DOUBLE_PRECISION",
}


def contradiction(dtype: DType, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why products in this type would not be computed in it here, in one line; None if they are."""
    override = environment.get("NVIDIA_TF32_OVERRIDE", "")
    if dtype == "tf32" and override == "0":
        return "NVIDIA_TF32_OVERRIDE=0 forbids tf32: unset it"
    if dtype == "fp32" and override not in {"", "0"}:
        return f"NVIDIA_TF32_OVERRIDE={override} may turn fp32 into tf32: unset it"
    emulation = _EMULATION.get(dtype, "")
    if environment.get(emulation, "0") not in {"", "0"}:
        return f"{emulation}={environment[emulation]} has {dtype} products emulated: unset it"
    return None
