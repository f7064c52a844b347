"""What has become of a job: its exit-code file and what the scheduler says, together."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from layerbench.batch import submission as submissions
from layerbench.batch.script import NO_MODULES, NOT_SHARED, TIME_UP
from layerbench.batch.shell import argument
from layerbench.batch.status import ENDED, Status
from layerbench.batch.submission import Job
from layerbench.suite_format import printable

Outcome: TypeAlias = Literal["unconfirmed", "pending", "running", "done", "failed", "stopped", "cancelled", "unknown"]

OVER: tuple[Outcome, ...] = ("done", "failed", "stopped", "cancelled")

TERMINATED = 128 + 15
"""Exit code of what SIGTERM ended."""

_NOT_STARTED = (126, 127)
_YOUNG = 60.0
"""Seconds within which a scheduler may not yet know a job that it has taken."""


class Verdict(msgspec.Struct, frozen=True):
    """What has become of a job, in one word, its exit code once it is over, and what there is to say."""

    outcome: Outcome
    exit_code: int | None = None
    note: str = ""
    certain: bool = True
    """Whether it will stay so: an exit code may take a while to be seen from here."""


class Traces(msgspec.Struct, frozen=True):
    """What a job has left in its folder: whether it started, and its exit code."""

    started: bool = False
    exit_code: int | None = None


def traces(run: Path, job: Job) -> Traces:
    """Look for what a job has left."""
    base = submissions.files(run, job)
    with contextlib.suppress(OSError):
        # A folder that is read is fetched anew by network file systems; a file in it alone may not be.
        list(base.parent.iterdir())
    code = None
    with contextlib.suppress(OSError, ValueError):
        code = int(base.with_name(f"{job.name}.exit").read_text())
    return Traces(base.with_name(f"{job.name}.started").is_file(), code)


def of(run: Path, job: Job, status: Status | None, left: Traces) -> Verdict:
    """Judge a job.

    Parameters
    ----------
    run
        The folder of the submission, for what is told.
    status
        What the scheduler says now; None if it does not answer.
    left
        What the job has left in its folder.
    """
    waited = job.last is not None and job.last.state == "pending"
    if status is None and waited and left.exit_code in (TIME_UP, TERMINATED):
        # As far as is known it waits again: a scheduler queues anew what it has preempted, with what that left.
        return Verdict("pending", None, "last seen pending")
    if left.exit_code is not None and (status is None or status.state == "unknown" or status.state in ENDED):
        return _of_exit_code(run, job, left.exit_code, status)
    if status is None:
        was = job.last.state if job.last else "unknown"
        told = f"last seen {was}" if job.last else ""
        outcome: Outcome = was if was in ("pending", "running") else "unknown"
        return Verdict(outcome, None, told)
    if status.state in ("pending", "running"):
        return Verdict(status.state, None, status.reason)
    if status.state == "unknown" and not left.started and _age(job) < _YOUNG:
        return Verdict("unknown", None, "the scheduler does not know it yet")
    return _without_exit_code(run, job, status, left)


def without_id(run: Path, job: Job, left: Traces, *, asked: bool = False) -> Verdict:
    """Judge a job whose id is not known; ``asked`` if the scheduler said that it has none of its name."""
    if left.exit_code is not None:
        return _of_exit_code(run, job, left.exit_code, None)
    if left.started and asked:
        told = f"it started, ended without saying how, and the scheduler finds none of its name; {_go_on(run)}"
        return Verdict("stopped", 1, told, certain=False)
    if left.started:
        return Verdict("running", None, "it has started, and its id is not known")
    if asked and _age(job) >= _YOUNG:
        return Verdict("failed", 1, f"it was never submitted; {_go_on(run)}")
    return Verdict("unconfirmed", None, "it was to be submitted, and no id was kept")


def _of_exit_code(run: Path, job: Job, code: int, status: Status | None) -> Verdict:
    log = printable(f"{submissions.files(run, job)}.log")
    if code == 0:
        if status is not None and status.state in ("failed", "timeout") and status.exit_code != 0:
            told = f"the run ended well, and the scheduler says {status.state}: {status.reason or 'no reason'}"
            return Verdict("failed", status.exit_code or 1, told)
        return Verdict("done", 0)
    if job.cancelled:
        return Verdict("cancelled", code, _go_on(run))
    if code in (TIME_UP, TERMINATED):
        return Verdict("stopped", code, f"stopped before it was complete; {_go_on(run)}")
    if code == NOT_SHARED:
        return Verdict("failed", code, _not_shared(run))
    if code == NO_MODULES:
        return Verdict("failed", code, f"its modules could not be loaded: see {log}")
    if code in _NOT_STARTED:
        return Verdict("failed", code, f"layerbench could not be started there: see {log}")
    meaning = {1: "some records failed", 2: "it was asked for something wrong", 3: "nothing could run"}
    return Verdict("failed", code, f"{meaning.get(code, f'exit code {code}')}: see {log}")


def _without_exit_code(run: Path, job: Job, status: Status, left: Traces) -> Verdict:
    """A job that is over, and has not written its last word."""
    why = f" ({status.reason})" if status.reason else ""
    if job.cancelled or (status.state == "cancelled" and not left.started):
        return Verdict("cancelled", TERMINATED, f"{_go_on(run)}{why}", certain=not left.started)
    if status.state == "timeout":
        return Verdict("stopped", TIME_UP, f"its time was up{why}; {_go_on(run)}", certain=False)
    if status.state == "cancelled":
        code = status.exit_code or TERMINATED
        return Verdict("stopped", code, f"ended by the scheduler{why}; {_go_on(run)}", certain=False)
    if left.started:
        code = status.exit_code or 1
        told = f"it started and was killed before it could say how it ended{why}; {_go_on(run)}"
        return Verdict("stopped", code, told, certain=False)
    if status.state == "unknown":
        told = "the scheduler does not know it any more, and it has left nothing here: either it never started, or "
        return Verdict("failed", 1, told + _not_shared(run), certain=False)
    if status.state == "failed" and status.exit_code != NOT_SHARED:
        told = f"it has left nothing here: either it never started{why}, or {_not_shared(run)}"
        return Verdict("failed", status.exit_code or 1, told, certain=False)
    return Verdict("failed", status.exit_code or 1, f"{_not_shared(run)}{why}", certain=False)


def _not_shared(run: Path) -> str:
    name = printable(str(run))
    return f"{name} cannot be seen from where it ran, or not from here: name an --output that all nodes share"


def _go_on(run: Path) -> str:
    return f"go on with: layerbench submit --resume {argument(run)}"


def _age(job: Job) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(job.begun)).total_seconds()
    except (ValueError, TypeError):
        return _YOUNG
