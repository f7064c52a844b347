from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from layerbench.errors import StoreError, UsageError
from layerbench.overlap import trace
from layerbench.overlap_records import Overlap, StepTimeline, TimedSpan
from tests.report import overlapped


def written(overlap: Overlap, folder: Path) -> dict[str, Any]:
    path = folder / "trace.json"
    trace.write(overlap, path)
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def named(found: dict[str, Any], what: str) -> dict[tuple[int, int], Any]:
    return {
        (event["pid"], event["tid"]): next(iter(event["args"].values()))
        for event in found["traceEvents"]
        if event["ph"] == "M" and event["name"] == what
    }


def by_thread(found: dict[str, Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    threads = defaultdict(list)
    for event in found["traceEvents"]:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append(event)
    return threads


def test_each_mode_is_a_process_and_each_lane_a_thread(tmp_path: Path) -> None:
    found = written(overlapped.overlap(), tmp_path)
    assert found["displayTimeUnit"] == "ms"
    assert list(named(found, "process_name").values()) == [
        *("implicit, rank 0 on 2 nodes", "explicit, rank 0 on 2 nodes")
    ]
    names = named(found, "thread_name")
    assert [name for (process, _), name in names.items() if process == 1] == [
        *("read 0", "cast 0", "transfer", "compute", "communication")
    ]
    assert [name for (process, _), name in names.items() if process == 2][-1] == "communication (2)"
    order = named(found, "thread_sort_index")
    assert all(order[process, thread] == thread for process, thread in names)
    assert set(by_thread(found)) == set(names)


def test_every_span_is_an_event_in_microseconds(tmp_path: Path) -> None:
    found = written(overlapped.overlap(), tmp_path)
    spans = [span for timeline in overlapped.overlap().timelines for span in timeline.spans]
    events = [event for events in by_thread(found).values() for event in events]
    told = sorted((event["name"], event["args"]["step"], event["ts"], event["dur"]) for event in events)
    expected = sorted((s.name, s.step, 1e6 * s.start, 1e6 * (s.stop - s.start)) for s in spans)
    assert [one[:2] for one in told] == [other[:2] for other in expected]
    for one, other in zip(told, expected, strict=True):
        assert one[2:] == pytest.approx(other[2:], abs=2e-3)
    assert {event["cat"] for event in events} >= {"stages", "forward", "exchange"}


@pytest.mark.parametrize("case", ["usual", "many lanes", "strange spans", "long and slow", "two quick steps"])
def test_events_of_a_thread_never_overlap_and_take_no_negative_time(case: str, tmp_path: Path) -> None:
    found = written(overlapped.CASES[case](), tmp_path)
    for events in by_thread(found).values():
        assert all(event["dur"] >= 0 for event in events)
        for one, other in pairwise(sorted(events, key=lambda event: (event["ts"], event["dur"]))):
            assert one["ts"] + one["dur"] <= other["ts"] + 1e-6


def test_an_emulated_count_is_called_so(tmp_path: Path) -> None:
    found = written(overlapped.CASES["emulated timeline"](), tmp_path)
    assert all(name.endswith("(emulated)") for name in named(found, "process_name").values())


def test_names_are_on_one_line_and_one_without_a_name_has_its_kind(tmp_path: Path) -> None:
    found = written(overlapped.hostile(), tmp_path)
    text = json.dumps([event["name"] for event in found["traceEvents"]] + list(found["otherData"].values()))
    assert "\\r" not in text.replace("\\\\r", "")
    assert "\\u001b" not in text
    nameless = StepTimeline(nodes=1, mode="explicit", spans=[TimedSpan("read 0", "", 0.0, 1.0)])
    found = written(overlapped.overlap([], [nameless]), tmp_path)
    assert by_thread(found)[1, 1][0]["name"] == "stages"


def test_without_timelines_the_trace_is_empty_and_valid(tmp_path: Path) -> None:
    assert written(Overlap(rows=[]), tmp_path) == {"traceEvents": [], "displayTimeUnit": "ms", "otherData": {}}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        trace.write(overlapped.overlap(), tmp_path)
    with pytest.raises(StoreError, match="cannot be written"):
        trace.write(overlapped.overlap(), tmp_path / "none" / "trace.json")
