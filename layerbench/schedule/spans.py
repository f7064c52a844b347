"""Durations as people speak of a plan: in seconds, minutes, hours or days, one unit for all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True)
class Unit:
    """A unit of time, and how many decimals tell moments of a span apart."""

    name: str
    seconds: float
    decimals: int

    def value(self, seconds: float) -> float:
        """So many of this unit."""
        return seconds / self.seconds

    def told(self, seconds: float) -> str:
        """A duration with three significant digits: ``3.2 h``."""
        return f"{significant(self.value(seconds))} {self.name}"

    def fixed(self, seconds: float) -> str:
        """A moment without its unit, with as many decimals as any other of its span: ``0.250``."""
        return f"{self.value(seconds):,.{self.decimals}f}"


_UNITS = (("µs", 1e-6, 1e-3), ("ms", 1e-3, 1.0), ("s", 1.0, 180.0), ("min", 60.0, 3 * HOUR), ("h", HOUR, 96 * HOUR))
"""Name, seconds, and up to which span it reads well."""


def unit_of(span: float) -> Unit:
    """The unit in which moments of a span, in seconds, read well; with four significant digits of the span."""
    name, seconds = next(((name, seconds) for name, seconds, most in _UNITS if span < most), ("d", 24 * HOUR))
    whole = max(1, math.floor(math.log10(span / seconds)) + 1) if span > 0 else 1
    return Unit(name, seconds, max(0, 4 - whole))


def significant(value: float) -> str:
    """A number with three significant digits, and never an exponent for what is large."""
    return f"{value:#.3g}".removesuffix(".") if abs(value) < 999.5 else f"{value:,.0f}"
