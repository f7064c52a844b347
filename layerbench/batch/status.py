"""What a scheduler says of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from layerbench.suite_format import printable

State: TypeAlias = Literal["pending", "running", "done", "failed", "cancelled", "timeout", "unknown"]
"""``unknown``: the scheduler has no such job, or no longer."""

_MOST = 400
"""Characters of what a command said that are told: it may be a page of a web server."""

ENDED: tuple[State, ...] = ("done", "failed", "cancelled", "timeout")


class Status(msgspec.Struct, frozen=True):
    """A job's state, its exit code where the scheduler knows one, and the scheduler's own words for why."""

    state: State
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What a scheduler's command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def told(self) -> str:
        """What it said, on one line that is not too long: of errors, else of anything."""
        said = self.stderr.strip() or self.stdout.strip() or f"nothing, and exit code {self.code}"
        line = printable(" ".join(said.split()))
        return line if len(line) <= _MOST else f"{line[:_MOST]} ..."


def of_exit_code(code: int, reason: str = "") -> Status:
    """The status of a job that ended by itself."""
    return Status("done" if code == 0 else "failed", code, reason)
