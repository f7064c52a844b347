"""``aprun``, ``srun``, ``jsrun``, ``flux run`` and ``mpiexec``: each checks its numbers against the job's allocation.

What they are to start runs once, as the first rank, and the world is written to ``launches.jsonl`` of the state. Where
the state names an ``mpiexec``, that starts all ranks, on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tests.batch.fake import core

PROGRAMS = ("aprun", "srun", "jsrun", "mpiexec", "bwpy-environ")

World = dict[str, Any]


def _split(words: Sequence[str], flags: Sequence[str], valued: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Options, and the command behind them."""
    rest, found = list(words), dict[str, str]()
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        name, equals, value = option.partition("=")
        if option in flags:
            found[option] = ""
        elif name in valued:
            found[name] = value if equals else rest.pop(0)
        else:
            core.fail(f"unknown option {option}", 2)
    return found, rest


def aprun(words: Sequence[str]) -> tuple[World, list[str]]:
    found, command = _split(words, ["-b"], ["-n", "-N", "-d", "-cc"])
    ranks, to_a_node, depth = int(found["-n"]), int(found["-N"]), int(found["-d"])
    return {"nodes": -(-ranks // to_a_node), "ranks": ranks, "ranks_per_node": to_a_node, "threads": depth}, command


def srun(words: Sequence[str]) -> tuple[World, list[str]]:
    found, command = _split(words, [], ["--nodes", "--ntasks", "--ntasks-per-node", "--cpu-bind", "--mpi"])
    assert found["--cpu-bind"] == "none", found
    threads = int(os.environ.get("SRUN_CPUS_PER_TASK", "1"))
    nodes, ranks = int(found["--nodes"]), int(found["--ntasks"])
    return {"nodes": nodes, "ranks": ranks, "ranks_per_node": -(-ranks // nodes), "threads": threads}, command


def jsrun(words: Sequence[str]) -> tuple[World, list[str]]:
    found, command = _split(words, [], ["-n", "-r", "-a", "-c", "-g", "-b", "-d", "--smpiargs"])
    sets, to_a_host, tasks, cores = int(found["-n"]), int(found["-r"]), int(found["-a"]), int(found["-c"])
    ranks = sets * tasks
    return {
        "nodes": -(-sets // to_a_host),
        "ranks": ranks,
        "ranks_per_node": to_a_host * tasks,
        "threads": cores // tasks,
    }, command


def flux(words: Sequence[str]) -> tuple[World, list[str]]:
    found, command = _split(words, [], ["-N", "-n", "-c", "-g", "-o"])
    nodes, ranks = int(found["-N"]), int(found["-n"])
    return {
        "nodes": nodes,
        "ranks": ranks,
        "ranks_per_node": -(-ranks // nodes),
        "threads": int(found.get("-c", "1")),
    }, command


def mpiexec(words: Sequence[str]) -> tuple[World, list[str]]:
    found, command = _split(words, [], ["-launcher", "-rmk", "-hosts", "-ppn", "-n"])
    hosts = found["-hosts"].split(",")
    return {
        "nodes": len(hosts),
        "ranks": int(found["-n"]),
        "ranks_per_node": int(found["-ppn"]),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "hosts": hosts,
    }, command


READ: dict[str, Callable[[Sequence[str]], tuple[World, list[str]]]] = {
    "aprun": aprun,
    "srun": srun,
    "jsrun": jsrun,
    "flux": flux,
    "mpiexec": mpiexec,
}


def main(arguments: Sequence[str]) -> None:
    program, *words = arguments
    if program == "bwpy-environ":
        assert words[0] == "--", words
        os.execvp(words[1], words[1:])
    if "FAKE_ALLOCATION" not in os.environ:
        core.fail(f"{program}: not within a job", 1)
    allocation = json.loads(os.environ["FAKE_ALLOCATION"])
    world, command = READ[program](words)
    if world["nodes"] > allocation["nodes"] or world["ranks_per_node"] * world["threads"] > allocation["cores"]:
        core.fail(f"{program}: claim exceeds reservation's node-count or its CPUs: {world} of {allocation}", 1)
    if not command:
        core.fail(f"{program}: nothing to run", 1)
    with (core.state() / "launches.jsonl").open("a") as file:
        file.write(json.dumps({"program": program, **world, "command": command}) + "\n")
    if mpiexec := core.told("mpiexec"):
        command = [mpiexec, "-launcher", "fork", "-rmk", "user", "-n", str(world["ranks"]), *command]
    sys.exit(subprocess.run(command, check=False).returncode)
