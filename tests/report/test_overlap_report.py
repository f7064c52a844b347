"""A run's report where its folder has an ``overlap.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from layerbench import suite
from layerbench.overlap_records import OVERLAP
from layerbench.report import report, tables, twins
from layerbench.report.columns import load
from tests.report import overlapped, synthetic
from tests.report.synthetic import stored

SMALL: dict[str, Any] = {"nodes": [1], "layers": suite.load("alexnet").layers[-1:]}


def with_overlap(path: Path, contents: bytes | None = None, **options: Any) -> Path:
    folder = stored(synthetic.run(path=path, **{**SMALL, **options}))
    (folder / OVERLAP).write_bytes(msgspec.json.encode(overlapped.marked()) if contents is None else contents)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "report").rglob("*")}


def test_its_figures_and_tables_are_in_the_report(tmp_path: Path) -> None:
    folder = with_overlap(tmp_path / "run")
    report([folder], html=True)
    found = names(folder)
    assert {f"{name}.{kind}" for name in twins.OVERLAP_NAMES for kind in ("png", "svg", "pdf", "csv", "md")} <= found
    assert len(pd.read_csv(folder / "report/overlap.csv")) == len(overlapped.marked().rows)
    text = (folder / "report/report.md").read_text()
    assert "## Overlap of transfer, computation and communication" in text
    assert "| 2 | 208 ms ± 0.85 % |" in text
    for name in twins.OVERLAP_NAMES:
        assert f"](figures/{name}.png)" in text
    assert "overlap-gain-chart" in (folder / "report/report.html").read_text()


def test_without_one_nothing_is_said_of_it_but_the_observation(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    report([folder], html=True)
    assert not {name for name in names(folder) if name.startswith("overlap")}
    text = (folder / "report/report.md").read_text()
    assert "## Overlap" not in text
    assert r"The run has no overlap.json" in text
    assert "overlap-gain-chart" not in (folder / "report/report.html").read_text()


def test_a_damaged_one_is_told_in_the_observation_and_draws_nothing(tmp_path: Path) -> None:
    folder = with_overlap(tmp_path / "run")
    report([folder], html=False)
    (folder / OVERLAP).write_bytes(b'{"version": 1, "rows": [{"nodes": 0}]}')
    report([folder], html=False)
    assert not {name for name in names(folder) if name.startswith("overlap")}, "what was drawn before is stale"
    assert "overlap.json is damaged" in (folder / "report/report.md").read_text()


def test_of_several_runs_those_that_have_one(tmp_path: Path) -> None:
    folders = [
        with_overlap(tmp_path / "a", batch=4),
        stored(synthetic.run(path=tmp_path / "b", batch=8, **SMALL)),
        with_overlap(tmp_path / "c", msgspec.json.encode(overlapped.overlap(timelines=[])), batch=16),
    ]
    computed = tables.compute([load(folder) for folder in folders])
    assert list(computed.overlaps) == ["batch 4", "batch 16"]
    assert computed.overlap["run"].value_counts().to_dict() == {"batch 4": 15, "batch 8": 0, "batch 16": 15}
    assert [list(one.overlaps) for one in computed.each()] == [["batch 4"], [], ["batch 16"]]
    called = computed.measured_overlap({"batch 4": "A", "batch 8": "B", "batch 16": "C"})
    assert [(one.letter, one.run) for one in called] == [("A", 0), ("C", 2)]
    written = report(folders, tmp_path / "out", html=True)
    assert {f"{name}.png" for name in twins.OVERLAP_NAMES} <= {path.name for path in written}
    text = (tmp_path / "out/report.md").read_text()
    assert text.index("**batch 4**") < text.index("**batch 16**")


@pytest.mark.parametrize("case", ["nothing", "minimal", "strange spans", "extreme ratios", "hostile names", "one mode"])
def test_odd_ones_stop_no_report(tmp_path: Path, case: str) -> None:
    folder = with_overlap(tmp_path / "run", msgspec.json.encode(overlapped.CASES[case]()))
    report([folder], html=True)
    assert "## Overlap" in (folder / "report/report.md").read_text()
