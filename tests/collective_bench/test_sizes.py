"""Sizes as people write them."""

from __future__ import annotations

import pytest

from layerbench.collective_bench.sizes import DEFAULT, parse
from layerbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4B..64", [4, 8, 16, 32, 64]),
        ("1KiB", [1024]),
        ("1kB,4KiB, 1000", [1000, 4096]),
        ("4..10,8", [4, 8, 10]),
        ("1MB..3MB", [10**6, 2 * 10**6, 3 * 10**6]),
        ("8..8", [8]),
    ],
)
def test_sizes_and_ranges(text: str, sizes: list[int]) -> None:
    assert parse(text) == sizes


def test_the_default_has_both_its_ends() -> None:
    sizes = parse(DEFAULT)
    assert (sizes[0], sizes[-1], len(sizes)) == (4, 10**9, 29)


@pytest.mark.parametrize(
    "text", ["", "4..", "..4", "many", "64..4", "0", "0..4", "4...8", "4,,8", "-4", "2TiB", "1..2..3"]
)
def test_what_is_none_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--sizes") as found:
        parse(text)
    assert "\n" not in str(found.value)
