"""The Python interface."""

from __future__ import annotations

from pathlib import Path

import pytest

import layerbench
from layerbench import api
from layerbench.errors import StoreError, UsageError
from layerbench.stats import interval


@pytest.mark.mpi
def test_run_returns_a_run_with_a_frame(small_suite: Path, tmp_path: Path) -> None:
    run = layerbench.run(str(small_suite), batch=8, filter="fc", kernels="numpy", max_time=0.1, output=tmp_path / "run")
    frame = run.frame()
    assert len(frame) == len(run.records) == 5
    forward = frame[frame["part"] == "forward"].iloc[0]
    record = next(record for record in run.records if record.part == "forward")
    assert forward["median"] == interval(record.samples).median
    assert not run.failed
    again = layerbench.load(tmp_path / "run")
    assert again.records == run.records


def test_errors_are_exceptions_of_one_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nodes"):
        layerbench.run(nodes=[])
    with pytest.raises(UsageError, match="--nodes must be whole numbers"):
        layerbench.run(nodes=["a"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="--dtype"):
        layerbench.run(dtype="fp12")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="is not a run folder"):
        layerbench.load(tmp_path)


def test_new_folders_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "RUNS", tmp_path)
    first = api._new_folder("suite")
    first.mkdir()
    assert api._new_folder("suite") != first


def test_a_quoted_command_can_be_typed_again() -> None:
    assert api.quoted(["/usr/bin/layerbench", "run", "--filter", "conv*"]) == "layerbench run --filter 'conv*'"
