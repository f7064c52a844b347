import gc
import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from layerbench import store
from layerbench.errors import StoreError, UsageError
from layerbench.report import report, tables
from layerbench.report.figure import can_draw
from layerbench.store import StoredRun
from tests.report import synthetic

ALL = ["figure.png", "figure.svg", "report.md", "layer_types.csv", "records.csv", "intensity.csv"]
SMALL = {"nodes": [1], "layers": synthetic.suite.load("alexnet").layers[-1:]}


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_writes_everything_into_the_runs_own_folder(tmp_path: Path) -> None:
    written = report([synthetic.run(path=tmp_path / "run")])
    assert names(written) == ALL
    assert {path.parent for path in written} == {tmp_path / "run/report"}
    assert sorted(path.name for path in (tmp_path / "run/report").iterdir()) == sorted(ALL)
    png, svg, text = (path.read_bytes() for path in written[:3])
    assert png.startswith(b"\x89PNG")
    assert svg.startswith(b"<?xml")
    assert b"](figure.png)" in text


def test_csv_files_hold_the_tables(tmp_path: Path) -> None:
    run = synthetic.run(change=synthetic.failed("conv3", 4))
    report([run], tmp_path)
    computed = tables.compute(run)
    types = pd.read_csv(tmp_path / "layer_types.csv", keep_default_na=False, na_values={"seconds": [""]})
    assert list(types.columns) == list(computed.layer_types.columns)
    pd.testing.assert_series_equal(types["seconds"], computed.layer_types["seconds"], check_exact=True)
    records = pd.read_csv(tmp_path / "records.csv", low_memory=False)
    assert list(records.columns) == [name for name in computed.records.columns if name != "rank_medians"]
    pd.testing.assert_series_equal(records["median"], computed.records["median"], check_exact=True)
    assert list(records["status"]) == [record.status for record in run.records]
    intensity = pd.read_csv(tmp_path / "intensity.csv")
    assert list(intensity["bytes"]) == list(computed.intensity["bytes"])


def test_output_of_one_run_and_of_several(tmp_path: Path) -> None:
    first, second, namesake = (synthetic.run(path=Path(path), **SMALL) for path in ("a/one", "a/two", "b/one"))
    assert {path.parent for path in report([first], tmp_path / "x")} == {tmp_path / "x"}
    written = report([first, second, namesake], tmp_path / "all")
    assert list(dict.fromkeys(path.parent for path in written)) == [
        tmp_path / "all/one",
        tmp_path / "all/two",
        tmp_path / "all/one-2",
    ]


def test_a_run_as_it_is_stored_and_read(tmp_path: Path) -> None:
    made = synthetic.run(path=tmp_path / "run", **SMALL)
    store.create(made.path, made.manifest)
    with store.Journal(made.path) as journal:
        journal.append(made.records)
    with (made.path / store.RECORDS).open("a") as file:
        file.write('{"layer": "conv')
    written = report([store.load(made.path)])
    assert "is cut off and is not counted" in written[names(written).index("report.md")].read_text()


def test_a_run_without_records_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    full = synthetic.run(path=tmp_path / "full", **SMALL)
    empty = StoredRun(tmp_path / "empty", full.manifest, [])
    with pytest.raises(UsageError, match=r"empty has no records to report: .* --resume$") as raised:
        report([full, empty])
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_failures_only_has_a_report_that_says_so_and_no_figure(tmp_path: Path) -> None:
    report([synthetic.run(path=tmp_path, **SMALL)])
    failures = synthetic.run(path=tmp_path, **SMALL, change=synthetic.failed("lstm", 1, "no memory"))
    assert not can_draw(tables.compute(failures))
    written = report([failures])
    assert names(written) == ALL[2:]
    text = written[0].read_text()
    assert "there is no figure" in text
    assert "no memory" in text
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(ALL[2:])


@pytest.mark.parametrize("obstacle", ["a file where the folder should be", "a folder where a file should be"])
def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path, obstacle: str) -> None:
    folder = tmp_path / "out"
    if obstacle.startswith("a file"):
        folder.write_text("")
    else:
        (folder / "report.md" / "in the way").mkdir(parents=True)
    with pytest.raises(
        StoreError, match=r"cannot be written to .*out: .*; name another folder with --output"
    ) as raised:
        report([synthetic.run(**SMALL)], folder)
    assert "\n" not in str(raised.value)


def test_a_disk_that_fills_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = synthetic.run(path=tmp_path, **SMALL)
    before = {path: path.read_bytes() for path in report([run])}

    def full(path: Path, contents: bytes) -> int:
        with path.open("wb") as file:
            file.write(contents[: len(contents) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left on device"):
        report([run])
    assert {path: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before


def test_the_summary_is_printed_where_asked(tmp_path: Path) -> None:
    out = io.StringIO()
    report([synthetic.run(**SMALL)], tmp_path, Console(file=out, width=100))
    assert "alexnet: a training step on 1 node" in out.getvalue()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    (tmp_path / "taken").write_text("")
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(StoreError):
            report([synthetic.run(**SMALL)], tmp_path / "taken")
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if was else gc.disable()
