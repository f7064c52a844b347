import math

import pytest

from layerbench.report.page import words
from tests.report.page import made


@pytest.mark.parametrize(
    ("median", "low", "high", "told"),
    [
        (2.51, 2.4865, 2.5253, "2.51 s, 95 % 2.49 to 2.53"),
        (0.0283, 0.02826, 0.02834, "28.3 ms, 95 % 28.26 to 28.34"),
        (2.5e-6, 2.5e-6, 2.5e-6, "2.5 µs, 95 % 2.50000 to 2.50000"),
        (0.999, 0.998, 1.25, "999 ms, 95 % 998 to 1250"),
        (1.2e4, 1.1e4, 1.3e4, "12000 s, 95 % 11000 to 13000"),
        (0.0, 0.0, 0.0, "0 s"),
        (1e-3, 0.0, 2e-3, "1 ms, 95 % 0 to 2.00"),
        (0.1, math.nan, math.nan, "100 ms"),
        (math.nan, math.nan, math.nan, "-"),
    ],
)
def test_a_time_with_its_interval(median: float, low: float, high: float, told: str) -> None:
    assert words.timing(median, low, high, "order-statistics") == told


def test_a_range_is_no_interval() -> None:
    assert words.timing(2.51, 2.4865, 2.5253, "range") == "2.51 s, range 2.49 to 2.53"


def test_what_a_chart_would_take_for_markup_is_text() -> None:
    assert words.escaped("<b>&amp;</b>\n x") == "&lt;b&gt;&amp;amp;&lt;/b&gt; x"
    assert words.lines("<i>", "a & b") == "<b>&lt;i&gt;</b><br>a &amp; b"
    assert words.shortened("<" * 30, 12) == "&lt;" * 3 + "…" + "&lt;" * 8


def test_long_lines_are_broken_and_end() -> None:
    told = words.lines("x" * 1000, "y " * 40)
    first, *rest = told.removeprefix("<b>").split("<br>")
    assert first == "x" * words.WIDEST
    assert len(rest) == words.MOST_LINES - 1 + 2
    assert max(map(len, rest)) <= words.WIDEST + len("</b>")


def test_letters_of_runs() -> None:
    assert [words.letter(index) for index in (0, 1, 25, 26, 27, 51, 52)] == ["A", "B", "Z", "AA", "AB", "AZ", "BA"]
    assert list(words.letters(made.ordinary(nodes=[1])).values()) == [""]


def test_an_incomplete_type_names_what_it_lacks() -> None:
    assert words.lacking("conv3") == "incomplete: no conv3"
    assert words.lacking("a b c d") == "incomplete: no a, b, c and 1 more"
    assert words.lacking("") == "incomplete at the base"
