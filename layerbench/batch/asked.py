"""From what was typed to a submission, with everything checked that can be known before a job waits in a queue."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from layerbench import launch, store
from layerbench import suite as suites
from layerbench.batch import submission as submissions
from layerbench.batch import system as systems
from layerbench.batch import walltime
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.shell import argument
from layerbench.batch.submission import Submission
from layerbench.batch.system import System
from layerbench.environment import usable_cores
from layerbench.errors import StoreError, UsageError
from layerbench.suite_format import printable, shown

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@:/-]*")
"""An account or queue: it goes into a directive, where nothing can be quoted."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed; empty or None where nothing was.

    ``options`` are those of ``layerbench run`` that were given, but for the ones that stand here.
    """

    system: str
    suite: str
    filter: str
    nodes: list[int]
    walltime: str = ""
    account: str = ""
    queue: str = ""
    array: bool = False
    name: str = ""
    launcher: str = ""
    launcher_args: str = ""
    ranks_per_node: int | None = None
    threads_per_rank: int | None = None
    cores_per_node: int | None = None
    options: list[list[str]] = []
    command: str = ""


def submission(asked: Asked) -> Submission:
    """What would be submitted.

    Raises
    ------
    UsageError
        If the system could not run it.
    """
    system = systems.load(asked.system)
    suite = suites.load(asked.suite)
    suites.select(suite, asked.filter)
    launch.split_arguments(asked.launcher_args)
    ranks = asked.ranks_per_node or system.ranks_per_node
    cores = asked.cores_per_node or system.cores_per_node
    if system.nodes is not None and max(asked.nodes) > system.nodes:
        raise UsageError(f"--nodes {max(asked.nodes)}: {system.name} has {system.nodes} nodes")
    of_node = len(usable_cores()) if system.scheduler == "local" else system.cores_per_node
    if of_node is not None and cores is not None and cores > of_node:
        raise UsageError(f"--cores-per-node {cores}: a node of {system.name} has {of_node}")
    if cores is None and SCHEDULERS[system.scheduler].NEEDS_CORES:
        raise UsageError(
            f"--cores-per-node is missing: {system.scheduler} has to be told how many cores of a node to give, and "
            f"{system.name} does not say"
        )
    systems.check_launcher(system.scheduler, asked.launcher or system.launcher, "--launcher")
    if asked.array and system.scheduler == "local":
        raise UsageError("--array: this machine has no queue, its jobs would run at once and disturb each other")
    return Submission(
        command=asked.command,
        system=system,
        label=label(asked.name, suite.name),
        suite=printable(asked.suite),
        workdir=str(Path.cwd()),
        python=system.python or sys.executable,
        launcher=asked.launcher or system.launcher,
        launcher_args=_launcher_args(system, asked),
        options=asked.options,
        counts=asked.nodes,
        array=asked.array,
        ranks_per_node=ranks,
        threads=threads(asked, system, ranks, cores),
        cores_per_node=cores,
        walltime=seconds(system, asked.walltime, asked.queue or system.queue),
        account=_word(asked.account, "--account") or _required(system),
        queue=_word(asked.queue, "--queue") or system.queue,
    )


def _launcher_args(system: System, asked: Asked) -> str:
    """The system's, if they are of this launcher, and those asked for; a ``--`` that ends all of them stays last."""
    own = system.launcher_args if asked.launcher in ("", system.launcher) else ""
    *words, last = own.split() or [""]
    end = last if last == "--" else ""
    begin = " ".join(words) if end else own
    return " ".join(part for part in (begin, asked.launcher_args, end) if part)


def label(name: str, suite: str) -> str:
    """What jobs' names begin with: letters, digits, ``.``, ``_`` and ``-`` only.

    A suite's name may hold others and is cut down to these; one that was asked for is refused instead.

    Raises
    ------
    UsageError
        If the name asked for holds anything else.
    """
    if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,40}", name):
        raise UsageError(
            f"--name {shown(name)}: schedulers take up to 41 letters, digits and . _ -, of which the first is a letter"
        )
    return name or "lb-" + re.sub(r"[^A-Za-z0-9._-]+", "-", suite)[:40]


def threads(asked: Asked, system: System, ranks: int, cores: int | None) -> int | None:
    """Threads of each rank: as asked for or as the system says, else an equal share of a node's cores.

    Raises
    ------
    UsageError
        If a node has fewer cores.
    """
    chosen = asked.threads_per_rank or system.threads
    if cores is None:
        return chosen
    if ranks * (chosen or 1) > cores:
        raise UsageError(
            f"--ranks-per-node {ranks}: with {chosen or 1} threads each they exceed the {cores} cores of a node of "
            f"{system.name}"
        )
    return chosen or cores // ranks


