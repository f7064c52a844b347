"""What a scheduler says of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["pending", "running", "done", "failed", "cancelled", "timeout", "unknown"]
"""``unknown``: the scheduler has no such job, or no longer."""

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
        """What it said, on one line: of errors, else of anything."""
        return " ".join((self.stderr.strip() or self.stdout.strip() or f"nothing, and exit code {self.code}").split())


def of_exit_code(code: int, reason: str = "") -> Status:
    """The status of a job that ended by itself."""
    return Status("done" if code == 0 else "failed", code, reason)
