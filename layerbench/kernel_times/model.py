"""Kernel times of a device by its peak and bandwidth: what devices that were measured say of it, at any shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from layerbench.kernel_times import regression, transfer
from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.shapes import Shape
from layerbench.kernel_times.times import Table, Values

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Predicted:
    """Excess at some shapes, and half the width of its 90 % interval."""

    excess: Values
    half: Values

    def seconds(self, rooflines: Values) -> tuple[Values, Values, Values]:
        """Times and the ends of their 90 % intervals, in seconds."""
        middle, width = rooflines * np.exp(self.excess), np.exp(self.half)
        return middle, middle / width, middle * width


@dataclass(frozen=True)
class Model:
    """Fitted to measured devices.

    Attributes
    ----------
    shapes
        What at least one of them was given.
    known
        Their places in ``shapes``, by pass and params.
    carried
        From device to device.
    """

    shapes: tuple[Shape, ...]
    known: dict[tuple[str, str], int]
    carried: transfer.Transfer
    _of_place: dict[bytes, tuple[Values, float, regression.Fitted]] = field(default_factory=dict, repr=False)

    def measured_shapes(self, device: Device, keys: Sequence[tuple[str, str]], shapes: Sequence[Shape]) -> Predicted:
        """At shapes that were measured on other devices; one that was not is predicted as by :meth:`any_shapes`."""
        excess, spread, _ = self._at(device)
        found = self.any_shapes(device, shapes)
        places = np.array([self.known.get(key, -1) for key in keys], dtype=np.intp)
        there = places >= 0
        return Predicted(np.where(there, excess[places], found.excess), np.where(there, spread, found.half))

    def any_shapes(self, device: Device, shapes: Sequence[Shape]) -> Predicted:
        """At any shapes, by their features alone."""
        _, spread, fitted = self._at(device)
        mean, deviation = fitted.at(shapes)
        # What is not known of the device and what is not known of the shape have nothing to do with one another.
        return Predicted(mean, np.hypot(spread, transfer.NORMAL_QUANTILE * deviation))

    def _at(self, device: Device) -> tuple[Values, float, regression.Fitted]:
        place = np.array(device.place)
        key = place.tobytes()
        if key not in self._of_place:
            excess = self.carried.at(place)
            self._of_place[key] = excess, self.carried.spread(place), regression.fit(self.shapes, excess)
        return self._of_place[key]


def fit(table: Table, devices: Mask | None = None, shapes: Mask | None = None) -> Model | None:
    """Fit to some of a table's devices, and some of its shapes.

    Parameters
    ----------
    devices, shapes
        True for those that are used; by default all are.

    Returns
    -------
    Model or None
        None where none of these devices was given any of these shapes.
    """
    used_devices = np.ones(len(table.devices), dtype=np.bool_) if devices is None else devices
    excess = table.excess[:, used_devices]
    given = ~np.isnan(excess).all(axis=1)
    if shapes is not None:
        given &= shapes
    if not given.any():
        return None
    used = np.flatnonzero(given)
    return Model(
        tuple(table.shapes[index] for index in used),
        {table.keys[index]: place for place, index in enumerate(used)},
        transfer.fit(excess[given], table.places[used_devices]),
    )
