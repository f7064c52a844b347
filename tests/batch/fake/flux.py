"""Flux: ``flux batch``, ``flux jobs``, ``flux cancel``, and ``flux run`` within a job."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.batch.fake import core, launchers

PROGRAMS = ("flux",)
DOWN = "flux: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found"

OPTIONS = {
    "--job-name": r"[\w.-]+",
    "-N": r"[1-9][0-9]*",
    "-n": r"[1-9][0-9]*",
    "-c": r"[1-9][0-9]*",
    "-t": r"[1-9][0-9]*[smh]",
    "--output": r"[\w.%{}-]+",
    "--queue": r"\w+",
    "--bank": r"\w+",
    "--requires": r"\S+",
}


def _id(number: str) -> str:
    """Base 58, as Flux shows it."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value, digits = int(number), ""
    while value:
        value, rest = divmod(value, 58)
        digits = alphabet[rest] + digits
    return f"ƒ{digits}"


def _number(one: str) -> str:
    return next((job["id"] for job in core.known() if _id(job["id"])[1:] == one[1:]), "")


def batch(arguments: Sequence[str]) -> None:
    (script,) = arguments
    if refusal := core.told("refuse"):
        core.fail(f"flux-batch: ERROR: [Errno 22] {refusal}", 1)
    text = Path(script).read_text()
    lines = core.directives(text, "# flux:")
    if len(lines) != len(core.directives(text, "# flux:", anywhere=True)):
        core.fail("flux-batch: ERROR: orphan 'flux:' detected: disable-later", 1)
    found: dict[str, str] = {}
    for line in lines:
        words = shlex.split(line.replace("=", " ", 1) if line.startswith("--") else line)
        if words == ["--exclusive"]:
            continue
        if len(words) != 2 or words[0] not in OPTIONS or not re.fullmatch(OPTIONS[words[0]], words[1]):
            core.fail(f"flux-batch: ERROR: argument parsing failed at line: {line}", 1)
        found[words[0]] = words[1]
    number = str(core.next_number())
    nodes = int(found["-N"])
    variables = {"FLUX_JOB_ID": _id(number), "FLUX_URI": f"local://{core.state()}"}
    core.submit(number, found["--job-name"], text, found["--output"], {"nodes": nodes, "cores": core.CORES}, variables)
    print(core.told("garbage") or _id(number))


def jobs(arguments: Sequence[str]) -> None:
    assert arguments[:2] == ["-a", "-n"], arguments
    if arguments[2].startswith("--name="):
        for job in core.known():
            if arguments[2] == f"--name={job['name']}":
                print(_id(job["id"]))
        return
    if (babble := core.told("babble")) is not None:
        print(babble)
        return
    _, form, asked = arguments[2:]
    assert form == "{id.f58}|{status}|{returncode}", form
    number = _number(asked)
    if not number:
        core.fail(f"flux-jobs: ERROR: JobID {asked} unknown", 1)
    (job,) = (job for job in core.known() if job["id"] == number)
    code = job["code"]
    if job["state"] != "over":
        print(f"{_id(number)}|{'SCHED' if job['state'] == 'waiting' else 'RUN'}|")
    elif job["signal"]:
        print(f"{_id(number)}|CANCELED|{'' if code is None else code % 256}")
    else:
        print(f"{_id(number)}|{'FAILED' if code else 'COMPLETED'}|{code if code >= 0 else 128 - code}")


def cancel(arguments: Sequence[str]) -> None:
    for one in arguments:
        if not core.cancel(_number(one)):
            core.fail(f"flux-cancel: ERROR: {one}: job is inactive", 1)


def getattr_(arguments: Sequence[str]) -> None:
    (name,) = arguments
    print({"size": json.loads(os.environ["FAKE_ALLOCATION"])["nodes"], "jobid": os.environ["FLUX_JOB_ID"]}[name])


def resource(arguments: Sequence[str]) -> None:
    assert list(arguments) == ["list", "-n", "-s", "up", "-o", "{ncores}"], arguments
    print(json.loads(os.environ["FAKE_ALLOCATION"])["nodes"] * core.CORES)


def main(arguments: Sequence[str]) -> None:
    program, command, *rest = arguments
    assert program == "flux", program
    if command == "run":
        launchers.main(["flux", *rest])
        return
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    core.answer(
        {"batch": batch, "jobs": jobs, "cancel": cancel, "getattr": getattr_, "resource": resource},
        [command, *rest],
        DOWN,
    )
