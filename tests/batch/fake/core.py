"""The machine behind every stand-in: jobs that really run, in a folder that ``FAKE_STATE`` names.

A test makes it refuse, be slow, be down or talk nonsense by writing files into that folder:

* ``down``: no command answers but by the scheduler's own complaint that it cannot be reached;
* ``refuse``: submitting fails with the file's text;
* ``refuse after``: submitting fails after so many jobs (Torque only);
* ``slow``: every command waits so many seconds first;
* ``garbage``: what submitting prints in the place of an id, though the job is taken;
* ``babble``: what asking for a job's state prints instead;
* ``hold``: jobs are not started as long as it is there;
* ``forget``: jobs are not known any more once they are over;
* ``no history``: nothing may be asked about jobs that are over (OpenPBS only);
* ``hide``: jobs run where the folder that it names is empty;
* ``kill``: jobs are killed that have started, as when a node dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[3]

CORES = 64
"""Of each node; Slurm counts two CPUs of each."""

Job = dict[str, Any]


def state() -> Path:
    return Path(os.environ["FAKE_STATE"])


def told(name: str) -> str | None:
    """What a test has written into a file of the state; None if it is not there."""
    try:
        return (state() / name).read_text()
    except FileNotFoundError:
        return None


def fail(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def jobs() -> Iterator[list[Job]]:
    """All jobs, to be read and changed."""
    with (state() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = state() / "jobs.json"
        found: list[Job] = json.loads(path.read_text()) if path.exists() else []
        yield found
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(found, indent=1))
        draft.replace(path)  # tests read it without the lock


def known() -> list[Job]:
    """Jobs as a scheduler would tell of them: those that are over may be forgotten."""
    with jobs() as all_jobs:
        return [job for job in all_jobs if told("forget") is None or job["state"] != "over"]


def directives(script: str, prefix: str, *, anywhere: bool = False) -> list[str]:
    """What follows a prefix in the lines before the first command, or in any line."""
    found = []
    for line in script.splitlines():
        if line.startswith(prefix):
            found.append(line.removeprefix(prefix).strip())
        elif line.strip() and not line.startswith("#") and not anywhere:
            break
    return found


def submit(
    number: str, name: str, script: str, log: str, allocation: dict[str, Any], variables: dict[str, str]
) -> None:
    """Take a job, and start it unless it is to be held."""
    job = {
        "id": number,
        "name": name,
        "script": script,
        "log": str(Path.cwd() / log),
        "folder": str(Path.cwd()),
        "allocation": allocation,
        "variables": variables,
        "state": "waiting",
        "code": None,
        "signal": None,
    }
    with jobs() as all_jobs:
        all_jobs.append(job)
    subprocess.Popen(
        [sys.executable, "-m", "tests.batch.fake.core", number],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def next_number() -> int:
    with jobs() as all_jobs:
        return 101 + len(all_jobs)


def change(number: str, **changes: Any) -> Job:
    with jobs() as all_jobs:
        (job,) = (job for job in all_jobs if job["id"] == number)
        job.update(changes)
        return dict(job)


def cancel(number: str) -> bool:
    """End a job; whether there was one to end."""
    with jobs() as all_jobs:
        found = [job for job in all_jobs if job["id"] == number and job["state"] != "over"]
        for job in found:
            job["signal"] = 15
            if job["state"] == "waiting":
                job["state"] = "over"
            elif job.get("pid"):
                os.killpg(job["pid"], signal.SIGTERM)
    return bool(found)


def main(number: str) -> int:
    """Run one job to its end, as a node would."""
    with jobs() as all_jobs:
        (job,) = (dict(job) for job in all_jobs if job["id"] == number)
    deadline = time.monotonic() + 60
    while told("hold") is not None and time.monotonic() < deadline:
        time.sleep(0.05)
        with jobs() as all_jobs:
            if any(one["id"] == number and one["state"] == "over" for one in all_jobs):
                return 0
    script = state() / f"{number}.sh"
    script.write_text(job["script"])
    command = ["/bin/bash", str(script)]
    if hidden := told("hide"):
        command = ["unshare", "--mount", "bash", "-c", f"mount -t tmpfs none {hidden} && exec bash {script}"]
    # A job has little of the environment of whoever submitted it.
    environment = {
        **{key: os.environ[key] for key in ("PATH", "HOME", "FAKE_STATE", "PYTHONPATH") if key in os.environ},
        **job["variables"],
        "FAKE_ALLOCATION": json.dumps(job["allocation"]),
    }
    with Path(job["log"]).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        change(number, state="running", pid=process.pid)
        while process.poll() is None:
            if told("kill") is not None:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.02)
    change(number, state="over", code=process.returncode)
    return 0


def answer(functions: dict[str, Any], arguments: Sequence[str], down: str) -> None:
    """Act as the program of a name."""
    if seconds := told("slow"):
        time.sleep(float(seconds))
    if told("down") is not None:
        fail(down, 111)
    program, *rest = arguments
    functions[program](rest)


def install(folder: Path, family: str, programs: Sequence[str]) -> None:
    """Put programs into a folder; each is a function of a module beside this one."""
    folder.mkdir(exist_ok=True)
    for program in programs:
        path = folder / program
        path.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            f"from tests.batch.fake import {family}\n"
            f"{family}.main([{program!r}, *sys.argv[1:]])\n"
        )
        path.chmod(0o755)


def option_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Options that have a value each: ``-n 2 -N 1``."""
    assert len(words) % 2 == 0, f"an option without its value: {words}"
    return list(zip(words[::2], words[1::2], strict=True))


def seconds_of(walltime: str) -> int:
    match = re.fullmatch(r"([0-9]{2,}):([0-5][0-9]):([0-5][0-9])", walltime)
    if match is None:
        fail(f"illegal walltime {walltime}", 1)
    hours, minutes, seconds = map(int, match.groups())
    return (hours * 60 + minutes) * 60 + seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
