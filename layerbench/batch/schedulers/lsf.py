"""LSF, with whole nodes where ``jsrun`` starts ranks, else with slots."""

from __future__ import annotations

import re
from collections.abc import Sequence

from layerbench.batch.request import Request
from layerbench.batch.status import Answer, State, Status
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError
from layerbench.launch import LauncherName

LONGEST_NAME = 64
SCRIPT_ON_STDIN = True
"""``bsub`` reads the directives of a script on standard input in every configuration, of a named one in some."""

NEEDS_CORES = False
LAUNCHERS: tuple[LauncherName, ...] = ("jsrun", "mpiexec")
OWN_DIRECTIVES = re.compile(r"-(J|n|nnodes|W|wt|wa|o|oo|cwd)(\s|$)")
HOST_FILE = "LSB_DJOB_HOSTFILE"
SUBMITTED_FROM = "LS_SUBCWD"
EXPANDS = ""
UNREACHABLE = re.compile(r"LSF is down|LIM is down|not responding|annot connect")

_STATES: dict[str, State] = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT", "PROV"), "pending"),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN", "ZOMBI"), "running"),
    "DONE": "done",
    "EXIT": "failed",
}

_MINUTE = 60


def directives(system: System, request: Request) -> list[str]:
    slots = [f"-n {request.nodes * request.ranks_per_node}", f'-R "span[ptile={request.ranks_per_node}]"']
    whole = system.launcher == "jsrun"
    asked = (
        f"-J {request.name}",
        request.account and f"-P {request.account}",
        request.queue and f"-q {request.queue}",
        *([f"-nnodes {request.nodes}"] if whole else slots),
        system.exclusive and not whole and "-x",
        request.gpus_per_node
        and not whole
        and system.gpu_request == "default"
        and f'-gpu "num={request.gpus_per_node}"',
        system.feature and f'-R "select[{system.feature}]"',
        # It counts in minutes.
        request.walltime and f"-W {-(-request.walltime // _MINUTE)}",
        warns(request) and f"-wt {request.warning // _MINUTE} -wa TERM",
        f"-o {request.log}",
        "-cwd .",
        *system.directives,
    )
    return [f"#BSUB {one}" for one in asked if one]


def warns(request: Request) -> bool:
    return request.warning >= _MINUTE


def environment(request: Request) -> list[str]:
    return []


def submit_command(script: str) -> list[str]:
    return ["bsub"]


def parse_job_id(stdout: str) -> str | None:
    found = re.findall(r"Job <([0-9]+)> is submitted", stdout)
    return found[-1] if found else None


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    fields = "jobid stat exit_code exit_reason delimiter='|'"
    return [["bjobs", "-a", "-noheader", "-o", fields, *ids]]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    found = {
        one: Status("unknown") for one in re.findall(r"Job <([0-9]+)> is not found", answer.stdout + answer.stderr)
    }
    for line in answer.stdout.splitlines():
        match [part.strip() for part in line.split("|", 3)]:
            case [one, state, code, reason] if one in ids and state in _STATES:
                found[one] = _status(state, code, reason)
    if set(found) < set(ids):
        raise NoAnswerError(f"bjobs: {answer.told}")
    return found


def _status(state: str, code: str, reason: str) -> Status:
    if _STATES[state] != "failed":
        return Status(_STATES[state], 0 if state == "DONE" else None)
    number = int(code) if code.isdigit() else None
    if "TERM_RUNLIMIT" in reason:
        return Status("timeout", number, reason)
    if "TERM_OWNER" in reason or "TERM_FORCE_OWNER" in reason or "TERM_ADMIN" in reason:
        return Status("cancelled", number, reason)
    return Status("failed", number, reason.strip("- "))


def cancel_command(ids: Sequence[str]) -> list[str]:
    return ["bkill", *ids]


def gone(answer: Answer) -> bool:
    said = answer.stdout + answer.stderr
    return "already finished" in said or "No matching job" in said or "is not found" in said


def find_command(name: str) -> list[str]:
    return ["bjobs", "-a", "-noheader", "-J", name, "-o", "jobid"]


def parse_found(answer: Answer) -> list[str]:
    if "is not found" in answer.stderr or "No matching job" in answer.stderr:
        return []
    if answer.code:
        raise NoAnswerError(f"bjobs: {answer.told}")
    return [line.strip() for line in answer.stdout.splitlines() if line.strip().isdigit()]
