"""What goes over standard output and into files arrives as it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.assignment import (
    EVENT_MARK,
    Assignment,
    Event,
    JournalFailed,
    Progressed,
    Recorded,
    Started,
    event_of,
    findings_path,
    line_of,
)
from layerbench.records import Network
from tests.values import LAYER, OPTIONS

COUNTS = st.integers(0, 1000)
EVENTS = (
    st.builds(Started, ranks=COUNTS)
    | st.builds(Progressed, what=st.text())
    | st.builds(Recorded, layer=st.text(), ok=COUNTS, failed=COUNTS, skipped=COUNTS, noisy=COUNTS, reason=st.text())
    | st.builds(JournalFailed, reason=st.text())
)


@given(event=EVENTS, before=st.text())
def test_an_event_is_one_line_and_found_behind_other_output(event: Event, before: str) -> None:
    line = line_of(event)
    assert "\n" not in line
    assert event_of(line) == event
    if EVENT_MARK not in before + EVENT_MARK[:-1]:
        assert event_of(before + line) == event


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "layerbench: no mark",
        EVENT_MARK,
        EVENT_MARK + "{",
        EVENT_MARK + '{"type":"unknown"}',
        EVENT_MARK + '{"type":"started"}',
        EVENT_MARK + '{"type":"started","ranks":"two"}',
        EVENT_MARK + '{"type":"started","ranks":2} and more',
    ],
)
def test_what_is_no_event_is_none(line: str) -> None:
    assert event_of(line) is None


@given(st.text())
def test_any_text_is_an_event_or_none(text: str) -> None:
    event_of(text)
    event_of(EVENT_MARK + text)


def test_an_assignment_comes_back() -> None:
    assignment = Assignment(
        purpose="measure",
        run_folder="/runs/one",
        options=OPTIONS,
        nodes=4,
        ranks=4,
        world=1,
        placement="emulated",
        layers=[LAYER],
        network=Network(name="lab", alpha=1e-6, beta=1e-9),
    )
    assert msgspec.json.decode(msgspec.json.encode(assignment), type=Assignment) == assignment


def test_findings_lie_beside_their_assignment() -> None:
    assert findings_path(Path("run/launches/nodes-2.json")) == Path("run/launches/nodes-2.findings.json")
