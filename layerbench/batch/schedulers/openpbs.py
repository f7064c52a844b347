"""OpenPBS and PBS Professional.

``select=`` must stand once: the first one counts. A finished job is found with ``-x``, as long as the server keeps it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from layerbench.batch import walltime
from layerbench.batch.request import Request
from layerbench.batch.schedulers import pbs
from layerbench.batch.status import Answer, State, Status, of_exit_code
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError
from layerbench.launch import LauncherName

LONGEST_NAME = 15
"""Newer versions take more."""

SCRIPT_ON_STDIN = False
NEEDS_CORES = True
LAUNCHERS: tuple[LauncherName, ...] = ("aprun", "mpiexec")
OWN_DIRECTIVES = pbs.OWN_DIRECTIVES
HOST_FILE = "PBS_NODEFILE"
SUBMITTED_FROM = "PBS_O_WORKDIR"
EXPANDS = ""
UNREACHABLE = pbs.UNREACHABLE

_STATES: dict[str, State] = {
    **dict.fromkeys("QHWTM", "pending"),
    **dict.fromkeys("RESUB", "running"),
}

_OVER_WALLTIME = -29
_SIGNAL = 256
"""A job that was killed by signal N has the exit status 256 + N."""


_NO_HISTORY = "not configured to maintain job history"


def directives(system: System, request: Request) -> list[str]:
    chunk = [f"ncpus={request.cores_per_node}", f"mpiprocs={request.ranks_per_node}"]
    if request.gpus_per_node and system.gpu_request == "default":
        chunk.append(f"ngpus={request.gpus_per_node}")
    if system.memory:
        chunk.append(f"mem={system.memory}")
    if system.feature:
        # A site's own resource, such as model=rome; a plain word is one that is true or false.
        chunk.append(system.feature if "=" in system.feature else f"{system.feature}=true")
    asked = (
        f"-N {request.name}",
        request.queue and f"-q {request.queue}",
        request.account and f"-A {request.account}",
        f"-l select={request.nodes}:{':'.join(chunk)}",
        f"-l place=scatter{':excl' if system.exclusive else ''}",
        request.walltime and f"-l walltime={walltime.text(request.walltime)}",
        "-j oe",
        f"-o {request.log}",
        *system.directives,
    )
    return [f"#PBS {one}" for one in asked if one]


def warns(request: Request) -> bool:
    return False  # SIGTERM comes with the end of the time, kill_delay (10 s) before SIGKILL


def environment(request: Request) -> list[str]:
    return []


def submit_command(script: str) -> list[str]:
    return ["qsub", script]


def parse_job_id(stdout: str) -> str | None:
    return pbs.job_id(stdout)


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    # One job to a command: some versions write wrong JSON of several, or leave all but the first out.
    # Of ended jobs only -x tells, and a server that keeps no history of them refuses it for all.
    asking = ["qstat", "-f", "-F", "json"]
    return [command for one in ids for command in (["qstat", "-x", *asking[1:], one], [*asking, one])]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    (asked,) = ids
    if "has finished" in answer.stderr:
        return {}  # the other command tells how
    if pbs.UNKNOWN in answer.stderr or _NO_HISTORY in answer.stderr:
        return {asked: Status("unknown")}
    job = _job(asked, answer.stdout)
    state = job.get("job_state")
    if state in _STATES:
        return {asked: Status(_STATES[state], None, str(job.get("comment", "")))}
    if state not in ("F", "X"):
        raise NoAnswerError(f"qstat: {answer.told}")
    return {asked: _ended(job)}


def _job(asked: str, text: str) -> dict[str, Any]:
    """The attributes of a job, as far as they can be read.

    Versions differ in how well they quote what users put into the environment, which is among the attributes. Where the
    whole is no JSON, the few that count are looked for one by one.
    """
    try:
        jobs = json.loads(text, strict=False)["Jobs"].items()
        return next((dict(job) for one, job in jobs if pbs.same_job(one, asked)), {})
    except (ValueError, LookupError, TypeError, AttributeError):
        number = re.escape(asked.partition(".")[0])
        if not re.search(rf'"{number}(?:\.[^"]*)?"\s*:\s*\{{', text):
            return {}
        return dict(re.findall(r'^\s*"(job_state|Exit_status|comment)"\s*:\s*"?([^",\n]*)', text, re.MULTILINE))


def _ended(job: dict[str, Any]) -> Status:
    comment = str(job.get("comment", ""))
    try:
        code = int(job["Exit_status"])
    except (LookupError, ValueError, TypeError):
        # It never ran: deleted while it waited.
        return Status("cancelled", None, comment)
    if code == _OVER_WALLTIME:
        return Status("timeout", None, comment or "walltime exceeded")
    if code < 0:
        return Status("failed", None, comment or f"PBS could not run it (exit status {code})")
    if code > _SIGNAL:
        # 271: SIGTERM, after qdel and after the walltime alike.
        return Status("cancelled" if code - _SIGNAL in (9, 15) else "failed", code - _SIGNAL + 128, comment or "killed")
    return of_exit_code(code, comment if code else "")


def cancel_command(ids: Sequence[str]) -> list[str]:
    return ["qdel", *ids]


def gone(answer: Answer) -> bool:
    return pbs.gone(answer)


def find_command(name: str) -> list[str]:
    # Without -x, where the server keeps no history and refuses it.
    return ["sh", "-c", 'qselect -x -N "$0" 2>/dev/null || exec qselect -N "$0"', name]


def parse_found(answer: Answer) -> list[str]:
    return pbs.found(answer)
