from __future__ import annotations

import pytest

from layerbench.errors import UsageError
from layerbench.predict.nodes import parse


def test_dots_are_doublings() -> None:
    assert parse("1,2,...,4096") == [2**power for power in range(13)]
    assert parse("3,…,48") == [3, 6, 12, 24, 48]
    assert parse("1, 2 , ... , 16, 20") == [1, 2, 4, 8, 16, 20]


def test_the_count_after_the_dots_is_among_them_also_if_it_is_no_doubling() -> None:
    assert parse("1,2,...,4228") == [*(2**power for power in range(13)), 4228]


def test_several_dots_and_plain_lists() -> None:
    assert parse("8,4,1") == [1, 4, 8]
    assert parse("1,...,4,10,...,40") == [1, 2, 4, 10, 20, 40]


@pytest.mark.parametrize("text", ["...", "...,8", "1,...", "8,...,4", "4,...,4", "1,...,...,8", "1,...,x"])
def test_dots_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--nodes"):
        parse(text)


@pytest.mark.parametrize("text", ["", "0", "a", "1,,2", "-1", "1000001", "1,...,999999999"])
def test_what_is_no_count_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert "\n" not in str(raised.value)
