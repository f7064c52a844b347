"""The sizes that are timed, as people write them."""

from __future__ import annotations

from layerbench.errors import UsageError
from layerbench.suite_format import printable
from layerbench.units import bytes_of

DEFAULT = "4B..1GB"

LARGEST = 2**40
"""Bytes; more is a typing mistake."""


def parse(text: str) -> list[int]:
    """Bytes of ``--sizes``: sizes and ranges with commas, sorted, each once.

    A range such as ``4B..1GB`` has its first size, this doubled again and again, and its last one.

    Raises
    ------
    UsageError
        If a size is none, a range runs backwards, or a size is none that could be exchanged.
    """
    found: set[int] = set()
    for entry in text.split(","):
        first, range_, last = entry.partition("..")
        try:
            low = bytes_of(first)
            high = bytes_of(last) if range_ else low
        except ValueError as error:
            raise UsageError(
                f"--sizes {printable(text)!r}: {printable(str(error))}; give sizes with commas, or a range such as "
                f"{DEFAULT}"
            ) from error
        if not 1 <= low <= high <= LARGEST:
            raise UsageError(
                f"--sizes {printable(text)!r}: {printable(entry.strip())} must go from 1 byte up, to 1 TiB at most"
            )
        found.add(high)
        while low < high:
            found.add(low)
            low *= 2
    return sorted(found)
