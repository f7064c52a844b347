"""Formatting of seconds, bytes, counts and rates; inside the code all of them are plain SI numbers."""

from __future__ import annotations

import math
import re

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES |= {f"{prefix}i": 2 ** (10 * power) for power, prefix in enumerate("kmgt", 1)}

_DECIMAL = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _digits(value: float) -> str:
    """Three significant digits, and never an exponent for what rounds to a thousand or more."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def seconds(value: float) -> str:
    """A duration with three significant digits: ``1.23 ms``."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0 s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def clock(value: float) -> str:
    """A duration as a person waits for it: ``1:02`` or ``2:03:04``."""
    whole = max(0, round(value))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def count(value: float) -> str:
    """A count with a decimal prefix: ``13.5 G``."""
    for scale, prefix in _DECIMAL:
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {prefix}"
    return _digits(value)


def size(value: float) -> str:
    """A size in memory with a decimal prefix, as bandwidths have it: ``1.61 GB``."""
    return rate(value, "B") if abs(value) >= 999.5 else f"{value:.0f} B"


def bytes_of(text: str) -> int:
    """Bytes of a size as people write it: ``4GiB``, ``25 MB``, ``1000``; ``k`` is 1000 and ``Ki`` 1024, in any case.

    Raises
    ------
    ValueError
        If it is none, or no whole number of bytes.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    if found is None or found[2].lower() not in _SIZES:
        raise ValueError(f"expected bytes, such as 25MB, 4GiB or 1000, not {text!r}")
    value = float(found[1]) * _SIZES[found[2].lower()] if "." in found[1] else int(found[1]) * _SIZES[found[2].lower()]
    if value != int(value):
        raise ValueError(f"expected a whole number of bytes, not {text!r}")
    return int(value)


def rate(value: float, unit: str) -> str:
    """A rate with a decimal prefix: ``rate(1.2e11, "FLOP/s")`` is ``120 GFLOP/s``."""
    for scale, prefix in _DECIMAL:
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {prefix}{unit}"
    return f"{_digits(value)} {unit}"
