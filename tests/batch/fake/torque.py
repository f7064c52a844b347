"""Torque: ``qsub``, ``qstat -f -x``, ``qselect``, ``qdel``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tests.batch.fake import core

PROGRAMS = ("qsub", "qstat", "qselect", "qdel")
SERVER = "nid11293"
DOWN = (
    f"Error communicating with {SERVER}(192.168.1.1)\nCannot connect to specified server host '{SERVER}'.\n"
    f"qstat: cannot connect to server {SERVER} (errno=111) Connection refused"
)
NOT_KNOWN = 153


def qsub(arguments: Sequence[str]) -> None:
    (script,) = arguments
    if refusal := core.told("refuse"):
        core.fail(f"qsub: {refusal}", 176)
    if (most := core.told("refuse after")) and core.next_number() > 100 + int(most):
        core.fail("qsub: would exceed queue's per-user limit", 172)
    text = Path(script).read_text()
    found: dict[str, str] = {}
    resources: dict[str, str] = {}
    for line in core.directives(text, "#PBS"):
        words = shlex.split(line, posix=False)
        if len(words) != 2 or words[0] not in ("-N", "-q", "-A", "-l", "-j", "-o"):
            core.fail(f"qsub: invalid option in {line!r}\nusage: qsub [-a date_time] [-A account_string] ...", 2)
        if words[0] != "-l":
            found[words[0]] = words[1]
            continue
        for one in words[1].split(","):
            name, _, value = one.partition("=")
            resources[name] = value  # the last one counts
    name = found.get("-N", "STDIN")
    if not re.fullmatch(r"[A-Za-z]\S{0,14}", name):
        core.fail("qsub: illegal -N value", 1)
    if found.get("-j") != "oe" or "/" in found.get("-o", "/"):
        core.fail("qsub: output would not come back", 1)
    match = re.fullmatch(r"([0-9]+):ppn=([0-9]+)((?::[a-z]\w*)*)((?::gpus=[0-9]+)?)", resources.pop("nodes", ""))
    if match is None or int(match[2]) > core.CORES:
        core.fail("qsub: Job exceeds queue resource limits MSG=cannot locate feasible nodes", 188)
    if walltime := resources.pop("walltime", ""):
        core.seconds_of(walltime)
    if resources:
        core.fail(f"qsub: Unknown resource type  Resource_List.{next(iter(resources))}", 1)
    nodes, cores = int(match[1]), int(match[2])
    number = str(core.next_number())
    hosts = core.state() / f"nodes-{number}"
    hosts.write_text("".join(f"nid{i:05}\n" * cores for i in range(nodes)))
    core.submit(
        number,
        name,
        text,
        found["-o"],
        {"nodes": nodes, "cores": cores, "feature": match[3].strip(":")},
        {
            "PBS_O_WORKDIR": str(Path.cwd()),
            "PBS_JOBID": f"{number}.{SERVER}",
            "PBS_NODEFILE": str(hosts),
            "PBS_NUM_NODES": str(nodes),
            "PBS_NUM_PPN": str(cores),
        },
    )
    print(core.told("garbage") or f"{number}.{SERVER}")


def qstat(arguments: Sequence[str]) -> None:
    *options, asked = arguments
    assert options == ["-f", "-x"], options
    if (babble := core.told("babble")) is not None:
        print(babble)
        return
    for job in core.known():
        if job["id"] == asked.partition(".")[0]:
            print(f"<Data>{_xml(job)}</Data>")
            return
    core.fail(f"qstat: Unknown Job Id Error {asked}", NOT_KNOWN)


def _xml(job: core.Job) -> str:
    letter = {"waiting": "Q", "running": "R", "over": "C"}[job["state"]]
    code = ""
    if job["code"] is not None:
        status = 256 - job["code"] if job["code"] < 0 else job["code"]
        code = f"<exit_status>{status}</exit_status>"
    return (
        f"<Job><Job_Id>{job['id']}.{SERVER}.example.org</Job_Id><Job_Name>{escape(job['name'])}</Job_Name>"
        f"<Job_Owner>me@h2ologin1</Job_Owner><job_state>{letter}</job_state><queue>normal</queue>"
        f"<Output_Path>h2ologin1:{escape(job['log'])}</Output_Path>{code}</Job>"
    )


def qselect(arguments: Sequence[str]) -> None:
    option, name = arguments
    assert option == "-N", option
    for job in core.known():
        if job["name"] == name:
            print(f"{job['id']}.{SERVER}")


def qdel(arguments: Sequence[str]) -> None:
    for one in arguments:
        if not core.cancel(one.partition(".")[0]):
            core.fail(f"qdel: Unknown Job Id Error {one}", NOT_KNOWN)


def main(arguments: Sequence[str]) -> None:
    core.answer({"qsub": qsub, "qstat": qstat, "qselect": qselect, "qdel": qdel}, arguments, DOWN)
