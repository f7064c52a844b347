"""What has become of a job: the exit-code file and the scheduler, together and each alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from layerbench.batch import verdict
from layerbench.batch.status import Status
from layerbench.batch.submission import Job
from layerbench.batch.verdict import Traces, Verdict

RUN = Path("run")
OLD = Job(name="lb-a", nodes=[1], run="run", command=["qsub"], begun="2020-01-01T00:00:00+00:00", id="1")
NEW = msgspec.structs.replace(OLD, begun="2999-01-01T00:00:00+00:00")

DONE, STARTED, NOTHING = Traces(started=True, exit_code=0), Traces(started=True), Traces()


def left(code: int) -> Traces:
    return Traces(started=True, exit_code=code)


CASES = [
    # Both agree.
    (OLD, Status("done", 0), DONE, "done", 0),
    (OLD, Status("failed", 1), left(1), "failed", 1),
    (OLD, Status("failed", 143), left(143), "stopped", 143),
    (OLD, Status("timeout"), left(124), "stopped", 124),
    # The scheduler has forgotten it, or is down: the file decides.
    (OLD, Status("unknown"), DONE, "done", 0),
    (OLD, Status("unknown"), left(3), "failed", 3),
    (OLD, None, DONE, "done", 0),
    (OLD, None, left(124), "stopped", 124),
    # The file says well and the scheduler does not: the worse counts.
    (OLD, Status("failed", 9), DONE, "failed", 9),
    (OLD, Status("failed"), DONE, "failed", 1),
    # A job that is queued again after it was preempted is not over.
    (OLD, Status("pending"), left(143), "pending", None),
    (OLD, Status("running"), DONE, "running", None),
    (msgspec.structs.replace(OLD, last=Status("pending")), None, left(143), "pending", None),
    (msgspec.structs.replace(OLD, last=Status("pending")), None, DONE, "done", 0),
    (msgspec.structs.replace(OLD, last=Status("pending")), Status("unknown"), left(143), "stopped", 143),
    # No file.
    (OLD, Status("running"), STARTED, "running", None),
    (OLD, Status("pending", None, "Priority"), NOTHING, "pending", None),
    (OLD, Status("timeout"), STARTED, "stopped", 124),
    (OLD, Status("cancelled", 143), STARTED, "stopped", 143),
    (OLD, Status("cancelled"), NOTHING, "cancelled", 143),
    (OLD, Status("failed", 137), STARTED, "stopped", 137),
    (OLD, Status("done", 0), NOTHING, "failed", 1),
    (OLD, Status("failed", 97), NOTHING, "failed", 97),
    (OLD, Status("unknown"), STARTED, "stopped", 1),
    (OLD, Status("unknown"), NOTHING, "failed", 1),
    (NEW, Status("unknown"), NOTHING, "unknown", None),
    # The scheduler is down.
    (OLD, None, NOTHING, "unknown", None),
    (msgspec.structs.replace(OLD, last=Status("running")), None, STARTED, "running", None),
    (msgspec.structs.replace(OLD, last=Status("pending")), None, NOTHING, "pending", None),
    # We cancelled it.
    (msgspec.structs.replace(OLD, cancelled=True), Status("failed", 143), left(143), "cancelled", 143),
    (msgspec.structs.replace(OLD, cancelled=True), Status("failed", 1), STARTED, "cancelled", 143),
    (msgspec.structs.replace(OLD, cancelled=True), Status("done", 0), DONE, "done", 0),
]


@pytest.mark.parametrize(("job", "status", "traces", "outcome", "code"), CASES, ids=range(len(CASES)))
def test_it(job: Job, status: Status | None, traces: Traces, outcome: str, code: int | None) -> None:
    found = verdict.of(RUN, job, status, traces)
    assert (found.outcome, found.exit_code) == (outcome, code)
    assert (found.exit_code is not None) == (found.outcome in verdict.OVER)
    if found.outcome in ("stopped", "cancelled"):
        assert "submit --resume run" in found.note


@pytest.mark.parametrize("status", [Status("done", 0), Status("failed", 97), Status("failed", 1), Status("unknown")])
def test_a_job_that_left_nothing_may_have_run_where_the_folder_is_not(status: Status) -> None:
    found = verdict.of(RUN, OLD, status, NOTHING)
    assert "all nodes share" in found.note
    assert not found.certain


def test_a_job_that_could_not_start_may_have_failed_for_other_reasons() -> None:
    found = verdict.of(RUN, OLD, Status("failed", 1, "NODE_FAIL"), NOTHING)
    assert "either it never started (NODE_FAIL), or run cannot be seen" in found.note


@pytest.mark.parametrize(
    ("name", "typed"), [("my run", "'my run'"), ("-x", "./-x"), ("new\nline", "$'new\\012line'"), ("$(x)", "'$(x)'")]
)
def test_a_folder_that_is_named_oddly_can_be_typed(name: str, typed: str) -> None:
    found = verdict.of(Path(name), OLD, None, left(143)).note
    assert f"--resume {typed}" in found
    assert found.isprintable()
    for code in (1, 97, 98, 127):
        assert verdict.of(Path(name), OLD, None, left(code)).note.isprintable()


@pytest.mark.parametrize(
    ("traces", "asked", "job", "expected"),
    [
        (DONE, True, OLD, Verdict("done", 0)),
        (STARTED, True, OLD, "stopped"),
        (STARTED, False, OLD, "running"),
        (NOTHING, True, NEW, "unconfirmed"),
        (NOTHING, False, OLD, "unconfirmed"),
        (NOTHING, True, OLD, "failed"),
    ],
)
def test_without_an_id(traces: Traces, asked: bool, job: Job, expected: Verdict | str) -> None:
    found = verdict.without_id(RUN, job, traces, asked=asked)
    assert expected in (found, found.outcome)


@pytest.mark.parametrize("begun", ["", "yesterday", "2020-01-01T00:00:00"])
def test_a_moment_that_cannot_be_read_is_long_ago(begun: str) -> None:
    job = msgspec.structs.replace(OLD, begun=begun)
    assert verdict.without_id(RUN, job, NOTHING, asked=True).outcome == "failed"


def test_what_is_no_number_is_no_exit_code(tmp_path: Path) -> None:
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "lb-a.exit").write_text("\n")
    assert verdict.traces(tmp_path, OLD) == NOTHING
    (tmp_path / "batch" / "lb-a.exit").write_text("0\n")
    (tmp_path / "batch" / "lb-a.started").write_text("host\n")
    assert verdict.traces(tmp_path, OLD) == DONE
    assert verdict.traces(tmp_path / "gone", OLD) == NOTHING
