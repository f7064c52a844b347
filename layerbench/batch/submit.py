"""Submits: writes down what is going to be done, does it, and writes down what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from layerbench.batch import script
from layerbench.batch import submission as submissions
from layerbench.batch.execute import ask
from layerbench.batch.follow import recovered
from layerbench.batch.request import Request
from layerbench.batch.schedulers.protocol import Scheduler
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.shell import argument, quoted
from layerbench.batch.status import Answer
from layerbench.batch.submission import Job, Submission
from layerbench.errors import NoAnswerError, SchedulerError, StoreError

WARNING = 120
"""Seconds before the end of a job at which its run is asked to stop, if the job lasts four times as long."""

SUFFIX_BYTES = 4
"""Of what makes a job's name its own; hexadecimal, twice as many characters."""

_MINUTE = 60
_LEAST_LABEL = "lb"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A job that can be submitted: its entry and its script."""

    job: Job
    script: str


def plan(run: Path, submission: Submission, parts: Sequence[list[int]]) -> list[Planned]:
    """Jobs for some of a submission's parts, with names that no other job has; nothing is written."""
    return [_planned(run.absolute(), submission, nodes) for nodes in parts]


def _planned(run: Path, submission: Submission, nodes: list[int]) -> Planned:
    system = submission.system
    if submission.launcher not in ("auto", "none"):
        # Some schedulers are asked for nodes in the words of what starts ranks on them.
        system = msgspec.structs.replace(system, launcher=submission.launcher)
    scheduler = SCHEDULERS[system.scheduler]
    folder = submissions.folder(run)
    name = unique_name(submission.label, f"-n{nodes[0]}" if submission.array else "", scheduler.LONGEST_NAME)
    request = Request(
        name=name,
        nodes=max(nodes),
        ranks_per_node=submission.ranks_per_node,
        threads=submission.threads,
        hardware_threads=system.hardware_threads,
        cores_per_node=submission.cores_per_node,
        gpus_per_node=system.gpus_of(submission.queue),
        walltime=submission.walltime,
        warning=_warning(submission.walltime or 0),
        account=submission.account,
        queue=submission.queue,
        own_log=any(sign in str(each) for sign in scheduler.EXPANDS for each in (folder, folder.resolve())),
    )
    counts = ",".join(map(str, nodes))
    own = folder / f"nodes-{counts}" if submission.array else run
    rendered = script.render(
        script.Job(
            request=request,
            system=system,
            what=f"Suite {submission.suite} on {counts} node{'s' if counts != '1' else ''} of {system.name}"
            + (", one after another." if len(nodes) > 1 else "."),
            workdir=Path(submission.workdir),
            files=submissions.files(run, name),
            # Some schedulers follow links.
            submitted_from=list(dict.fromkeys((str(folder), str(folder.resolve())))),
            run=own,
            options=[*submission.options, ["--nodes", counts]],
            python=submission.python,
            launcher=submission.launcher,
            launcher_args=submission.launcher_args,
        )
    )
    job = Job(
        name=name,
        nodes=nodes,
        run=str(own),
        command=scheduler.submit_command(f"{name}.sh"),
        begun=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    return Planned(job=job, script=rendered)


def _warning(walltime: int) -> int:
    """Seconds before its end at which a run is asked to stop: whole minutes if any, as some schedulers count them."""
    seconds = min(WARNING, walltime // 4)
    return seconds - seconds % _MINUTE if seconds >= _MINUTE else seconds


def unique_name(label: str, tail: str, longest: int) -> str:
    """A job's name: the label as far as there is room, what tells the submission's jobs apart, and a random number."""
    suffix = f"-{secrets.token_hex(SUFFIX_BYTES)}"
    room = longest - len(suffix) - len(tail)
    if room < len(_LEAST_LABEL):
        tail, room = "", longest - len(suffix)
    return f"{label[:room].rstrip('-._') or _LEAST_LABEL}{tail}{suffix}"


def shown_command(run: Path, submission: Submission, job: Job) -> str:
    """How a job is submitted, as it could be typed."""
    reads = f" < {job.name}.sh" if SCHEDULERS[submission.system.scheduler].SCRIPT_ON_STDIN else ""
    return f"cd {argument(submissions.folder(run.absolute()))} && {' '.join(map(quoted, job.command))}{reads}"


def submit(
    run: Path, submission: Submission, planned: Sequence[Planned], say: Callable[[str], None], timeout: float
) -> list[Job]:
    """Submit jobs, in their order; each with its id as soon as there is one.

    Parameters
    ----------
    run
        The run folder; made if it is not there.
    say
        Told of each job in a line.
    timeout
        Seconds that the scheduler may take to answer.

    Raises
    ------
    SchedulerError
        If it is missing or refuses a job: that and those after it leave nothing behind.
    NoAnswerError
        If it is not known whether it took a job; that is found out when jobs are looked at.
    StoreError
        If the run folder cannot be written.
    """
    made = not run.exists()
    _write(run, submission, planned)
    submissions.remember(run)
    done: list[Job] = []
    for number, each in enumerate(planned):
        try:
            job = _submitted(run, submission, each.job, timeout)
        except NoAnswerError as error:
            submissions.withdraw(run, _names(planned[number + 1 :]), made=made)
            raise NoAnswerError(
                _with_others(f"{error}; whether it took {each.job.name}, layerbench jobs finds out", done)
            ) from error
        except SchedulerError as error:
            submissions.withdraw(run, _names(planned[number:]), made=made)
            raise SchedulerError(_with_others(str(error), done)) from error
        done.append(job)
        counts = ",".join(map(str, job.nodes))
        say(f"submitted {job.name} for {counts} node{'s' if counts != '1' else ''}: job {job.id}")
    return done


def _names(planned: Sequence[Planned]) -> list[str]:
    return [each.job.name for each in planned]


def _with_others(told: str, done: Sequence[Job]) -> str:
    before = f"; submitted before: {', '.join(f'{job.name} ({job.id})' for job in done)}" if done else ""
    return told + before


def _write(run: Path, submission: Submission, planned: Sequence[Planned]) -> None:
    folder = submissions.folder(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in planned:
            path = folder / f"{each.job.name}.sh"
            path.write_text(each.script, encoding="utf-8")
            path.chmod(0o755)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}; name another --output") from error
    with submissions.locked(run):
        if submissions.exists(run):
            # Another layerbench may have kept something of its jobs since.
            submission = msgspec.structs.replace(submission, jobs=submissions.load(run).jobs)
        for each in planned:
            submission = submission.with_job(each.job)
        submissions.save(run, submission)


def _silence(scheduler: Scheduler, answer: Answer) -> str:
    """The line of an answer that tells that it is not the scheduler's own; empty if there is none."""
    lines = [line.strip() for line in (answer.stderr + answer.stdout).splitlines()]
    return next((line for line in reversed(lines) if scheduler.UNREACHABLE.search(line)), "")


def _submitted(run: Path, submission: Submission, job: Job, timeout: float) -> Job:
    """Submit one job; returns it with its id."""
    scheduler = SCHEDULERS[submission.system.scheduler]
    folder = submissions.folder(run)
    source = folder / f"{job.name}.sh" if scheduler.SCRIPT_ON_STDIN else None
    program = job.command[0]
    refused = False
    try:
        answer = ask(job.command, timeout=timeout, folder=folder, script=source)
        refused = answer.code != 0
        silence = _silence(scheduler, answer) if refused else ""
        told = (
            f"{program} refused it: {answer.told}"
            if refused
            else f"{program} answered {answer.told!r}, which is no job id"
        )
        found = None if refused else scheduler.parse_job_id(answer.stdout)
    except NoAnswerError as error:
        told, found, silence = str(error), None, ""
    if silence:
        # Asking for the job would get the same answer.
        raise NoAnswerError(f"{submission.system.scheduler} cannot be reached: {silence}")
    if found is not None:
        job = msgspec.structs.replace(job, id=found)
        submissions.keep(run, job)
        return job
    # It may have been taken all the same: the answer was lost, or a site's own program spoke.
    try:
        job = recovered(run, job, scheduler, timeout)
    except NoAnswerError as error:
        raise NoAnswerError(f"{told}; {error}") from error
    except SchedulerError:
        if not refused:
            raise
    if job.id:
        return job
    if refused:
        raise SchedulerError(told)
    raise NoAnswerError(f"{told}, and no job of its name is known yet")
