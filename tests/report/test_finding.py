from __future__ import annotations

import pytest

from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding, all_of, together, told_apart


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, UNKNOWN], UNKNOWN),
        ([HOLDS, UNKNOWN, FAILS], FAILS),
        ([], UNKNOWN),
    ],
)
def test_all_parts_are_needed(verdicts: list[str], expected: str) -> None:
    assert all_of(verdicts) == expected


def test_only_what_decided_lends_rows_and_remedies() -> None:
    parts = [
        Finding(HOLDS, "a falls", "never", ("a",)),
        Finding(UNKNOWN, "b may fall", "run b", ("b",)),
        Finding(UNKNOWN, "c may fall", "run b", ("c",)),
    ]
    assert together(parts) == Finding(UNKNOWN, "a falls; b may fall; c may fall", "run b", ("b", "c"))
    assert together([*parts, Finding(FAILS, "d rises", rows=("d",))]).rows == ("d",)


def test_evidence_is_whole_sentences_on_one_line() -> None:
    finding = Finding(UNKNOWN, "a\nmay fall", "run b")
    assert finding.told("", "It rests on\ta") == "a may fall. It rests on a. To say it, run b."
    assert finding._replace(verdict=HOLDS).told() == "a may fall."
    assert finding._replace(evidence="").told("There is no a") == "There is no a. To say it, run b."


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([12.34, 100.0], ["12.3", "100.0"]),
        ([99.98, 100.0], ["99.98", "100.00"]),
        ([50.0, 50.0], ["50.0", "50.0"]),
        ([1.0, 1.0 + 1e-9], ["1.000000", "1.000000"]),
    ],
)
def test_numbers_have_the_decimals_that_tell_them_apart(values: list[float], shown: list[str]) -> None:
    assert told_apart(values) == shown
