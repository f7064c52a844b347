from __future__ import annotations

import csv
import gc
import importlib.util
import io
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from rich.console import Console

from layerbench import store, suite
from layerbench.errors import StoreError, UsageError
from layerbench.records import Roofline
from layerbench.report import columns, report, tables, twins, write
from layerbench.report.figure import can_draw
from layerbench.report.frame_csv import csv as csv_of
from layerbench.store import StoredRun
from tests.report import synthetic
from tests.report.synthetic import stored
from tests.values import HEEDING

SMALL: dict[str, Any] = {"nodes": [1], "layers": suite.load("alexnet").layers[-1:]}
FRAMES = ["records.csv", "layer_types.csv", "breakdown.csv", "intensity.csv"]


def with_roofline(run: StoredRun) -> StoredRun:
    measured = Roofline(device="host", dtype="fp32", threads=1, flops=1e11, bandwidth=1e10)
    return StoredRun(run.path, msgspec.structs.replace(run.manifest, roofline=measured), run.records)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_everything_goes_into_the_runs_own_folder(tmp_path: Path) -> None:
    folder = stored(with_roofline(synthetic.run(path=tmp_path / "run")))
    written = report([folder], html=False)
    assert {str(path.relative_to(folder / "report")) for path in written} == files(folder / "report")
    found = files(folder / "report")
    assert {*FRAMES, "ceilings.csv", "claims.csv", "report.md", "figure.png", "figure.svg"} <= found
    names = set(twins.NAMES) - {"reference", *twins.OVERLAP_NAMES}
    assert found >= {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg", "pdf", "csv", "md")}
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for path in written:
        if start := magic.get(path.suffix[1:]):
            assert path.read_bytes().startswith(start)
    text = (folder / "report/report.md").read_text()
    for picture in ("figure.png", "figures/roofline.png"):
        assert f"]({picture})" in text


def test_csv_files_hold_the_tables(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run", change=synthetic.failed("conv3", 4))
    report([stored(run)], tmp_path / "out", html=False)
    computed = tables.of_run(run)
    types = pd.read_csv(tmp_path / "out/layer_types.csv", keep_default_na=False, na_values={"seconds": [""]})
    assert list(types.columns) == list(computed.layer_types.columns)
    pd.testing.assert_series_equal(types["seconds"], computed.layer_types["seconds"], check_exact=True)
    records = pd.read_csv(tmp_path / "out/records.csv", low_memory=False)
    assert list(records.columns) == list(computed.records.columns)
    pd.testing.assert_series_equal(records["median"], computed.records["median"], check_exact=True)
    assert list(records["status"]) == [record.status for record in run.records]
    intensity = pd.read_csv(tmp_path / "out/intensity.csv")
    assert list(intensity["bytes"]) == list(computed.intensity["bytes"])


def test_what_stands_in_a_run_cannot_break_a_csv_file(tmp_path: Path) -> None:
    reason = 'died: "signal 9",\nthen more'
    run = synthetic.run(path=tmp_path / "run", **SMALL, change=synthetic.failed("lstm", 1, reason))
    report([stored(run)], html=False)
    with (tmp_path / "run/report/records.csv").open(newline="") as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {reason}


def test_several_runs_are_one_report_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [stored(synthetic.run(path=Path(path), batch=batch, **SMALL)) for path, batch in (("a", 4), ("b", 8))]
    written = report(folders, html=False)
    assert {path.parts[0] for path in written} == {"report"}
    assert "2 runs of alexnet: a training step" in Path("report/report.md").read_text()
    assert set(pd.read_csv("report/records.csv")["run"]) == {"batch 4", "batch 8"}
    assert not Path("report/figure.png").exists()
    assert Path("report/figures/running_time.png").exists()


def test_a_runs_own_folder_and_a_file_are_refused_before_anything_is_read_or_told(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "README.md").write_text("to be kept")
    before = files(tmp_path)
    out = io.StringIO()
    for output, why in (
        (folder, "is the folder of a run"),
        (tmp_path / "link", "is the folder of a run"),
        (tmp_path / "README.md", "is a file: name a folder"),
    ):
        with pytest.raises(UsageError, match=why):
            report([folder], output, Console(file=out), html=False)
    assert (out.getvalue(), files(tmp_path)) == ("", before)


def test_what_is_to_be_read_first_is_named_first(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    assert [path.name for path in report([folder], html=True)[:2]] == ["report.html", "report.md"]
    assert report([folder], html=False)[0].name == "report.md"


def test_a_run_named_twice_is_refused(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    with pytest.raises(UsageError, match="is named twice"):
        report([folder, folder.parent / "run"], html=False)


def test_what_was_wrong_with_a_folder_is_told_and_reported(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    with (folder / store.RECORDS).open("a") as file:
        file.write('{"layer": "conv')
    told: list[str] = []
    report([folder], html=False, warn=told.append)
    (line,) = told
    assert "is cut off and is not counted" in line
    assert "is cut off and is not counted" in (folder / "report/report.md").read_text()


def test_a_run_without_records_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    full = stored(synthetic.run(path=tmp_path / "full", **SMALL))
    empty = stored(synthetic.run(path=tmp_path / "empty", **SMALL, change=lambda record: None))
    with pytest.raises(UsageError, match=r"empty has no records to report: .* --resume$") as raised:
        report([full, empty], tmp_path / "out", html=False)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_run_of_failures_only_has_a_report_that_says_so_and_no_figure(tmp_path: Path) -> None:
    report([stored(synthetic.run(path=tmp_path / "good", **SMALL))], tmp_path / "out", html=False)
    (tmp_path / "out/figures/mine.png").write_text("not ours")
    failures = synthetic.run(path=tmp_path / "bad", **SMALL, change=synthetic.failed("lstm", 1, "no memory"))
    assert not can_draw(tables.of_run(failures))
    report([stored(failures)], tmp_path / "out", html=False)
    left = files(tmp_path / "out")
    assert "figure.png" not in left
    assert "figures/running_time.pdf" not in left
    assert "breakdown.csv" not in left
    assert "figures/mine.png" in left
    text = (tmp_path / "out/report.md").read_text()
    assert "there is no figure" in text
    assert "no memory" in text


@pytest.mark.parametrize("obstacle", ["a file where a folder above should be", "a folder where a file should be"])
def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path, obstacle: str) -> None:
    folder = tmp_path / "above" / "out"
    if obstacle.startswith("a file"):
        folder.parent.write_text("")
    else:
        (folder / "report.md" / "in the way").mkdir(parents=True)
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    with pytest.raises(
        StoreError, match=r"cannot be written to .*out: .*; name another folder with --output"
    ) as raised:
        report([run], folder, html=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("room", [100, 8_000, 30_000])
def test_what_cannot_be_written_whole_leaves_the_old_report_whole(tmp_path: Path, room: int) -> None:
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    before = {path: path.read_bytes() for path in report([run], html=False)}
    assert max(map(len, before.values())) > 30_000
    newer = stored(synthetic.run(path=tmp_path / "newer", batch=32, **SMALL))
    command = [sys.executable, "-m", "layerbench", "report", newer, "--output", run / "report", "--no-html", "--quiet"]
    limits = (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    ended = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith("File too large; name another folder with --output")
    assert {path: path.read_bytes() for path in before} == before
    assert files(run / "report") == {str(path.relative_to(run / "report")) for path in before}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_old_report_whole_and_no_draft(tmp_path: Path, number: signal.Signals) -> None:
    run = stored(synthetic.run(path=tmp_path / "run"))
    output = run / "report"
    output.mkdir()
    (output / "report.md").write_text("the old one")
    code = HEEDING + "from layerbench.cli import main; main()"
    command = [sys.executable, "-c", code, "report", run, "--no-html", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(output.glob(".draft-*")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number
    assert said == f"layerbench: stopped by {number.name}; no report was written\n"
    assert files(output) == {"report.md"}
    assert not list(output.glob(".draft-*"))


def test_a_crash_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    before = {path: path.read_bytes() for path in report([run], html=False)}
    newer = stored(synthetic.run(path=tmp_path / "newer", batch=32, **SMALL))

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(twins.files, "rendered", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report([newer], run / "report", html=False)
    assert {path: path.read_bytes() for path in (run / "report").rglob("*") if path.is_file()} == before


def test_the_summary_is_printed_where_asked(tmp_path: Path) -> None:
    out = io.StringIO()
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    report([run], console=Console(file=out, width=100), html=False)
    assert "alexnet: a training step on 1 node" in out.getvalue()


def test_the_page_is_made_where_it_can_be(tmp_path: Path) -> None:
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    assert write.PAGE in {path.name for path in report([run])}
    assert write.page_left_out() == ""
    assert write.PAGE not in {path.name for path in report([run], html=False)}
    assert not (run / "report" / write.PAGE).exists()


def test_without_what_the_page_needs_the_rest_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "plotly" else found(name))
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    assert write.PAGE not in {path.name for path in report([run])}
    assert "pip install 'layerbench[html]'" in write.page_left_out()
    with pytest.raises(UsageError, match=r"--html needs plotly, not installed here: pip install"):
        report([run], html=True)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    (tmp_path / "taken" / "report.md" / "in the way").mkdir(parents=True)
    run = stored(synthetic.run(path=tmp_path / "run", **SMALL))
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(StoreError):
            report([run], tmp_path / "taken", html=False)
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if was else gc.disable()


def test_a_report_is_the_same_every_time(tmp_path: Path) -> None:
    run = stored(with_roofline(synthetic.run(path=tmp_path / "run", **SMALL)))
    first = {path: path.read_bytes() for path in report([run])}
    assert {path: path.read_bytes() for path in report([run])} == first


def test_a_table_without_words_or_rows_is_written_too() -> None:
    frame = columns.of_records(Path("run"), synthetic.run().manifest, []).records
    assert csv_of(frame).decode().count("\n") == 1
