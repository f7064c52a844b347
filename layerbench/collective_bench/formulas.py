"""What a size counts, and the two bandwidths of an exchange: each said once.

Both conventions are those of nccl-tests (https://github.com/NVIDIA/nccl-tests, ``doc/PERFORMANCE.md``), so that figures
can be laid beside its own.
"""

from __future__ import annotations

from layerbench.records import Collective

SIZE_OF: dict[Collective, str] = {
    "all_reduce": "the vector of each rank",
    "all_gather": "the whole that each rank receives, a block from each",
    "reduce_scatter": "the whole that each rank gives, of which it keeps a block of the sum",
    "broadcast": "the vector of the root",
    "all_to_all": "the whole that each rank gives, a block to each",
}
"""What the bytes of an operation count. OSU's benchmarks count a block where this counts the whole."""

IN_BLOCKS: tuple[Collective, ...] = ("all_gather", "reduce_scatter", "all_to_all")
"""Operations in which every rank has a block of the whole, all equally large."""

IN_PLACE: tuple[Collective, ...] = ("all_reduce", "broadcast")
"""Operations whose result takes the place of what a rank gives; the others have buffers for both."""


def exchanged_bytes(operation: Collective, size: int, ranks: int, itemsize: int) -> int:
    """The least bytes from ``size`` on that are whole elements, in equal blocks where ranks have one each."""
    least = itemsize * (ranks if operation in IN_BLOCKS else 1)
    return -(-size // least) * least


def algbw(size: int, seconds: float) -> float:
    """Algorithm bandwidth in bytes a second: the operation's size over its time."""
    return size / seconds


def bus_factor(operation: Collective, ranks: int) -> float:
    """What of its size an operation must move through each rank's link in one direction, at least.

    Of n ranks, all-reduce sends what the others lack and takes what they add, 2(n-1)/n; all-gather, reduce-scatter and
    all-to-all leave each rank's own block where it is, (n-1)/n; the root of a broadcast sends all of it, 1. Section
    "Bandwidth" of nccl-tests' ``doc/PERFORMANCE.md``.
    """
    if operation == "broadcast":
        return 1.0
    share = (ranks - 1) / ranks
    return 2 * share if operation == "all_reduce" else share


def busbw(operation: Collective, size: int, ranks: int, seconds: float) -> float:
    """Bus bandwidth in bytes a second: comparable with a link's, whatever the operation and the number of ranks."""
    return algbw(size, seconds) * bus_factor(operation, ranks)
