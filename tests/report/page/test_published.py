"""The page's section of published times where a device was asked for."""

from __future__ import annotations

import re
from typing import Any

from layerbench.layers import FC, Conv
from layerbench.report import against_cells, page, tables
from layerbench.report.page import published
from layerbench.report.tables import Tables
from tests.report import synthetic
from tests.report.page import made

DENSE = FC(name="dense", in_features=4096, out_features=4096)
ODD = Conv(name="odd", input=(9, 9), in_channels=3, out_channels=5, filter=(3, 3))


def compared(*devices: str, **options: Any) -> Tables:
    return tables.compute([made.with_roofline(synthetic.run(nodes=[1], **options))], devices)


def test_that_device_alone_with_means_specs_and_what_has_none() -> None:
    computed = compared("MI25", layers=[DENSE, ODD])
    section = published.section(computed)
    assert section is not None
    bars = {trace["y"][0] for trace in section.charts[0].data if trace["type"] == "bar"}
    assert bars == {"here", "MI25"}
    (_, means), (_, specs) = section.shown
    assert computed.against is not None
    assert list(means.rows) == against_cells.means(computed.against)
    assert ["GPU Model", "AMD MI25"] in specs.rows
    assert section.absent == against_cells.sentences(computed.against)
    html = page.render(computed, None).decode()
    body = html[html.index('<section id="published"') :]
    assert re.search(r"<td>fc \(gemm\)</td><td>all passes</td><td class=\"number\">2</td>", body)
    assert "2 of 6 kernels have a published time" in body


def test_where_nothing_matches_a_sentence_and_no_chart_or_table() -> None:
    section = published.section(compared("MI25", layers=[ODD]))
    assert section is not None
    assert (section.charts, section.shown, section.numbers) == ((), (), None)
    (told,) = section.absent
    assert told.startswith("MI25: DeepBench published no time of the same shape")
    assert published.section(compared(layers=[ODD])) is None


def test_without_a_device_there_are_no_means() -> None:
    section = published.section(compared(layers=[DENSE]))
    assert section is not None
    assert (section.title, list(section.shown), list(section.absent)) == ("Published times of the same shapes", [], [])
