"""Slurm without accounting: ``sbatch``, ``scontrol show job``, ``squeue``, ``scancel``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.batch.fake import core

PROGRAMS = ("sbatch", "scontrol", "squeue", "scancel")
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"

OPTIONS = {
    "job-name": r"[\w.-]+",
    "account": r"[\w.+@-]+",
    "partition": r"[\w.-]+",
    "qos": r"[\w.-]+",
    "constraint": r"[\w&|]+",
    "nodes": r"[1-9][0-9]*",
    "ntasks-per-node": r"[1-9][0-9]*",
    "cpus-per-task": r"[1-9][0-9]*",
    "gpus-per-node": r"[1-9][0-9]*",
    "gres": r"gpu:[1-9][0-9]*",
    "gpu-bind": r"closest|none",
    "exclusive": r"",
    "mem": r"[0-9]+[KMGT]?",
    "time": r"[0-9]{2,}:[0-5][0-9]:[0-5][0-9]",
    "signal": r"B:TERM@[1-9][0-9]*",
    "output": r"[\w.%-]+|/dev/null",
}


def sbatch(arguments: Sequence[str]) -> None:
    option, script = arguments
    assert option == "--parsable", option
    if refusal := core.told("refuse"):
        core.fail(f"sbatch: error: Batch job submission failed: {refusal}", 1)
    text = Path(script).read_text()
    found: dict[str, str] = {}
    for line in core.directives(text, "#SBATCH"):
        name, _, value = line.removeprefix("--").partition("=")
        if not line.startswith("--") or name not in OPTIONS:
            core.fail(f"sbatch: unrecognized option '{line}'\nTry \"sbatch --help\" for more information", 1)
        if not re.fullmatch(OPTIONS[name], value):
            core.fail(f"sbatch: error: Invalid --{name} specification: {value}", 1)
        if name in found:
            core.fail(f"sbatch: error: --{name} twice", 1)
        found[name] = value
    tasks, cpus = int(found["ntasks-per-node"]), int(found.get("cpus-per-task", "1"))
    if tasks * cpus > 2 * core.CORES:
        core.fail("sbatch: error: Batch job submission failed: Requested node configuration is not available", 1)
    number = str(core.next_number())
    nodes = int(found["nodes"])
    variables = {
        "SLURM_JOB_ID": number,
        "SLURM_NNODES": str(nodes),
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
        "SLURM_NTASKS_PER_NODE": str(tasks),
    }
    variables |= {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_JOB_CPUS_PER_NODE": f"{core.CORES}(x{nodes})"}
    if "cpus-per-task" in found:
        variables["SLURM_CPUS_PER_TASK"] = str(cpus)
    allocation = {"nodes": nodes, "cores": 2 * core.CORES, "ranks_per_node": tasks, "threads": cpus}
    core.submit(number, found["job-name"], text, found["output"], allocation, variables)
    print(core.told("garbage") or number)


def scontrol(arguments: Sequence[str]) -> None:
    *options, asked = arguments
    assert options == ["show", "job", "--oneliner"], options
    if (babble := core.told("babble")) is not None:
        print(babble)
        return
    for job in core.known():
        if job["id"] == asked:
            print(_line(job))
            return
    core.fail("slurm_load_jobs error: Invalid job id specified", 1)


def _line(job: core.Job) -> str:
    code = job["code"]
    if job["state"] != "over":
        word = {"waiting": "PENDING", "running": "RUNNING"}[job["state"]]
    elif job["signal"]:
        word = "CANCELLED"
    else:
        word = "COMPLETED" if code == 0 else "FAILED"
    number, signal = (0, 0) if code is None else (0, -code) if code < 0 else (code, 0)
    reason = "Priority" if word == "PENDING" else "NonZeroExitCode" if word == "FAILED" else "None"
    return (
        f"JobId={job['id']} JobName={job['name']} UserId=me(1000) GroupId=me(1000) MCS_label=N/A Priority=4294901759 "
        f"Nice=0 Account=(null) QOS=(null) JobState={word} Reason={reason} Dependency=(null) Requeue=1 Restarts=0 "
        f"BatchFlag=1 Reboot=0 ExitCode={number}:{signal} RunTime=00:00:01 NumNodes=1 Power="
    )


def squeue(arguments: Sequence[str]) -> None:
    assert arguments[:2] == ["--noheader", "--states=all"], arguments
    assert arguments[3] == "--format=%i", arguments
    for job in core.known():
        if f"--name={job['name']}" == arguments[2]:
            print(job["id"])


def scancel(arguments: Sequence[str]) -> None:
    for one in arguments:
        core.cancel(one)


def main(arguments: Sequence[str]) -> None:
    core.answer({"sbatch": sbatch, "scontrol": scontrol, "squeue": squeue, "scancel": scancel}, arguments, DOWN)
