"""A step as a process of its own, with a time limit: whether it crashes or hangs, the others go on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "failed", "out of time", "not reached"]

GRACE = 5.0
"""Seconds between asking a process to end and ending it: it may have ranks of its own to end."""

LONGEST_LINE = 300


@dataclass(frozen=True)
class Outcome:
    """How a step ended; ``said`` is the last line of its log where it did not end well."""

    name: str
    status: Status
    seconds: float = 0.0
    said: str = ""
    attempts: int = 1


def run(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, limit: float
) -> Outcome:
    """Run a command in a folder, what it prints appended to a log, for so many seconds at most."""
    begin = time.monotonic()
    status: Status = "ok"
    why = ""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            if code:
                status, why = "failed", _ended(code)
        except subprocess.TimeoutExpired:
            status, why = "out of time", f"ended after {limit:.0f} s"
        finally:
            _end(process)
    said = f"{why}: {last_line(log)}" if why else ""
    return Outcome(name, status, time.monotonic() - begin, said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started; to be called of one that has ended too."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None or number == signal.SIGKILL:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


def _ended(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-50:]]
    said = next((line for line in reversed(lines) if line), "it said nothing")
    return "".join(character for character in said if character.isprintable())[:LONGEST_LINE]
