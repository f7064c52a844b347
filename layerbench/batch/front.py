"""What the commands do, between what was typed and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerbench import api
from layerbench import suite as suites
from layerbench.batch import asked as asking
from layerbench.batch import submission as submissions
from layerbench.batch import submit as submitting
from layerbench.batch.follow import Look, look
from layerbench.batch.shell import argument
from layerbench.batch.submission import Submission
from layerbench.batch.verdict import OVER
from layerbench.errors import StoreError, UsageError
from layerbench.option_checks import check
from layerbench.plan import parse_nodes
from layerbench.records import Options
from layerbench.suite_format import printable

Say = Callable[[str], None]

_LIMITS = {"walltime", "account", "queue"}
_ABOUT_SUBMITTING = {"dry_run", "scheduler_timeout", "resume"}


def submit(
    options: dict[str, Any], given: set[str], passed: list[list[str]], *, of_run: set[str], say: Say, warn: Say
) -> None:
    """``layerbench submit``.

    Parameters
    ----------
    options, given
        By name, and the names of those that were typed.
    passed
        Options of the run as they are typed, which are only passed on.
    of_run
        Names of all options that are the run's.
    say, warn
        Take a line each.

    Raises
    ------
    UsageError
        As its classes say.
    """
    timeout = options["scheduler_timeout"]
    if options["resume"] is not None:
        if more := sorted(given - _LIMITS - _ABOUT_SUBMITTING):
            raise UsageError(
                f"--resume {options['resume']} takes all options from what was submitted; of them only --walltime, "
                f"--account and --queue can be new, not --{more[0].rstrip('_').replace('_', '-')}"
            )
        run = options["resume"]
        submission = asking.continued(run, options["walltime"], options["account"], options["queue"])
        _again(run, submission, options["dry_run"], timeout, say, warn)
        return
    submission = asking.submission(_asked(options, given, passed))
    _check_run(options, submission)
    if options["output"] is None:
        run = _new_folder(submission.label.removeprefix("lb-"))
    else:
        if not options["output"].strip():
            raise UsageError("--output must name a folder, and is empty")
        run = Path(options["output"])
        asking.check_output(run)
        if submissions.exists(run):
            _again(run, asking.same(run, submissions.load(run), submission), options["dry_run"], timeout, say, warn)
            return
    _do(run, submission, submission.parts(), options["dry_run"], timeout, say, warn)


def _asked(options: dict[str, Any], given: set[str], passed: list[list[str]]) -> asking.Asked:
    for typed in sys.argv[1:]:
        if not asking.is_text(typed):
            raise UsageError(f"{printable(typed)}: is not UTF-8, and cannot be written into a script")
    if not options["system"]:
        raise UsageError("--system is missing: name one of layerbench systems, or the path of a .toml file")
    if options["filter_"] is not None and not options["filter_"].strip():
        raise UsageError("--filter must name layers, such as 'conv*,lstm', and is empty")
    for name in ("ranks_per_node", "threads_per_rank"):
        if name in given and not 1 <= options[name] < 2**20:
            raise UsageError(f"--{name.replace('_', '-')} must be a whole number of at least 1, not {options[name]}")
    filtered = [["--filter", options["filter_"]]] if options["filter_"] else []
    return asking.Asked(
        system=options["system"],
        suite=options["suite"],
        filter=options["filter_"] or "",
        nodes=parse_nodes(options["nodes"]),
        walltime=options["walltime"],
        account=options["account"],
        queue=options["queue"],
        array=bool(options["array"]),
        name=options["name"],
        launcher=options["launcher"] or "",
        launcher_args=options["launcher_args"],
        ranks_per_node=options["ranks_per_node"] if "ranks_per_node" in given else None,
        threads_per_rank=options["threads_per_rank"],
        cores_per_node=options["cores_per_node"],
        options=[["--suite", options["suite"]], *filtered, *passed],
        command=api.quoted(sys.argv),
    )


def _check_run(options: dict[str, Any], submission: Submission) -> None:
    """Refuse what the job's run would refuse, before it waits in a queue for that."""
    typed = {name: options[name] for name in Options.__struct_fields__ if name in options}
    of_run = {
        **typed,
        "nodes": submission.counts,
        "batch": suites.load(options["suite"]).batch if options["batch"] is None else options["batch"],
        "filter": options["filter_"] or "",
        "launcher": submission.launcher,
        "launcher_args": submission.launcher_args,
        "hosts": [],
        "threads_per_rank": submission.threads or 1,
        "ranks_per_node": submission.ranks_per_node,
    }
    check(Options(**of_run))


