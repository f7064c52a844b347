from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerbench.report import overlap_claim
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "nodes": 1,
        "placement": "measured",
        "implicit_seconds": 0.017,
        "explicit_seconds": 0.010,
        "speedup": 1.7,
        "attainable": 1.9,
        "eta": 0.87,
        "ratio": 1.1,
    }
    return known | changes


def judged(folder: Path, contents: Any) -> Finding:
    path = folder / overlap_claim.OVERLAP
    path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())
    return overlap_claim.overlap(folder)


@pytest.mark.parametrize("wrapped", [False, True], ids=["list", "object"])
def test_what_was_gained_and_what_could_be(tmp_path: Path, wrapped: bool) -> None:
    rows = [row()]
    finding = judged(tmp_path, {"version": 1, "rows": rows, "host": "a"} if wrapped else rows)
    assert finding.verdict == HOLDS
    assert finding.evidence == (
        "At 1 node explicit transfer takes 10 ms and implicit 17 ms, 1.70 times as long, "
        "where overlap can gain 1.9 times at most, η 0.87"
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "shown"),
    [
        ({"speedup": 1.6}, HOLDS, "1.60 times"),
        ({"speedup": 1.5999}, FAILS, "1.5999 times"),
        ({"speedup": 1.7, "speedup_low": 1.6, "speedup_high": 1.8}, HOLDS, "1.70 (1.60 to 1.80)"),
        ({"speedup": 1.7, "speedup_low": 1.59, "speedup_high": 1.8}, UNKNOWN, "1.70 (1.59 to 1.80)"),
        ({"speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6}, UNKNOWN, "1.50 (1.40 to 1.60)"),
        ({"speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.59}, FAILS, "1.50 (1.40 to 1.59)"),
        ({"speedup": 1.2, "attainable": 1.25, "eta": None}, FAILS, "can gain 1.25 times at most"),
    ],
)
def test_the_gain_is_judged_by_its_interval(tmp_path: Path, changes: dict[str, Any], verdict: str, shown: str) -> None:
    finding = judged(tmp_path, [row(**changes)])
    assert finding.verdict == verdict
    assert shown in finding.evidence
    assert ("η" in finding.evidence) == ("eta" not in changes)


def test_the_row_that_decides_is_the_one_told(tmp_path: Path) -> None:
    wide = row(speedup=1.75, speedup_low=1.5, speedup_high=1.9)
    narrow = row(speedup=1.65, speedup_low=1.62, speedup_high=1.7, placement="emulated")
    finding = judged(tmp_path, [wide, narrow, row(speedup=1.1), row(speedup=2.0, nodes=2)])
    assert finding.verdict == HOLDS
    assert "1.65 (1.62 to 1.70)" in finding.evidence
    assert "At 1 node (emulated)" in finding.evidence
    assert "the best of 3 ratios" in finding.evidence


def test_without_the_file_nothing_is_asked_for_that_no_command_does(tmp_path: Path) -> None:
    finding = overlap_claim.overlap(tmp_path)
    assert finding.verdict == UNKNOWN
    assert finding.told() == (
        "The run has no overlap.json. To say it, run layerbench overlap with the run's folder as --output."
    )


def test_another_count_says_nothing_of_one_node(tmp_path: Path) -> None:
    for contents in ([], {"version": 1, "rows": []}, [row(nodes=2)]):
        finding = judged(tmp_path, contents)
        assert finding.verdict == UNKNOWN
        assert "nothing at 1 node" in finding.evidence


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "truncated"),
        (b'[{"nodes": 1', "truncated"),
        (b"\xff\xfe", "malformed"),
        (b'["\xff"]', ""),
        (b"NaN", "malformed"),
        (b"[" * 100_000, ""),
        ({"version": 1}, "`rows`"),
        ({"version": 1, "rows": 1}, "$.rows"),
        ({"rows": [row()]}, "`version`"),
        ([1], "$[0]"),
        ([row(nodes=0)], "$[0].nodes"),
        ([row(speedup=0)], "$[0].speedup"),
        ([row(speedup="fast")], "$[0].speedup"),
        ([row(), row(placement="guessed")], "$[1].placement"),
        ([{name: value for name, value in row().items() if name != "attainable"}], "`attainable`"),
    ],
)
def test_a_damaged_file_is_told_with_the_reason(tmp_path: Path, contents: Any, reason: str) -> None:
    finding = judged(tmp_path, contents)
    assert finding.verdict == UNKNOWN
    assert finding.evidence.startswith("overlap.json is damaged: ")
    assert reason in finding.evidence
    assert finding.remedy == "measure the overlap again"


def test_a_file_of_a_newer_layerbench_is_not_called_damaged(tmp_path: Path) -> None:
    finding = judged(tmp_path, {"version": 2, "rows": [row()]})
    assert finding.verdict == UNKNOWN
    assert finding.evidence == (
        "overlap.json cannot be read: it has version 2, and this layerbench reads version 1: use the layerbench that "
        "wrote it, or a newer one"
    )


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / overlap_claim.OVERLAP).mkdir()
    finding = overlap_claim.overlap(tmp_path)
    assert finding.verdict == UNKNOWN
    assert finding.evidence == "overlap.json cannot be read: Is a directory"
