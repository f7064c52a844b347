from __future__ import annotations

import time

import pytest

from layerbench.datamanager.failures import Doing, failed, hangs, reason
from layerbench.datamanager.source import SkippedError
from layerbench.errors import DataError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (KeyError(), "KeyError"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError("\x1b[31mred"), "ValueError: \\x1b[31mred"),
        (SkippedError("truncated"), "truncated"),
        (SkippedError(), "SkippedError"),
        (DataError("of layerbench"), "of layerbench"),
        (ValueError("x" * 301), "ValueError: " + "x" * 297 + "..."),
    ],
)
def test_a_reason_is_one_line(error: BaseException, told: str) -> None:
    assert reason(error) == told


def test_a_failure_has_its_origin_and_its_cause() -> None:
    cause = ValueError("no")
    error = failed(3, "decode", "cat/7\n.jpg", cause)
    assert str(error) == "decode of cat/7 .jpg (batch 3): ValueError: no"
    assert error.__cause__ is cause


def test_of_what_hangs_the_earliest_batchs_oldest_is_named() -> None:
    now = time.perf_counter_ns()
    doing = [
        Doing(5, "read", "e", now - 9_000_000_000),
        Doing(4, "decode", "c", now - 2_000_000_000),
        Doing(4, "decode", "d", now - 3_000_000_000),
        Doing(4, "cast", "b", now - 1_000_000_000),
    ]
    late = "batch 4 was not ready after 60 s: "
    slow = "; if it is only slow, give a longer timeout"
    of = "decode of d (batch 4) has not returned for 3 s"
    assert str(hangs(4, 60.0, doing)) == f"{late}{of}, nor have 2 more{slow}"
    assert str(hangs(4, 60.0, doing[:3])) == f"{late}{of}, nor has one more{slow}"
    assert str(hangs(4, 60.0, [doing[0], doing[2]])) == f"{late}{of}{slow}"
    assert str(hangs(4, 60.0, [])) == f"{late[:-2]}, though no stage is at work: the data manager stands still"
