"""The sizes that are timed, as people write and read them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

from layerbench.collective_bench.formulas import IN_BLOCKS, exchanged_bytes
from layerbench.errors import UsageError
from layerbench.records import Collective
from layerbench.suite_format import printable
from layerbench.units import bytes_of

DEFAULT = "4B..1GB"

LARGEST = 2**40
"""Bytes; more is a typing mistake."""

_RANGE = ".."

_MOST = 4
"""Roundings that are told of one operation and number of ranks; where blocks are of three, every size is rounded."""

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


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
        try:
            low, high = _ends(entry.strip())
        except ValueError as error:
            raise UsageError(f"--sizes {printable(text)!r}: {printable(str(error))}") from error
        found.add(high)
        while low < high:
            found.add(low)
            low *= 2
    return sorted(found)


def _ends(entry: str) -> tuple[int, int]:
    """First and last size of a range, or one size twice.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    words = [word.strip() for word in entry.split(_RANGE)]
    if len(words) > 1 and (len(words) > 2 or any(not word or word.startswith(".") for word in words)):
        raise ValueError(f"a range is FIRST..LAST, a size on each side of two full stops, such as {DEFAULT}")
    try:
        sizes = [bytes_of(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{error}; give sizes with commas, or a range FIRST..LAST such as {DEFAULT}") from error
    for word, size in zip(words, sizes, strict=True):
        if size < 1:
            raise ValueError(f"{word} is no size of an exchange; give at least 1 byte")
        if size > LARGEST:
            raise ValueError(f"{word} is above the limit of {shown(LARGEST)}; give at most that")
    if sizes[-1] < sizes[0]:
        raise ValueError(f"the range runs backwards; give its smaller size first: {words[1]}{_RANGE}{words[0]}")
    return sizes[0], sizes[-1]


def shown(size: int) -> str:
    """A size with three significant digits and a binary prefix, as vectors double: ``4 KiB``."""
    power = min(len(_BINARY) - 1, max(0, size.bit_length() - 1) // 10)
    value = size / 1024**power
    return f"{value:.3g} {_BINARY[power]}" if value < 999.5 else f"{value:.0f} {_BINARY[power]}"


def rounding(operations: Sequence[Collective], sizes: Sequence[int], ranks: Sequence[int], itemsize: int) -> list[str]:
    """Which sizes are exchanged as which, in one sentence; none if all are as they were asked for.

    Parameters
    ----------
    operations, sizes, ranks
        What is measured; ``sizes`` in bytes, as they were asked for.
    itemsize
        Bytes of an element.
    """
    moved = [operation for operation in operations if operation not in IN_BLOCKS]
    in_blocks = [operation for operation in operations if operation in IN_BLOCKS]
    told = []
    if moved and (became := _became(moved[0], sizes, 1, itemsize)):
        told.append(f"{_named(moved)}: {became}")
    for count in sorted(set(ranks)) if in_blocks else ():
        if became := _became(in_blocks[0], sizes, count, itemsize):
            told.append(f"{_named(in_blocks)} over {count} ranks: {became}")
    if not told:
        return []
    to = f"whole elements of {itemsize} B" + (", in equal blocks where each rank has one" if in_blocks else "")
    return [f"Sizes are rounded up to {to}. {'; '.join(told)}."]


def _named(operations: Sequence[Collective]) -> str:
    return ", ".join(operation.replace("_", "-") for operation in operations)


def _became(operation: Collective, sizes: Sequence[int], ranks: int, itemsize: int) -> str:
    """``3 B and 5 B became 8 B``, of those that are rounded; empty if none is."""
    rounded: dict[int, list[str]] = {}
    for size in sizes:
        exchanged = exchanged_bytes(operation, size, ranks, itemsize)
        if exchanged != size:
            rounded.setdefault(exchanged, []).append(f"{size} B")
    told = [f"{' and '.join(asked)} became {exchanged} B" for exchanged, asked in rounded.items()]
    more = len(told) - _MOST
    return ", ".join([*told[:_MOST], *([f"and {more} more"] if more > 0 else [])])
