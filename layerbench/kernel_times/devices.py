"""Devices as their data sheets have them: a peak and a bandwidth.

A file of devices is TOML with a table for each::

    [V100]
    peak_flops = 15.7e12          # FLOP/s in single precision
    bytes_per_second = 900e9      # of its memory
    source = "data sheet"         # optional
"""

from __future__ import annotations

import math
import sys
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from layerbench.errors import UsageError
from layerbench.suite_format import did_you_mean, printable, shown

MAX_FILE_BYTES = 2**20

_FIGURES = {"peak_flops": (1e9, "FLOP/s, such as 15.7e12"), "bytes_per_second": (1e8, "bytes a second, such as 900e9")}
"""The least that is believed, and the unit: whoever writes 15.7 means TFLOP/s, and is told."""

_ENTRIES = (*_FIGURES, "source")


@dataclass(frozen=True)
class Device:
    """A device's peak in single precision in FLOP/s, and its memory's bandwidth in bytes a second."""

    name: str
    peak_flops: float
    bytes_per_second: float
    source: str = ""

    @property
    def place(self) -> tuple[float, float]:
        """Natural logarithms of peak and bandwidth: what devices are compared by."""
        return math.log(self.peak_flops), math.log(self.bytes_per_second)


def shipped() -> dict[str, Device]:
    """The devices of the published times, by name."""
    content = resources.files("layerbench.kernel_times").joinpath("devices.toml").read_bytes()
    return parse(content, "devices.toml")


def read(path: Path) -> dict[str, Device]:
    """Devices from a file, by name.

    Raises
    ------
    UsageError
        If it cannot be read, or has a mistake.
    """
    where = printable(f"--devices {path}")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise UsageError(f"{where} cannot be read: {problem}") from error
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{where}: is larger than {MAX_FILE_BYTES} bytes; expected devices in TOML")
    return parse(content, where)


def parse(content: bytes, where: str) -> dict[str, Device]:
    """Devices from a file's content; ``where`` names it in messages.

    Raises
    ------
    UsageError
        If it has a mistake.
    """
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8, and integers of thousands of digits
        raise UsageError(f"{where}: not TOML: {printable(str(error))}") from error
    if not document:
        raise UsageError(f"{where}: has no devices; expected a table for each, such as {example('V100')}")
    return {name: _device(name, table, f"{where}: [{printable(name)}]") for name, table in document.items()}


def _device(name: str, table: Any, where: str) -> Device:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table, not {printable(shown(table))}; write {example(printable(name))}")
    for entry in table:
        if entry not in _ENTRIES:
            hint = did_you_mean(entry, _ENTRIES)
            raise UsageError(f"{where}: unknown entry {shown(entry)}{hint}; a device has {', '.join(_ENTRIES)}")
    source = table.get("source", "")
    if not isinstance(source, str):
        raise UsageError(f"{where}: source: expected text, not {shown(source)}")
    peak, bandwidth = (_figure(table, entry, where) for entry in _FIGURES)
    return Device(name, peak, bandwidth, source)


def _figure(table: dict[str, Any], entry: str, where: str) -> float:
    least, unit = _FIGURES[entry]
    if entry not in table:
        raise UsageError(f"{where}: {entry} is missing; expected {unit}")
    value = table[entry]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= sys.float_info.max:
        raise UsageError(
            f"{where}: {entry} must be a finite number of at least {least:g} in {unit}, not {printable(shown(value))}"
        )
    return float(value)


def example(name: str) -> str:
    """What a file needs for a device, on one line: a table for its name in quotes, as any name may be written."""
    return f'["{name}"] with peak_flops = 15.7e12 and bytes_per_second = 900e9'
