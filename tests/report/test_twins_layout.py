import pytest

from layerbench.report import twins
from layerbench.report.twins.column import WIDTH
from tests.report import twinned
from tests.report.pictures import overlaps

PAGE = 9.2
"""Inches: height of a page's text."""

LOW = ("running_time", "speedup", "efficiency")


@pytest.mark.parametrize("case", twinned.CASES)
def test_figures_fit_a_column_and_no_text_covers_another_or_leaves_the_page(case: str) -> None:
    computed = twinned.CASES[case]()
    for twin in twins.draw_all(computed):
        width, height = twin.figure.get_size_inches()
        assert width == WIDTH
        assert 0.5 < height <= PAGE, twin.name
        if twin.name in LOW and computed.alone:
            assert height < 2.6, twin.name
        assert overlaps(twin.figure) == [], twin.name