def _new_folder(name: str) -> Path:
    """A run folder in ``runs/`` that is not there yet."""
    first = submissions.RUNS / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    path, again = first, 1
    while path.exists():
        again += 1
        path = first.with_name(f"{first.name}-{again}")
    return path


def _again(run: Path, submission: Submission, dry: bool, timeout: float, say: Say, warn: Say) -> None:
    """Submit the parts of a submission that have not been measured to their end."""
    jobs = {tuple(job.nodes): job for job in submission.latest()}
    seen = look(run, [job.name for job in jobs.values()], timeout, keep=not dry) if jobs else Look({})
    parts = []
    for nodes in submission.parts():
        job = jobs.get(tuple(nodes))
        if job is None:
            parts.append(nodes)
            continue
        verdict = seen.verdicts[job.name]
        if verdict.outcome in OVER:
            parts += [] if verdict.outcome == "done" else [nodes]
        elif verdict.outcome == "unconfirmed" and not seen.silence:
            parts.append(nodes)
        else:
            why = f" ({seen.silence})" if seen.silence else ""
            state = "may still be there" if verdict.outcome in ("unknown", "unconfirmed") else f"is {verdict.outcome}"
            raise UsageError(
                f"{job.name} {state}{why}: two jobs must not write into one run; wait for it, or end it with "
                f"layerbench cancel {job.name}"
            )
    if not parts:
        name = printable(str(run))
        warn(f"{name}: every job has ended well, nothing is missing; draw it with: layerbench report {argument(run)}")
        return
    _do(run, submission, parts, dry, timeout, say, warn)


def _do(
    run: Path, submission: Submission, parts: Sequence[list[int]], dry: bool, timeout: float, say: Say, warn: Say
) -> None:
    asking.check_names(run)
    planned = submitting.plan(run, submission, parts)
    if dry:
        for number, each in enumerate(planned, start=1):
            if len(planned) > 1:
                warn(f"script {number} of {len(planned)}:")
            say(each.script.removesuffix("\n"))
            warn(f"not submitted; it would be by: {submitting.shown_command(run, submission, each.job)}")
        warn("a job's name ends in digits that are new each time, so that no other job has it")
    else:
        submitting.submit(run, submission, planned, say, timeout)
    for remark in asking.remarks(submission):
        warn(remark)
    if not dry:
        say(f"follow it with: layerbench jobs; then: layerbench collect {argument(run)}")


def look_at(wanted: Sequence[str], timeout: float, warn: Say) -> list[tuple[Path, Look]]:
    """What has become of jobs, of all that were submitted from here if none are named.

    A run whose files are damaged is told of, and does not hide the others.
    """
    if wanted:
        chosen = submissions.choose(wanted)
    else:
        chosen = []
        for run in submissions.runs():
            try:
                chosen.append((run, [job.name for job in submissions.load(run).jobs]))
            except StoreError as error:
                warn(str(error))
    seen = []
    silences: set[str] = set()
    for run, names in chosen:
        found = look(run, names, timeout)
        if found.silence and found.silence not in silences:
            silences.add(found.silence)
            warn(f"the scheduler does not answer, and states are the last that were seen: {printable(found.silence)}")
        seen.append((run, found))
    return seen


def run_of(wanted: str | None) -> Path:
    """The run that a job belongs to; the newest that was submitted from here if none is named.

    Raises
    ------
    StoreError
        If there is none.
    """
    if wanted is not None:
        ((run, _),) = submissions.choose([wanted])
        return run
    runs = submissions.runs()
    if not runs:
        raise StoreError(f"nothing was submitted from here ({submissions.RUNS.resolve()}): name a run folder")
    return runs[-1]
