"""Jobs of the system ``local``: a program that starts a script, tells of jobs, ends them, and finds them by name.

``python -m layerbench.batch.background start SCRIPT | status ID... | end ID... | find NAME``

A job is a process in a session of its own. Its id is its number and the moment of its start, by which a later process
of the same number is told apart.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

PROC = Path("/proc")
_START_TIME = 19
"""Place among the fields of ``/proc/PID/stat`` behind the program's name: clock ticks from boot to its start."""


def start(script: str) -> str:
    """Start a script; what it prints goes to the file of its name that ends in ``.log``."""
    with Path(script).with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(
            ["/bin/bash", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _id(process.pid)


def running(job: str) -> bool:
    """Whether a job's process is there, and has not ended."""
    pid = job.partition(".")[0]
    return _id(int(pid)) == job


def end(job: str) -> None:
    """Ask a job to end, if it is there: its script passes the signal on."""
    if running(job):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(job.partition(".")[0]), signal.SIGTERM)


def find(name: str) -> list[str]:
    """Jobs that run a script of this name."""
    found = []
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[:1] == [b"/bin/bash"] and Path(os.fsdecode(words[1])).name == f"{name}.sh":
                found.append(_id(int(folder.name)))
    return [job for job in found if job]


def _id(pid: int) -> str:
    """A process's id; empty if there is none, or it has ended and only its parent has not taken note."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{pid}.{fields[_START_TIME]}"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["start", script]:
            job = start(script)
            if job:
                print(job)
        case ["status", *jobs]:
            for job in jobs:
                print(job, "running" if running(job) else "gone")
        case ["end", *jobs]:
            for job in jobs:
                end(job)
        case ["find", name]:
            print("\n".join(find(name)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
