"""Runs one launch under watch: reads its events, ends it when it stops making progress, leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import psutil

from layerbench.assignment import Event, JournalFailed, Started, event_of
from layerbench.errors import LaunchError

MARK = "LAYERBENCH_LAUNCH"
"""Environment variable that tells a launch's processes, whatever session or parent they have moved to.

A launcher gives every rank a session of its own, and a rank whose launcher was killed has another parent.
"""

GRACE = 3.0
"""Seconds between asking a launch to end and killing it."""

GRACE_ELSEWHERE = 30.0
"""The same of a batch system's launcher, which ends ranks on other nodes: these outlive it if it is killed."""

LONGEST_LINE = 2**20
"""Output that goes on for so many bytes without a line's end is no event."""

TAIL_LINES = 12
TAIL_CHARACTERS = 2000

START_TIMEOUT = 60.0
"""Seconds a launch may take until its ranks have found each other, if that is more than the timeout asked for."""


@dataclass(frozen=True)
class Ending:
    """How a launch ended: ``reason`` is empty if every rank ended well."""

    exit_code: int
    reason: str
    tail: str
    journal_failed: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason and not self.journal_failed


def supervise(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    timeout: float,
    listen: Callable[[Event], None],
    grace: float = GRACE,
) -> Ending:
    """Start a launch and follow it to its end.

    Parameters
    ----------
    command, environment
        What to start. Its environment is marked, and nothing is ever signalled but its own process group, its
        descendants, and what carries its mark.
    log
        File for its standard error and whatever it prints that is no event.
    timeout
        Seconds without any event after which it is taken to hang.
    listen
        Told every event.
    grace
        Seconds between asking it to end and killing it.

    Raises
    ------
    LaunchError
        If the launcher itself cannot be started, or its log cannot be written.
    """
    mark = uuid.uuid4().hex
    with _log_file(log) as file:
        try:
            process = subprocess.Popen(
                command,
                env={**environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(f"{command[0]} cannot be started: {error.strerror or error}") from error
        try:
            hung, journal_failed = _follow(process, file, timeout, listen)
        finally:
            _end(process, mark, grace)
    code = process.returncode
    reason = hung or _reason(code)
    return Ending(code, reason, _tail(log) if reason else "", journal_failed)


def _log_file(log: Path) -> FileIO:
    try:
        return log.open("wb", buffering=0)
    except OSError as error:
        raise LaunchError(f"{log} cannot be written: {error.strerror or error}") from error


def _follow(
    process: subprocess.Popen[bytes], log: FileIO, timeout: float, listen: Callable[[Event], None]
) -> tuple[str, str]:
    """Read events until the launch closes its output; return why it was given up, and a journal's failure."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    started = False
    journal_failed = ""
    rest = b""
    deadline = time.monotonic() + max(timeout, START_TIMEOUT)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if selector.select(max(0.0, min(1.0, deadline - time.monotonic()))):
                chunk = os.read(output, 65536)
                *lines, rest = (rest + chunk).split(b"\n")
                if not chunk or len(rest) > LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    event = event_of(line.decode(errors="replace"))
                    if event is None:
                        _keep(log, line)
                        continue
                    started = started or isinstance(event, Started)
                    if isinstance(event, JournalFailed):
                        journal_failed = event.reason
                    deadline = time.monotonic() + timeout
                    listen(event)
                if not chunk:
                    return _closed(process, timeout), journal_failed
            elif process.poll() is not None:
                # The launcher is gone and something still holds its output open: what is left is ended below.
                return "", journal_failed
            # Looked at in every turn: ranks that print without end do not make progress by that.
            if time.monotonic() >= deadline:
                what = "the ranks did not find each other" if not started else "no rank made progress"
                waited = timeout if started else max(timeout, START_TIMEOUT)
                return f"{what} for {waited:g} s, so the launch was ended (--timeout)", journal_failed


def _keep(log: FileIO, line: bytes) -> None:
    if line:
        with contextlib.suppress(OSError):
            log.write(line + b"\n")


def _closed(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Every rank has closed its output; the launcher still has to say how they ended."""
    patience = max(timeout, GRACE)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return f"the ranks ended and their launcher did not for {patience:g} s"
    return ""


def _end(process: subprocess.Popen[bytes], mark: str, grace: float) -> None:
    """End the launcher and every process it started, stopped ones too; return when they are gone."""
    family = _family(process, mark)
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _signal(process.pid, signal.SIGKILL)
    # Looked for again: some may have been started while the launcher was asked to end.
    family |= _family(process, mark)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
    deadline = time.monotonic() + GRACE
    while any(_alive(member) for member in family) and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.stdout is not None:
        process.stdout.close()


def _family(process: subprocess.Popen[bytes], mark: str) -> set[psutil.Process]:
    """Descendants of the launcher, and every process that carries its mark, but for itself."""
    family: set[psutil.Process] = set()
    with contextlib.suppress(psutil.Error):
        family.update(psutil.Process(process.pid).children(recursive=True))
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if other.pid != process.pid and other.environ().get(MARK) == mark:
                family.add(other)
    return family


def _alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that only waits for its new parent to take note of its end does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _reason(code: int) -> str:
    if code == 0:
        return ""
    # A launcher reports a rank's death by signal N as -N, 128 + N, or (MPICH) N itself.
    number = next((n for n in (-code, code - 128, code) if n in _DEADLY), None)
    if number is None:
        return f"the launch ended with exit code {code}"
    hint = " (out of memory, if nobody sent it)" if number == signal.SIGKILL else ""
    return f"a rank was ended by {signal.Signals(number).name}{hint}"


_DEADLY = {
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
}


def _tail(log: Path) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip(" =|")]
    return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:]
