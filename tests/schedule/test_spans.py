import pytest

from layerbench.schedule.spans import significant, unit_of


@pytest.mark.parametrize(
    ("span", "told", "fixed"),
    [
        (5e-4, "500 µs", "500.0"),
        (0.25, "250 ms", "250.0"),
        (44.2, "44.2 s", "44.20"),
        (179, "179 s", "179.0"),
        (65.1 * 60, "65.1 min", "65.10"),
        (3.25 * 3600, "3.25 h", "3.250"),
        (95 * 3600, "95.0 h", "95.00"),
        (10.8 * 86400, "10.8 d", "10.80"),
        (2e9, "23,148 d", "23,148"),
    ],
)
def test_durations_read_well(span: float, told: str, fixed: str) -> None:
    unit = unit_of(span)
    assert unit.told(span) == told
    assert unit.fixed(span) == fixed


def test_a_shorter_duration_is_told_in_the_unit_of_the_span() -> None:
    assert unit_of(10 * 86400).told(43.1 * 3600) == "1.80 d"


def test_nothing_is_a_duration_too() -> None:
    assert unit_of(0.0).fixed(0.0) == "0.000"


@pytest.mark.parametrize(
    ("value", "told"), [(0.8, "0.800"), (25, "25.0"), (999.4, "999"), (999.6, "1,000"), (0, "0.00")]
)
def test_three_digits(value: float, told: str) -> None:
    assert significant(value) == told
