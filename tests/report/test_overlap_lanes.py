from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.overlap_records import MODES, StepTimeline, TimedSpan
from layerbench.report.overlap_lanes import (
    BACKWARD_DATA,
    BACKWARD_WEIGHTS,
    EXCHANGE,
    FORWARD,
    KINDS,
    MOVE,
    OTHER,
    STAGE,
    Kind,
    Lane,
    asks,
    cut,
    in_lanes,
    kind_of,
    lanes,
    pairs,
    parts,
    side_by_side,
    telling,
    that_fit,
    window,
)
from tests.report import overlapped


@pytest.mark.parametrize(
    ("lane", "name", "kind"),
    [
        ("read 0", "read", STAGE),
        ("decode 11", "decode", STAGE),
        ("transfer", "transfer", MOVE),
        ("transfer 1", "transfer", MOVE),
        ("compute", "conv1 forward", FORWARD),
        ("compute", "conv 1 backward_data", BACKWARD_DATA),
        ("compute", "fc6 backward_weights", BACKWARD_WEIGHTS),
        ("compute", "forward", FORWARD),
        ("compute", "update", OTHER),
        ("compute", "", OTHER),
        ("communication", "bucket 0", EXCHANGE),
        ("", "forward", STAGE),
    ],
)
def test_what_kind_of_work_a_span_is(lane: str, name: str, kind: Kind) -> None:
    assert kind_of(TimedSpan(lane, name, 0.0, 1.0)) is kind


def test_kinds_are_told_apart() -> None:
    assert len({kind.colour for kind in KINDS}) == len({kind.label for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("lane", "known"),
    [
        ("cast 12", ("cast", 12)),
        ("cast", ("cast", -1)),
        ("a b 3", ("a b", 3)),
        ("x 1.5", ("x 1.5", -1)),
        ("", ("", -1)),
    ],
)
def test_a_lanes_worker(lane: str, known: tuple[str, int]) -> None:
    assert parts(lane) == known


def test_lanes_are_in_the_order_in_which_a_batch_goes_through_them() -> None:
    for mode in MODES:
        made = overlapped.timeline(mode, casts=11)
        expected = ["read 0", *(f"cast {index}" for index in range(4)), "transfer", "compute", "communication"]
        assert [lane for lane in lanes([made]) if lane in expected] == expected
        assert lanes([made]).index("cast 2") < lanes([made]).index("transfer")


def test_a_stage_that_begins_late_in_the_timeline_stays_in_its_place() -> None:
    spans = [
        TimedSpan("cast 0", "cast", 0.0, 1.0, 3),
        TimedSpan("read 0", "read", 0.5, 1.5, 4),
        TimedSpan("cast 0", "cast", 1.5, 2.5, 4),
        TimedSpan("odd", "odd", 0.1, 0.2, -1),
    ]
    assert lanes([StepTimeline(nodes=1, mode="explicit", spans=spans)])[-2:] == ["read 0", "cast 0"]


def test_a_step_is_over_when_computation_and_exchange_are() -> None:
    spans = [
        TimedSpan("compute", "a forward", 0.0, 1.0, 0),
        TimedSpan("communication", "bucket 0", 0.8, 1.4, 0),
        TimedSpan("compute", "a forward", 1.5, 2.0, 1),
        TimedSpan("read 0", "read", 1.5, 9.0, 7),
        TimedSpan("compute", "warm-up", 0.0, 9.0, -1),
    ]
    assert asks(StepTimeline(nodes=1, mode="explicit", spans=spans)) == {0: 1.4, 1: 2.0}


@pytest.mark.parametrize("mode", MODES)
def test_a_long_timeline_is_shown_where_the_pipeline_is_full(mode: str) -> None:
    made = overlapped.timeline("implicit" if mode == "implicit" else "explicit", count=9)
    start, stop, steps = window(made)
    ends = asks(made)
    assert steps == [3, 4, 5]
    assert (start, stop) == (ends[2], ends[5])
    inside = list(cut(made, start, stop))
    assert {span.step for span in inside if span.lane == "compute"} == {3, 4, 5}
    assert min(span.start for span in inside) == pytest.approx(0.0, abs=1e-12)
    assert max(span.stop for span in inside) <= stop - start
    if mode == "explicit":
        assert {span.step for span in inside if span.lane == "read 0"} == {5, 6, 7}, "stages run ahead"


def test_a_short_timeline_is_shown_whole() -> None:
    made = overlapped.timeline("explicit", count=4)
    start, stop, steps = window(made)
    assert (start, steps) == (0.0, [0, 1, 2, 3])
    assert len(list(cut(made, start, stop))) == len(made.spans)
    assert window(StepTimeline(nodes=1, mode="explicit")) == (0.0, 0.0, [])


spans_ = st.lists(
    st.tuples(st.floats(0, 10, width=16), st.floats(0, 10, width=16)).map(
        lambda ends: TimedSpan("communication", "", min(ends), max(ends))
    ),
    max_size=30,
)


@given(spans_)
def test_spans_beside_each_other_never_overlap_and_none_is_lost(found: list[TimedSpan]) -> None:
    ordered = sorted(found, key=lambda span: (span.start, span.stop))
    rows = side_by_side(ordered)
    for row in rows:
        assert all(one.stop <= other.start for one, other in pairwise(row))
    assert sorted((span.start, span.stop) for row in rows for span in row) == [(s.start, s.stop) for s in ordered]
    together = [sum(o.start <= s.start < o.stop for o in ordered) for s in ordered if s.stop > s.start]
    assert len(rows) <= max([1, *(count + 1 for count in together)]) or not found


def test_what_follows_one_another_needs_one_row() -> None:
    (compute,) = [
        lane for lane in in_lanes(overlapped.timeline("explicit").spans, ["compute"]) if lane.name == "compute"
    ]
    assert len(side_by_side(compute.spans)) == 1


def test_of_many_workers_the_first_stay_and_what_is_no_stage_stays() -> None:
    made = overlapped.timeline("explicit", casts=24, pieces=48)
    found = in_lanes(made.spans, lanes([made]))
    names = [lane.name for lane in that_fit(found, 8)]
    assert names == ["read 0", "cast 0", "cast 1", "cast 2", "cast 3", "transfer", "compute", "communication"]
    assert that_fit(found[:2], 8) == found[:2]
    assert that_fit([Lane("compute", [TimedSpan("compute", "", 0, 1)])], 8)[0].name == "compute"


def test_timelines_in_pairs_and_the_one_that_tells_most() -> None:
    made = [
        overlapped.timeline("explicit", nodes=8),
        overlapped.timeline("explicit", nodes=2),
        overlapped.timeline("implicit", nodes=2),
        msgspec.structs.replace(overlapped.timeline("explicit", nodes=2), rank=1),
        overlapped.timeline("implicit", nodes=4),
        overlapped.timeline("explicit", nodes=4),
        StepTimeline(nodes=16, mode="implicit"),
    ]
    found = pairs(overlapped.overlap(timelines=made))
    assert [(pair.nodes, pair.rank, [line.mode for line in pair.timelines]) for pair in found] == [
        (2, 0, ["implicit", "explicit"]),
        (2, 1, ["explicit"]),
        (4, 0, ["implicit", "explicit"]),
        (8, 0, ["explicit"]),
    ]
    assert [pair.placement for pair in found] == ["measured", "measured", "emulated", "emulated"]
    chosen = telling(found)
    assert chosen is not None
    assert (chosen.nodes, chosen.rank) == (2, 0), "what was emulated exchanged nothing"
    assert found[2].name == "rank 0 on 4 nodes (emulated)"
    assert telling([]) is None
