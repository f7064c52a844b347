from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from layerbench.errors import StoreError
from layerbench.overlap_records import MODES, Overlap
from layerbench.report import overlap_figures, twins
from layerbench.report.overlap_lanes import KINDS
from layerbench.report.overlap_rows import Measured
from layerbench.report.twins import Twin
from layerbench.report.twins.column import WIDTH
from layerbench.report.twins.overlap_gain import REACHABLE
from tests.report import overlapped
from tests.report.pictures import artist, gids, overlaps, words

PAGE = 9.2
"""Inches: height of a page's text."""


def drawn(overlap: Overlap) -> dict[str, Twin]:
    return {twin.name: twin for twin in overlap_figures.figures(overlap)}


@pytest.fixture(scope="module")
def usual() -> dict[str, Twin]:
    return drawn(overlapped.overlap())


@pytest.fixture(scope="module")
def marked() -> dict[str, Twin]:
    return drawn(overlapped.marked())


@pytest.mark.parametrize("case", overlapped.CASES)
def test_figures_fit_a_column_and_no_text_covers_another_or_leaves_the_page(case: str) -> None:
    for twin in overlap_figures.figures(overlapped.CASES[case]()):
        width, height = twin.figure.get_size_inches()
        assert width == WIDTH
        assert 0.5 < height <= PAGE, twin.name
        assert overlaps(twin.figure) == [], twin.name
        assert all(text.isprintable() for text in (twin.title, twin.caption, twin.alt)), twin.name
        assert len(twin.numbers) > 0
        for kind in twins.FORMATS:
            assert twins.rendered(twin.figure, kind)


def test_what_has_nothing_to_show_is_left_out() -> None:
    assert list(drawn(Overlap(rows=[]))) == []
    assert list(drawn(Overlap(rows=[overlapped.MINIMAL]))) == [], "its ratio is not known"
    assert list(drawn(overlapped.CASES["no step"]())) == ["overlap_gain"]
    assert list(drawn(overlapped.CASES["one row"]())) == ["overlap_step"]
    assert list(drawn(overlapped.CASES["one mode"]())) == ["overlap_timeline"]
    assert tuple(drawn(overlapped.overlap())) == twins.OVERLAP_NAMES


def test_the_curve_of_what_two_stages_can_gain(usual: dict[str, Twin]) -> None:
    figure = usual["overlap_gain"].figure
    x, y = artist(figure, "overlap_gain:attainable").get_data()
    assert max(y) == y[list(x).index(1.0)] == 2.0
    assert all(value == 1 + min(r, 1 / r) for r, value in zip(x, y, strict=True))
    assert set(artist(figure, "overlap_gain:claimed").get_ydata()) == {1.6}
    assert list(REACHABLE) == pytest.approx([0.6, 5 / 3])
    bands = [one for one in figure.findobj() if one.get_gid() == "overlap_gain:reachable"]
    assert [(band.get_x(), band.get_x() + band.get_width()) for band in bands] == [pytest.approx(REACHABLE)] * 2


def test_each_ratio_is_a_point_with_its_interval(usual: dict[str, Twin]) -> None:
    twin = usual["overlap_gain"]
    points = artist(twin.figure, "overlap_gain:speedup:1:measured")
    rows = overlapped.sweep()
    assert list(points.get_xdata()) == [row.ratio for row in rows] == list(twin.numbers["ratio"])
    assert list(points.get_ydata()) == [row.speedup for row in rows] == list(twin.numbers["speedup"])
    ends = artist(twin.figure, "overlap_gain:speedup:1:measured:interval").get_segments()
    for row, (below, above) in zip(rows, ends, strict=True):
        assert (below[1], above[1]) == (pytest.approx(row.speedup_low), pytest.approx(row.speedup_high))
    assert twin.alt == "Largest speed-up by overlap: 1.73 of 1.80 attainable at a ratio of 1.25."


def test_what_was_emulated_is_hollow_and_what_is_noisy_or_differs_is_marked(marked: dict[str, Twin]) -> None:
    figure = marked["overlap_gain"].figure
    for what in ("speedup", "eta"):
        assert to_hex(artist(figure, f"overlap_gain:{what}:1:emulated").get_markerfacecolor()) == "#ffffff"
        assert to_hex(artist(figure, f"overlap_gain:{what}:1:measured").get_markerfacecolor()) != "#ffffff"
        assert list(artist(figure, f"overlap_gain:{what}:1:measured:noisy").get_xdata()) == [0.4]
        assert list(artist(figure, f"overlap_gain:{what}:1:measured:different").get_xdata()) == [2.5]
    for word in ("emulated", "noisy", "results differ"):
        assert word in words(figure)
    assert "Struck out: NOT identical (ratio 2.5)" in marked["overlap_gain"].caption


