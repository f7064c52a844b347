"""The aims of hold-out prediction, on the runs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench.layers import PASSES
from tests.bench.holdout import Ranking, Row, holdout, ranking, splits, summary
from tests.predict.made import half_of_roofline

RESULTS = Path(__file__).parents[2] / "results"
RUNS = ("alexnet-2-cores", "two-hosts-gigabit")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for name in RUNS for row in holdout(RESULTS / name, half_of_roofline)]


@pytest.fixture(scope="module")
def rankings() -> list[Ranking]:
    return [one for name in RUNS for one in ranking(RESULTS / name, half_of_roofline)]


def test_splits_have_the_smallest_count_and_leave_some_out() -> None:
    assert list(splits((1, 2, 4))) == [(1, 2), (1, 4)]
    assert list(splits((1, 2, 4, 8)))[-1] == (1, 4, 8)
    assert len(list(splits((1, 2, 4, 8)))) == 6


def test_only_held_out_counts_are_judged(rows: list[Row]) -> None:
    assert rows
    assert all(row.nodes not in row.fit for row in rows)
    assert {row.where for row in rows} == {"inside", "twice", "beyond"}
    assert not any(row.part == "communication" and row.placement == "emulated" for row in rows)


@pytest.mark.parametrize(("where", "aim"), [("inside", 0.10), ("twice", 0.20)])
def test_the_median_error_is_within_its_aim(rows: list[Row], where: str, aim: float) -> None:
    for parts in (("step",), PASSES):
        judged = [row for row in rows if row.where == where and row.part in parts]
        assert summary(judged)["median_error"] <= aim


def test_intervals_hold_nine_times_in_ten_or_nearly(rows: list[Row]) -> None:
    passes = [row for row in rows if row.part in PASSES]
    assert 0.84 <= summary(passes)["coverage"] <= 0.97
    assert summary([row for row in rows if row.part == "step"])["coverage"] >= 0.9


def test_node_counts_are_ranked_right_in_nine_of_ten_layers(rankings: list[Ranking]) -> None:
    assert sum(one.right for one in rankings) / len(rankings) >= 0.9
