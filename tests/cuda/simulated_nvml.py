"""A stand-in for ``pynvml``, with raw figures as NVML gives them, whose functions refuse at will."""

from __future__ import annotations

from typing import Any

GPU = "GPU-3b5a2c1e-8f0d-4b7a-9c6e-1d2f3a4b5c6d"
MIG = "MIG-6d5c4b3a-2f1d-6e9c-7a4b-0d8f1e2c5a3b"
BUS = "00000000:3B:00.0"


class NVMLError(Exception):
    """As NVML's errors: their text is all that is used of them."""


class MemoryInfo:
    total = 85_520_809_984


class SimulatedNVML:
    """The functions and constants of ``pynvml`` that layerbench may use; every call is recorded.

    Parameters
    ----------
    refused
        Functions that raise "Not Supported"; of one that takes a clock, as ``name(1)``, that clock only.
    absent
        Functions that these bindings do not have.
    partitioned
        Whether the GPU is in MIG mode.
    """

    NVML_CLOCK_GRAPHICS = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *, refused: set[str] = frozenset(), absent: set[str] = frozenset(), partitioned: bool = False):
        self.refused = set(refused)
        self.absent = absent
        self.lost = False
        self.calls: list[str] = []
        clocks = {0: 1755, 1: 1755, 2: 2619}
        self._answers: dict[str, Any] = {
            "nvmlInit": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: "580.65.06",
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: "the GPU",
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetHandleByPciBusId": self._by_bus,
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": self._whole,
            "nvmlDeviceGetMigMode": lambda handle: [int(partitioned)] * 2,
            "nvmlDeviceGetName": lambda handle: "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetMemoryInfo": lambda handle: MemoryInfo,
            "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
            "nvmlDeviceGetClockInfo": lambda handle, clock: clocks[clock],
            "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {0: 1980, 1: 1980, 2: 2619}[clock],
            "nvmlDeviceGetDefaultApplicationsClock": lambda handle, clock: {0: 1695, 1: 1695, 2: 2619}[clock],
            "nvmlDeviceGetTemperature": lambda handle, sensor: 41,
            "nvmlDeviceGetTemperatureV": lambda handle, sensor: 42,
            "nvmlDeviceGetPowerUsage": lambda handle: 312_456,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x24,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x08,
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 9_876_543_210,
        }

    def answer(self, function: str, value: Any) -> None:
        """Let a function answer this from now on."""
        self._answers[function] = lambda *arguments: value

    def __getattr__(self, name: str) -> Any:
        if name not in self._answers or name in self.absent:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if self.lost:
                raise NVMLError("GPU is lost")
            if name in self.refused or f"{name}({arguments[-1] if arguments else ''})" in self.refused:
                raise NVMLError("Not Supported")
            # Every question about a device but how it belongs to MIG goes to the whole GPU.
            if arguments and arguments[0] == "a part of it" and "Mig" not in name:
                raise NVMLError("Invalid Argument")
            return self._answers[name](*arguments)

        return call

    def _by_uuid(self, uuid: str) -> str:
        if uuid not in (GPU, MIG):
            raise NVMLError("Not Found")
        return "the GPU" if uuid == GPU else "a part of it"

    def _by_bus(self, bus: str) -> str:
        if bus != BUS:
            raise NVMLError("Not Found")
        return "the GPU"

    def _whole(self, handle: str) -> str:
        if handle != "a part of it":
            raise NVMLError("Invalid Argument")
        return "the GPU"
