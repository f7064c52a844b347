"""Walltimes as people write them, ``[days-]hours:minutes:seconds``, and in seconds."""

from __future__ import annotations

import re

from layerbench.errors import UsageError
from layerbench.suite_format import shown

_WALLTIME = re.compile(r"(?:([0-9]{1,3})-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")


def parse(text: object, where: str) -> int:
    """Seconds of a walltime; ``where`` names the option or entry in messages.

    Two numbers are refused: to some schedulers ``30:00`` is half an hour, to others thirty.

    Raises
    ------
    UsageError
        If it is none, or no time at all.
    """
    match = _WALLTIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"{where} {shown(text)}: expected hours:minutes:seconds, such as 00:30:00")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise UsageError(f"{where} {shown(text)}: expected more than no time, such as 00:30:00")
    return total


def text(seconds: int) -> str:
    """Seconds as ``hours:minutes:seconds``, which every scheduler reads but those with formats of their own."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