def test_eta_beyond_its_axis_is_a_triangle_at_its_end(marked: dict[str, Twin]) -> None:
    figure = marked["overlap_gain"].figure
    (low, high) = (one for one in figure.findobj() if one.get_gid() == "overlap_gain:beyond:1:measured")
    assert (low.get_marker(), list(low.get_xdata()), list(low.get_ydata())) == ("v", [0.1], [-0.25])
    assert (high.get_marker(), list(high.get_xdata()), list(high.get_ydata())) == ("^", [10.0], [1.25])
    assert marked["overlap_gain"].numbers["eta"].iloc[0] == -3.0


def test_what_can_be_gained_here_is_shown_where_it_is_not_the_curve(usual: dict[str, Twin]) -> None:
    twin = drawn(overlapped.CASES["transfer on two cores"]())["overlap_gain"]
    own = artist(twin.figure, "overlap_gain:own")
    expected = {row.ratio: (1 + row.ratio) / max(row.ratio / 2, 1.0) for row in overlapped.sweep() if row.ratio}
    for x, y in zip(own.get_xdata(), own.get_ydata(), strict=True):
        assert y == pytest.approx(expected[x])
    assert min(own.get_xdata()) == 1.25, "where computation is longer, one core is enough"
    assert "Short lines" in twin.caption
    assert "overlap_gain:own" not in gids(usual["overlap_gain"].figure)


def test_rows_without_a_place_on_the_axis_are_told() -> None:
    twin = drawn(overlapped.CASES["extreme ratios"]())["overlap_gain"]
    assert list(twin.numbers["ratio"]) == pytest.approx([2e-4, 1.0, 5e3])
    assert "3 of 6 rows without a ratio from 0.0001 to 10000 not drawn." in twin.caption


def test_parts_of_a_step_begin_at_nothing_and_end_with_the_step(usual: dict[str, Twin]) -> None:
    twin = usual["overlap_step"]
    for row in overlapped.steps():
        for mode, seconds in zip(MODES, (row.implicit_seconds, row.explicit_seconds), strict=True):
            bars = [
                artist(twin.figure, f"overlap_step:{row.nodes}:{mode}:{part}")
                for part in ("computation", "transfer", "communication")
                if f"overlap_step:{row.nodes}:{mode}:{part}" in gids(twin.figure)
            ]
            assert bars[0].get_x() == 0
            end = bars[-1].get_x() + bars[-1].get_width()
            assert end == pytest.approx(100 * seconds / row.implicit_seconds)
            dashed = f"overlap_step:{row.nodes}:{mode}:outline" in gids(twin.figure)
            assert dashed == (row.placement == "emulated")
    of_two = twin.numbers[(twin.numbers["nodes"] == 2) & (twin.numbers["mode"] == "explicit")]
    exposed = dict(zip(of_two["part"], of_two["seconds"], strict=True))
    assert exposed["transfer"] == overlapped.steps()[1].exposed_transfer_seconds
    assert exposed["communication"] == overlapped.steps()[1].exposed_communication_seconds


def test_above_each_pair_is_what_was_gained(marked: dict[str, Twin]) -> None:
    told = words(marked["overlap_step"].figure)
    assert "1.71 (1.68–1.76) of 1.83, η 0.92" in told
    assert "1.25 (1.22–1.28) of 1.27, η 0.92, results differ" in told
    figure = marked["overlap_step"].figure
    assert {"overlap_step:2:noisy", "overlap_step:2:measured", "overlap_step:8:emulated"} <= gids(figure)
    assert "4 and 8 nodes" in marked["overlap_step"].caption


def test_a_file_that_tells_no_parts_has_bars_of_one_piece() -> None:
    twin = drawn(overlapped.CASES["minimal step"]())["overlap_step"]
    assert {gid for gid in gids(twin.figure) if gid.startswith("overlap_step:1:") and "plicit" in gid} == {
        *("overlap_step:1:implicit:step", "overlap_step:1:explicit:step")
    }
    assert "its parts not known" in words(twin.figure)


def test_of_many_counts_some_are_drawn_and_it_is_said() -> None:
    twin = drawn(overlapped.CASES["many counts"]())["overlap_step"]
    assert "18 of 20 pairs are drawn." in twin.caption
    assert {1, 1024} <= set(twin.numbers["nodes"])


def test_both_modes_are_on_one_time_axis_and_every_lane_has_its_row(usual: dict[str, Twin]) -> None:
    figure = usual["overlap_timeline"].figure
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim()
    for panel, mode in zip(figure.axes, MODES, strict=True):
        assert [label.get_text() for label in panel.get_yticklabels()] == [
            *("read 0", "cast 0", "transfer", "compute", "communication")
        ]
        assert panel.get_title(loc="left").startswith(mode)
    assert "294 ms a step" in above.get_title(loc="left")


