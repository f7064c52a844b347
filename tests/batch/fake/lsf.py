"""LSF: ``bsub`` with the script on standard input, ``bjobs``, ``bkill``."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.batch.fake import core

PROGRAMS = ("bsub", "bjobs", "bkill")
DOWN = "LSF is down. Please wait ..."

OPTIONS = {
    "-J": r"[\w.-]+",
    "-P": r"\w+",
    "-q": r"\w+",
    "-nnodes": r"[1-9][0-9]*",
    "-n": r"[1-9][0-9]*",
    "-R": r"(span|select)\[[\w=&|<>.]+\]",
    "-W": r"([0-9]+:)?[0-9]+",
    "-wt": r"[1-9][0-9]*",
    "-wa": r"TERM|URG|USR[12]",
    "-alloc_flags": r"[\w ]+",
    "-gpu": r"num=[1-9][0-9]*",
    "-o": r"[\w.%-]+",
    "-cwd": r"\.",
}
FLAGS = ("-x",)


def bsub(arguments: Sequence[str]) -> None:
    assert not arguments, arguments
    if refusal := core.told("refuse"):
        core.fail(f"{refusal}. Job not submitted.", 255)
    text = sys.stdin.read()
    found: dict[str, str] = {}
    # Everywhere in what it reads, not only at its head.
    for line in core.directives(text, "#BSUB", anywhere=True):
        words = shlex.split(line)
        while words:
            option = words.pop(0)
            if option in FLAGS:
                found[option] = ""
            elif option not in OPTIONS or not words or not re.fullmatch(OPTIONS[option], words[0]):
                core.fail(f"{option}: Illegal option or value. Job not submitted.", 255)
            else:
                found[option] = words.pop(0)
    if ("-wt" in found) != ("-wa" in found):
        core.fail("A warning action needs a warning time. Job not submitted.", 255)
    if "-wt" in found and int(found["-wt"]) >= int(found["-W"]):
        core.fail("Warning time exceeds run limit. Job not submitted.", 255)
    number = str(core.next_number())
    nodes = int(found["-nnodes"])
    core.submit(
        number,
        found["-J"],
        text,
        found["-o"],
        {"nodes": nodes, "cores": core.CORES},
        {
            "LSB_JOBID": number,
            "LS_SUBCWD": str(Path.cwd()),
            "LSB_MCPU_HOSTS": " ".join(["batch1 1", *(f"h{i} {core.CORES}" for i in range(1, nodes + 1))]),
        },
    )
    print(core.told("garbage") or f"Job <{number}> is submitted to queue <batch>.")


def bjobs(arguments: Sequence[str]) -> None:
    assert arguments[:2] == ["-a", "-noheader"], arguments
    if arguments[2] == "-J":
        _, name, _, fields = arguments[2:]
        assert fields == "jobid", fields
        found = [job["id"] for job in core.known() if job["name"] == name]
        if not found:
            core.fail(f"Job <{name}> is not found", 255)
        print("\n".join(found))
        return
    if (babble := core.told("babble")) is not None:
        print(babble)
        return
    assert arguments[2:4] == ["-o", "jobid stat exit_code exit_reason delimiter='|'"], arguments
    by_id = {job["id"]: job for job in core.known()}
    for one in arguments[4:]:
        if one in by_id:
            print(_line(by_id[one]))
        else:
            print(f"Job <{one}> is not found", file=sys.stderr)
    if not set(arguments[4:]) <= set(by_id):
        sys.exit(255)


def _line(job: core.Job) -> str:
    code = job["code"]
    if job["state"] != "over":
        return f"{job['id']}|{'PEND' if job['state'] == 'waiting' else 'RUN'}|-|-"
    if code == 0:
        return f"{job['id']}|DONE|-|-"
    why = "TERM_OWNER: job killed by owner" if job["signal"] else "-"
    return f"{job['id']}|EXIT|{128 - code if code is not None and code < 0 else code or 130}|{why}"


def bkill(arguments: Sequence[str]) -> None:
    for one in arguments:
        if not core.cancel(one):
            core.fail(f"Job <{one}>: Job has already finished", 255)
        print(f"Job <{one}> is being terminated")


def main(arguments: Sequence[str]) -> None:
    core.answer({"bsub": bsub, "bjobs": bjobs, "bkill": bkill}, arguments, DOWN)
