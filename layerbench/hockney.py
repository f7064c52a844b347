"""Hockney's model of a message, and what the algorithms of each collective operation take on it.

A message of n bytes takes α + β n (Hockney, The communication challenge for MPP, 1994). An algorithm sends some
messages one after another, which carry some multiple of the whole vector: over p ranks, by Thakur, Rabenseifner and
Gropp (Optimization of collective communication operations in MPICH, 2005),

=====================  ================================  ==============================
operation              algorithm                         seconds
=====================  ================================  ==============================
``point_to_point``     one message                       α + β n
``all_reduce``         ring                              2 (p - 1) α + 2 (p - 1) / p β n
\\                      recursive doubling                ⌈log₂ p⌉ (α + β n)
\\                      recursive halving and doubling    2 log₂ p α + 2 (p - 1) / p β n
``all_gather``         ring                              (p - 1) α + (p - 1) / p β n
\\                      recursive doubling or Bruck's     ⌈log₂ p⌉ α + (p - 1) / p β n
``reduce_scatter``     pairwise exchange                 (p - 1) α + (p - 1) / p β n
\\                      recursive halving                 log₂ p α + (p - 1) / p β n
=====================  ================================  ==============================

The least of an operation's is taken, as a library that chooses well would. Where p is no power of two, recursive
halving of an all-reduce is done by the largest power of two below, to which the other ranks first add their vectors and
from which they then get the result: two messages of n more. That of a reduce-scatter takes (⌊log₂ p⌋ + 2) α + 2 β n.
n is the whole vector: what is reduced, or what an all-gather leaves on every rank. The time of adding is part of β,
because it is part of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple


class Algorithm(NamedTuple):
    """How often α, and how often β times the whole vector, an algorithm takes."""

    name: str
    messages: float
    transfers: float

    def seconds(self, size: float, alpha: float, beta: float) -> float:
        """Seconds for a whole vector of ``size`` bytes."""
        return self.messages * alpha + self.transfers * beta * size


@cache
def algorithms(operation: str, ranks: int) -> tuple[Algorithm, ...]:
    """The algorithms of an operation of the table above, over two ranks or more.

    Raises
    ------
    ValueError
        If there is no such operation, or there are too few ranks for it.
    """
    if ranks < 2:
        raise ValueError(f"{operation} needs two ranks or more, not {ranks}")
    others = ranks - 1
    moved = others / ranks
    rounds = others.bit_length()
    whole_rounds = ranks.bit_length() - 1
    power = ranks == 2**whole_rounds
    if operation == "point_to_point":
        return (Algorithm("one message", 1, 1),)
    if operation == "all_reduce":
        below = 2**whole_rounds
        surplus = 0 if power else 2
        halving = Algorithm(
            "recursive halving and doubling",
            2 * whole_rounds + surplus,
            2 * (below - 1) / below + surplus,
        )
        return Algorithm("ring", 2 * others, 2 * moved), Algorithm("recursive doubling", rounds, rounds), halving
    if operation == "all_gather":
        return Algorithm("ring", others, moved), Algorithm("recursive doubling", rounds, moved)
    if operation == "reduce_scatter":
        halving = Algorithm("recursive halving", rounds, moved)
        if not power:
            halving = Algorithm("recursive halving", whole_rounds + 2, 2)
        return Algorithm("pairwise exchange", others, moved), halving
    raise ValueError(f"there is no operation {operation!r}")


def seconds(operation: str, ranks: int, size: float, alpha: float, beta: float) -> float:
    """Seconds of the quickest algorithm; zero for one rank, which has nothing to exchange.

    Parameters
    ----------
    operation, ranks
        As :func:`algorithms` has them.
    size
        Bytes of the whole vector.
    alpha, beta
        Seconds a message, and seconds a byte.
    """
    if ranks < 2:
        return 0.0
    return min(algorithm.seconds(size, alpha, beta) for algorithm in algorithms(operation, ranks))


def beta_of(operation: str, ranks: int, size: float, alpha: float, taken: float) -> float:
    """The β with which :func:`seconds` gives a time that was measured; 0 where α alone takes longer.

    The quickest algorithm takes this long and no other takes less, so of all β that an algorithm would need for the
    time the greatest is meant.

    Parameters
    ----------
    operation, ranks, size, alpha
        As :func:`seconds` has them; ``size`` is not 0.
    taken
        The time in seconds.
    """
    return max(
        0.0, *((taken - each.messages * alpha) / (each.transfers * size) for each in algorithms(operation, ranks))
    )


def crossover_bytes(operation: str, ranks: int, alpha: float, beta: float) -> int | None:
    """The bytes from which the algorithm that moves the least is the quickest.

    Returns
    -------
    int or None
        None where one algorithm sends the fewest messages and moves the least as well, so that it is always the
        quickest.
    """
    if ranks < 2 or beta <= 0:
        return None
    known = algorithms(operation, ranks)
    leanest = min(known, key=lambda each: (each.transfers, each.messages))
    sizes = [
        (leanest.messages - each.messages) * alpha / ((each.transfers - leanest.transfers) * beta)
        for each in known
        if each.messages < leanest.messages
    ]
    return math.ceil(max(sizes)) if sizes else None


def interpolated(measured: Sequence[tuple[int, float]], size: float) -> float:
    """Seconds at a size between two that were measured, on logarithmic scales.

    Parameters
    ----------
    measured
        Bytes and seconds, in ascending order of bytes.
    size
        Bytes, within the range of these.
    """
    above = next(i for i, (bytes_, _) in enumerate(measured) if bytes_ >= size)
    larger, longer = measured[above]
    if larger == size:
        return longer
    smaller, shorter = measured[above - 1]
    share = math.log(size / smaller) / math.log(larger / smaller)
    return shorter * math.pow(longer / shorter, share)
