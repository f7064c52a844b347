"""Under which conditions a device runs: clocks, temperature, power, and what holds its clocks back."""

from __future__ import annotations

import msgspec


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What a device told about itself at one moment; None where it does not tell.

    Attributes
    ----------
    core_clock
        Clock of the processors that compute, now, in Hz.
    memory_clock
        Clock of the memory, now, in Hz.
    temperature
        Temperature of the chip, in °C.
    power
        What the whole board draws, in W.
    throttle_reasons
        What holds the core clock back now, by name: ``sw_power_cap``, ``hw_thermal_slowdown``. Empty where nothing
        does, and where the device does not tell.
    usual_core_clock
        The core clock that the device has by default under load, in Hz: what ``core_clock`` is held against.
    """

    core_clock: float | None
    memory_clock: float | None
    temperature: float | None
    power: float | None
    throttle_reasons: list[str] = []
    usual_core_clock: float | None
