"""No scheduler: a job is a process of this machine, in a session of its own; see :mod:`layerbench.batch.background`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from layerbench.batch.request import Request
from layerbench.batch.status import Answer, Status
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError
from layerbench.launch import LauncherName

LONGEST_NAME = 64
SCRIPT_ON_STDIN = False
NEEDS_CORES = False
LAUNCHERS: tuple[LauncherName, ...] = ("mpiexec",)
OWN_DIRECTIVES = re.compile("(?!)")  # it has none
HOST_FILE = ""
SUBMITTED_FROM = "PWD"
EXPANDS = ""
UNREACHABLE = re.compile("(?!)")  # there is nothing to reach

_PROGRAM = [sys.executable, "-m", "layerbench.batch.background"]
_JOB_ID = re.compile(r"[0-9]+\.[0-9]+")


def directives(system: System, request: Request) -> list[str]:
    return []


def warns(request: Request) -> bool:
    return False


def environment(request: Request) -> list[str]:
    return []


def submit_command(script: str) -> list[str]:
    return [*_PROGRAM, "start", script]


def parse_job_id(stdout: str) -> str | None:
    return stdout.strip() if _JOB_ID.fullmatch(stdout.strip()) else None


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    return [[*_PROGRAM, "status", *ids]]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    told = dict(line.split() for line in answer.stdout.splitlines() if len(line.split()) == 2)
    if answer.code or set(told) != set(ids):
        raise NoAnswerError(f"this machine: {answer.told}")
    return {one: Status("running" if told[one] == "running" else "unknown") for one in ids}


def cancel_command(ids: Sequence[str]) -> list[str]:
    return [*_PROGRAM, "end", *ids]


def gone(answer: Answer) -> bool:
    return False


def find_command(name: str) -> list[str]:
    return [*_PROGRAM, "find", name]


def parse_found(answer: Answer) -> list[str]:
    if answer.code:
        raise NoAnswerError(f"this machine: {answer.told}")
    return [line for line in answer.stdout.splitlines() if _JOB_ID.fullmatch(line)]
