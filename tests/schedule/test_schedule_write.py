import csv
import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from layerbench.errors import StoreError, UsageError
from layerbench.schedule import gantt, write
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from tests.report import synthetic
from tests.report.synthetic import stored
from tests.schedule import made


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in names else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_every_file_is_written_and_told(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    plan = made.twelve()
    written = write.write(plan, made.rows(plan), tmp_path / "new" / "out")
    assert [path.name for path in written] == list(write.FILES)
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(write.FILES)
    assert (tmp_path / "new" / "out" / "gantt.png").read_bytes().startswith(b"\x89PNG")


def test_the_document_is_the_plan_to_the_last_digit(tmp_path: Path) -> None:
    plan = made.twelve()
    write.write(plan, [], tmp_path, html=False)
    told = json.loads((tmp_path / "plan.json").read_text())
    assert list(told) == [
        *("nodes", "makespan", "lower_bound", "gap", "bounds", "policy", "objective", "proven", "utilisation", "jobs"),
    ]
    for name in ("nodes", "makespan", "lower_bound", "gap", "bounds", "policy", "objective", "proven", "utilisation"):
        assert told[name] == getattr(plan, name)
    expected = [(one.job.name, one.job.type, one.nodes, one.start, one.end) for one in plan.placements]
    assert [tuple(job.values()) for job in told["jobs"]] == expected
    assert list(told["jobs"][0]) == ["job", "type", "nodes", "start", "end"]
    with (tmp_path / "plan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [
        (row["job"], row["type"], int(row["nodes"]), float(row["start"]), float(row["end"])) for row in rows
    ] == expected


def test_no_bound_no_gap(tmp_path: Path) -> None:
    plan = dataclasses.replace(made.three(), bounds={})
    write.write(plan, [], tmp_path, html=False)
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told["gap"] is None
    assert told["bounds"] == {}


def test_the_comparison(tmp_path: Path) -> None:
    plan = made.twelve()
    rows = made.rows(plan)
    write.write(plan, rows, tmp_path, html=False)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(row["makespan"]) for row in found] == [row.makespan for row in rows]
    assert [float(row["ratio"]) for row in found] == [row.makespan / plan.makespan for row in rows]
    assert found[0]["description"] == rows[0].description


def test_what_an_earlier_plan_had_and_this_one_has_not_is_removed_and_nothing_else(tmp_path: Path) -> None:
    plan = made.three()
    (tmp_path / "schedule.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write.write(plan, made.rows(plan), tmp_path, html=False)
    assert write.COMPARISON in {path.name for path in tmp_path.iterdir()}
    write.write(plan, [], tmp_path, html=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("gantt.png", "gantt.svg", "notes.txt", "plan.csv", "plan.json"),
    ]


def test_an_error_leaves_the_old_plan_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write(made.three(), [], tmp_path, html=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gantt, "rendered", full)
    with pytest.raises(StoreError, match=r"cannot be written to .*: No space left on device; name another folder"):
        write.write(made.twelve(), [], tmp_path, html=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_in_the_way_and_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(StoreError, match=r"plan\.json is a folder there|Is a directory"):
        write.write(made.three(), [], tmp_path, html=False)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another folder with --output"):
        write.write(made.three(), [], tmp_path / "file" / "out", html=False)
    with pytest.raises(UsageError, match="file is a file: name a folder"):
        write.write(made.three(), [], tmp_path / "file", html=False)


def test_nothing_is_written_among_a_runs_files_or_over_the_jobs(tmp_path: Path) -> None:
    run = stored(synthetic.run(path=tmp_path / "run", nodes=[1]))
    (run / "jobs.csv").write_text("jobs")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for inputs in ([], [run], [run / "jobs.csv"]):
        with pytest.raises(UsageError, match=r"is the folder of a run, .* a schedule would be: .*run/schedule$"):
            write.write(made.three(), [], run, html=False, inputs=inputs)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert write.write(made.three(), [], run / "schedule", html=False, inputs=[run])
    for name in ("plan.csv", "comparison.csv"):
        jobs = tmp_path / name
        jobs.write_text("jobs")
        with pytest.raises(UsageError, match=f"has {name}, which is read and would be lost"):
            write.write(made.three(), [], tmp_path, html=False, inputs=[jobs])
        assert jobs.read_text() == "jobs"
    assert not (tmp_path / "plan.json").exists()


def test_the_page_is_left_out_or_demanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "plotly")
    names = {path.name for path in write.write(made.three(), [], tmp_path / "out")}
    assert "schedule.html" not in names
    assert write.page_left_out() == "schedule.html was left out: it needs pip install 'layerbench[html]'"
    with pytest.raises(UsageError, match=r"--html needs plotly, not installed here: pip install 'layerbench\[html\]'"):
        write.write(made.three(), [], tmp_path / "other", html=True)
    assert not (tmp_path / "other").exists()


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        plan = made.twelve()
        write.write(plan, made.rows(plan), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_names_of_any_letters(tmp_path: Path) -> None:
    names = ['a,"b"\nc', "層 $x^2$", "half \ud800", "\x1b[31m", "<b>&amp;"]
    jobs = [Job.of(name, name, [(1, 1.0)]) for name in names]
    plan = Plan(5, tuple(Placement(job, 1, 0.0) for job in jobs), "best")
    write.write(plan, [], tmp_path)
    assert [job["job"] for job in json.loads((tmp_path / "plan.json").read_text())["jobs"]] == names
    with (tmp_path / "plan.csv").open(newline="", encoding="utf-8") as file:
        read = [row["job"] for row in csv.DictReader(file)]
    assert read == [*names[:2], "half \\ud800", *names[3:]]
