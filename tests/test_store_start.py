"""Where a run may start: in a folder that is new, or holds what a submission or a start that was killed has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench import outputs, store
from layerbench.errors import StoreError, UsageError
from tests.values import manifest


def test_beside_the_jobs_that_were_submitted_for_it(tmp_path: Path) -> None:
    (tmp_path / store.BATCH).mkdir()
    (tmp_path / store.BATCH / "job.json").write_text("{}")
    store.create(tmp_path, manifest())
    assert store.load(tmp_path).records == []
    assert (tmp_path / store.BATCH / "job.json").read_text() == "{}"
    with pytest.raises(UsageError, match="a file of a run"):
        outputs.check_file(tmp_path / store.BATCH / "job.json")


def test_where_a_start_was_killed_before_it_had_written_its_manifest(tmp_path: Path) -> None:
    (tmp_path / store.LAUNCHES).mkdir()
    (tmp_path / store.RECORDS).touch()
    store.create(tmp_path, manifest())
    assert store.load(tmp_path).records == []


def test_not_where_there_are_records(tmp_path: Path) -> None:
    (tmp_path / store.RECORDS).write_text("{}\n")
    with pytest.raises(StoreError, match="already holds a run"):
        store.create(tmp_path, manifest())


def test_not_beside_anything_else(tmp_path: Path) -> None:
    (tmp_path / store.BATCH).mkdir()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match="not empty"):
        store.create(tmp_path, manifest())
