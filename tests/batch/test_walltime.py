"""Walltimes: one way to write them that no scheduler reads differently."""

from __future__ import annotations

import pytest

from layerbench.batch import walltime
from layerbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:01", 1), ("00:30:00", 1800), ("1:00:00", 3600), ("48:00:00", 172800), ("2-12:00:30", 216030)],
)
def test_it_is_read(text: str, seconds: int) -> None:
    assert walltime.parse(text, "--walltime") == seconds


@pytest.mark.parametrize("seconds", [1, 59, 60, 3599, 3600, 86400, 360000])
def test_it_is_written_as_it_is_read(seconds: int) -> None:
    assert walltime.parse(walltime.text(seconds), "") == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "30:00", "00:60:00", "00:00:60", "0:0:0", "-1:00:00", "1h", "00:30:00 ", "٠٠:30:00", 1800, None]
)
def test_anything_else_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(UsageError, match=r"--walltime .*00:30:00"):
        walltime.parse(text, "--walltime")
