"""OpenPBS: ``qsub``, ``qstat -x -f -F json``, ``qselect``, ``qdel``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.batch.fake import core

PROGRAMS = ("qsub", "qstat", "qselect", "qdel")
SERVER = "pbs"
DOWN = f"Connection refused\nqstat: cannot connect to server {SERVER} (errno=15010)"
NOT_KNOWN = 153
NOT_ALLOWED_NOW = 35


def qsub(arguments: Sequence[str]) -> None:
    (script,) = arguments
    if refusal := core.told("refuse"):
        core.fail(f"qsub: {refusal}", 169)
    text = Path(script).read_text()
    found: dict[str, str] = {}
    resources: dict[str, str] = {}
    for line in core.directives(text, "#PBS"):
        words = shlex.split(line, posix=False)
        if len(words) != 2 or words[0] not in ("-N", "-q", "-A", "-P", "-l", "-j", "-o"):
            core.fail(f"qsub: invalid option in {line!r}\nusage: qsub [-a date_time] [-A account_string] ...", 2)
        if words[0] != "-l":
            found[words[0]] = words[1]
            continue
        name, _, value = words[1].partition("=")
        resources.setdefault(name, value)  # the first one counts
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._+-]{0,14}", found.get("-N", "")):
        core.fail("qsub: illegal -N value", 1)
    count, *chunk = resources.pop("select", "").split(":")
    wanted = dict(one.split("=") for one in chunk)
    nodes, cores, ranks = int(count), int(wanted.pop("ncpus")), int(wanted.pop("mpiprocs"))
    if cores > core.CORES or ranks > cores:
        core.fail("qsub: Job exceeds queue and/or server resource limits", 188)
    for name, value in wanted.items():
        if name not in ("ngpus", "mem", "model") or not value:
            core.fail(f"qsub: Unknown resource: {name}", 1)
    if not re.fullmatch(r"scatter(:excl)?", resources.pop("place", "")):
        core.fail("qsub: Illegal attribute or resource value: place", 1)
    if walltime := resources.pop("walltime", ""):
        core.seconds_of(walltime)
    if resources:
        core.fail(f"qsub: Unknown resource: {next(iter(resources))}", 1)
    number = str(core.next_number())
    hosts = core.state() / f"nodes-{number}"
    hosts.write_text("".join(f"node{i:02}.example.org\n" * ranks for i in range(nodes)))
    core.submit(
        number,
        found["-N"],
        text,
        found["-o"],
        {"nodes": nodes, "cores": cores, "ranks_per_node": ranks},
        {"PBS_O_WORKDIR": str(Path.cwd()), "PBS_JOBID": f"{number}.{SERVER}", "PBS_NODEFILE": str(hosts)},
    )
    print(core.told("garbage") or f"{number}.{SERVER}")


def _history(options: Sequence[str]) -> None:
    if "-x" in options and core.told("no history") is not None:
        core.fail("PBS is not configured to maintain job history", 159)


def qstat(arguments: Sequence[str]) -> None:
    *options, asked = arguments
    assert [option for option in options if option != "-x"] == ["-f", "-F", "json"], options
    _history(options)
    if (babble := core.told("babble")) is not None:
        print(babble)
        return
    jobs = {f"{job['id']}.{SERVER}": _attributes(job) for job in core.known() if job["id"] == asked.partition(".")[0]}
    if jobs and "-x" not in options and jobs[f"{asked.partition('.')[0]}.{SERVER}"]["job_state"] == "F":
        core.fail(f"qstat: {asked} Job has finished, use -x or -H to obtain historical job information", 35)
    if not jobs:
        core.fail(f"qstat: Unknown Job Id {asked}", NOT_KNOWN)
    print(json.dumps({"timestamp": 1, "pbs_version": "23.06.06", "pbs_server": SERVER, "Jobs": jobs}, indent=4))


def _attributes(job: core.Job) -> dict[str, object]:
    letter = {"waiting": "Q", "running": "R", "over": "F"}[job["state"]]
    told: dict[str, object] = {
        "Job_Name": job["name"],
        "Job_Owner": "me@login",
        "job_state": letter,
        "queue": "workq",
        "Variable_List": {"PBS_O_HOME": "/home/me", "PBS_O_LANG": "C"},
    }
    if job["code"] is not None:
        told["Exit_status"] = 256 - job["code"] if job["code"] < 0 else job["code"]
    return told


def qselect(arguments: Sequence[str]) -> None:
    *options, name = arguments
    assert options in (["-x", "-N"], ["-N"]), options
    _history(options)
    for job in core.known():
        if job["name"] == name and ("-x" in options or job["state"] != "over"):
            print(f"{job['id']}.{SERVER}")


def qdel(arguments: Sequence[str]) -> None:
    for one in arguments:
        if not core.cancel(one.partition(".")[0]):
            core.fail(f"qdel: Job has finished {one}", NOT_ALLOWED_NOW)


def main(arguments: Sequence[str]) -> None:
    core.answer({"qsub": qsub, "qstat": qstat, "qselect": qselect, "qdel": qdel}, arguments, DOWN)
