"""Forgetting jobs that no scheduler has taken: only these, and all of those named or none."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import pytest

from layerbench.batch import submission as submissions
from layerbench.batch.cancel import drop
from layerbench.batch.submission import Job
from layerbench.errors import UsageError
from tests.batch.rendered import submission


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run to which two jobs were to be submitted; the id of neither is known."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "a"
    submissions.folder(path).mkdir(parents=True)
    jobs = [
        Job(name=name, nodes=[nodes], run=str(path), command=["qsub"], begun="2020-01-01T00:00:00+00:00")
        for name, nodes in (("lb-1", 1), ("lb-2", 2))
    ]
    for job in jobs:
        submissions.files(path, job).with_suffix(".sh").touch()
    submissions.save(path, msgspec.structs.replace(submission("torque"), jobs=jobs))
    return path


def names(run: Path) -> list[str]:
    return [job.name for job in submissions.load(run).jobs]


def test_one_goes_and_the_others_stay(run: Path) -> None:
    told: list[str] = []
    drop(run, ["lb-1"], told.append)
    assert told == ["lb-1: forgotten; nothing was cancelled"]
    assert names(run) == ["lb-2"]
    assert [path.name for path in submissions.folder(run).glob("*.sh")] == ["lb-2.sh"]


def test_what_has_ended_is_not_forgotten_and_nothing_else_either(run: Path) -> None:
    submissions.files(run, "lb-2").with_suffix(".exit").write_text("0\n")
    with pytest.raises(UsageError, match=r"--forget lb-2: .* is over \(exit code 0\)"):
        drop(run, ["lb-1", "lb-2"], print)
    assert names(run) == ["lb-1", "lb-2"]
    assert len(list(submissions.folder(run).glob("*.sh"))) == 2


def test_a_run_that_was_measured_by_hand_stays_when_all_jobs_go(run: Path) -> None:
    (run / "manifest.json").touch()
    drop(run, names(run), print)
    assert [path.name for path in run.iterdir()] == ["manifest.json"]


def test_a_job_whose_id_is_found_just_then_stays(run: Path) -> None:
    refused: list[UsageError] = []

    def forget() -> None:
        try:
            drop(run, ["lb-1"], print)
        except UsageError as error:
            refused.append(error)

    forgetting = threading.Thread(target=forget)
    with submissions.locked(run):
        forgetting.start()
        time.sleep(0.3)  # it comes to the lock, and has read nothing before that counts
        found = submissions.load(run)
        submissions.save(run, found.with_job(msgspec.structs.replace(found.jobs[0], id="7")))
    forgetting.join()
    assert ["is job 7" in str(error) for error in refused] == [True]
    assert names(run) == ["lb-1", "lb-2"]
