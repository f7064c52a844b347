import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (1.5, "1.5 s"),
        (12345.6, "12346 s"),
        (1.234e-3, "1.23 ms"),
        (0.9999, "1000 ms"),
        (4.56e-6, "4.56 µs"),
        (7e-9, "7 ns"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_seconds(value, text):
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-3, "0:00"), (62, "1:02"), (59.6, "1:00"), (7384, "2:03:04"), (360000, "100:00:00")]
)
def test_clock(value, text):
    assert units.clock(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (13_493_145_600, "13.5 G"), (34_848, "34.8 k"), (999_999, "1000 k"), (10**16, "10000 T")],
)
def test_count(value, text):
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.54 kB"), (1_010_000_000, "1.01 GB"), (1.5e12, "1.5 TB")],
)
def test_size(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.2e11, "120 GFLOP/s"), (39_321_600, "39.3 MFLOP/s"), (12, "12 FLOP/s")])
def test_rate(value, text):
    assert units.rate(value, "FLOP/s") == text


@given(st.floats(1e-9, 1e20))
def test_nothing_a_person_reads_has_an_exponent(value):
    for told in (units.seconds(value), units.size(value), units.count(max(value, 1)), units.rate(max(value, 1), "B")):
        assert not re.search(r"\de[+-]?\d", told), told


@given(st.floats(1e-8, 1e8))
def test_a_duration_read_back_is_within_half_a_percent(value):
    number, unit = units.seconds(value).split()
    scale = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number) * scale == pytest.approx(value, rel=5.1e-3)
