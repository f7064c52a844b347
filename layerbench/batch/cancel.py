"""Cancels jobs that are waiting or running."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from layerbench.batch import submission as submissions
from layerbench.batch import verdict as verdicts
from layerbench.batch.execute import TIMEOUT, ask
from layerbench.batch.follow import look
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.submission import Job
from layerbench.batch.verdict import OVER
from layerbench.errors import NoAnswerError, SchedulerError, UsageError


def drop(run: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Forget jobs whose ids are not known, which the scheduler cannot have taken; nothing is asked or cancelled.

    Raises
    ------
    UsageError
        If the id of one is known, or it has ended: then none is forgotten.
    """

    def check(job: Job) -> None:
        if job.id:
            raise UsageError(
                f"--forget {job.name}: is job {job.id}, and only one whose id is not known is forgotten; cancel it "
                "without --forget"
            )
        code = verdicts.traces(run, job).exit_code
        if code is not None:
            raise UsageError(
                f"--forget {job.name}: it was taken, and is over (exit code {code}); see layerbench collect "
                f"{shlex.quote(str(run))}"
            )

    submissions.withdraw(run, names, made=True, check=check)
    for name in names:
        say(f"{name}: forgotten; nothing was cancelled")


def cancel(run: Path, names: Sequence[str], say: Callable[[str], None], timeout: float = TIMEOUT) -> None:
    """End jobs of a run; what they have measured is kept.

    Raises
    ------
    SchedulerError
        If one cannot be cancelled, or it is not known whether the scheduler has it.
    """
    submission = submissions.load(run)
    scheduler = SCHEDULERS[submission.system.scheduler]
    seen = look(run, names, timeout)
    for job in submissions.load(run).jobs:
        if job.name not in names:
            continue
        verdict = seen.verdicts[job.name]
        if verdict.outcome in OVER:
            say(f"{job.name}: is over already ({verdict.outcome})")
            continue
        if not job.id:
            why = f": {seen.silence}" if seen.silence else ""
            raise NoAnswerError(
                f"{job.name} cannot be cancelled, its id is not known{why}; try again, or if the scheduler cannot have "
                f"taken it: layerbench cancel --forget {job.name}"
            )
        # Kept first: what ends between here and there was cancelled all the same.
        submissions.keep(run, msgspec.structs.replace(job, cancelled=True))
        command = scheduler.cancel_command([job.id])
        try:
            answer = ask(command, timeout=timeout)
            if answer.code and not scheduler.gone(answer):
                raise SchedulerError(f"{command[0]} refused to cancel {job.name}: {answer.told}")
        except NoAnswerError:
            raise
        except SchedulerError:
            submissions.keep(run, job)
            raise
        say(f"{job.name}: cancelled (job {job.id})")
