"""How a number, a mark or a table stands in a text: the cells that Markdown, terminal and page share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import describe
from layerbench.report.columns import row_tuples
from layerbench.suite_format import flat as on_one_line
from layerbench.suite_format import printable

if TYPE_CHECKING:
    import pandas as pd

    from layerbench.report.tables import Tables

EMULATED = "○"
NOISY = "~"
THROTTLED = "▽"
RANGE = "†"

NOTHING = "–"

ROWS_SHOWN = 100
"""Rows of a table in a text; the CSV files have all."""


_TWO_DIGITS = 9.95
"""Per cent from which two digits are those before the point."""

_LEAST_TOLD = 0.01
"""Per cent, below which no digits are told."""


def flat(text: object) -> str:
    """Text on one line, its control characters escaped: a name from a run must not steer a terminal."""
    return printable(on_one_line(text))


def escape(text: object) -> str:
    """Text as Markdown shows it, on one line: nothing in it is taken for markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", flat(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines of a Markdown table; the columns in ``right`` are aligned to the right."""
    numbers = set(right)
    rule = ["---:" if column in numbers else ":---" for column in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)] + [""]


def of_frame(frame: pd.DataFrame) -> list[str]:
    """A frame as a Markdown table, its first rows where it is long; numbers as they are, to six digits."""
    import pandas as pd

    numbers = [index for index, name in enumerate(frame.columns) if pd.api.types.is_numeric_dtype(frame[name])]

    def cell(value: Any) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return NOTHING
        return f"{value:.6g}" if isinstance(value, float) else escape(value)

    rows = [[cell(value) for value in row] for row in row_tuples(frame.head(ROWS_SHOWN))]
    return table([escape(name) for name in frame.columns], rows, right=numbers)


def number(value: float) -> str:
    """A plain number to three digits."""
    return NOTHING if math.isnan(value) else f"{value:.3g}"


def percent(value: float, decimals: int = 0) -> str:
    """A fraction in per cent, with two digits where it is below 10 %: what is little is not to be told as 1 or none."""
    if math.isnan(value):
        return NOTHING
    hundredths = 100 * value
    if hundredths == 0 or abs(hundredths) >= _TWO_DIGITS:
        return f"{hundredths:.{decimals if hundredths else 0}f} %"
    return f"{hundredths:#.2g} %" if abs(hundredths) >= _LEAST_TOLD else f"< {_LEAST_TOLD} %"


def plus_minus(median: float, low: float, high: float) -> str:
    """Half the interval in per cent; its ends where that would reach below nothing."""
    if math.isnan(high - low) or not median:
        return ""
    if high - low > median:
        return f"({units.seconds(low)} to {units.seconds(high)})"
    return f"± {50 * (high - low) / median:.2g} %"


def step(row: Any) -> str:
    """A type's running time with its interval, or what it lacks."""
    if not row.complete:
        return f"incomplete: no {describe.listed(row.missing.split(), shown=3)}"
    return f"{units.seconds(row.seconds)} {plus_minus(row.seconds, row.ci_low, row.ci_high)}"


def marks(row: Any) -> str:
    """The signs of what a row is: emulated, noisy, throttled, a range instead of an interval."""
    signs = [
        (row.placement == "emulated", EMULATED),
        (row.noisy, NOISY),
        (row.throttled, THROTTLED),
        (row.ci_method == "range", RANGE),
    ]
    return "".join(sign for applies, sign in signs if applies)


def legend(tables: Tables) -> list[str]:
    """What each sign in the tables of one run means, of those that are there."""
    range_ = "the range: there were too few samples for a 95 % interval"
    told = [
        ("", describe.waiting(tables)),
        (EMULATED, describe.emulation(tables)),
        ("", describe.oversubscription(tables)),
        (NOISY, describe.noisy(tables)),
        (THROTTLED, describe.throttled(tables)),
        (RANGE, range_ if (tables.layer_types["ci_method"] == "range").any() else ""),
    ]
    return [f"{sign} {words}".strip() for sign, words in told if words]
