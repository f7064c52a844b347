"""Sums of fp16 and bf16 over ranks, which MPI does not have: bits are sent, and added in fp32 in rank order.

Each rank is sent its block of everyone's values (``MPI_Alltoallv``) and adds the blocks up; of an all-reduce, the sums
are then gathered (``MPI_Allgatherv``). Of n bytes a rank sends n (p - 1) / p in each, as in a ring of p ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerbench.layers import DType


class HalfSum:
    """The sum of one buffer over ranks, prepared: a call of :meth:`add` allocates nothing.

    Parameters
    ----------
    communicator
        Of mpi4py.
    whole
        This rank's values: one-dimensional, contiguous, 16 bits each.
    dtype
        ``fp16`` or ``bf16``: what the bits are.
    counts
        Elements of each rank's block.
    """

    def __init__(self, communicator: Any, whole: np.ndarray, dtype: DType, counts: Sequence[int]) -> None:
        self._communicator, self._counts, self._is_bf16 = communicator, list(counts), dtype == "bf16"
        self._whole = whole.view(np.uint16)
        ranks, mine = len(counts), counts[communicator.Get_rank()]
        self._everyones = np.zeros(ranks * mine, np.uint16)
        self._of_each = [mine] * ranks
        self._blocks = self._everyones.reshape(ranks, mine)
        self._total, self._term = np.zeros(mine, np.float32), np.zeros(mine, np.float32)
        self.sums = np.zeros(mine, np.uint16)
        """This rank's block of the sum, as bits, after :meth:`add`."""

    def add(self) -> None:
        """Add up this rank's block; collective."""
        self._communicator.Alltoallv([self._whole, self._counts], [self._everyones, self._of_each])
        with np.errstate(over="ignore", invalid="ignore"):
            self._widen(self._blocks[0], self._total)
            for block in self._blocks[1:]:
                self._widen(block, self._term)
                np.add(self._total, self._term, out=self._total)
            self._narrow()

    def gather(self) -> None:
        """Put every rank's sums into the buffer; collective."""
        self._communicator.Allgatherv(self.sums, [self._whole, self._counts])

    def _widen(self, block: np.ndarray, out: np.ndarray) -> None:
        if self._is_bf16:
            bits = out.view(np.uint32)
            np.copyto(bits, block)
            np.left_shift(bits, 16, out=bits)
        else:
            np.copyto(out, block.view(np.float16))

    def _narrow(self) -> None:
        """Round to nearest, ties to even.

        A NaN of bf16 has nothing in the lower half of its bits, nor has a sum that takes it over: no carry arises that
        would make a number of it.
        """
        if not self._is_bf16:
            np.copyto(self.sums.view(np.float16), self._total, casting="same_kind")
            return
        bits, carry = self._total.view(np.uint32), self._term.view(np.uint32)
        np.right_shift(bits, 16, out=carry)
        np.bitwise_and(carry, 1, out=carry)
        np.add(carry, 0x7FFF, out=carry)
        np.add(bits, carry, out=bits)
        np.right_shift(bits, 16, out=bits)
        np.copyto(self.sums, bits, casting="same_kind")


def even_counts(elements: int, ranks: int) -> list[int]:
    """Blocks of a buffer, one for each rank, that differ by one element at most."""
    return [elements // ranks + (rank < elements % ranks) for rank in range(ranks)]
