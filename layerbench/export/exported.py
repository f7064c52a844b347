"""What an export is: the file's contents, and what it had no room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True)
class Exported:
    """A run in another format.

    Attributes
    ----------
    chunks
        The file's contents in pieces, to be taken once: with every sample of a large run it need not fit the memory.
    left_out
        How many records the format cannot hold, by the reason; words that follow on a number.
    """

    chunks: Iterable[bytes]
    left_out: Counter[str] = field(default_factory=Counter)

    def read(self) -> bytes:
        """What is left of the contents, whole."""
        return b"".join(self.chunks)

    def remark(self, records: int) -> str | None:
        """What was left out of this many records, in one line; None if nothing was."""
        if not self.left_out:
            return None
        reasons = ", ".join(f"{count} {' '.join(reason.split())}" for reason, count in self.left_out.most_common())
        total = self.left_out.total()
        return f"{total} of {records} records {'is' if total == 1 else 'are'} left out: {reasons}"


def document(head_name: str, head: object, rows_name: str, rows: Iterable[Any]) -> Iterator[bytes]:
    """A JSON object of a head and a list, each entry of the list on a line of its own; NaN becomes null."""
    encode = msgspec.json.Encoder().encode
    yield b"{%s:%s,\n%s:[" % (encode(head_name), encode(head), encode(rows_name))
    separator = b"\n"
    for row in rows:
        yield separator + encode(row)
        separator = b",\n"
    yield b"\n]}\n"
