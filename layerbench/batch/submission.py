"""What was submitted, beside its run: ``RUN/batch/job.json``, and each job's script, log and exit code.

An entry is written before its job is submitted and its id after that: a crash in between leaves an entry without an
id, whose job is found by its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from layerbench import store
from layerbench.batch.status import Status
from layerbench.batch.system import System
from layerbench.errors import StoreError

SCHEMA_VERSION = 1

RUNS = Path("runs")
"""Where run folders go if no output is named, as with ``layerbench run``."""

_JOB_FILE = "job.json"
_LOCK_FILE = "lock"
_ELSEWHERE = ".submitted"
"""In ``runs/``: run folders elsewhere of what was submitted from here, one JSON text to a line."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job that was submitted, or was about to be.

    Attributes
    ----------
    name
        Its own, which no other has.
    nodes
        Node counts that it measures; it asks for the largest.
    run
        Its run folder, whole.
    command
        What submitted it.
    begun
        When that was, ISO 8601 in UTC.
    id
        The scheduler's; empty as long as it is not known.
    last
        What the scheduler last said.
    cancelled
        ``layerbench cancel`` ended it.
    """

    name: str
    nodes: list[int]
    run: str
    command: list[str]
    begun: str
    id: str = ""
    last: Status | None = None
    cancelled: bool = False


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """All jobs of one run, and what they are made from.

    Attributes
    ----------
    command
        As it was typed.
    system
        The profile, whole: what becomes of it later does not matter.
    label
        What names begin with.
    suite
        As messages name it.
    workdir, python, launcher, launcher_args
        As :class:`layerbench.batch.script.Job` has them.
    options
        Of ``layerbench run``, but for node counts and what follows from the system.
    counts, array
        Node counts, and whether each has a job of its own.
    ranks_per_node, threads, cores_per_node
        As asked for, or of the system.
    walltime, account, queue
        In seconds; None and empty for the scheduler's default.
    jobs
        In the order in which they were submitted; of one count the last one counts.
    """

    schema_version: int = SCHEMA_VERSION
    command: str
    system: System
    label: str
    suite: str
    workdir: str
    python: str
    launcher: str
    launcher_args: str
    options: list[list[str]]
    counts: list[int]
    array: bool
    ranks_per_node: int
    threads: int | None
    cores_per_node: int | None
    walltime: int | None
    account: str
    queue: str
    jobs: list[Job] = []

    def parts(self) -> list[list[int]]:
        """Node counts of each job, the smallest first."""
        return [[count] for count in self.counts] if self.array else [self.counts]

    def latest(self) -> list[Job]:
        """Of each part the job that was submitted last."""
        by_part = {tuple(job.nodes): job for job in self.jobs}
        return [by_part[tuple(part)] for part in self.parts() if tuple(part) in by_part]

    def with_job(self, job: Job) -> Submission:
        """The same with this job in the place of the one of its name, or added."""
        jobs = [job if other.name == job.name else other for other in self.jobs]
        return msgspec.structs.replace(self, jobs=jobs if job in jobs else [*jobs, job])

    def without_job(self, name: str) -> Submission:
        return msgspec.structs.replace(self, jobs=[job for job in self.jobs if job.name != name])


def folder(run: Path) -> Path:
    """Where a run's submission is kept."""
    return run / store.BATCH


def files(run: Path, job: Job | str) -> Path:
    """A job's files, by their common path without an ending."""
    return folder(run) / (job if isinstance(job, str) else job.name)


def exists(run: Path) -> bool:
    """Whether a run was submitted."""
    return (folder(run) / _JOB_FILE).is_file()


