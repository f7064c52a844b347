"""The sections on overlap: what is drawn, that the charting library takes it, and the page in a real browser."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import msgspec
import pytest

from layerbench.report import page
from layerbench.report.overlap_lanes import KINDS
from layerbench.report.page import charts, palette
from layerbench.report.page.section import Chart, Section
from layerbench.report.tables import Tables
from tests.report import overlapped, synthetic
from tests.report.page import made
from tests.report.page.conftest import Open
from tests.report.page.test_browser import CONTRAST, points, under_pointer

go = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed: pip install 'layerbench[html]'")


@cache
def of_case(case: str) -> Tables:
    if case == "several runs":
        runs = made.of(*(synthetic.run(batch=batch, nodes=(1,)) for batch in (16, 32, 64)))
        return overlapped.put_into(runs, overlapped.overlap(), None, overlapped.marked())
    return overlapped.put_into(made.ordinary(nodes=(1,)), overlapped.CASES[case]())


@cache
def sections(case: str) -> dict[str, Section]:
    before, _ = charts.sections(of_case(case))
    return {section.id: section for section in before if section.id.startswith("overlap")}


def chart(case: str, name: str) -> Chart:
    (found,) = [chart for section in sections(case).values() for chart in section.charts if chart.id == name]
    return found


def traces(case: str, name: str) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in chart(case, name).data}


@pytest.mark.parametrize("case", [*overlapped.CASES, "several runs"])
def test_the_library_accepts_every_chart(case: str) -> None:
    for section in sections(case).values():
        for one in section.charts:
            go.Figure(one.data, one.layout)
            for trace in one.data:
                lengths = {
                    len(trace[name]) for name in ("x", "y", "base", "width", "hovertext") if _listed(trace, name)
                }
                assert len(lengths) == 1, (one.id, trace["name"])
                numbers = [value for name in ("x", "base") for value in trace.get(name, []) if value is not None]
                assert all(math.isfinite(value) for value in numbers)
        assert page.render(of_case(case), None)


def _listed(trace: dict[str, Any], name: str) -> bool:
    return isinstance(trace.get(name), list)


def test_there_are_sections_of_what_there_is() -> None:
    assert list(sections("usual")) == ["overlap", "overlap-timeline", "overlap-gain"]
    assert list(sections("one row")) == ["overlap"]
    assert list(sections("no step")) == ["overlap-gain"]
    assert list(sections("one mode")) == ["overlap", "overlap-timeline"]
    assert sections("nothing") == {}
    assert sections("minimal") == {}, "its ratio is not known, and it is no training step"


def test_bars_of_a_step_are_its_parts_as_shares_and_as_times() -> None:
    found = chart("usual", "overlap-step").data
    rows = overlapped.steps()
    for show, whole in (("share", [1.0] * 4), ("time", [1e3 * row.implicit_seconds for row in rows])):
        bars = [trace for trace in found if trace["type"] == "bar" and trace["meta"]["show"] == show]
        for index in range(4):
            of_implicit = 3.5 * index + 1
            total = sum(x for trace in bars for x, y in zip(trace["x"], trace["y"], strict=True) if y == of_implicit)
            assert total == pytest.approx(whole[index])
    told = next(trace for trace in found if trace["name"] == "gained")
    assert "1.71 (1.68–1.76) of 1.83, η 0.92" in told["text"]
    assert " 121 ms" in told["text"]


def test_what_was_emulated_is_hollow() -> None:
    for trace in chart("every mark", "overlap-step").data:
        if trace["type"] == "bar":
            assert (trace["marker"]["color"] == palette.PAPER) == trace["name"].endswith("emulated")
    for name in ("overlap-gain-chart", "overlap-eta-chart"):
        found = traces("every mark", name)
        assert found["1 node emulated"]["marker"]["color"] == palette.PAPER
        assert found["1 node measured"]["marker"]["color"] != palette.PAPER
    ticks = chart("usual", "overlap-step").layout["yaxis"]["ticktext"]
    assert [tick for tick in ticks if "node" in tick] == ["1 node", "2 nodes", "4 nodes ○", "8 nodes ○"]


def test_points_of_the_sweep_their_intervals_and_marks() -> None:
    found = traces("every mark", "overlap-gain-chart")
    rows = [row for row in overlapped.marked().rows if row.workload == "ratio sweep" and row.placement == "measured"]
    points_ = found["1 node measured"]
    assert points_["x"] == [row.ratio for row in rows]
    assert points_["y"] == [row.speedup for row in rows]
    above = [y + more for y, more in zip(points_["y"], points_["error_y"]["array"], strict=True)]
    assert above == pytest.approx([row.speedup_high for row in rows])
    assert found["noisy"]["x"] == [0.4]
    assert found["results differ"]["x"] == [2.5]
    eta = traces("every mark", "overlap-eta-chart")["1 node measured"]
    assert (eta["y"][0], eta["marker"]["symbol"][0]) == (-0.25, "triangle-down")
    assert (eta["y"][-1], eta["marker"]["symbol"][-1]) == (1.25, "triangle-up")
    shapes = chart("every mark", "overlap-gain-chart").layout["shapes"]
    assert (shapes[0]["x0"], shapes[0]["x1"]) == pytest.approx((0.6, 5 / 3))
    assert shapes[1]["y0"] == 1.6


def test_every_span_of_a_timeline_is_a_bar_of_its_kind() -> None:
    found = [trace for trace in chart("usual", "overlap-timeline-chart").data if trace["type"] == "bar"]
    spans = [span for timeline in overlapped.overlap().timelines for span in timeline.spans]
    assert sum(len(trace["x"]) for trace in found) == len(spans)
    assert sum(sum(trace["x"]) for trace in found) == pytest.approx(
        1e3 * sum(s.stop - s.start for s in spans), rel=1e-4
    )
    colours = {kind.colour for kind in KINDS} | {kind.pale for kind in KINDS}
    assert {trace["marker"]["color"] for trace in found} <= colours
    assert {trace["yaxis"] for trace in found if trace["name"].startswith("implicit")} == {"y"}
    assert {trace["yaxis"] for trace in found if trace["name"].startswith("explicit")} == {"y2"}


def test_a_timeline_too_long_for_the_page_is_shown_in_part() -> None:
    long = [overlapped.timeline("implicit", count=60), overlapped.timeline("explicit", count=60, pieces=30)]
    tables = overlapped.put_into(made.ordinary(nodes=(1,)), overlapped.overlap([], long))
    before, _ = charts.sections(tables)
    (section,) = [section for section in before if section.id == "overlap-timeline"]
    bars = [trace for trace in section.charts[0].data if trace["type"] == "bar"]
    assert 100 < sum(len(trace["x"]) for trace in bars if trace["name"].startswith("explicit")) < 700
    many = [
        msgspec.structs.replace(overlapped.timeline("explicit", count=30, pieces=40), rank=rank) for rank in range(20)
    ]
    before, _ = charts.sections(overlapped.put_into(made.ordinary(nodes=(1,)), overlapped.overlap([], many)))
    (section,) = [section for section in before if section.id == "overlap-timeline"]
    assert len(section.choices[0].options) < 20
    assert re.fullmatch(r"Of \d+ more ranks the timelines are in overlap.json.", section.notes[0])


def test_the_tables_have_every_row_and_of_several_runs_its_letter() -> None:
    steps, sweep = sections("usual")["overlap"].numbers, sections("usual")["overlap-gain"].numbers
    assert steps is not None
    assert sweep is not None
    assert (len(steps.rows), len(sweep.rows)) == (4, 11)
    assert steps.head[0] == "nodes"
    several = sections("several runs")["overlap"].numbers
    assert several is not None
    assert several.head[0] == "run"
    assert [row[0] for row in several.rows] == ["A"] * 4 + ["C"] * 4
    one = sections("one mode")["overlap"].numbers
    assert one is not None
    assert [row[1] for row in one.rows] == ["explicit", "explicit"]


def test_names_break_nothing() -> None:
    html = page.render(of_case("hostile names"), None).decode()
    assert overlapped.HOSTILE.split("x\x1b")[0] not in html
    assert "\x1b" not in html


def test_in_a_browser_every_chart_draws_and_nothing_goes_wrong(open_page: Open) -> None:
    opened = open_page(of_case("every mark"))
    for name in ("overlap-step", "overlap-timeline-chart", "overlap-gain-chart", "overlap-eta-chart"):
        assert points(opened, name) >= 10, name
    told = under_pointer(opened, "overlap-gain-chart", "1 node measured", 3)
    assert told.startswith("1 node, ratio 0.6 speed-up 1.37 (1.35 to 1.41) of 1.6")
    told = under_pointer(opened, "overlap-step", "transfer measured", 0)
    assert told.startswith("1 node, implicit transfer 61 ms, 21 % of 284 ms")
    top = "document.getElementById('overlap-step')._fullLayout.xaxis2?.range[1]"
    assert opened.view.evaluate(top) is None
    opened.view.check("#overlap input[value=time]")
    assert 280 < opened.view.evaluate(top) < 400
    assert opened.faults == []


def test_in_a_browser_a_timeline_is_chosen_and_told_under_the_pointer(open_page: Open) -> None:
    opened = open_page(of_case("several runs"))
    told = under_pointer(opened, "overlap-timeline-chart", "implicit exchange", 4)
    assert re.match(r"conv\d communication, step 0 6 ms from [\d.]+ to [\d.]+ ms", told)
    before = points(opened, "overlap-timeline-chart")
    opened.view.check("#overlap-timeline input[value='1']")
    assert points(opened, "overlap-timeline-chart") == before
    opened.view.uncheck("[data-hide=runs][value='2']")
    assert points(opened, "overlap-timeline-chart") == 0
    assert opened.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_words_can_be_read_on_both_grounds(open_page: Open, scheme: str) -> None:
    opened = open_page(of_case("every mark"), scheme=scheme)
    assert opened.view.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_is_wider_than_the_window(open_page: Open, width: int) -> None:
    for case in ("every mark", "many lanes", "hostile names"):
        opened = open_page(of_case(case), width=width)
        assert opened.view.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.faults == []
