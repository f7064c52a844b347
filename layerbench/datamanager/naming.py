"""How messages name paths, and what the system or a library says of them."""

from __future__ import annotations

import os

from layerbench.suite_format import flat, printable


def path(named: str | os.PathLike[str]) -> str:
    """A path on one line, whatever characters are in it."""
    text = os.fspath(named)
    return text if text.isprintable() else printable(text)


def reason(error: Exception) -> str:
    """What an exception says, on one line; of the system's errors without the path, which the message names itself."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(flat(text)) or type(error).__name__
