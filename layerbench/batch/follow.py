"""Follows jobs: asks the scheduler, looks at what they have left, and waits without asking too often."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from layerbench.batch import submission as submissions
from layerbench.batch import verdict as verdicts
from layerbench.batch.execute import TIMEOUT, ask
from layerbench.batch.schedulers.protocol import Scheduler
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.status import ENDED, Status, of_exit_code
from layerbench.batch.submission import Job
from layerbench.batch.verdict import OVER, Verdict
from layerbench.errors import NoAnswerError, SchedulerError

Say = Callable[[str], None]

LONGEST_INTERVAL = 60.0
_SLOWER = 1.5


class Look(msgspec.Struct, frozen=True):
    """What has become of the jobs of a run, by name.

    Attributes
    ----------
    silence
        What was wrong with the scheduler; empty if nothing.
    hopeless
        Asking it again would not help: its programs are not here.
    """

    verdicts: dict[str, Verdict]
    silence: str = ""
    hopeless: bool = False


def look(run: Path, names: Sequence[str], timeout: float = TIMEOUT, *, keep: bool = True) -> Look:
    """See what has become of jobs, and unless told otherwise keep what is new of it beside the run.

    Raises
    ------
    StoreError
        If the submission cannot be read or written.
    """
    submission = submissions.load(run)
    scheduler = SCHEDULERS[submission.system.scheduler]
    jobs = [job for job in submission.jobs if job.name in names]
    silence, hopeless, hangs = "", False, False
    found: dict[str, Verdict] = {}
    for job in jobs:
        status = job.last if job.last is not None and job.last.state in ENDED else None
        answered = status is not None
        started = verdicts.traces(run, job).started
        if not answered and not hangs:
            begin = time.monotonic()
            try:
                if not job.id:
                    job = recovered(run, job, scheduler, timeout, keep=keep)  # noqa: PLW2901
                status = _status(job, scheduler, timeout) if job.id else None
                answered = True
            except SchedulerError as error:
                silence = silence or str(error)
                hopeless = hopeless or not isinstance(error, NoAnswerError)
                # What took all of our patience for one job would take it for each of the others.
                hangs = time.monotonic() - begin >= timeout
        # Only now: the job may have ended while the scheduler was asked.
        left = verdicts.traces(run, job)
        if not job.id:
            found[job.name] = verdicts.without_id(run, job, left, asked=answered and left.started == started)
            continue
        last = _worth_keeping(status, left)
        if keep and last is not None and last != job.last:
            update(run, job, last=last)
        found[job.name] = verdicts.of(run, job, status, left)
    return Look(found, silence, hopeless)


def update(run: Path, job: Job, **news: Any) -> Job:
    """Keep what is new of a job, and nothing else: since it was read it may have been cancelled, or forgotten."""
    with submissions.locked(run):
        submission = submissions.load(run)
        for other in submission.jobs:
            if other.name == job.name:
                submissions.save(run, submission.with_job(msgspec.structs.replace(other, **news)))
    return msgspec.structs.replace(job, **news)


def _worth_keeping(status: Status | None, left: verdicts.Traces) -> Status | None:
    """What to remember of a job for when the scheduler is down or has forgotten it.

    A job that is remembered as ended is not asked for again. One that failed and wrote no exit code may yet be queued
    again by the scheduler.
    """
    if status is None or (status.state == "failed" and left.exit_code is None):
        return None
    if status.state == "unknown":
        return None if left.exit_code is None else of_exit_code(left.exit_code)
    return status


def recovered(run: Path, job: Job, scheduler: Scheduler, timeout: float = TIMEOUT, *, keep: bool = True) -> Job:
    """A job with its id, found by its name if it was submitted and its id not kept.

    Raises
    ------
    SchedulerError
        If the scheduler is not there or does not answer.
    """
    if job.id:
        return job
    ids = scheduler.parse_found(ask(scheduler.find_command(job.name), timeout=timeout))
    if not ids:
        return job
    return update(run, job, id=ids[-1]) if keep else msgspec.structs.replace(job, id=ids[-1])


def _status(job: Job, scheduler: Scheduler, timeout: float) -> Status:
    told: dict[str, Status] = {}
    for command in scheduler.status_commands([job.id]):
        told |= scheduler.parse_status([job.id], ask(command, timeout=timeout))
    if job.id not in told:
        raise NoAnswerError(f"{scheduler.status_commands([job.id])[0][0]} does not speak of {job.id}")
    return told[job.id]


def wait(
    run: Path,
    names: Sequence[str],
    say: Say,
    *,
    timeout: float | None = None,
    interval: float = 2.0,
    lag: float = 30.0,
    answer_timeout: float = TIMEOUT,
) -> Look:
    """Wait until jobs are over.

    Parameters
    ----------
    say
        Told in a line when a job's state changes, and when the scheduler falls silent or answers again.
    timeout
        Seconds to wait at most; None for ever.
    interval
        Seconds between two looks at first; it grows while nothing changes.
    lag
        Seconds that a job's files may take until they are seen here.
    answer_timeout
        Seconds that the scheduler may take to answer.

    Raises
    ------
    SchedulerError
        If the scheduler's programs are not here.
    """
    begin = time.monotonic()
    before: dict[str, str] = {}
    silent = False
    over_since: dict[str, float] = {}
    pause = interval
    while True:
        seen = look(run, names, answer_timeout)
        changed = False
        for name, verdict in seen.verdicts.items():
            if before.get(name) != verdict.outcome:
                before[name] = verdict.outcome
                changed = True
                say(f"{name}: {verdict.outcome}{_reason(verdict)}")
            if verdict.outcome not in OVER:
                over_since.pop(name, None)
        if seen.silence and not silent:
            say(f"the scheduler does not answer, it is asked again: {seen.silence}")
        elif silent and not seen.silence:
            say("the scheduler answers again")
        silent = bool(seen.silence)
        now = time.monotonic()
        unsettled = [
            verdict for name, verdict in seen.verdicts.items() if not _settled(name, verdict, over_since, now, lag)
        ]
        if not unsettled:
            return seen
        if seen.hopeless:
            raise SchedulerError(seen.silence)
        left = float("inf") if timeout is None else begin + timeout - now
        if left <= 0:
            return seen
        waiting_for_files = any(verdict.outcome in OVER for verdict in unsettled)
        pause = interval if changed else min(LONGEST_INTERVAL, pause * _SLOWER)
        time.sleep(min(pause, left, max(0.1, lag / 4) if waiting_for_files else pause))


def _reason(verdict: Verdict) -> str:
    """Why a job waits; what there is to say of one that is over is said when all are."""
    return f" ({verdict.note})" if verdict.note and verdict.outcome not in OVER else ""


def _settled(name: str, verdict: Verdict, over_since: dict[str, float], now: float, lag: float) -> bool:
    """Whether nothing more is to be waited for."""
    if verdict.outcome not in OVER:
        return False
    return verdict.certain or now - over_since.setdefault(name, now) >= lag