def seconds(system: System, text: str, queue: str) -> int | None:
    """Walltime in seconds: as asked for, else the system's default, else None.

    Raises
    ------
    UsageError
        If it is no time, more than the system or queue allows, or missing where there must be one.
    """
    wanted = text or system.walltime_default
    if not wanted:
        if system.walltime_required:
            raise UsageError(f"--walltime is missing: {system.name} takes no job without; give hours:minutes:seconds")
        return None
    asked = walltime.parse(wanted, "--walltime")
    for most, where in (
        (system.walltime_most, system.name),
        (system.queue_walltime_most.get(queue, ""), f"queue {queue} of {system.name}"),
    ):
        if most and asked > walltime.parse(most, where):
            raise UsageError(f"--walltime {wanted}: {where} allows {most} at most")
    return asked


def _required(system: System) -> str:
    if system.account_required:
        raise UsageError(f"--account is missing: {system.name} takes no job without")
    return ""


def _word(text: str, option: str) -> str:
    if text and not _WORD.fullmatch(text):
        raise UsageError(f"{option} {shown(text)}: expected letters, digits and . _ + @ : / -, as schedulers take them")
    return text


def remarks(submission: Submission) -> list[str]:
    """What may not have been meant, a line each."""
    told = []
    if submission.walltime is None and submission.system.scheduler != "local":
        told.append("no --walltime: the scheduler's own default holds, and the run is not told before its time is up")
    ranks, gpus = submission.ranks_per_node, submission.system.gpus_of(submission.queue)
    if gpus and ranks > gpus and ranks % gpus:
        told.append(f"{ranks} ranks share the {gpus} GPUs of a node unevenly")
    return told


def continued(run: Path, walltime_text: str, account: str, queue: str) -> Submission:
    """What was submitted to a run folder, to be submitted again with other limits where these are given.

    Raises
    ------
    StoreError
        If nothing was.
    UsageError
        If the limits are not the system's.
    """
    found = submissions.load(run)
    queue = _word(queue, "--queue") or found.queue
    wanted = walltime_text or (walltime.text(found.walltime) if found.walltime else "")
    return msgspec.structs.replace(
        found,
        walltime=seconds(found.system, wanted, queue),
        account=_word(account, "--account") or found.account,
        queue=queue,
    )


_MAY_DIFFER = ("command", "workdir", "label", "walltime", "account", "queue", "jobs")


def same(run: Path, old: Submission, new: Submission) -> Submission:
    """The submission in a run folder, with the limits of a new one that is otherwise the same.

    Raises
    ------
    StoreError
        If it is another; every difference is named.
    """
    differences = [
        name.replace("_", " ")
        for name in Submission.__struct_fields__
        if name not in _MAY_DIFFER and getattr(old, name) != getattr(new, name)
    ]
    if old.workdir != new.workdir and old.options != new.options:
        differences.append("the folder it was submitted from")
    if differences:
        raise StoreError(
            f"{printable(str(run))} was submitted with other options, and cannot be gone on with: "
            f"{', '.join(differences)} differ; name another --output, or use --resume {argument(run)}"
        )
    return msgspec.structs.replace(old, walltime=new.walltime, account=new.account, queue=new.queue)


def check_output(run: Path) -> None:
    """See that a run folder is new or empty, or holds a run or a submission.

    Raises
    ------
    StoreError
        If it is something else.
    """
    if submissions.exists(run) or (run / store.MANIFEST).exists():
        return
    try:
        taken = run.exists() and (not run.is_dir() or any(entry.name != store.BATCH for entry in run.iterdir()))
    except (OSError, ValueError) as error:
        raise StoreError(f"--output {printable(str(run))}: {error}") from error
    if taken:
        raise StoreError(f"{printable(str(run))} is not empty and holds no run: name an --output that is new or empty")


def check_names(run: Path) -> None:
    """See that a script can name the folders it needs.

    Raises
    ------
    StoreError
        If the name of one is no text.
    """
    for path in (run.absolute(), Path.cwd()):
        if not is_text(str(path)):
            raise StoreError(f"{printable(str(path))}: a folder whose name is not UTF-8 cannot be named in a script")


def is_text(word: str) -> bool:
    """Whether a word of the command line is UTF-8, and can be written into a script."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
