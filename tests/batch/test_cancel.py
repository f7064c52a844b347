"""Cancelling jobs, each for itself; forgetting those that no scheduler has taken, all of those named or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerbench.batch import submission as submissions
from layerbench.batch.cancel import cancel, drop
from layerbench.batch.status import Answer
from layerbench.batch.submission import Job
from layerbench.errors import NoAnswerError, SchedulerError, UsageError
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


Asked = list[list[str]]


@pytest.fixture
def torque(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Answer], Asked]:
    """What each program of Torque answers, where it is there, and what it was asked."""
    answers: dict[str, Answer] = {}
    asked: Asked = []

    def ask(command: Sequence[str], **_: Any) -> Answer:
        asked.append(list(command))
        if command[0] not in answers:
            raise NoAnswerError(f"{command[0]} did not answer")
        return answers[command[0]]

    for module in ("cancel", "follow"):
        monkeypatch.setattr(f"layerbench.batch.{module}.ask", ask)
    return answers, asked


def start(run: Path, name: str) -> None:
    submissions.files(run, name).with_suffix(".started").write_text("a host\n")


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


def test_of_what_has_started_the_scheduler_says_whether_it_runs(
    run: Path, torque: tuple[dict[str, Answer], Asked]
) -> None:
    answers, asked = torque
    start(run, "lb-1")
    with pytest.raises(SchedulerError, match="may still be running: qselect did not answer"):
        drop(run, ["lb-1", "lb-2"], print)
    assert names(run) == ["lb-1", "lb-2"]
    answers["qselect"] = Answer(0, "7.server\n", "")
    with pytest.raises(UsageError, match=r"is job 7\.server"):
        drop(run, ["lb-1"], print)
    assert names(run) == ["lb-1", "lb-2"]

    start(run, "lb-2")
    answers["qselect"] = Answer(0, "", "")
    drop(run, ["lb-2"], print)
    assert names(run) == ["lb-1"]
    assert asked == [["qselect", "-N", name] for name in ("lb-1", "lb-1", "lb-2")]


@pytest.fixture
def young(run: Path) -> Path:
    """The same with three jobs just submitted; the id of the first is not known."""
    found = submissions.load(run)
    jobs = [msgspec.structs.replace(job, begun="2999-01-01T00:00:00+00:00") for job in found.jobs]
    jobs.append(msgspec.structs.replace(jobs[0], name="lb-3", nodes=[3], id="3"))
    jobs[1] = msgspec.structs.replace(jobs[1], id="2")
    submissions.save(run, msgspec.structs.replace(found, jobs=jobs))
    return run


def test_one_that_cannot_be_cancelled_does_not_save_the_others(
    young: Path, torque: tuple[dict[str, Answer], Asked]
) -> None:
    answers, asked = torque
    answers |= {"qselect": Answer(0, "", ""), "qdel": Answer(0, "", "")}
    told: list[str] = []
    with pytest.raises(SchedulerError, match=r"lb-1 cannot be cancelled.*--forget lb-1"):
        cancel(young, names(young), told.append)
    assert told == ["lb-2: cancelled (job 2)", "lb-3: cancelled (job 3)"]
    assert [command for command in asked if command[0] == "qdel"] == [["qdel", "2"], ["qdel", "3"]]
    assert [job.cancelled for job in submissions.load(young).jobs] == [False, True, True]


def test_a_refusal_is_told_for_each_and_a_silence_once(young: Path, torque: tuple[dict[str, Answer], Asked]) -> None:
    answers, asked = torque
    answers["qdel"] = Answer(1, "", "qdel: Unauthorized Request")
    with pytest.raises(SchedulerError, match=r"cancel lb-2: .*Unauthorized.*; .*cancel lb-3: .*Unauthorized"):
        cancel(young, ["lb-2", "lb-3"], print)
    assert [job.cancelled for job in submissions.load(young).jobs] == [False, False, False]
    del answers["qdel"]
    asked.clear()
    with pytest.raises(SchedulerError, match="it is not known whether lb-2 was cancelled: qdel did not answer"):
        cancel(young, ["lb-2", "lb-3"], print)
    assert [command for command in asked if command[0] == "qdel"] == [["qdel", "2"]]
