"""What is drawn, against the frames; and that the charting library accepts it."""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest

from layerbench import units
from layerbench.layers import FC
from layerbench.report import columns
from layerbench.report.columns import row_tuples
from layerbench.report.page import charts, intensity, palette, roofline, scaling, words
from layerbench.report.page.section import Chart, Section
from layerbench.report.tables import Tables
from tests.report import synthetic
from tests.report.page import made

go = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed: pip install 'layerbench[html]'")


def several() -> Tables:
    return made.of(synthetic.run(batch=16), synthetic.run(batch=32), synthetic.run(scaling="weak", nodes=(1, 2)))


CASES: dict[str, Callable[[], Tables]] = {
    "ordinary": made.ordinary,
    "every mark": made.every_mark,
    "one node": lambda: made.ordinary(nodes=(1,)),
    "several runs": several,
    "hostile names": made.hostile,
    "many layers": lambda: made.ordinary(
        samples=6, layers=[FC(name=f"fc{i}", in_features=64 + i, out_features=64) for i in range(80)]
    ),
    "published times": lambda: made.of(columns.load(made.RESULTS / "alexnet-2-cores")),
    "nothing complete": lambda: made.ordinary(change=made.without),
    "no lstm": lambda: made.ordinary(change=lambda r: made.without(r) if r.kind == "lstm" else r),
    "base of two nodes": lambda: made.ordinary(nodes=(2, 4)),
    "no base": lambda: made.ordinary(change=synthetic.failed("fc6", 1)),
}


@cache
def of_case(case: str) -> Tables:
    return CASES[case]()


@cache
def sections(case: str) -> list[Section]:
    before, after = charts.sections(of_case(case))
    return [*before, *after]


def drawn(case: str) -> Iterator[tuple[Section, Chart]]:
    return ((section, chart) for section in sections(case) for chart in section.charts)


