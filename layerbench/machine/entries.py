"""The entries of one table of a profile, each checked as it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from layerbench.errors import UsageError
from layerbench.machine.figures import Figure, exact
from layerbench.suite_format import did_you_mean, flat, is_shown, shown

Name = TypeVar("Name", bound=str)

LARGEST = 2**63 - 1
"""Of whole numbers: what TOML promises to hold."""

SMALLEST, GREATEST = 1e-30, 1e30
"""Of figures: what is further out is a mistake, and would overflow what is computed of it."""


class Range(NamedTuple):
    """Between what a figure of a machine lies, and its unit in words."""

    least: float
    most: float
    unit: str


_FIGURE = ("value", "low", "high", "source")


@dataclass(frozen=True)
class Entries:
    """A table of a TOML file.

    Attributes
    ----------
    values
        Its entries.
    where
        The file, and the table in it, for messages.
    what
        What the table is, in words.
    known
        The entries it may have.

    Raises
    ------
    UsageError
        If it has another entry; every method that reads an entry raises it too, if that entry has a mistake.
    """

    values: dict[str, Any]
    where: str
    what: str
    known: Sequence[str]

    def __post_init__(self) -> None:
        for name in self.values:
            if name not in self.known:
                hint = did_you_mean(name, self.known)
                raise UsageError(
                    f"{self.where}: unknown entry {shown(name)}{hint}; {self.what} has {', '.join(self.known)}"
                )

    def text(self, name: str, default: str = "") -> str:
        """Text on one line."""
        value = self.values.get(name, default)
        if not isinstance(value, str) or not all(map(is_shown, flat(value))):
            raise UsageError(f"{self.where}: {name}: expected text without control characters, not {shown(value)}")
        return flat(value)

    def one_of(self, name: str, names: Sequence[Name]) -> Name:
        """One of some words."""
        value = self._present(name)
        for each in names:
            if value == each:
                return each
        hint = did_you_mean(value, names)
        raise UsageError(f"{self.where}: {name}: expected one of {', '.join(names)}, not {shown(value)}{hint}")

    def whole(self, name: str, least: int = 1) -> int:
        """A whole number."""
        value = self._present(name)
        if type(value) is not int or not least <= value <= LARGEST:
            raise UsageError(f"{self.where}: {name}: expected a whole number of at least {least}, not {shown(value)}")
        return value

    def number(self, name: str, least: float | None = None) -> float:
        """A finite number that is greater than 0, or at least ``least``."""
        return self._number(self._present(name), name, least)

    def figure(self, name: str, range_: Range | None = None) -> Figure:
        """A number, or a table of a number, its interval and its source."""
        value = self._present(name)
        if isinstance(value, dict):
            entries = Entries(value, f"{self.where}: {name}", "a figure", _FIGURE)
            found = entries.measured("value", entries.text("source"))
        else:
            found = exact(self._number(value, name))
        if range_ is not None and not range_.least <= found.value <= range_.most:
            raise UsageError(
                f"{self.where}: {name}: expected {range_.unit}, from {range_.least:g} to {range_.most:g}, not "
                f"{shown(found.value)}"
            )
        return found

    def measured(self, name: str, source: str = "") -> Figure:
        """A number whose interval is in ``low`` and ``high`` beside it; without them it has none."""
        value = self.number(name)
        if not {"low", "high"} & self.values.keys():
            return exact(value, source)
        low, high = self.number("low"), self.number("high")
        if not low <= value <= high:
            raise UsageError(
                f"{self.where}: low, {name} and high must ascend, and are {shown(low)}, {shown(value)} and "
                f"{shown(high)}"
            )
        return Figure(value=value, low=low, high=high, source=source)

    def table(self, name: str, known: Sequence[str]) -> Entries | None:
        """A table; None if it is not there."""
        if name not in self.values:
            return None
        value = self.values[name]
        if not isinstance(value, dict):
            raise UsageError(f"{self.where}: {name}: expected a table [{name}], not {shown(value)}")
        return Entries(value, f"{self.where}: {name}", name, known)

    def tables(self, name: str, known: Sequence[str]) -> list[Entries]:
        """Tables of one kind; none if the entry is not there."""
        values = self.values.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise UsageError(f"{self.where}: {name}: expected tables [[{name}]], not {shown(values)}")
        return [Entries(value, f"{self.where}: {name} {i}", name, known) for i, value in enumerate(values, 1)]

    def _present(self, name: str) -> Any:
        if name not in self.values:
            raise UsageError(f"{self.where}: {name}: is missing")
        return self.values[name]

    def _number(self, value: object, name: str, least: float | None = None) -> float:
        number = _as_float(value)
        enough = number > 0 if least is None else number >= least
        if not enough or not math.isfinite(number):
            bound = "greater than 0" if least is None else f"of at least {least:g}"
            raise UsageError(f"{self.where}: {name}: expected a finite number {bound}, not {shown(value)}")
        # What may be 0 may be next to nothing as well.
        if number > GREATEST or (least is None and number < SMALLEST):
            raise UsageError(
                f"{self.where}: {name}: expected a number from {SMALLEST if least is None else least:g} to "
                f"{GREATEST:g}, not {shown(value)}"
            )
        return number


def _as_float(value: object) -> float:
    """A number as a float; NaN of anything else, and of integers that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
