"""The CUDA sources beside the kernels, compiled when they are first needed, for the GPU that is there."""

from __future__ import annotations

import functools
import importlib.resources
from typing import Any

from layerbench.cuda import library

OPTIONS = ("-std=c++17",)

KERNELS = {
    "blocking": ("hold",),
    "clock": ("begin_cycles", "end_cycles"),
    "flush": ("flush",),
    "fma": ("fma_fp32", "fma_fp64"),
    "triad": ("fill", "triad", "read_only"),
}
"""The kernels of each source, by the names they are launched by."""


def text(source: str) -> str:
    """A CUDA source, by its name without ``.cu``."""
    return (importlib.resources.files("layerbench.kernels") / f"{source}.cu").read_text(encoding="utf-8")


@functools.cache
def kernel(source: str, name: str) -> Any:
    """A kernel of a source: called with a grid, a block and arguments, it is queued on CuPy's current stream.

    Arguments are CuPy arrays, and NumPy scalars of exactly the width the kernel declares.

    Raises
    ------
    KernelError
        If the source does not compile.
    """
    with library.refusals(f"kernels/{source}.cu"):
        return _module(source).get_function(name)


@functools.cache
def _module(source: str) -> Any:
    module = library.load().RawModule(code=text(source), options=OPTIONS)
    module.compile()
    return module
