"""What is no run, or not a whole one: why it cannot be read, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench import store
from layerbench.errors import StoreError
from tests.values import manifest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder without records."""
    path = tmp_path / "run"
    store.create(path, manifest())
    return path


def test_what_is_no_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, why in (
        ("nowhere", "does not exist: name a run folder"),
        ("file", "is not a run folder but a file"),
        ("empty", "is not a run folder: it has no run.json"),
    ):
        with pytest.raises(StoreError, match=why) as caught:
            store.load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_folder_of_runs_names_one_inside(run: Path) -> None:
    (run.parent / "a file").write_text("")
    with pytest.raises(StoreError, match=r"but a folder of runs: name a run inside it, such as ") as caught:
        store.load(run.parent)
    assert str(caught.value).endswith(str(run))


def test_a_damaged_manifest_says_what_to_do(run: Path) -> None:
    (run / store.MANIFEST).write_text("{")
    with pytest.raises(StoreError, match=r"is damaged: .*; put a sound copy in its place, or run again"):
        store.load(run)


def test_missing_records_are_an_error_and_not_an_empty_run(run: Path) -> None:
    (run / store.RECORDS).unlink()
    for read in (store.load, lambda path: store.ranges(path, 1)):
        with pytest.raises(StoreError, match=r"has no records.jsonl, .*: put a copy of it there, or run again"):
            read(run)
