"""How well devices are predicted that the model has not seen: each is left out in turn, then a part of the shapes too.

The error of a prediction is \\|predicted / true - 1\\|, and what is told of many is their median.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from layerbench.kernel_times import model
from layerbench.kernel_times.model import Mask, Predicted
from layerbench.kernel_times.times import Row, Table, Values

FOLDS = 5


@dataclass(frozen=True)
class Told:
    """A predicted time and the ends of its 90 % interval, in seconds."""

    seconds: float
    low: float
    high: float

    def error(self, true: float) -> float:
        """\\|predicted / true - 1\\|."""
        return abs(self.seconds / true - 1)

    def holds(self, true: float) -> bool:
        """Whether the interval has the true time."""
        return self.low <= true <= self.high


@dataclass(frozen=True)
class Checked:
    """A time that was measured, and what would have been predicted.

    Attributes
    ----------
    op, row
        What was measured.
    device_left_out
        From all other devices.
    shape_left_out
        From the other devices, none of whose times at this shape, in any pass, were seen. None where a fold has no
        other shapes.
    plain
        The roofline's time, times the median excess of the other devices at this shape; None where none was given it.
    """

    op: str
    row: Row
    device_left_out: Told
    shape_left_out: Told | None
    plain: float | None


def evaluate(tables: Mapping[str, Table], names: Sequence[str], folds: int = FOLDS, seed: int = 0) -> list[Checked]:
    """Leave out each of some devices in turn.

    Parameters
    ----------
    tables
        By operation, of all devices that may be learnt from.
    names
        Which devices are predicted.
    folds
        In how many parts the shapes are split, at least 2. All passes of a shape are in one part.
    seed
        Of the split.

    Returns
    -------
    list of Checked
        For every time of these devices, but those of an operation that no other device was given.
    """
    found: list[Checked] = []
    # The matrices are small: threads would wait for each other longer than they compute.
    with threadpoolctl.threadpool_limits(1):
        for op, table in tables.items():
            of_fold = _split(table.params, folds, seed)
            told = {name: _left_out(table, name) for name in names}
            shapeless: dict[str, dict[tuple[str, str], Told]] = {name: {} for name in names}
            for fold in range(folds):
                # Devices within folds, so that what depends on the shapes alone is made once.
                for name in names:
                    shapeless[name] |= _left_out(table, name, of_fold == fold)
            for row in table.rows:
                if row.device in told and row.key in told[row.device]:
                    plain = _plain(table, row)
                    shape = shapeless[row.device].get(row.key)
                    found.append(Checked(op, row, told[row.device][row.key], shape, plain))
    return found


def _split(params: Sequence[str], folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each shape."""
    distinct = sorted(set(params))
    order = np.random.default_rng(seed).permutation(len(distinct))
    of_params = dict(zip((distinct[place] for place in order), np.arange(len(distinct)) % folds, strict=True))
    return np.array([of_params[each] for each in params], dtype=np.intp)


def _left_out(table: Table, name: str, shapes: Mask | None = None) -> dict[tuple[str, str], Told]:
    """What is predicted of a device by the others; of some shapes alone if they are given, which are left out too."""
    column = next((i for i, device in enumerate(table.devices) if device.name == name), None)
    if column is None:
        return {}
    wanted = ~np.isnan(table.excess[:, column])
    if shapes is not None:
        wanted &= shapes
    others = np.arange(len(table.devices)) != column
    fitted = model.fit(table, others, None if shapes is None else ~shapes)
    if fitted is None or not wanted.any():
        return {}
    device = table.devices[column]
    keys = [key for key, is_wanted in zip(table.keys, wanted, strict=True) if is_wanted]
    chosen = [shape for shape, is_wanted in zip(table.shapes, wanted, strict=True) if is_wanted]
    predicted: Predicted = fitted.measured_shapes(device, keys, chosen)
    rooflines = np.array([shape.roofline(device.peak_flops, device.bytes_per_second) for shape in chosen])
    times = np.array(predicted.seconds(rooflines)).T
    return {key: Told(*map(float, three)) for key, three in zip(keys, times, strict=True)}


def _plain(table: Table, row: Row) -> float | None:
    column = next(i for i, device in enumerate(table.devices) if device.name == row.device)
    place = table.keys.index(row.key)
    others = np.delete(table.excess[place], column)
    others = others[~np.isnan(others)]
    if not len(others):
        return None
    device = table.devices[column]
    roofline = table.shapes[place].roofline(device.peak_flops, device.bytes_per_second)
    return float(roofline * np.exp(np.median(others)))


@dataclass(frozen=True)
class Summary:
    """Of some checked times: medians of errors, and shares of times within their intervals; NaN where there are none.

    Attributes
    ----------
    times
        How many.
    device_left_out, shape_left_out, plain
        Median errors.
    held, held_shape
        Shares of times within the 90 % interval, with the device left out, and with the shape left out too.
    """

    times: int
    device_left_out: float
    shape_left_out: float
    plain: float
    held: float
    held_shape: float


def summary(checked: Iterable[Checked]) -> Summary:
    """Of all of them together."""
    rows = list(checked)
    shapes = [(each.shape_left_out, each.row.seconds) for each in rows if each.shape_left_out is not None]
    return Summary(
        times=len(rows),
        device_left_out=_median([each.device_left_out.error(each.row.seconds) for each in rows]),
        shape_left_out=_median([told.error(true) for told, true in shapes]),
        plain=_median([abs(each.plain / each.row.seconds - 1) for each in rows if each.plain is not None]),
        held=_mean([each.device_left_out.holds(each.row.seconds) for each in rows]),
        held_shape=_mean([told.holds(true) for told, true in shapes]),
    )


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def nearest(table: Table, name: str) -> tuple[str, float] | None:
    """The device most like another in peak and bandwidth, and the distance of the two in natural logarithms."""
    places: Values = table.places
    own = next((i for i, device in enumerate(table.devices) if device.name == name), None)
    if own is None or len(places) < 2:
        return None
    distances = np.linalg.norm(places - places[own], axis=1)
    distances[own] = np.inf
    least = int(np.argmin(distances))
    return table.devices[least].name, float(distances[least])