@pytest.mark.parametrize("case", CASES)
def test_every_chart_is_one_that_plotly_accepts(case: str) -> None:
    for _, chart in drawn(case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            figure = go.Figure(data=chart.data, layout=chart.layout)
        assert len(figure.data) == len(chart.data)
        assert chart.summary.endswith(".")
        msgspec.json.encode(chart.data)
        for trace in chart.data:
            assert len(trace["x"]) == len(trace["y"]) > 0
    strip = charts.strip(of_case(case))["strip"]
    assert go.Figure(layout=strip).layout.height


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_drawn_is_explained(case: str) -> None:
    for section in sections(case):
        assert section.charts or section.absent, section.id
        for one in section.absent:
            assert one.endswith(".")


@pytest.mark.parametrize("case", CASES)
def test_tables_of_numbers_have_a_cell_for_each_column(case: str) -> None:
    for section in sections(case):
        if section.numbers is not None:
            assert {len(row) for row in section.numbers.rows} <= {len(section.numbers.head)}
            assert max(section.numbers.right) < len(section.numbers.head)


def points(chart: Chart, run: int, kind: str) -> Iterator[tuple[float, float, str, dict[str, Any]]]:
    for trace in chart.data:
        if trace["meta"].get("run") == run and trace["meta"].get("kind") == kind and "error_y" in trace:
            yield from zip(trace["x"], trace["y"], trace["hovertext"], [trace] * len(trace["x"]), strict=True)


@pytest.mark.parametrize("case", ["ordinary", "every mark", "several runs", "no base"])
def test_curves_are_the_frames(case: str) -> None:
    tables = of_case(case)
    section = sections(case)[0]
    labels = list(tables.runs)
    for chart, value in zip(section.charts, ("seconds", "speedup", "efficiency"), strict=True):
        shown = 0
        for row in row_tuples(tables.layer_types):
            found = [
                (y, told, trace)
                for x, y, told, trace in points(chart, labels.index(str(row.run)), row.kind)
                if abs(math.log2(x / row.nodes)) < 0.2
            ]
            expected = getattr(row, value)
            if math.isnan(expected):
                assert not found
                continue
            ((y, told, trace),) = found
            shown += 1
            assert y == expected
            hollow = trace["marker"]["color"] == palette.PAPER
            assert hollow == (row.placement == "emulated")
            assert told.replace("<br>", " ").endswith(", ".join(words.states(row)))
            if value == "seconds":
                assert f"{units.seconds(row.seconds)}, 95 % " in told
        assert shown == sum(len(trace["x"]) for trace in chart.data if "error_y" in trace)


def test_intervals_are_drawn_from_end_to_end() -> None:
    tables = made.ordinary()
    (chart, *_) = scaling.section(tables).charts
    trace = next(t for t in chart.data if "error_y" in t and t["meta"]["kind"] == "fc")
    rows = tables.layer_types.query("kind == 'fc' and placement == 'measured'")
    assert trace["error_y"]["array"] == pytest.approx((rows["ci_high"] - rows["seconds"]).tolist())
    assert trace["error_y"]["arrayminus"] == pytest.approx((rows["seconds"] - rows["ci_low"]).tolist())


def named(chart: Chart, name: str, **meta: Any) -> list[dict[str, Any]]:
    return [t for t in chart.data if t.get("name") == name and meta.items() <= t["meta"].items()]


def test_marks_stand_where_they_belong() -> None:
    tables = made.every_mark()
    for chart in scaling.section(tables).charts:
        assert [t["x"] for t in named(chart, "throttled", kind="lstm")] == [[2]]
        assert [t["x"] for t in named(chart, "throttled", kind="fc")] == [[8]]
        assert [t["x"] for t in named(chart, "noisy")] == [[8], [1]]
        crosses = named(chart, "incomplete")
        assert {t["meta"]["kind"]: t["hovertext"] for t in crosses} == {
            "conv": ["<b>conv, 4 nodes</b><br>incomplete: no conv3"],
            "lstm": ["<b>lstm, 8 nodes</b><br>incomplete: no lstm"],
        }
    signs = [key.label for key in scaling.keys(tables)]
    assert signs[3:] == ["measured", "emulated", "95 % interval", "noisy", "throttled", "incomplete"]


def test_no_line_crosses_a_missing_count_and_what_is_emulated_is_dashed() -> None:
    (chart, *_) = scaling.section(made.every_mark()).charts
    lines = [t for t in chart.data if t["mode"] == "lines" and t["meta"]["kind"] == "conv"]
    assert [(t["x"], t["line"]["dash"]) for t in lines] == [([1, 2], "solid")]
    lines = [t for t in chart.data if t["mode"] == "lines" and t["meta"]["kind"] == "fc"]
    assert [(t["x"], t["line"]["dash"]) for t in lines] == [([1, 2], "solid"), ([2, 4, None, 4, 8], "dash")]


def test_runs_are_told_apart_by_letter_and_dash() -> None:
    (chart, *_) = sections("several runs")[0].charts
    letters = {(t["meta"]["run"], t["text"][0]) for t in chart.data if t["mode"] == "text"}
    assert letters == {(0, "A"), (1, "B"), (2, "C")}
    dashes = {
        t["meta"]["run"]: t["line"]["dash"] for t in chart.data if t["mode"] == "lines" and t["line"]["dash"] != "dash"
    }
    assert dashes == {0: "solid", 1: "dot", 2: "dashdot"}


@pytest.mark.parametrize("mode", ["time", "share"])
def test_bars_are_the_breakdown(mode: str) -> None:
    tables = of_case("every mark")
    for section, chart in drawn("every mark"):
        if section.id != "breakdown":
            continue
        kind = chart.data[0]["meta"]["kind"]
        unit = words.UNITS[chart.layout["yaxis"]["title"]["text"]] if mode == "time" else 1.0
        counts = [int(text.split("<br>")[0]) for text in chart.layout["xaxis"]["ticktext"]]
        heights = {
            (part, counts[int(x)]): y * unit
            for trace in chart.data
            if trace["type"] == "bar" and trace["meta"]["mode"] == mode
            for part in [trace["name"].split()[0]]
            for x, y in zip(trace["x"], trace["y"], strict=True)
        }
        column = "seconds" if mode == "time" else "share"
        frame = tables.breakdown[(tables.breakdown["kind"] == kind) & (tables.breakdown[column] > 0)]
        assert heights == pytest.approx({(r.part, r.nodes): getattr(r, column) for r in row_tuples(frame)})
        hollow = [text.split("<br>")[1] for text in chart.layout["xaxis"]["ticktext"]]
        assert hollow == ["○" if count > 2 else "" for count in counts]


def test_intensity_is_drawn_for_each_pass_and_batch_in_both_conventions() -> None:
    tables = made.ordinary()
    section = intensity.section(tables)
    assert [list(choice.options) for choice in section.choices] == [
        ["forward", "backward_data", "backward_weights"],
        ["16", "8", "4", "2"],
    ]
    (chart,) = section.charts
    for row in row_tuples(tables.intensity.rename(columns={"pass": "part"})):
        shown = [
            x
            for t in chart.data
            if row.part in t["meta"]["pass"] and t["meta"]["batch"] == str(row.local_batch)
            for x, told in zip(t["x"], t["hovertext"], strict=True)
            if told.startswith(f"<b>{row.layer}</b>")
        ]
        both = [row.macs_per_byte, row.macs_per_byte_weights_reread]
        assert shown == [value for value in both if not math.isnan(value)]


def test_of_very_many_layers_those_that_take_longest_are_drawn() -> None:
    layers = [FC(name=f"fc{i}", in_features=64 + 8 * i, out_features=512) for i in range(700)]
    section = intensity.section(made.ordinary(layers=layers, samples=3, nodes=(1, 2, 4)))
    (chart,) = section.charts
    assert sum(len(t["x"]) for t in chart.data) <= 2000
    assert section.notes == ["The 666 layers that take longest, of 700; all are in intensity.csv."]
    assert "<b>fc699</b>" in json.dumps(chart.data)


def test_the_roofline_has_its_ceilings_and_every_pass() -> None:
    tables = made.every_mark()
    (chart,) = roofline.section(tables).charts
    (ceiling,) = named(chart, "ceiling")
    ridge = 1.3e11 / 1.24e10 / 2
    assert ceiling["x"][1] == pytest.approx(ridge)
    assert ceiling["y"][1:] == [1.3e11, 1.3e11]
    assert ceiling["y"][0] == pytest.approx(2 * ceiling["x"][0] * 1.24e10)
    placed = tables.records[tables.records["fraction_of_roofline"].notna()]
    told = [
        t for trace in chart.data if trace["mode"] == "markers" and "hovertext" in trace for t in trace["hovertext"]
    ]
    assert len(told) == len(placed) == (9 * 4 - 2) * 3
    row = next(row for row in row_tuples(placed) if (row.layer, row.part, row.nodes) == ("fc7", "forward", 8))
    (of_row,) = [one for one in told if one.startswith("<b>fc7, forward, 8 nodes</b>")]
    assert f"{100 * row.fraction_of_roofline:.0f} % of the roofline, bound by {row.bound}" in of_row
    assert of_row.replace("<br>", " ").endswith("emulated, noisy, throttled")


def test_a_run_without_a_roofline_says_why() -> None:
    none = made.with_roofline(synthetic.run(), None)
    failed = made.with_roofline(
        synthetic.run(batch=32), msgspec.structs.replace(made.ROOFLINE, flops=0.0, reason="no peak: too little memory")
    )
    assert roofline.section(made.of(none)).absent == [
        "The run has no measured roofline: it was made by an older layerbench, or cut short."
    ]
    section = roofline.section(made.of(none, failed, synthetic.run(batch=64)))
    assert len(section.charts) == 1
    assert any(note.startswith("Run A: The run has no measured roofline") for note in section.notes)
    assert any(
        "Run B: The roofline could not be measured: no peak: too little memory" in note for note in section.notes
    )


def test_published_times_stand_beside_ours() -> None:
    tables = of_case("published times")
    (section,) = [section for section in sections("published times") if section.id == "published"]
    (chart,) = section.charts
    shown = {(trace["meta"]["shape"], trace["y"][0]): trace["x"][0] for trace in chart.data if trace["type"] == "bar"}
    shapes = [key for key, _ in tables.reference.groupby(["layer", "part"], sort=False)]
    assert list(section.choices[0].options.values()) == [f"{layer}, {part.replace('_', ' ')}" for layer, part in shapes]
    for row in row_tuples(tables.reference):
        number = str(shapes.index((row.layer, row.part)))
        assert shown[number, row.device] == row.published_seconds
        assert shown[number, "here"] == row.median
    assert len(shown) == len(tables.reference) + len(shapes)


def test_names_are_text_in_charts() -> None:
    for _, chart in drawn("hostile names"):
        text = json.dumps(chart.data) + json.dumps(chart.layout)
        for markup in ("<img", "<script", "</script", "<a ", "<svg", "<b>bold"):
            assert markup not in text, chart.id
