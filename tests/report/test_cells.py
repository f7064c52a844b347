from __future__ import annotations

import math

import pandas as pd

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
