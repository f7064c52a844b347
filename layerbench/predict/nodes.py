"""Node counts of ``predict``: plain lists, and doublings written with dots."""

from __future__ import annotations

from layerbench.errors import UsageError
from layerbench.plan import MAX_RANKS, parse_nodes
from layerbench.suite_format import shown

DOTS = ("...", "…")


def parse(text: str) -> list[int]:
    """Node counts such as ``1,2,...,4096``: dots stand for doublings of the count before them, up to the one after.

    Returns
    -------
    list of int
        Sorted, each once. What follows the dots is among them, also where it is no doubling.

    Raises
    ------
    UsageError
        If an entry is no count, or dots do not stand between a count and a larger one.
    """
    entries = [entry.strip() for entry in text.split(",")]
    plain = [entry for entry in entries if entry not in DOTS]
    known = {entry: parse_nodes(entry)[0] for entry in plain} if len(plain) < len(entries) else {}
    filled: list[int] = []
    for place, entry in enumerate(entries):
        if entry not in DOTS:
            continue
        around = entries[place - 1 : place] + entries[place + 1 : place + 2]
        if place == 0 or len(around) != 2 or not set(around) <= set(known) or known[around[0]] >= known[around[1]]:
            raise UsageError(
                f"--nodes {shown(text)}: dots stand for doublings between a count and a larger one, as in 1,2,...,4096"
            )
        count = 2 * known[around[0]]
        while count < known[around[1]]:
            filled.append(count)
            count *= 2
    counts = sorted({*parse_nodes(",".join(plain) or text), *filled})
    if counts[-1] > MAX_RANKS:
        raise UsageError(f"--nodes {counts[-1]}: more than {MAX_RANKS} nodes are refused as a typing mistake")
    return counts
