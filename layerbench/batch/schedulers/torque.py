"""Torque, with ALPS or without.

A job is known for some minutes after its end (``keep_completed``). ``nodes=`` must stand once: the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

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
    **dict.fromkeys("QHWT", "pending"),
    **dict.fromkeys("RES", "running"),
}

_KILLED = 256
"""A job that was killed by signal N has the exit status 256 + N."""

_OVER_WALLTIME = -11


def directives(system: System, request: Request) -> list[str]:
    nodes = f"nodes={request.nodes}:ppn={request.cores_per_node}"
    if system.feature:
        nodes += f":{system.feature}"
    elif request.gpus_per_node and system.gpu_request == "default":
        # A feature says what kind of node it is, GPUs and all.
        nodes += f":gpus={request.gpus_per_node}"
    asked = (
        f"-N {request.name}",
        request.queue and f"-q {request.queue}",
        request.account and f"-A {request.account}",
        f"-l {nodes}",
        request.walltime and f"-l walltime={walltime.text(request.walltime)}",
        "-j oe",
        f"-o {request.log}",
        *system.directives,
    )
    return [f"#PBS {one}" for one in asked if one]


def warns(request: Request) -> bool:
    return False  # SIGTERM comes with the end of the time, a few seconds before SIGKILL


def environment(request: Request) -> list[str]:
    return []


def submit_command(script: str) -> list[str]:
    return ["qsub", script]


def parse_job_id(stdout: str) -> str | None:
    return pbs.job_id(stdout)


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    return [["qstat", "-f", "-x", one] for one in ids]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    (asked,) = ids
    if pbs.UNKNOWN in answer.stderr:
        return {asked: Status("unknown")}
    try:
        jobs = ElementTree.fromstring(answer.stdout).iter("Job")
    except ElementTree.ParseError:
        raise NoAnswerError(f"qstat: {answer.told}") from None
    for job in jobs:
        if pbs.same_job(job.findtext("Job_Id", ""), asked):
            return {asked: _status(job.findtext("job_state", ""), job.findtext("exit_status", ""), answer)}
    raise NoAnswerError(f"qstat: {answer.told}")


def _status(state: str, code: str, answer: Answer) -> Status:
    if state in _STATES:
        return Status(_STATES[state])
    if state != "C":
        raise NoAnswerError(f"qstat: {answer.told}")
    try:
        number = int(code)
    except ValueError:
        # It never ran: deleted while it waited.
        return Status("cancelled", None, "it ended without an exit status")
    if number == _OVER_WALLTIME:
        return Status("timeout", None, "walltime exceeded")
    if number < 0:
        return Status("failed", None, f"Torque could not run it (exit status {number})")
    if number > _KILLED:
        # 271: SIGTERM, after qdel and after the walltime alike.
        return Status("cancelled" if number - _KILLED in (9, 15) else "failed", number - _KILLED + 128, "killed")
    return of_exit_code(number)


def cancel_command(ids: Sequence[str]) -> list[str]:
    return ["qdel", *ids]


def gone(answer: Answer) -> bool:
    return pbs.gone(answer)


def find_command(name: str) -> list[str]:
    return ["qselect", "-N", name]


def parse_found(answer: Answer) -> list[str]:
    return pbs.found(answer)
