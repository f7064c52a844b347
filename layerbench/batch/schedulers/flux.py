"""Flux: a job is an instance of its own, in which the script runs once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from layerbench.batch.request import Request
from layerbench.batch.status import Answer, State, Status, of_exit_code
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError
from layerbench.launch import LauncherName

LONGEST_NAME = 64
SCRIPT_ON_STDIN = False
NEEDS_CORES = False
LAUNCHERS: tuple[LauncherName, ...] = ("flux", "mpiexec")
OWN_DIRECTIVES = re.compile(r"--(job-name|nodes|nslots|time-limit|output)(=|\s|$)|-[NntJ]")
HOST_FILE = ""
SUBMITTED_FROM = "PWD"
EXPANDS = ""
UNREACHABLE = re.compile(r"Unable to connect to Flux|flux_open")

_STATES: dict[str, State] = {
    **dict.fromkeys(("NEW", "DEPEND", "PRIORITY", "SCHED"), "pending"),
    **dict.fromkeys(("RUN", "CLEANUP"), "running"),
    "COMPLETED": "done",
    "FAILED": "failed",
    "CANCELED": "cancelled",
    "TIMEOUT": "timeout",
}

_JOB_ID = re.compile(r"[ƒf][1-9A-HJ-NP-Za-km-z]+")
"""Base 58 behind a letter, which is a plain f where a terminal has no other."""


def directives(system: System, request: Request) -> list[str]:
    asked = (
        f"--job-name={request.name}",
        f"-N {request.nodes}",
        system.exclusive and "--exclusive",
        not system.exclusive and f"-n {request.nodes * request.ranks_per_node}",
        not system.exclusive and request.threads and f"-c {request.threads}",
        not system.exclusive and _gpus(system, request),
        system.feature and f"--requires={system.feature}",
        request.walltime and f"-t {_duration(request.walltime)}",
        f"--output={request.log}",
        request.queue and f"--queue={request.queue}",
        request.account and f"--bank={request.account}",
        *system.directives,
    )
    return [f"# flux: {one}" for one in asked if one]


def _gpus(system: System, request: Request) -> str:
    """Each rank's share, where ranks do not share GPUs; whole nodes come with theirs."""
    share = request.gpus_per_node // request.ranks_per_node
    return f"-g {share}" if share and system.gpu_request == "default" else ""


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def warns(request: Request) -> bool:
    return False  # a signal would go to the instance, not to its script


def environment(request: Request) -> list[str]:
    return []


def submit_command(script: str) -> list[str]:
    return ["flux", "batch", script]


def parse_job_id(stdout: str) -> str | None:
    found = [line.strip() for line in stdout.splitlines() if _JOB_ID.fullmatch(line.strip())]
    return found[-1] if found else None


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    return [["flux", "jobs", "-a", "-n", "-o", "{id.f58}|{status}|{returncode}", one] for one in ids]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    (asked,) = ids
    for line in answer.stdout.splitlines():
        match [part.strip() for part in line.split("|")]:
            case [one, state, code] if one[1:] == asked[1:] and state in _STATES:
                return {asked: _status(_STATES[state], code)}
    if asked[1:] in answer.stderr and re.search(r"unknown|not found|No such", answer.stderr):
        return {asked: Status("unknown")}
    raise NoAnswerError(f"flux: {answer.told}")


def _status(state: State, code: str) -> Status:
    number = int(code) if code.isdigit() else None
    if state == "failed" and number is not None:
        return of_exit_code(number)
    return Status(state, 0 if state == "done" else number)


def cancel_command(ids: Sequence[str]) -> list[str]:
    return ["flux", "cancel", *ids]


def gone(answer: Answer) -> bool:
    return bool(re.search(r"job is inactive|unknown", answer.stderr))


def find_command(name: str) -> list[str]:
    return ["flux", "jobs", "-a", "-n", f"--name={name}", "-o", "{id.f58}"]


def parse_found(answer: Answer) -> list[str]:
    if answer.code:
        raise NoAnswerError(f"flux: {answer.told}")
    return [line.strip() for line in answer.stdout.splitlines() if _JOB_ID.fullmatch(line.strip())]
