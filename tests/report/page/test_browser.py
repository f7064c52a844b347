"""The page as a reader has it: in a real browser, from a file, without a network."""

from __future__ import annotations

import csv
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerbench import units
from layerbench.records import Record
from layerbench.report import columns
from layerbench.report.page import words
from tests.browsed import Opened
from tests.report import synthetic
from tests.report.page import made
from tests.report.page.conftest import Open

ROWS = "#records-table tbody tr"

CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3)
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || node.closest("script, noscript, option") || !node.checkVisibility?.() || node.disabled) continue;
    const style = getComputedStyle(node);
    const text = node.closest("svg") ? style.fill : style.color;
    const [low, high] = [luminance(text), luminance(ground(node))].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) poor.push(`${node.tagName}: ${node.textContent.slice(0, 40)}: ${text}`);
  }
  return poor;
}"""


def points(opened: Opened, chart: str) -> int:
    marks: int = opened.view.locator(f"#{chart} .scatterlayer .points path, #{chart} .barlayer .point path").count()
    return marks


def under_pointer(opened: Opened, chart: str, trace: str, number: int) -> str:
    """What stands under the pointer at a point of a chart's trace, by the trace's name."""
    place = opened.view.evaluate(
        """([chart, name, number]) => {
          const plot = document.getElementById(chart);
          plot.scrollIntoView({ block: "center", behavior: "instant" });
          const index = plot._fullData.findIndex((one) => one.name === name);
          const { x, y, orientation } = plot._fullData[index];
          const { b, s } = plot.calcdata[index][number];
          const along = s === undefined ? undefined : b + s / 2;
          const box = plot.getBoundingClientRect();
          const { xaxis, yaxis } = plot._fullLayout;
          const [across, up] = orientation === "h" ? [along, y[number]] : [x[number], along ?? y[number]];
          return [box.x + xaxis._offset + xaxis.d2p(across), box.y + yaxis._offset + yaxis.d2p(up)];
        }""",
        [chart, trace, number],
    )
    opened.view.mouse.move(place[0] - 30, place[1] - 30)
    opened.view.mouse.move(*place)
    # A chart heeds the pointer some times a second only, and may still show what it passed on its way.
    opened.view.wait_for_timeout(200)
    label = opened.view.wait_for_selector(f"#{chart} .hoverlayer .hovertext", timeout=5000)
    lines = label.evaluate("(node) => [...node.querySelectorAll('tspan.line')].map((one) => one.textContent)")
    return " ".join(lines) or label.text_content()


def column(opened: Opened, name: str) -> list[str]:
    return opened.texts(f"{ROWS} td:nth-child({head(opened, name)})")


def head(opened: Opened, name: str) -> int:
    return 1 + opened.texts("#records-table th button").index(name)


def reset(opened: Opened) -> None:
    """The table as it was when the page was opened."""
    opened.view.fill("#records-filter input", "")
    for name in ("kind", "part", "nodes", "status", "marks"):
        if opened.view.locator(f"[data-filter={name}]").count():
            opened.choose(f"[data-filter={name}]", "")


def test_every_chart_draws_and_nothing_goes_wrong(ordinary: Opened) -> None:
    charts = ordinary.view.evaluate("[...document.querySelectorAll('.plot')].map((plot) => plot.id)")
    assert len(charts) >= 3 + 3 + 1 + 1 + 1
    for chart in charts:
        assert points(ordinary, chart) >= 3, chart
    assert ordinary.faults == []


def test_under_the_pointer_is_what_the_table_has(ordinary: Opened) -> None:
    told = under_pointer(ordinary, "running-time", "fc measured", 1)
    read = "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    rows = ordinary.view.locator("#scaling .numbers tbody tr").evaluate_all(read)
    cells = next(row for row in rows if row[:2] == ["fc", "2"])
    time, interval, marks = cells[2], cells[3], cells[-1]
    assert told == f"fc, 2 nodes {time}, 95 % {interval}, {marks}"
    assert re.fullmatch(r"\d+ ms", time)


def test_under_the_pointer_of_bars_and_of_the_roofline(ordinary: Opened) -> None:
    told = under_pointer(ordinary, "breakdown-1", "communication measured", 0)
    assert re.fullmatch(r"fc, 2 nodes exposed communication [\d.]+ ms, \d+ % of the step measured", told)
    for name, value in (("pass", "forward"), ("nodes", "1")):
        ordinary.choose(f"#roofline [data-choice={name}]", value)
    told = under_pointer(ordinary, "roofline-chart", "fc measured", 2)
    assert re.match(r"fc8, forward, 1 node \d+ % of the roofline, bound by memory [\d.]+ GFLOP/s of one rank", told)
    for name in ("pass", "nodes"):
        ordinary.choose(f"#roofline [data-choice={name}]", "all")


def test_shares_instead_of_times(ordinary: Opened) -> None:
    top = "document.getElementById('breakdown-1')._fullLayout.yaxis2?.range[1]"
    assert ordinary.view.evaluate(top) is None
    ordinary.view.check("#breakdown input[value=share]")
    assert 0.9 < ordinary.view.evaluate(top) < 1.3
    ordinary.view.check("#breakdown input[value=time]")
    assert points(ordinary, "breakdown-1") > 10


def test_types_are_hidden_and_shown_again(ordinary: Opened) -> None:
    before = points(ordinary, "running-time")
    ordinary.view.uncheck("[data-hide=kinds][value=fc]")
    assert points(ordinary, "running-time") < before
    ordinary.view.check("[data-hide=kinds][value=fc]")
    assert points(ordinary, "running-time") == before


def test_pass_and_batch_are_chosen(ordinary: Opened) -> None:
    drawn = "document.getElementById('intensity-chart').data[0].x[0]"
    frame = made.every_mark().intensity
    for batch in ("16", "2"):
        ordinary.choose("#intensity [data-choice=batch]", batch)
        ordinary.choose("#intensity [data-choice=pass]", "backward_data")
        row = frame[(frame["layer"] == "conv1") & (frame["local_batch"] == int(batch))].iloc[0]
        assert ordinary.view.evaluate(drawn) == pytest.approx(row["macs_per_byte"])


def test_sorting_by_numbers_by_words_and_by_keyboard(ordinary: Opened) -> None:
    frame = made.every_mark().records
    known = frame["median"].dropna().sort_values(kind="stable")
    button = f"#records-table th:nth-child({head(ordinary, 'time')})"
    ordinary.view.click(f"{button} button")
    assert ordinary.view.get_attribute(button, "aria-sort") == "ascending"
    assert column(ordinary, "time") == [units.seconds(value) for value in known[:50]]
    ordinary.view.focus(f"{button} button")
    ordinary.view.keyboard.press("Enter")
    assert ordinary.view.get_attribute(button, "aria-sort") == "descending"
    assert column(ordinary, "time") == [units.seconds(value) for value in known[::-1][:50]]
    layers = f"#records-table th:nth-child({head(ordinary, 'layer')})"
    for sort, first in (("ascending", "conv1"), ("descending", "lstm")):
        ordinary.view.click(f"{layers} button")
        assert ordinary.view.get_attribute(layers, "aria-sort") == sort
        assert column(ordinary, "layer")[0] == first
    assert ordinary.view.get_attribute(button, "aria-sort") == "none"


def test_what_is_not_known_is_last_in_both_directions(ordinary: Opened) -> None:
    ordinary.choose("[data-filter=nodes]", "4")
    button = f"#records-table th:nth-child({head(ordinary, 'time')}) button"
    for _ in range(2):
        ordinary.view.click(button)
        times = column(ordinary, "time")
        assert times[-5:] == [""] * 5
        assert "" not in times[:-5]
    reset(ordinary)


def test_filters_and_pages(ordinary: Opened) -> None:
    told = "#records-told"
    assert ordinary.texts(told) == ["Rows 1 to 50 of 180."]
    ordinary.view.click("#records-pages button:has-text('Next')")
    assert ordinary.texts(told) == ["Rows 51 to 100 of 180."]
    ordinary.choose("#records-pages select", "200")
    assert len(column(ordinary, "layer")) == 180
    ordinary.choose("[data-filter=kind]", str(1))
    assert set(column(ordinary, "type")) == {"fc"}
    ordinary.choose("[data-filter=marks]", "throttled")
    assert ordinary.texts(told) == ["Rows 1 to 15 of 15, filtered from 180."]
    reset(ordinary)
    ordinary.view.fill("#records-filter input", "Leaves A Rank")
    assert set(column(ordinary, "marks")) == {"skipped: batch 16 leaves a rank without samples"}
    ordinary.view.fill("#records-filter input", "no such words")
    assert ordinary.texts(told) == ["No rows, filtered from 180."]
    reset(ordinary)
    ordinary.choose("#records-pages select", "50")


def test_the_filtered_rows_as_csv(ordinary: Opened, tmp_path: Path) -> None:
    ordinary.view.fill("#records-filter input", "conv3")
    with ordinary.view.expect_download() as download:
        ordinary.view.click("#records-csv")
    download.value.save_as(tmp_path / "saved.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "saved.csv").read_text())))
    reset(ordinary)
    frame = made.every_mark().records
    expected = frame[frame["layer"] == "conv3"]
    assert len(rows) == len(expected) == 20
    by_key = {(row["part"], row["nodes"]): row for row in rows}
    for part, nodes, median in zip(expected["part"], expected["nodes"], expected["median"], strict=True):
        saved = by_key[part, str(nodes)]["median"]
        assert (float(saved) if saved else None) == (pytest.approx(median, rel=1e-5) if median == median else None)
    assert by_key["step", "4"]["reason"] == "out of memory"
    assert ordinary.faults == []


def test_a_row_shows_its_samples(ordinary: Opened) -> None:
    tables = made.every_mark()
    ordinary.view.fill("#records-filter input", "fc7")
    ordinary.choose("[data-filter=nodes]", "2")
    rows = ordinary.view.locator(ROWS)
    rows.filter(has_text="backward weights").click()
    told = ordinary.texts("#samples-told")[0]
    record = tables.records.query("layer == 'fc7' and part == 'backward_weights' and nodes == 2").iloc[0]
    timing = words.timing(record["median"], record["ci_low"], record["ci_high"], record["ci_method"])
    assert told == f"fc7, backward weights, 2 nodes: 20 samples; median {timing}, measured."
    assert points(ordinary, "samples-chart") == 2 * 20
    ordinary.view.locator(f"{ROWS} button").first.focus()
    ordinary.view.keyboard.press("Enter")
    assert ordinary.texts("#samples-told")[0].startswith(f"fc7, {column(ordinary, 'part')[0]}, 2 nodes: 20 samples")
    reset(ordinary)


def test_samples_by_choice_and_a_time_that_was_computed(ordinary: Opened) -> None:
    selects = ordinary.view.locator("#samples-choice select")
    for index, label in enumerate(("conv2", "communication", "8")):
        selects.nth(index).select_option(label=label)
    told = ordinary.texts("#samples-told")[0]
    assert "conv2, communication, 8 nodes: 0 samples" in told
    assert "computed by the network model" in told
    assert ordinary.view.locator("#samples figure").is_hidden()
    selects.nth(1).select_option(label="step")
    assert points(ordinary, "samples-chart") == 2 * 20
    assert ordinary.faults == []


def test_dark_ground_and_paper(ordinary: Opened) -> None:
    colours = """() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector("#running-time .main-svg")).backgroundColor,
      getComputedStyle(document.querySelector("#running-time path.js-line")).stroke,
      document.querySelector("#running-time .main-svg").getAttribute("width"),
    ]"""
    light = ordinary.view.evaluate(colours)
    assert ordinary.view.evaluate(CONTRAST) == []
    ordinary.view.emulate_media(color_scheme="dark")
    ordinary.view.wait_for_timeout(300)
    dark = ordinary.view.evaluate(colours)
    assert ordinary.view.evaluate(CONTRAST) == []
    assert all(before != after for before, after in zip(light[:3], dark[:3], strict=True))
    ordinary.view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert ordinary.view.evaluate(colours)[1:] == [*light[1:3], "680"]
    ordinary.view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert ordinary.view.evaluate(colours) == dark
    ordinary.view.emulate_media(color_scheme="light")
    ordinary.view.wait_for_timeout(300)
    assert ordinary.view.evaluate(colours) == light
    assert ordinary.faults == []


def test_controls_are_reached_in_order_and_charts_are_described(ordinary: Opened) -> None:
    ordinary.view.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
    ordinary.view.reload()
    ordinary.view.wait_for_selector("html[data-ready]")
    ordinary.view.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    assert ordinary.view.evaluate(focused) == "Skip to the report"
    ordinary.view.keyboard.press("Enter")
    assert ordinary.view.evaluate("document.activeElement.id") == "sections"
    unlabelled = ordinary.view.evaluate(
        """[...document.querySelectorAll("select, input:not([type=hidden]), button, summary")]
             .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"""
    )
    assert unlabelled == 0
    for plot in ordinary.view.locator(".plot").all():
        assert len(plot.get_attribute("aria-label")) > 40


def test_a_small_screen(open_page: Open) -> None:
    opened = open_page(made.of(columns.load(made.RESULTS / "alexnet-2-cores")), width=400)
    assert opened.view.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for plot in opened.view.locator(".plot").all():
        assert plot.locator(".main-svg").first.bounding_box()["width"] <= 400
    opened.view.set_viewport_size({"width": 900, "height": 900})
    opened.view.wait_for_timeout(400)
    assert opened.view.locator("#running-time .main-svg").first.bounding_box()["width"] > 450
    assert opened.faults == []


@pytest.mark.parametrize("width", [1300, 1920])
def test_the_table_of_records_has_the_width_of_the_window(ordinary: Opened, width: int) -> None:
    before = ordinary.view.viewport_size
    ordinary.view.set_viewport_size({"width": width, "height": 900})
    box = ordinary.view.locator("#records .wide").bounding_box()
    assert (box["x"], box["width"]) == (20, width - 40)
    assert ordinary.view.locator("#observations").bounding_box()["width"] < 1000
    ordinary.view.set_viewport_size(before)


def test_labels_of_many_counts_do_not_touch_on_a_small_screen(open_page: Open) -> None:
    nodes = [2**power for power in range(12)]
    opened = open_page(made.ordinary(nodes=nodes, batch=4096, samples=6), width=400)
    for chart in ("running-time", "efficiency", "breakdown-0", "intensity-chart"):
        ends = opened.view.locator(f"#{chart} .xtick text").evaluate_all(
            "(ticks) => ticks.map((tick) => tick.getBoundingClientRect()).map((box) => [box.left, box.right])"
        )
        assert len(ends) >= 4
        for (_, end), (start, _) in pairwise(sorted(ends)):
            assert end < start, chart
    assert opened.faults == []


def test_names_do_nothing(open_page: Open) -> None:
    opened = open_page(made.hostile(), width=400)
    assert opened.view.evaluate("document.images.length") == 0
    assert opened.view.locator("svg a, main b a, main i").count() == 0
    ticks = opened.texts("#intensity-chart .ytick text")
    assert ticks[0].startswith("</script><img")
    assert ticks[2].startswith("<b>bold</b>")
    assert "$x^2$ %{text} &amp;" in ticks
    assert made.HOSTILE[0] in under_pointer(opened, "intensity-chart", "fc", 0)
    opened.view.fill("#records-filter input", "</script>")
    opened.view.locator(f"{ROWS} button").first.click()
    assert opened.texts("#samples-told")[0].startswith(made.HOSTILE[0])
    assert f"failed: {made.REASON}" in opened.texts(f"{ROWS} td.marks")
    assert opened.view.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.faults == []


def test_several_runs_are_hidden_and_shown(open_page: Open) -> None:
    opened = open_page(made.of(synthetic.run(nodes=(1, 2)), synthetic.run(nodes=(1, 2), batch=32)), scheme="dark")
    letters = opened.texts("#running-time .textpoint text, #running-time .text text")
    assert sorted(set(letters)) == [
        "A",
        "B",
    ]
    both = points(opened, "running-time")
    opened.view.uncheck("[data-hide=runs][value='1']")
    assert points(opened, "running-time") == both / 2
    opened.choose("[data-filter=run]", "1")
    assert set(column(opened, "run")) == {"B"}
    assert opened.view.evaluate(CONTRAST) == []
    assert opened.faults == []


@pytest.mark.parametrize("case", ["one node", "nothing complete", "no lstm", "no roofline"])
def test_uneven_runs(open_page: Open, case: str) -> None:
    def change(record: Record) -> Record:
        fails = case == "nothing complete" or (case == "no lstm" and record.kind == "lstm")
        return made.without(record) if fails else record

    run = synthetic.run(nodes=(1,) if case == "one node" else (1, 2, 4), change=change)
    lacking = msgspec.structs.replace(made.ROOFLINE, bandwidth=0.0, reason="no bandwidth: 12 MiB are free")
    roofline = lacking if case == "no roofline" else made.ROOFLINE
    opened = open_page(made.of(made.with_roofline(run, roofline)))
    told: Any = opened.view.locator("main").inner_text()
    expected = {
        "one node": "There is one node count, so there is no speed-up.",
        "nothing complete": "No layer type is complete at any node count",
        "no lstm": "incomplete",
        "no roofline": "The roofline could not be measured: no bandwidth: 12 MiB are free.",
    }
    assert expected[case] in told
    assert opened.view.locator("#running-time").count() == (case != "nothing complete")
    assert opened.view.locator("#roofline-chart").count() == (case not in ("no roofline", "nothing complete"))
    assert opened.view.locator(f"{ROWS}").count() > 10
    assert opened.faults == []


def test_a_reader_who_wants_less_motion(open_page: Open) -> None:
    opened = open_page(made.ordinary(nodes=(1,)), reduced_motion="reduce")
    assert opened.view.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
