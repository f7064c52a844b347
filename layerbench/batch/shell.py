"""Text as a word of bash, on one line whatever it holds."""

from __future__ import annotations

import shlex
from pathlib import Path


def quoted(text: str) -> str:
    """A word that bash reads as this text.

    Control characters are escaped: a line of its own could be taken for a directive by a scheduler that looks for them
    in the whole script.

    Raises
    ------
    ValueError
        For a null character, which no word can hold.
    """
    if "\0" in text:
        raise ValueError("a null character cannot stand in a command line")
    if not any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return shlex.quote(text)
    escaped = "".join(
        f"\\{letter}"
        if letter in "\\'"
        else f"\\{ord(letter):03o}"
        if ord(letter) < 32 or ord(letter) == 127
        else letter
        for letter in text
    )
    return f"$'{escaped}'"


def argument(path: Path) -> str:
    """A path as it can be typed behind a command, which would take one that begins with a hyphen for an option."""
    return quoted(f"./{path}" if str(path).startswith("-") else str(path))


def commented(text: str) -> str:
    """Text that stays within one line of a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
