"""Log axes with plain numbers on them: ``1, 2, 4, 8`` and ``0.5, 1, 2``, not powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any


def node_axis(axes: Any, nodes: Iterable[int], least: float = 0.045) -> None:
    """Set the x axis to node counts, each with its number where there is room; for ``least`` see :func:`apart`."""
    counts = sorted(int(n) for n in set(nodes))
    axes.set_xscale("log", base=2)
    room = (counts[-1] / counts[0]) ** 0.06 if len(counts) > 1 else 2.0
    axes.set_xlim(counts[0] / room, counts[-1] * room)
    shown = apart(counts, least)
    axes.set_xticks(shown, [str(n) for n in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("nodes")


def apart(counts: Sequence[int], least: float = 0.045) -> list[int]:
    """Those of the counts whose labels do not touch on a log axis, from the largest down; the smallest always.

    ``least`` is what a label needs of the width of the axis.
    """
    span = math.log(counts[-1] / counts[0]) or 1.0
    kept = [counts[-1]]
    for count in reversed(counts[1:-1]):
        if math.log(kept[-1] / count) >= least * span and math.log(count / counts[0]) >= least * span:
            kept.append(count)
    return sorted({counts[0], *kept})


def log_axis(axis: Any, span: tuple[float, float], base: int = 10, pad: float = 1.5, most: int = 9) -> None:
    """Set an axis to a span and a bit beyond, with plain numbers at round places, ``most`` at most."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = span[0] / pad, span[1] * pad
    if base == 10:
        axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    else:
        axis.axes.set_yscale("log", base=base)
    (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)
    axis.set_major_locator(FixedLocator(round_values(low, high, base, most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def round_values(low: float, high: float, base: int = 10, most: int = 9) -> list[float]:
    """Round numbers from ``low`` to ``high``: powers of the base, with steps between where these are too few."""
    enough = 4 if most > 5 else 3
    first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
    inside: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)) if base == 10 else ((1,), (1, 1.5)):
        values = [digit * float(base) ** power for power in range(first, last + 1) for digit in digits]
        inside = [value for value in values if low <= value <= high]
        if len(inside) >= enough:
            break
    return inside[:: -(-len(inside) // most) or 1]
