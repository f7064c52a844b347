"""The job script: what an expert would write by hand, short and commented, with every value quoted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from layerbench.batch.request import Request
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.shell import commented, quoted
from layerbench.batch.system import System

NOT_SHARED = 97
"""Exit code of a job that does not see the folders it needs."""

NO_MODULES = 98
"""Exit code of a job that could not load its modules."""

TIME_UP = 124
"""Exit code of ``timeout`` where it had to end what it ran."""

_LINE_WIDTH = 100


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a script is rendered from.

    Attributes
    ----------
    request, system
        What is asked for, and of what kind of machine.
    what
        One line on what is run, for whoever reads the script.
    workdir
        Where the run is started, so that relative paths among its options are as they were given.
    files
        The job's files, by their common path without an ending.
    submitted_from
        Names that the scheduler may give their folder, if it is submitted from there.
    run
        The run folder.
    options
        Of ``layerbench run``, all but those that follow from the others.
    python
        The Python that has layerbench.
    launcher, launcher_args
        What starts ranks.
    """

    request: Request
    system: System
    what: str
    workdir: Path
    files: Path
    submitted_from: Sequence[str]
    run: Path
    options: Sequence[Sequence[str]]
    python: str
    launcher: str
    launcher_args: str


def render(job: Job) -> str:
    """The whole script."""
    scheduler = SCHEDULERS[job.system.scheduler]
    request = job.request
    set_up = _set_up(job)
    return "\n".join(
        [
            "#!/bin/bash",
            *scheduler.directives(job.system, request),
            f"# {commented(job.what)}",
            "# Written by layerbench submit.",
            "",
            f"run={quoted(str(job.run))}",
            f"job={quoted(str(job.files))}  # with .sh, .log, .started and .exit: the job's files",
            "",
            "# layerbench submit has made the folder of these files; a script submitted by hand makes it.",
            f'case "${{{scheduler.SUBMITTED_FROM}-}}" in',
            f"    {' | '.join(map(quoted, job.submitted_from))}) ;;",
            '    *) mkdir -p "${job%/*}" ;;',
            "esac",
            "# Stop here if this machine does not see the folders.",
            f'cd {quoted(str(job.workdir))} && [ -d "${{job%/*}}" ] || {{',
            '    echo "${job%/*} or the folder it was submitted from is not shared with $(hostname)" >&2',
            f"    exit {NOT_SHARED}",
            "}",
            *_log(job),
            'rm -f "$job.exit"',
            'hostname > "$job.started"',
            "",
            "# The job's last act: whoever sees this file knows that it is over, and how it ended.",
            "end() {",
            '    echo "$1" > "$job.exit.new" && mv "$job.exit.new" "$job.exit"',
            '    exit "$1"',
            "}",
            "",
            *set_up,
            *([""] if set_up else []),
            "set -u  # not earlier: scripts behind module use variables that are not set",
            "",
            "# If there is a run already, only what it lacks is measured.",
            "resume=",
            '[ -f "$run/run.json" ] && resume=--resume',
            "",
            *_stop(job),
            *_command(job),
            "pid=$!",
            "trap 'kill -TERM \"$pid\"' TERM",
            'wait "$pid"; code=$?',
            'while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done  # a trapped signal ends wait early',
            'end "$code"',
            "",
        ]
    )


def _log(job: Job) -> list[str]:
    if not job.request.own_log:
        return []
    signs = " and ".join(SCHEDULERS[job.system.scheduler].EXPANDS)
    return [f'exec >> "$job.log" 2>&1  # not opened by the scheduler, which reads {signs} in a folder as its own signs']


def _set_up(job: Job) -> list[str]:
    system, request = job.system, job.request
    lines = []
    if system.modules_init:
        init = quoted(system.modules_init)
        lines.append(f"if [ -r {init} ]; then . {init}; fi")
    if system.modules:
        lines.append(f"module load {' '.join(map(quoted, system.modules))} || end {NO_MODULES}")
    if request.threads is not None:
        lines.append(f"export OMP_NUM_THREADS={request.threads}")
    lines += SCHEDULERS[system.scheduler].environment(request)
    lines += [f"export {name}={quoted(value)}" for name, value in system.environment.items()]
    if request.gpus_per_node:
        shared = request.ranks_per_node > request.gpus_per_node
        lines += system.setup_shared_gpu if shared else system.setup_private_gpu
    return lines + system.setup


def _stop(job: Job) -> list[str]:
    """Why and how the run is asked to stop, in a comment."""
    if not job.request.warning:
        return ["# A run that is told to end (SIGTERM) keeps what it has measured."]
    seconds = f"{job.request.warning} s before its time is up"
    if SCHEDULERS[job.system.scheduler].warns(job.request):
        return [
            f"# {seconds} the scheduler sends SIGTERM. It is passed on: the run ends, keeping what it has measured."
        ]
    return [f"# {seconds} the run is told to end (SIGTERM), keeping what it has measured."]


def _command(job: Job) -> list[str]:
    """The run, in the background so that signals are heeded while it lasts."""
    request, system = job.request, job.system
    words = [*shlex.split(system.wrapper), job.python, "-m", "layerbench", "run"]
    if request.walltime and request.warning and not SCHEDULERS[system.scheduler].warns(request):
        words = ["timeout", "-s", "TERM", str(request.walltime - request.warning), *words]
    lines = [" ".join(map(quoted, words))]
    for pair in [*job.options, *_placement(job)]:
        text = " ".join(map(quoted, pair))
        if len(lines[-1]) + len(text) > _LINE_WIDTH or len(lines) == 1:
            lines.append(f"    {text}")
        else:
            lines[-1] += f" {text}"
    hosts = SCHEDULERS[system.scheduler].HOST_FILE
    if hosts and job.launcher == "mpiexec":
        lines.append(f'    --hosts "${hosts}"')
    lines.append('    --output "$run" $resume &')
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _placement(job: Job) -> list[list[str]]:
    """Options that follow from the system: who starts the ranks, how many to a node, and how wide."""
    request = job.request
    options = [["--ranks-per-node", str(request.ranks_per_node)]]
    if request.threads is not None:
        options.append(["--threads-per-rank", str(request.threads)])
    options.append(["--launcher", job.launcher])
    arguments = job.launcher_args
    if job.system.wrapper and job.launcher not in ("mpiexec", "auto", "none"):
        # Behind the launcher's own arguments, and so before the command of each rank.
        arguments = f"{arguments} {job.system.wrapper}".strip()
    if arguments := f"{_gpu_share(job, arguments)} {arguments}".strip():
        options.append(["--launcher-args", arguments])
    return options


def _gpu_share(job: Job, arguments: str) -> str:
    """GPUs of each rank, for launchers that give none unless they are asked, and a profile that does not ask."""
    share = job.request.gpus_per_node // job.request.ranks_per_node
    asked = any(re.match(r"-g|--gpu", word) for word in shlex.split(arguments))
    gives_none = job.launcher in ("jsrun", "flux") and job.system.gpu_request == "default"
    return f"-g {share}" if gives_none and share and not asked else ""
