"""Our bar beside published ones: its marks, and the interval at its end."""

from __future__ import annotations

import msgspec
import pytest

from layerbench.records import Record
from layerbench.report.columns import row_tuples
from tests.report import twinned
from tests.report.pictures import artist, gids


def test_our_bar_beside_published_ones_is_marked() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.part == "forward", throttled=record.part != "forward")

    drawn = twinned.drawn(twinned.of(twinned.run(nodes=[1], layers=twinned.ALEXNET[6:7], change=change)))
    there = gids(drawn["reference"].figure)
    assert {gid for gid in there if gid.endswith((":noisy", ":throttled"))} == {
        *("reference:fc7:forward:noisy", "reference:fc7:backward_data:throttled"),
    }


def test_the_end_of_our_bar_has_its_interval_and_its_marks_are_at_the_foot() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=True, throttled=True)

    computed = twinned.of(twinned.run(nodes=[1], layers=twinned.ALEXNET[5:8], change=change))
    figure = twinned.drawn(computed)["reference"].figure
    row = next(row_tuples(computed.reference))
    name = f"reference:{row.layer}:{row.part}"
    interval = artist(figure, f"{name}:interval")
    assert list(interval.get_xdata()) == pytest.approx([1e3 * row.ci_low, 1e3 * row.ci_high])
    assert interval.get_path_effects(), "white around what is dark"
    foot, _ = figure.axes[0].get_xlim()
    assert [list(artist(figure, f"{name}:{mark}").get_xdata()) for mark in ("mark", "noisy", "throttled")] == [
        [foot]
    ] * 3
    assert "fc" in [text.get_text() for text in figure.legends[0].get_texts()], "not how many layers the type has"
