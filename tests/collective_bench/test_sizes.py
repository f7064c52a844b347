"""Sizes as people write them."""

from __future__ import annotations

import pytest

from layerbench.collective_bench.sizes import DEFAULT, parse, rounding, shown
from layerbench.errors import UsageError
from layerbench.records import Collective


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4B..64", [4, 8, 16, 32, 64]),
        ("1KiB", [1024]),
        ("1kB,4KiB, 1000", [1000, 4096]),
        ("4..10,8", [4, 8, 10]),
        ("1MB..3MB", [10**6, 2 * 10**6, 3 * 10**6]),
        ("8..8", [8]),
        (" 1.5KB .. 2 kib ", [1500, 2048]),
    ],
)
def test_sizes_and_ranges(text: str, sizes: list[int]) -> None:
    assert parse(text) == sizes


def test_the_default_has_both_its_ends() -> None:
    sizes = parse(DEFAULT)
    assert (sizes[0], sizes[-1], len(sizes)) == (4, 10**9, 29)


FORM = "a range is FIRST..LAST, .* such as 4B..1GB"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected bytes"),
        ("4..", FORM),
        ("..4", FORM),
        ("1KB..", FORM),
        ("4...8", FORM),
        ("4B...1MB", FORM),
        ("1..2..3", FORM),
        ("many", "expected bytes, .* not 'many'; give sizes with commas, or a range FIRST..LAST such as 4B..1GB"),
        ("4,,8", "expected bytes"),
        ("-4", "expected bytes"),
        ("8,4B..3B", "the range runs backwards; give its smaller size first: 3B..4B"),
        ("0", "0 is no size of an exchange; give at least 1 byte"),
        ("0..4", "0 is no size"),
        ("2TiB", "2TiB is above the limit of 1 TiB"),
        ("4..2TiB", "2TiB is above the limit of 1 TiB"),
    ],
)
def test_what_is_none_is_refused_by_its_option(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"--sizes {text!r}: .*{words}") as found:
        parse(text)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1, "1 B"), (999, "999 B"), (1000, "1000 B"), (1023, "1023 B"), (1024, "1 KiB"), (10**6, "977 KiB"),
        (1023 * 1024, "1023 KiB"), (3 * 2**19, "1.5 MiB"), (2**40, "1 TiB"), (2**52, "4096 TiB"), (0, "0 B"),
    ],
)  # fmt: skip
def test_sizes_are_shown_as_they_double(size: int, text: str) -> None:
    assert shown(size) == text


def test_roundings_are_told_by_operation_and_ranks() -> None:
    operations: list[Collective] = ["all_reduce", "broadcast", "all_to_all"]
    assert rounding(operations, [3, 5, 24], [2, 3, 2], 4) == [
        "Sizes are rounded up to whole elements of 4 B, in equal blocks where each rank has one. "
        "all-reduce, broadcast: 3 B became 4 B, 5 B became 8 B; all-to-all over 2 ranks: 3 B and 5 B became 8 B; "
        "all-to-all over 3 ranks: 3 B and 5 B became 12 B."
    ]
    assert rounding(operations, [24, 48], [2, 3], 4) == []
    (many,) = rounding(["all_gather"], [2**power for power in range(4, 30)], [3], 4)
    assert many.count("became") == 4
    assert many.endswith(", and 22 more.")
