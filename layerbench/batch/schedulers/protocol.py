"""What a scheduler is to the rest: pure functions. Its file is the only place that knows its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from layerbench.batch.request import Request
from layerbench.batch.status import Answer, Status
from layerbench.batch.system import System
from layerbench.launch import LauncherName


class Scheduler(Protocol):
    """A module of this package.

    A function that reads an answer raises :class:`layerbench.errors.NoAnswerError` where it is none: the scheduler is
    down, or answers what cannot be understood. That says nothing about the job.
    """

    LONGEST_NAME: int
    """Characters of a job's name that all its versions take."""

    SCRIPT_ON_STDIN: bool
    """Whether the script is read from standard input instead of being named."""

    NEEDS_CORES: bool
    """Whether a request has to say how many cores of a node it wants."""

    LAUNCHERS: tuple[LauncherName, ...]
    """What can start ranks in its jobs, its own first."""

    OWN_DIRECTIVES: re.Pattern[str]
    """Matches a directive, without its prefix, that says what :meth:`directives` says of each job."""

    HOST_FILE: str
    """The variable that names the file of a job's hosts, for launchers that do not find them; empty for none."""

    SUBMITTED_FROM: str
    """The variable that names, within a job, the folder that it was submitted from."""

    EXPANDS: str
    """Characters in the name of a folder that it does not take for what they are when it opens the job's log there."""

    UNREACHABLE: re.Pattern[str]
    """Matches a line of its programs that tells that the scheduler itself did not hear them."""

    def directives(self, system: System, request: Request) -> list[str]:
        """Lines at the head of the script, whole."""
        ...

    def warns(self, request: Request) -> bool:
        """Whether a directive has the script told, by SIGTERM, that its time is nearly up."""
        ...

    def environment(self, request: Request) -> list[str]:
        """Lines of shell that launchers within the job need."""
        ...

    def submit_command(self, script: str) -> list[str]: ...

    def parse_job_id(self, stdout: str) -> str | None:
        """The new job's id; None if there is none in what was printed."""
        ...

    def status_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Commands that together tell of all these jobs."""
        ...

    def parse_status(self, ids: Sequence[str], answer: Answer) -> dict[str, Status]:
        """What one of these commands tells of these jobs; those that it does not speak of are left out."""
        ...

    def cancel_command(self, ids: Sequence[str]) -> list[str]: ...

    def gone(self, answer: Answer) -> bool:
        """Whether cancelling failed because there is nothing left to cancel."""
        ...

    def find_command(self, name: str) -> list[str]:
        """Look for jobs, ended ones too, of this name."""
        ...

    def parse_found(self, answer: Answer) -> list[str]:
        """Ids of the jobs that were found."""
        ...
