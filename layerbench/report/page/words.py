"""How a point, a cell or a run is told on the page: the same words under the pointer as in the tables."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from layerbench import units
from layerbench.report import cells, describe
from layerbench.report.layer_types import kind_order
from layerbench.report.tables import Tables
from layerbench.suite_format import printable

UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
"""Seconds of each unit that a duration may be told in."""

WIDEST, MOST_LINES = 52, 3
"""Characters of a line under the pointer, which must fit a small screen, and lines of one text."""


def number(value: float) -> str:
    """A plain number to three digits, and never an exponent for what is large."""
    return cells.NOTHING if math.isnan(value) else f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def unit(seconds: float) -> str:
    """The unit in which a duration is told."""
    return units.seconds(seconds).rpartition(" ")[2] if math.isfinite(seconds) else "s"


def between(low: float, high: float, scale: float = 1.0) -> str:
    """Both ends of an interval with three significant digits, more where these do not tell them apart.

    Empty where there is no interval, and where it is that of a value that is nothing.
    """
    if math.isnan(low + high) or low == high == 0:
        return ""
    ends = ("", "")
    for digits in (3, 4, 5, 6):
        ends = _significant(low / scale, digits), _significant(high / scale, digits)
        if ends[0] != ends[1]:
            break
    return f"{ends[0]} to {ends[1]}"


def _significant(value: float, digits: int) -> str:
    """So many digits, zeros with them, and never an exponent for what is large."""
    if value == 0 or abs(value) >= 10**digits - 0.5:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".removesuffix(".")


def interval(median: float, low: float, high: float) -> str:
    """The ends of a time's interval in the unit of its median: ``2.49 to 2.53``."""
    return between(low, high, UNITS[unit(median)])


def certain(value: str, ends: str, method: str) -> str:
    """A value with its interval: ``2.51 s, 95 % 2.49 to 2.53``."""
    return f"{value}, {'range' if method == 'range' else '95 %'} {ends}" if ends else value


def timing(median: float, low: float, high: float, method: str) -> str:
    """A time with its interval: ``2.51 s, 95 % 2.49 to 2.53``."""
    return certain(units.seconds(median), interval(median, low, high), method)


def states(row: Any) -> list[str]:
    """What is to be known of a row that was timed: ``measured`` or ``emulated``, ``noisy``, ``throttled``."""
    told = [str(row.placement)] if row.placement else []
    return told + [mark for mark in ("noisy", "throttled") if getattr(row, mark)]


def lacking(missing: str) -> str:
    """Why a type has no time at a count."""
    return f"incomplete: no {describe.listed(missing.split(), shown=3)}" if missing else "incomplete at the base"


def escaped(text: object) -> str:
    """Text as a chart shows it, on one line: a chart takes a few tags and entities for markup."""
    return cells.flat(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def visible(value: Any) -> Any:
    """Text from a run with its control characters escaped, lines kept; what the page itself is made of as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(printable, value.split("\n")))


def lines(head: object, *rest: str) -> str:
    """What stands under the pointer: a line in bold, and further ones; long ones are broken."""
    broken = ["<br>".join(_broken(line)) for line in rest if line]
    return "<br>".join([f"<b>{'<br>'.join(_broken(str(head)))}</b>", *broken])


def _broken(line: str) -> list[str]:
    if len(line) <= WIDEST:
        return [escaped(line)]
    parts = textwrap.wrap(line, WIDEST, max_lines=MOST_LINES, placeholder=" …")
    return [escaped(part) for part in parts]


def shortened(name: object, most: int = 22) -> str:
    """A long name without its middle, as an axis shows it."""
    text = cells.flat(name)
    return escaped(text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}")


def letters(tables: Tables) -> dict[str, str]:
    """A letter for each of several runs, by label; empty ones of a single run."""
    if len(tables.runs) == 1:
        return dict.fromkeys(tables.runs, "")
    return {label: letter(index) for index, label in enumerate(tables.runs)}


def letter(index: int) -> str:
    """``A``, ``B``, ..., ``Z``, ``AA``, ``AB``, ..."""
    before = letter(index // 26 - 1) if index >= 26 else ""
    return before + chr(ord("A") + index % 26)


def of_run(letter: str) -> str:
    """``, run A`` where there are several."""
    return f", run {letter}" if letter else ""


def kinds(tables: Tables) -> list[str]:
    """Layer types of all runs, in the order of every table."""
    return sorted(map(str, tables.layer_types["kind"].unique()), key=kind_order)


def type_label(tables: Tables, kind: str) -> str:
    """A type with how many layers it has, where all runs have as many: ``conv (5 layers)``."""
    types = tables.layer_types
    numbers = types.loc[types["kind"] == kind, "layers"].unique()
    return kind if len(numbers) != 1 or numbers[0] <= 1 else f"{kind} ({int(numbers[0]):,} layers)"


def pass_label(part: object) -> str:
    """A part's name as words."""
    return str(part).replace("_", " ")
