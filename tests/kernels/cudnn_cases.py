"""A convolution, plans for it, and the simulated libraries that offer them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from layerbench import verify
from layerbench.cuda import library
from layerbench.kernel import Availability, Budget, Choice, Job
from layerbench.layers import PASSES, Conv, DType, Pass
from tests.kernels.simulated_arrays import CuPy, Device
from tests.kernels.simulated_cudnn import Engine, FrontEnd, knob_type

loading = importlib.import_module("layerbench.kernels._cudnn_load")
race = importlib.import_module("layerbench.kernels._cudnn_race")
KERNEL = importlib.import_module("layerbench.kernels.cudnn").KERNEL

LAYER = Conv(
    name="conv",
    input=(9, 8),
    in_channels=4,
    out_channels=6,
    filter=(3, 2),
    stride=(2, 1),
    padding=(1, 2),
    dilation=(2, 1),
    groups=2,
)
BATCH = 3

PLAIN = Engine(1, ((knob_type.TILE_SIZE, 7),), seconds=2e-3)
QUICK = Engine(2, ((knob_type.TILE_SIZE, 3), (knob_type.STAGES, -1)))

Installed = Callable[..., CuPy]

UNNAMED = Engine(2, ((knob_type.NOT_SET, 4),))
"""A plan with a knob that the front end has no name for."""


def installer(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """What puts simulated libraries in place of the real ones, with the plans it is given."""

    def install(*engines: Engine, cupy: CuPy | None = None, version: int = 92801) -> CuPy:
        cupy = cupy or CuPy()
        monkeypatch.setattr(library, "load", lambda: cupy)
        monkeypatch.setattr(library, "availability", lambda: Availability(ok=True, version="CuPy 14.2.0"))
        monkeypatch.setitem(sys.modules, "cudnn", FrontEnd(cupy, engines, version))
        monkeypatch.setattr(loading, "cuda_of_library", lambda: 13)
        device = Device(cupy)
        monkeypatch.setattr(KERNEL, "device", lambda: device)
        monkeypatch.setattr(race, "time", SimpleNamespace(perf_counter=lambda: cupy.clock))
        loading._handle_of.cache_clear()
        return cupy

    return install


def tensors(dtype: DType = "fp32", layer: Conv = LAYER, batch: int = BATCH) -> dict[str, np.ndarray]:
    return verify.tensors(layer, dtype, 1, 0, batch)


def search(dtype: DType = "fp32", budget: Budget | None = None) -> dict[Pass, Choice]:
    found = KERNEL.search(Job(LAYER, BATCH, dtype), tensors(dtype), budget or Budget(runs=1))
    return msgspec.json.decode(msgspec.json.encode(found), type=dict[Pass, Choice])


def prepared(choices: dict[Pass, Choice], dtype: DType = "fp32") -> Any:
    return KERNEL.prepare(Job(LAYER, BATCH, dtype), tensors(dtype), choices)


def chosen(*layouts: str) -> dict[Pass, Choice]:
    """The quick plan, in a layout for each pass."""
    knobs = {"TILE_SIZE": 3, "STAGES": -1}
    return {
        pass_: Choice("", {"layout": layout, "engine": 2, "knobs": knobs, "plan": QUICK.name})
        for pass_, layout in zip(PASSES, layouts, strict=True)
    }


MIXED = chosen("NHWC", "NCHW", "NHWC")
ALL_LAYOUTS = [chosen(a, b, c) for a in ("NCHW", "NHWC") for b in ("NCHW", "NHWC") for c in ("NCHW", "NHWC")]
