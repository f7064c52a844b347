"""Cancels jobs that are waiting or running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from layerbench.batch import submission as submissions
from layerbench.batch import verdict as verdicts
from layerbench.batch.execute import TIMEOUT, ask
from layerbench.batch.follow import look, recovered, update
from layerbench.batch.schedulers.protocol import Scheduler
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.shell import argument
from layerbench.batch.submission import Job
from layerbench.batch.verdict import OVER
from layerbench.errors import NoAnswerError, SchedulerError, UsageError


def drop(run: Path, names: Sequence[str], say: Callable[[str], None], timeout: float = TIMEOUT) -> None:
    """Forget jobs whose ids are not known, which the scheduler cannot have taken; nothing is cancelled.

    It is asked only about those that have started and not said how they ended: they may still be running.

    Raises
    ------
    UsageError
        If the id of one is known, or it has ended: then none is forgotten.
    SchedulerError
        If one has started, and the scheduler does not say whether it still runs.
    """
    submission = submissions.load(run)
    asked = set()
    for job in submission.jobs:
        if job.name in names and not job.id and _may_run(run, job):
            try:
                recovered(run, job, SCHEDULERS[submission.system.scheduler], timeout)
            except SchedulerError as error:
                raise NoAnswerError(
                    f"--forget {job.name}: it was taken and has started, and may still be running: {error}; try again "
                    "when the scheduler answers"
                ) from error
            asked.add(job.name)

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
                f"{argument(run)}"
            )
        if _may_run(run, job) and job.name not in asked:
            raise UsageError(f"--forget {job.name}: it has started just now; cancel it without --forget")

    submissions.withdraw(run, names, made=True, check=check)
    for name in names:
        say(f"{name}: forgotten; nothing was cancelled")


def _may_run(run: Path, job: Job) -> bool:
    left = verdicts.traces(run, job)
    return left.started and left.exit_code is None


def cancel(run: Path, names: Sequence[str], say: Callable[[str], None], timeout: float = TIMEOUT) -> None:
    """End jobs of a run; what they have measured is kept. One that cannot be ended does not save the others.

    Raises
    ------
    SchedulerError
        If some cannot be cancelled, or it is not known whether the scheduler has them.
    """
    scheduler = SCHEDULERS[submissions.load(run).system.scheduler]
    seen = look(run, names, timeout)
    failed: list[str] = []
    for job in submissions.load(run).jobs:
        if job.name not in names:
            continue
        verdict = seen.verdicts[job.name]
        if verdict.outcome in OVER:
            say(f"{job.name}: is over already ({verdict.outcome})")
        elif not job.id:
            why = f": {seen.silence}" if seen.silence else ""
            failed.append(
                f"{job.name} cannot be cancelled, its id is not known{why}; try again, or if the scheduler cannot have "
                f"taken it: layerbench cancel --forget {job.name}"
            )
        else:
            try:
                _end(run, job, scheduler, timeout)
            except NoAnswerError as error:
                failed.append(f"it is not known whether {job.name} was cancelled: {error}; cancel it again")
                break
            except SchedulerError as error:
                failed.append(str(error))
            else:
                say(f"{job.name}: cancelled (job {job.id})")
    if failed:
        raise SchedulerError("; ".join(dict.fromkeys(failed)))


def _end(run: Path, job: Job, scheduler: Scheduler, timeout: float) -> None:
    # Kept first: what ends between here and there was cancelled all the same.
    update(run, job, cancelled=True)
    command = scheduler.cancel_command([job.id])
    try:
        answer = ask(command, timeout=timeout)
        if answer.code and not scheduler.gone(answer):
            raise SchedulerError(f"{command[0]} refused to cancel {job.name}: {answer.told}")
    except NoAnswerError:
        raise
    except SchedulerError:
        update(run, job, cancelled=job.cancelled)
        raise
