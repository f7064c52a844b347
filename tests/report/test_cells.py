from __future__ import annotations

import math

import pandas as pd
import pytest

from layerbench.report import cells


def test_an_interval_wider_than_its_median_is_given_by_its_ends() -> None:
    assert cells.plus_minus(1e-3, 0.99e-3, 1.01e-3) == "± 1 %"
    assert cells.plus_minus(1.16e-3, 0.9e-3, 5e-3) == "(900 µs to 5 ms)"
    assert cells.plus_minus(1e-3, math.nan, math.nan) == ""


def test_markup_is_escaped_and_lines_are_joined() -> None:
    assert cells.escape("two\nlines") == "two lines"
    assert cells.escape("a|b*c_d`<e>") == r"a\|b\*c\_d\`\<e\>"


def test_a_frame_as_a_table() -> None:
    frame = pd.DataFrame({"name": ["a|b", None], "seconds": [1.23456789e-3, math.nan], "n": [1000, 2]})
    assert cells.of_frame(frame) == [
        "| name | seconds | n |",
        "| :--- | ---: | ---: |",
        r"| a\|b | 0.00123457 | 1000 |",
        f"| {cells.NOTHING} | {cells.NOTHING} | 2 |",
        "",
    ]


def test_a_long_frame_ends_after_its_first_rows() -> None:
    lines = cells.of_frame(pd.DataFrame({"n": range(500)}))
    assert len(lines) == 2 + cells.ROWS_SHOWN + 1


@pytest.mark.parametrize(
    ("fraction", "told"),
    [
        (0.0, "0 %"),
        (1e-7, "< 0.01 %"),
        (0.0053, "0.53 %"),
        (0.03, "3.0 %"),
        (0.0994, "9.9 %"),
        (0.0997, "10 %"),
        (0.104, "10 %"),
        (1.01, "101 %"),
        (-0.0234, "-2.3 %"),
        (math.nan, cells.NOTHING),
    ],
)
def test_per_cent_below_ten_have_two_digits(fraction: float, told: str) -> None:
    assert cells.percent(fraction) == told


def test_decimals_are_of_what_is_larger() -> None:
    assert [cells.percent(value, 1) for value in (0.1571, 0.0161, 0.0, 0.0997)] == ["15.7 %", "1.6 %", "0 %", "10.0 %"]


def test_a_space_at_which_no_line_breaks_stays() -> None:
    assert cells.flat("± 8.6\u00a0%\n") == cells.escape("± 8.6\u00a0%") == "± 8.6\u00a0%"
