"""Tables of times that are made, of devices whose law is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.shapes import Shape, parse

PRODUCTS = [f"m={m};n={n};k={k};a_t=0;b_t=0" for m in (256, 1024, 4096) for n in (16, 64, 512) for k in (512, 2048)]


def devices(**figures: tuple[float, float]) -> dict[str, Device]:
    """Of TFLOP/s and GB/s."""
    return {name: Device(name, peak * 1e12, bandwidth * 1e9) for name, (peak, bandwidth) in figures.items()}


def frame(
    known: Mapping[str, Device],
    excess: Callable[[Device, Shape], float],
    params: list[str] = PRODUCTS,
    op: str = "gemm",
    pass_: str = "forward",
) -> pd.DataFrame:
    """Times as ``layerbench.reference.read`` gives them, of the roofline's times e to the excess."""
    rows = []
    for name, device in known.items():
        for each in params:
            shape = parse(op, pass_, each, "made")
            seconds = shape.roofline(device.peak_flops, device.bytes_per_second) * np.exp(excess(device, shape))
            rows.append((name, "training", "fp32", op, pass_, each, seconds, ""))
    columns = ["device", "stage", "precision", "op", "pass", "params", "time_seconds", "algorithm"]
    return pd.DataFrame(rows, columns=columns)


def write(path: Path, times: pd.DataFrame) -> Path:
    """As a CSV file of the published columns."""
    as_file = times.rename(columns={"time_seconds": "time_ms"}).assign(time_ms=times["time_seconds"] * 1e3)
    as_file.to_csv(path, index=False)
    return path
