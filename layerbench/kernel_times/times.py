"""Tables of kernel times, as what the model compares: shapes by devices.

Of a table of DeepBench's columns what counts is training in single precision: convolutions, matrix products and
recurrent layers. A shape that a device was given several times counts with the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.kernel_times.devices import Device, example
from layerbench.kernel_times.shapes import OPS, Shape, parse
from layerbench.suite_format import printable

if TYPE_CHECKING:
    import pandas as pd

Values: TypeAlias = NDArray[np.float64]

PASSES = {"conv": ("forward", "backward_data", "backward_weights"), "gemm": ("forward",)}
PASSES["rnn"] = PASSES["conv"]
"""What an operation's ``pass`` may be: a matrix product is one, whichever pass it serves."""


@dataclass(frozen=True)
class Row:
    """One published time, in seconds, on the device of that name."""

    device: str
    pass_: str
    params: str
    seconds: float

    @property
    def key(self) -> tuple[str, str]:
        """What is the same on other devices: pass and params."""
        return self.pass_, self.params


@dataclass(frozen=True)
class Table:
    """An operation's times.

    Attributes
    ----------
    op
        The operation.
    rows
        Every time.
    keys, shapes
        Pass and params of each distinct shape, and what it is.
    devices
        In the columns' order.
    excess
        Natural logarithm of a time over its roofline's, shapes × devices; NaN where a device was not given a shape.
    """

    op: str
    rows: tuple[Row, ...]
    keys: tuple[tuple[str, str], ...]
    shapes: tuple[Shape, ...]
    devices: tuple[Device, ...]
    excess: Values

    @property
    def places(self) -> Values:
        """Log peak and log bandwidth of the devices: devices × 2."""
        return np.array([device.place for device in self.devices])

    @property
    def params(self) -> tuple[str, ...]:
        """Of the shapes: passes of one shape share theirs."""
        return tuple(params for _, params in self.keys)


def tables(frames: Sequence[pd.DataFrame], devices: Mapping[str, Device]) -> dict[str, Table]:
    """The tables of all operations that have times.

    Parameters
    ----------
    frames
        As :func:`layerbench.reference.read` gives them. A device of a later frame takes the place of one of the same
        name in those before: its own earlier times must not help to predict it.
    devices
        Peaks and bandwidths of all devices that have times, and perhaps of others.

    Raises
    ------
    UsageError
        If a device is not among ``devices``, a shape is not spelled as DeepBench does, or a time is not positive.
    """
    rows: dict[str, list[Row]] = {op: [] for op in OPS}
    later: set[str] = set()
    for frame in reversed(frames):
        for op, found in _rows(frame).items():
            rows[op].extend(row for row in found if row.device not in later)
        later |= set(counted(frame))
    _known(dict.fromkeys(row.device for found in rows.values() for row in found), devices)
    return {op: _table(op, found, devices) for op, found in rows.items() if found}


def published() -> list[pd.DataFrame]:
    """The published times that are shipped."""
    return [reference.published()]


def read(path: Path) -> pd.DataFrame:
    """Times from a file, of which at least one must count.

    Raises
    ------
    UsageError
        If none does, or it cannot be read.
    """
    frame = reference.read(path)
    if not any(_rows(frame).values()):
        raise UsageError(
            f"{printable(str(path))}: has no time of stage training, precision fp32 and op {', '.join(OPS)}, which are "
            "the ones that are predicted"
        )
    return frame


def counted(frame: pd.DataFrame) -> list[str]:
    """Devices that have a time which counts, in the order in which they come."""
    return list(dict.fromkeys(row.device for found in _rows(frame).values() for row in found))


def _rows(frame: pd.DataFrame) -> dict[str, list[Row]]:
    words = frame.astype({name: "str" for name in frame if name != "time_seconds"})
    chosen = words[(words["stage"] == "training") & (words["precision"] == "fp32")]
    return {
        op: [
            Row(device, pass_, params, float(seconds))
            for device, pass_, params, seconds in zip(
                *(chosen.loc[chosen["op"] == op, name] for name in ("device", "pass", "params", "time_seconds")),
                strict=True,
            )
        ]
        for op in OPS
    }


def _known(names: Mapping[str, None], devices: Mapping[str, Device]) -> None:
    missing = [printable(name) for name in names if name not in devices]
    if missing:
        others = ", and alike for the others" if len(missing) > 1 else ""
        raise UsageError(
            f"no peak and bandwidth of {', '.join(missing)}: add to the file of --devices a table "
            f"{example(missing[0])}{others}"
        )


def _table(op: str, rows: Sequence[Row], devices: Mapping[str, Device]) -> Table:
    shapes: dict[tuple[str, str], Shape] = {}
    times: dict[tuple[tuple[str, str], str], list[float]] = {}
    for row in rows:
        where = f"times of {printable(row.device)}"
        if row.pass_ not in PASSES[op]:
            raise UsageError(
                f"{where}: pass {printable(row.pass_)!r} is none of {op}; expected {', '.join(PASSES[op])}"
            )
        if not 0 < row.seconds < np.inf:
            took = f"{op} {printable(row.params)} takes {1e3 * row.seconds:g} ms"
            raise UsageError(f"{where}: {took}; expected a finite time above 0")
        if row.key not in shapes:
            shapes[row.key] = parse(op, row.pass_, row.params, where)
        times.setdefault((row.key, row.device), []).append(row.seconds)
    columns = tuple(devices[name] for name in sorted({row.device for row in rows}))
    keys = tuple(sorted(shapes))
    excess = np.full((len(keys), len(columns)), np.nan)
    for i, key in enumerate(keys):
        for j, device in enumerate(columns):
            if seconds := times.get((key, device.name)):
                roofline = shapes[key].roofline(device.peak_flops, device.bytes_per_second)
                excess[i, j] = np.log(np.median(seconds) / roofline)
    return Table(op, tuple(rows), keys, tuple(shapes[key] for key in keys), columns, excess)
