"""Slurm.

Without accounting there is no ``sacct``; ``scontrol`` knows a job while it lives and for some minutes after its end
(``MinJobAge``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from layerbench.batch import walltime
from layerbench.batch.request import Request
from layerbench.batch.status import Answer, State, Status, of_exit_code
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError
from layerbench.launch import LauncherName

LONGEST_NAME = 64
SCRIPT_ON_STDIN = False
NEEDS_CORES = False
LAUNCHERS: tuple[LauncherName, ...] = ("srun", "mpiexec")
OWN_DIRECTIVES = re.compile(
    r"--(job-name|nodes|ntasks|ntasks-per-node|cpus-per-task|time|signal|output|array)(=|\s|$)|-[JNnctoa]"
)
HOST_FILE = ""
SUBMITTED_FROM = "SLURM_SUBMIT_DIR"
EXPANDS = "%\\"
UNREACHABLE = re.compile(r"Unable to (contact slurm controller|establish configuration source)")

_STATES: dict[str, State] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"), "pending"),
    **dict.fromkeys(
        ("CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"),
        "running",
    ),
    **dict.fromkeys(("FAILED", "BOOT_FAIL", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"), "failed"),
    **dict.fromkeys(("TIMEOUT", "DEADLINE"), "timeout"),
    "COMPLETED": "done",
    "CANCELLED": "cancelled",
}

_NO_OUTPUT_FILE = 53
"""The signal that Slurm pretends a job died of, whose output file could not be opened."""


def directives(system: System, request: Request) -> list[str]:
    gpus = {
        "default": f"--gpus-per-node={request.gpus_per_node}",
        "gres": f"--gres=gpu:{request.gpus_per_node}",
        "none": "",
    }[system.gpu_request]
    asked = (
        f"--job-name={request.name}",
        request.account and f"--account={request.account}",
        request.queue and f"--{system.queue_option}={request.queue}",
        system.feature and f"--constraint={system.feature}",
        f"--nodes={request.nodes}",
        f"--ntasks-per-node={request.ranks_per_node}",
        request.threads and f"--cpus-per-task={_cpus(request)}",
        request.gpus_per_node and gpus,
        system.exclusive and "--exclusive",
        system.memory and f"--mem={system.memory}",
        request.walltime and f"--time={walltime.text(request.walltime)}",
        # B: only the script is told, and passes it on.
        warns(request) and f"--signal=B:TERM@{request.warning}",
        f"--output={request.log}",
        *system.directives,
    )
    return [f"#SBATCH {one}" for one in asked if one]


def warns(request: Request) -> bool:
    return request.warning > 0


def environment(request: Request) -> list[str]:
    # Since version 22.05 srun does not take the job's cpus-per-task for its own.
    return [f"export SRUN_CPUS_PER_TASK={_cpus(request)}"] if request.threads else []


def _cpus(request: Request) -> int:
    return (request.threads or 1) * request.hardware_threads


def submit_command(script: str) -> list[str]:
    return ["sbatch", "--parsable", script]


def parse_job_id(stdout: str) -> str | None:
    # With --parsable: the id, and behind a semicolon the cluster where there are several. A site's wrapper may talk.
    found = re.findall(r"^(?:Submitted batch job )?([0-9]+)(?:;\S+)?\s*$", stdout, re.MULTILINE)
    return found[-1] if found else None


def status_commands(ids: Sequence[str]) -> list[list[str]]:
    # One job to a command: with several, an unknown one hides the others.
    return [["scontrol", "show", "job", "--oneliner", one] for one in ids]


def parse_status(ids: Sequence[str], answer: Answer) -> dict[str, Status]:
    (asked,) = ids
    if "Invalid job id" in answer.stderr:
        return {asked: Status("unknown")}
    fields: dict[str, str] = {}
    for key, value in re.findall(r"(?:^|\s)(\w+)=(\S*)", answer.stdout):
        fields.setdefault(key, value)  # folders come last, and their names may look like another field
    state = _STATES.get(fields.get("JobState", ""))
    if answer.code or state is None or fields.get("JobId") != asked:
        raise NoAnswerError(f"scontrol: {answer.told}")
    reason = fields.get("Reason", "None").replace("None", "")
    if state in ("pending", "running"):
        return {asked: Status(state, None, reason)}
    code, _, number = fields.get("ExitCode", "").partition(":")
    if number == str(_NO_OUTPUT_FILE):
        reason = "its output file could not be opened where it ran"
    if state == "failed" and not reason:
        reason = fields["JobState"]
    if number.isdigit() and int(number):
        return {asked: Status(state, 128 + int(number), reason)}
    if state == "done":
        return {asked: of_exit_code(int(code) if code.isdigit() else 0, reason)}
    return {asked: Status(state, int(code) if code.isdigit() and int(code) else None, reason)}


def cancel_command(ids: Sequence[str]) -> list[str]:
    return ["scancel", *ids]


def gone(answer: Answer) -> bool:
    return "Invalid job id" in answer.stderr or "already completing" in answer.stderr.lower()


def find_command(name: str) -> list[str]:
    return ["squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i"]


def parse_found(answer: Answer) -> list[str]:
    if answer.code:
        raise NoAnswerError(f"squeue: {answer.told}")
    return [line.strip() for line in answer.stdout.splitlines() if line.strip().isdigit()]
