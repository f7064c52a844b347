"""Clocks, temperature, power, throttle reasons and energy of a GPU, as NVML tells them; nothing is ever set.

NVML, NVIDIA's management library, comes with the driver, its Python bindings with nvidia-ml-py. What a GPU does not
tell, or not any more because it is lost, is None: no question here raises.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from layerbench.conditions import Conditions

REASONS = {
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""What can hold the core clock back, by its bit in NVML's mask (``nvmlClocksEventReason...`` in nvml.h)."""

GPU_IDLE = 0x001
"""The bit of a GPU that has nothing to do: its clock is low, and nothing holds it back."""

NOT_TOLD = {2**32 - 1, 2**64 - 1}
"""What NVML writes, -1 without a sign, in place of some figures that it has not."""

MEND = "pip install nvidia-ml-py"


class Reading(NamedTuple):
    """What NVML tells at one moment, in its own units; None where it does not."""

    core_clock: int | None
    """MHz."""

    memory_clock: int | None
    """MHz."""

    temperature: int | None
    """°C."""

    power: int | None
    """mW, of the whole board, averaged by the driver over up to a second."""

    reasons: int | None
    """The mask whose bits :data:`REASONS` names."""

    usual_core_clock: int | None
    """MHz."""


def throttle_reasons(mask: int | None) -> list[str]:
    """The names of what holds the core clock back, lowest bit first; a bit without a name is told by its value."""
    if mask is None:
        return []
    bits = [1 << place for place in range(mask.bit_length()) if mask & (1 << place)]
    return [REASONS.get(bit, f"reason_{bit:#x}") for bit in bits if bit != GPU_IDLE]


def parsed(reading: Reading) -> Conditions:
    """Conditions in SI units of a reading in NVML's."""
    return Conditions(
        core_clock=_scaled(reading.core_clock, 1e6),
        memory_clock=_scaled(reading.memory_clock, 1e6),
        temperature=_scaled(reading.temperature, 1.0),
        power=_scaled(reading.power, 1e-3),
        throttle_reasons=throttle_reasons(reading.reasons),
        usual_core_clock=_scaled(reading.usual_core_clock, 1e6),
    )


def _scaled(value: int | None, scale: float) -> float | None:
    return None if value is None else value * scale


class Monitor:
    """What one GPU tells about itself.

    Parameters
    ----------
    library
        The module ``pynvml``, initialised.
    handle
        The GPU in NVML's words; of a MIG device the GPU that it is a part of, which alone has clocks.
    partitioned
        Whether the GPU is divided into MIG devices: the energy it counts is then that of all of them.
    """

    def __init__(self, library: Any, handle: Any, *, partitioned: bool) -> None:
        self._library = library
        self._handle = handle
        self.partitioned = partitioned

    def conditions(self) -> Conditions:
        """Clocks, temperature, power and throttle reasons of this moment."""
        nvml = self._library
        return parsed(
            Reading(
                core_clock=_clock(self._asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)),
                memory_clock=_clock(self._asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)),
                temperature=self._temperature(),
                power=self._asked("nvmlDeviceGetPowerUsage"),
                # CUDA 14 removes the older name; drivers before 535 have no other.
                reasons=self._first(
                    "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
                ),
                usual_core_clock=self._default_core_clock,
            )
        )

    def energy(self) -> float | None:
        """Joules the GPU has used since its driver was loaded.

        None where it does not count them, and of MIG devices, which have no counter of their own.
        """
        if self.partitioned:
            return None
        return _scaled(self._asked("nvmlDeviceGetTotalEnergyConsumption"), 1e-3)

    def default_core_clock(self) -> float | None:
        """The core clock in Hz that the GPU has by default under load; the highest it can have where it has no default.

        CUDA 14 removes default application clocks: what they were is then not told any more.
        """
        return _scaled(self._default_core_clock, 1e6)

    @functools.cached_property
    def _default_core_clock(self) -> int | None:
        core = self._library.NVML_CLOCK_SM
        graphics = self._library.NVML_CLOCK_GRAPHICS
        return (
            _clock(self._asked("nvmlDeviceGetDefaultApplicationsClock", core))
            or _clock(self._asked("nvmlDeviceGetDefaultApplicationsClock", graphics))
            or _clock(self._asked("nvmlDeviceGetMaxClockInfo", core))
        )

    def _temperature(self) -> int | None:
        sensor = self._library.NVML_TEMPERATURE_GPU
        newer = self._asked("nvmlDeviceGetTemperatureV", sensor)
        return self._asked("nvmlDeviceGetTemperature", sensor) if newer is None else newer

    def _first(self, *functions: str) -> int | None:
        answers = (self._asked(function) for function in functions)
        return next((answer for answer in answers if answer is not None), None)

    def _asked(self, function: str, *arguments: Any) -> int | None:
        answer = asked(self._library, function, self._handle, *arguments)
        return answer if isinstance(answer, int) and answer not in NOT_TOLD else None


def _clock(megahertz: int | None) -> int | None:
    """A clock; None in place of the 0 that some virtual GPUs give."""
    return megahertz or None


def asked(library: Any, function: str, *arguments: Any) -> Any:
    """What a function of NVML answers; None where it is missing, or refuses."""
    try:
        return getattr(library, function)(*arguments)
    except Exception:  # a figure that cannot be had is no reason to lose a measurement
        return None


@functools.cache
def loaded() -> tuple[Any, str]:
    """The module ``pynvml``, initialised, or None and why it cannot be had, in words."""
    try:
        import pynvml
    except ImportError:
        return None, f"nvidia-ml-py is not installed: clocks, power and energy cannot be told ({MEND})"
    try:
        pynvml.nvmlInit()
    except Exception as error:
        return None, f"NVML cannot be used: {_one_line(error)}; it comes with NVIDIA's driver"
    return pynvml, ""


def monitor(device: str) -> Monitor | None:
    """The monitor of a GPU; None where there can be none, and :func:`why` says the reason.

    Parameters
    ----------
    device
        Its UUID (``GPU-...``; a MIG device's begins with ``MIG-``) or its PCI bus id (``0000:3b:00.0``).
    """
    return _looked_for(device)[0]


def why(device: str) -> str:
    """Why a GPU has no monitor; empty where it has one."""
    return _looked_for(device)[1]


@functools.cache
def _looked_for(device: str) -> tuple[Monitor | None, str]:
    library, reason = loaded()
    if library is None:
        return None, reason
    for function, name in _lookups(device):
        try:
            handle = getattr(library, function)(name)
        except Exception as error:
            reason = reason or f"NVML knows no GPU {device}: {_one_line(error)}"
            continue
        if name.startswith("MIG-"):
            whole = asked(library, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
            return Monitor(library, handle if whole is None else whole, partitioned=True), ""
        mode = asked(library, "nvmlDeviceGetMigMode", handle)
        return Monitor(library, handle, partitioned=bool(mode and mode[0])), ""
    return None, reason


def _lookups(device: str) -> list[tuple[str, str]]:
    """By which functions, and under which names, a GPU may be found.

    CUDA gives 16 bytes without saying of what: to others they may be those of a MIG device.
    """
    if not device.startswith(("GPU-", "MIG-")):
        return [("nvmlDeviceGetHandleByPciBusId", device)]
    other = "MIG-" if device.startswith("GPU-") else "GPU-"
    return [("nvmlDeviceGetHandleByUUID", name) for name in (device, other + device[4:])]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
