"""What would take the place of a run is refused, however it is named; anything else may be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench.errors import UsageError
from layerbench.outputs import check_file, check_folder
from layerbench.store import LAUNCHES, MANIFEST, RECORDS


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "first"
    (folder / LAUNCHES).mkdir(parents=True)
    for name in (MANIFEST, RECORDS, f"{LAUNCHES}/nodes-1.json"):
        (folder / name).write_text("{}")
    return folder


def linked(path: Path) -> Path:
    """The same by a link to it."""
    link = path.parents[1] / f"link-to-{path.name}"
    link.symlink_to(path)
    return link


def below_a_link(path: Path) -> Path:
    """The same by a link to its folder."""
    link = path.parents[1] / "link"
    link.symlink_to(path.parent)
    return link / path.name


def hard_linked(path: Path) -> Path:
    link = path.parents[1] / "hard"
    os.link(path, link)
    return link


def relative(path: Path) -> Path:
    """The same by a way around, from wherever the tests run."""
    return Path(os.path.relpath(path.parent)) / ".." / path.parent.name / "." / path.name


WAYS = [lambda path: path, linked, below_a_link, hard_linked, relative]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [MANIFEST, RECORDS])
def test_a_file_of_a_run_that_is_read_is_no_output(run: Path, name: str, way: Callable[[Path], Path]) -> None:
    named = way(run / name)
    with pytest.raises(UsageError, match="is a file of a run, which would be lost: name another file") as caught:
        check_file(named, [run])
    assert str(caught.value).startswith(f"--output {named} ")


@pytest.mark.parametrize("name", [MANIFEST, RECORDS, "records.torn", f"{LAUNCHES}/nodes-1.json"])
def test_no_file_of_another_run_either(run: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is a file of a run"):
        check_file(run / name)


def test_a_journal_that_is_a_link_is_known_by_what_it_leads_to(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    (run / RECORDS).rename(elsewhere)
    (run / RECORDS).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a file of a run"):
        check_file(elsewhere, [run])


def test_other_files_may_be_written_into_a_run_and_elsewhere(run: Path, tmp_path: Path) -> None:
    for path in (run / "records.csv", run / "report" / RECORDS, tmp_path / RECORDS, tmp_path / "no/such", Path("a\0b")):
        check_file(path, [run])


def test_a_folder_is_no_file(run: Path) -> None:
    with pytest.raises(UsageError, match="is a folder: name a file"):
        check_file(run, [run])


@pytest.mark.parametrize("way", [lambda path: path, linked, below_a_link, relative])
@pytest.mark.parametrize("runs", [[], ["first"]])
def test_a_report_does_not_go_among_a_runs_files(run: Path, runs: list[str], way: Callable[[Path], Path]) -> None:
    with pytest.raises(UsageError, match=r"is the folder of a run, .*: name another, such as .*report"):
        check_folder(way(run), [run.parent / name for name in runs])


def test_a_report_goes_into_any_other_folder(run: Path, tmp_path: Path) -> None:
    for path in (run / "report", run.parent, tmp_path / "new" / "report", tmp_path / ("x" * 5000)):
        check_folder(path, [run])


def test_a_report_does_not_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("")
    with pytest.raises(UsageError, match=r"README\.md is a file: name a folder"):
        check_folder(tmp_path / "README.md")


def test_a_run_is_told_what_would_be_among_its_files(run: Path) -> None:
    with pytest.raises(UsageError, match=r"among whose files a schedule would be: .*, such as .*first/schedule$"):
        check_folder(run, what="schedule")


@pytest.mark.parametrize("way", WAYS)
def test_no_file_that_is_read_is_written_over(tmp_path: Path, way: Callable[[Path], Path]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "jobs.csv").write_text("job,type,nodes,seconds")
    read = way(tmp_path / "out" / "jobs.csv")
    with pytest.raises(UsageError, match=r"out has jobs\.csv, which is read and would be lost: name another folder$"):
        check_folder(tmp_path / "out", [read], ["plan.csv", "jobs.csv"])
    check_folder(tmp_path / "out", [read], ["plan.csv"])
    check_folder(tmp_path / "other", [read], ["jobs.csv"])