def test_the_bars_of_a_timeline_are_its_spans(usual: dict[str, Twin]) -> None:
    twin = usual["overlap_timeline"]
    of_compute = twin.numbers[(twin.numbers["mode"] == "explicit") & (twin.numbers["lane"] == "compute")]
    assert len(of_compute) == 3 * (9 + 9 + 8)
    assert set(of_compute["step"]) == {2, 3, 4}
    found = [
        path.get_extents()
        for kind in KINDS
        for one in twin.figure.findobj()
        if one.get_gid() == f"overlap_timeline:explicit:compute:{kind.label}"
        for path in one.get_paths()
    ]
    assert len(found) == len(of_compute)
    assert sum(box.width for box in found) == pytest.approx(
        1e3 * (of_compute["stop_seconds"] - of_compute["start_seconds"]).sum()
    )
    assert (of_compute["stop_seconds"] <= 0.65).all()
    lines = [gid for gid in gids(twin.figure) if ":asks:" in gid]
    assert len(lines) == 6


def test_what_an_emulated_timeline_is_of_is_said() -> None:
    twin = drawn(overlapped.CASES["emulated timeline"]())["overlap_timeline"]
    assert "rank 0 on 2 nodes (emulated)" in twin.title
    assert "nothing was exchanged" in twin.caption
    assert set(twin.numbers["placement"]) == {"emulated"}


def test_lanes_that_do_not_fit_are_named() -> None:
    twin = drawn(overlapped.CASES["many lanes"]())["overlap_timeline"]
    assert "cast 8, cast 9" in twin.caption
    assert "communication" in words(twin.figure)


def test_several_runs_are_told_apart() -> None:
    runs = [Measured("A", "batch 64", overlapped.overlap(timelines=[])), Measured("B", "$x$", overlapped.marked(), 1)]
    gain = twins.draw_overlap(runs, "overlap_gain")
    step = twins.draw_overlap(runs, "overlap_step")
    timeline = twins.draw_overlap(runs, "overlap_timeline")
    assert gain is not None
    assert step is not None
    assert timeline is not None
    assert "A: batch 64" in words(gain.figure)
    assert "B: $x$" in words(gain.figure)
    assert "2 nodes, B" in words(step.figure)
    assert set(gain.numbers["run"]) == {"A", "B"}
    assert list(step.numbers["run"].drop_duplicates()) == ["A", "B"]
    for twin in (gain, step, timeline):
        assert overlaps(twin.figure) == []
    both = [Measured("A", "a", overlapped.overlap()), Measured("B", "b", overlapped.overlap(), 1)]
    assert twins.draw_overlap(both, "overlap_timeline") is None, "each run's own report has its timeline"


def test_a_folder_gets_tables_and_figures_and_loses_what_is_stale(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "overlap"
    written = overlap_figures.write(overlapped.overlap(), folder)
    names = {str(path.relative_to(folder)) for path in written}
    kinds = ("png", "svg", "pdf", "csv", "md")
    figures = {f"figures/{name}.{kind}" for name in twins.OVERLAP_NAMES for kind in kinds}
    assert names == {"overlap.md", "overlap.csv"} | figures
    assert all(path.is_file() for path in written)
    text = (folder / "overlap.md").read_text()
    for name in twins.OVERLAP_NAMES:
        assert f"](figures/{name}.png)" in text
    assert len(pd.read_csv(folder / "overlap.csv")) == 15
    (folder / "figures" / "speedup.png").write_bytes(b"a report's own")
    overlap_figures.write(overlapped.overlap(overlapped.sweep(), []), folder)
    assert {path.name for path in (folder / "figures").glob("*.png")} == {"overlap_gain.png", "speedup.png"}
    assert not list(folder.glob(".*"))


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another folder with --output") as raised:
        overlap_figures.write(overlapped.overlap(overlapped.steps((1,)), []), tmp_path / "file" / "out")
    assert "\n" not in str(raised.value)


def test_files_of_hostile_names_are_whole(tmp_path: Path) -> None:
    written = overlap_figures.write(overlapped.hostile(), tmp_path)
    for path in written:
        if path.suffix == ".md":
            assert not {letter for letter in path.read_text() if letter < " "} - {"\n"}


def test_numbers_of_what_is_not_known_are_empty() -> None:
    rows = [msgspec.structs.replace(row, speedup_low=None, speedup_high=None) for row in overlapped.sweep((0.5, 1.0))]
    numbers = drawn(overlapped.overlap(rows, []))["overlap_gain"].numbers
    assert all(math.isnan(value) for value in numbers["speedup_low"])
