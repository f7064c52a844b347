"""Each operation, ready to run on buffers of its own, with what it must leave there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerbench.collective_bench.formulas import IN_BLOCKS, IN_PLACE
from layerbench.collective_bench.pattern import POISON, STORED, Pattern, added, encoded, moved, total
from layerbench.collectives import Ranks
from layerbench.device import Run
from layerbench.layers import DType
from layerbench.records import Collective

ROOT = 0
"""Of a broadcast."""


@dataclass(frozen=True)
class Exchange:
    """One operation at one size.

    Attributes
    ----------
    run
        The exchange.
    prepare
        Gives the operands their values, and poisons what is to be overwritten.
    reset
        What of that is needed before every sample: nothing, where operands are left as they are.
    wrong
        What is wrong with the result of one run after ``prepare``, in words; None where nothing is.
    """

    run: Run
    prepare: Run
    reset: Run
    wrong: Callable[[], str | None]


def buffer_bytes(operation: Collective, size: int, ranks: int) -> int:
    """Bytes of the buffers that a rank has for an operation."""
    if operation in IN_PLACE:
        return size
    return 2 * size if operation == "all_to_all" else size + size // ranks


def make(operation: Collective, size: int, dtype: DType, ranks: Ranks, arrays: Any) -> Exchange:
    """An operation over these ranks, of so many bytes as :data:`formulas.SIZE_OF` counts them.

    Parameters
    ----------
    arrays
        The module whose arrays are exchanged: NumPy, or one like it.

    Raises
    ------
    LayerbenchError
        If buffers do not fit, or the library cannot do it.
    """
    elements = size // np.dtype(STORED[dtype]).itemsize
    if operation in IN_BLOCKS and elements % ranks.size:
        raise ValueError(f"{elements} elements are no equal blocks of {ranks.size} ranks")
    return _MAKERS[operation](_Buffers(arrays, dtype), elements, ranks)


@dataclass(frozen=True)
class _Buffers:
    """Makes arrays and what is in them."""

    arrays: Any
    dtype: DType

    def empty(self, elements: int) -> Any:
        return self.arrays.empty(elements, STORED[self.dtype])

    def pattern(self, values: np.ndarray, elements: int, start: int = 0) -> Pattern:
        return Pattern(self.arrays, values, self.dtype, elements, start)

    def poison(self, array: Any) -> None:
        array.fill(encoded(np.array([POISON]), self.dtype)[0])


def _all_reduce(of: _Buffers, elements: int, ranks: Ranks) -> Exchange:
    buffer = of.empty(elements)
    mine = of.pattern(added(ranks.rank, ranks.size, of.dtype), elements)
    sums = of.pattern(total(ranks.size, of.dtype), elements)

    def lay() -> None:
        mine.lay(buffer)

    # Sums of sums grow, within one sample of a small buffer to infinity, which adds up as quickly as anything else.
    return Exchange(ranks.all_reduce(buffer), lay, lay, lambda: sums.wrong(buffer))


def _all_gather(of: _Buffers, elements: int, ranks: Ranks) -> Exchange:
    block = elements // ranks.size
    mine, everyone = of.empty(block), of.empty(elements)
    sent = [of.pattern(moved(rank), block) for rank in range(ranks.size)]

    def prepare() -> None:
        sent[ranks.rank].lay(mine)
        of.poison(everyone)

    run = ranks.all_gather_into(mine, everyone, [block] * ranks.size)
    return Exchange(run, prepare, _nothing, lambda: _wrong_block(everyone, sent))


def _reduce_scatter(of: _Buffers, elements: int, ranks: Ranks) -> Exchange:
    block = elements // ranks.size
    begin = ranks.rank * block
    whole, mine = of.empty(elements), of.empty(block)
    given = of.pattern(added(ranks.rank, ranks.size, of.dtype), elements)
    sums = of.pattern(total(ranks.size, of.dtype), block, begin)

    def prepare() -> None:
        given.lay(whole)
        of.poison(mine)

    run = ranks.reduce_scatter_into(whole, mine, [block] * ranks.size)
    return Exchange(run, prepare, _nothing, lambda: sums.wrong(mine, begin))


def _broadcast(of: _Buffers, elements: int, ranks: Ranks) -> Exchange:
    buffer = of.empty(elements)
    values = of.pattern(moved(ROOT), elements)

    def prepare() -> None:
        if ranks.rank == ROOT:
            values.lay(buffer)
        else:
            of.poison(buffer)

    return Exchange(ranks.broadcast_into(buffer, ROOT), prepare, _nothing, lambda: values.wrong(buffer))


def _all_to_all(of: _Buffers, elements: int, ranks: Ranks) -> Exchange:
    block = elements // ranks.size
    given, into = of.empty(elements), of.empty(elements)
    sent = [of.pattern(moved(ranks.rank, to), block) for to in range(ranks.size)]
    received = [of.pattern(moved(source, ranks.rank), block) for source in range(ranks.size)]

    def prepare() -> None:
        for to, values in enumerate(sent):
            values.lay(given[to * block : (to + 1) * block])
        of.poison(into)

    return Exchange(ranks.all_to_all_into(given, into), prepare, _nothing, lambda: _wrong_block(into, received))


def _wrong_block(got: Any, blocks: list[Pattern]) -> str | None:
    """What is wrong in the first block, one of each rank, that is not as it should be."""
    length = got.size // len(blocks)
    for place, values in enumerate(blocks):
        told = values.wrong(got[place * length : (place + 1) * length], place * length)
        if told is not None:
            return told
    return None


def _nothing() -> None:
    """Operands are left as they are."""


_MAKERS: dict[Collective, Callable[[_Buffers, int, Ranks], Exchange]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "broadcast": _broadcast,
    "all_to_all": _all_to_all,
}