def load(run: Path) -> Submission:
    """Read a run's submission.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    path = folder(run) / _JOB_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{run} was not submitted: it has no {store.BATCH}/{_JOB_FILE}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        found = msgspec.json.decode(content, type=Submission)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if found.schema_version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {found.schema_version}, this layerbench reads {SCHEMA_VERSION}: use the one "
            "that wrote it"
        )
    return found


def save(run: Path, submission: Submission) -> None:
    """Replace a run's submission whole, and wait until it is on disk.

    Raises
    ------
    StoreError
        If it cannot be written; the old one is left as it was.
    """
    path = folder(run) / _JOB_FILE
    draft = path.with_suffix(f".{os.getpid()}.new")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(submission), indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def remove(run: Path) -> None:
    """Take a submission away, and its folder if there is nothing else in it."""
    with contextlib.suppress(OSError):
        for name in (_JOB_FILE, _LOCK_FILE):
            (folder(run) / name).unlink(missing_ok=True)
        folder(run).rmdir()


def withdraw(
    run: Path, names: Sequence[str], *, made: bool = False, check: Callable[[Job], None] | None = None
) -> None:
    """Take back what was written for jobs that were not submitted; all of it if that is all there is.

    Parameters
    ----------
    made
        The run folder was made for them.
    check
        Called with each job's entry, which does not change any more; if it raises, all is left as it is.
    """
    with locked(run):
        submission = load(run)
        for job in submission.jobs:
            if check is not None and job.name in names:
                check(job)
        for name in names:
            submission = submission.without_job(name)
        save(run, submission)
    for name in names:
        with contextlib.suppress(OSError):
            (folder(run) / f"{name}.sh").unlink()
    if not submission.jobs:
        # What else is there was measured by scripts that were submitted by hand.
        remove(run)
        if made:
            with contextlib.suppress(OSError):
                run.rmdir()
        forget(run)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Change a run's submission, with no other layerbench in between.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    path = folder(run) / _LOCK_FILE
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror or error}") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def keep(run: Path, job: Job) -> Submission:
    """Keep what is new of one job; returns the submission as it is then."""
    with locked(run):
        submission = load(run).with_job(job)
        save(run, submission)
    return submission


def remember(run: Path) -> None:
    """Have :func:`runs` find a run that is not in ``runs/``.

    Raises
    ------
    StoreError
        If that cannot be written.
    """
    if run.resolve().parent == RUNS.resolve():
        return
    line = json.dumps(str(run.resolve())) + "\n"
    try:
        RUNS.mkdir(exist_ok=True)
        with (RUNS / _ELSEWHERE).open("a+") as file:
            file.seek(0)
            if line not in file.readlines():
                file.write(line)
    except OSError as error:
        raise StoreError(f"{RUNS / _ELSEWHERE} cannot be written: {error.strerror or error}") from error


def forget(run: Path) -> None:
    """Undo :func:`remember`, of a run to which nothing was submitted after all."""
    line = json.dumps(str(run.resolve())) + "\n"
    path = RUNS / _ELSEWHERE
    with contextlib.suppress(OSError):
        left = [other for other in path.read_text().splitlines(keepends=True) if other != line]
        if left:
            path.write_text("".join(left))
        else:
            path.unlink()
    with contextlib.suppress(OSError):
        RUNS.rmdir()  # if there is nothing else in it


def runs() -> list[Path]:
    """Run folders of all that was submitted from here and is still there, the oldest first."""
    found = [path for path in RUNS.glob("*") if exists(path)]
    with contextlib.suppress(OSError, ValueError):
        named = [Path(json.loads(line)) for line in (RUNS / _ELSEWHERE).read_text().splitlines() if line.strip()]
        here = Path.cwd()
        there = {path.resolve() for path in found}
        named = [path for path in named if path.resolve() not in there and exists(path)]
        found += [path.relative_to(here) if path.is_relative_to(here) else path for path in named]
    return sorted(found, key=lambda path: (_begun(path), str(path)))


def _begun(run: Path) -> str:
    with contextlib.suppress(StoreError):
        return max((job.begun for job in load(run).jobs), default="")
    return ""


def choose(wanted: Sequence[str]) -> list[tuple[Path, list[str]]]:
    """Runs and the names of those of their jobs that are meant by run folders, job names or ids.

    Raises
    ------
    StoreError
        If one means nothing, or several jobs.
    """
    return [_chosen(one) for one in wanted]


def _chosen(wanted: str) -> tuple[Path, list[str]]:
    path = Path(wanted)
    with contextlib.suppress(OSError, ValueError):
        if exists(path):
            return path, [job.name for job in load(path).latest()]
    known, meant, damaged = [], [], ""
    for run in runs():
        try:
            jobs = load(run).jobs
        except StoreError as error:
            damaged = f"; {error}"
            continue
        for job in jobs:
            if wanted and wanted in (job.name, job.id, job.id.partition(".")[0]):
                meant.append((run, job.name))
            known.append(job.name)
    if len(meant) > 1:
        told = ", ".join(f"{name} ({run})" for run, name in meant)
        raise StoreError(f"{wanted}: several jobs have this id, of other systems or times; name one of: {told}")
    if meant:
        ((run, name),) = meant
        return run, [name]
    told = f"known are {', '.join(known[-8:])}" if known else f"nothing was submitted from here ({RUNS.resolve()})"
    raise StoreError(f"{wanted}: no such job or run; name a run folder, a job's name or its id; {told}{damaged}")
