"""The order in which samples are read: every rank its own shard, all ranks as many batches of the same size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from layerbench.errors import UsageError

Samples: TypeAlias = "range | np.ndarray"
"""Which samples of a data set: a range where they follow each other, else their indices, in order."""


@dataclass(frozen=True)
class Order:
    """Which samples each batch of a rank has.

    An epoch is cut into global batches of ``ranks`` times ``batch_size`` samples, and each global batch is dealt in
    rank order: ranks read disjoint samples, and their batches number and measure the same, so that collectives match.

    Attributes
    ----------
    samples
        Of the data set.
    batch_size
        Samples of a rank's batch.
    rank, ranks
        Whose order this is, and of how many.
    shuffle
        A seed: samples come in a new random order each epoch, which is the same on every rank; None leaves them in
        their own.
    epochs
        How often each sample is read; None goes on for ever.
    drop_last
        Whether an epoch's last, incomplete global batch is left out. If not, it is split as evenly as can be (ranks'
        batches may then differ by one sample), and still left out where a rank would get none.
    groups
        Samples of groups that stay together in a random order, such as those of a file that can only be read through:
        groups are shuffled, and samples within each. They sum to ``samples``.

    Raises
    ------
    UsageError
        If a figure is impossible, or no batch comes of them.
    """

    samples: int
    batch_size: int
    rank: int = 0
    ranks: int = 1
    shuffle: int | None = None
    epochs: int | None = 1
    drop_last: bool = True
    groups: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what gives no batch."""
        for name, value, least in (
            ("batch_size", self.batch_size, 1),
            ("rank", self.rank, 0),
            ("ranks", self.ranks, 1),
            ("epochs", 1 if self.epochs is None else self.epochs, 1),
            ("shuffle", 0 if self.shuffle is None else self.shuffle, 0),
        ):
            # A bool is a whole number to Python, and shuffle=True means no seed.
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if not 0 <= self.rank < self.ranks:
            raise UsageError(f"rank must be from 0 to {self.ranks - 1} of {self.ranks} ranks, not {self.rank!r}")
        if self.groups is not None and sum(self.groups) != self.samples:
            raise UsageError(f"groups of {sum(self.groups)} samples do not make up {self.samples}")
        if not self.batches_per_epoch:
            ranks = "" if self.ranks == 1 else f" on each of {self.ranks} ranks"
            remedy = "ask for a smaller batch"
            if self.drop_last and self.samples >= self.ranks:
                remedy += ", or keep the incomplete one (drop_last=False)"
            raise UsageError(f"{self.samples} samples do not fill one batch of {self.batch_size}{ranks}: {remedy}")

    @property
    def batches_per_epoch(self) -> int:
        """How many batches each rank reads in one epoch."""
        whole, rest = divmod(self.samples, self.ranks * self.batch_size)
        return whole + (not self.drop_last and rest >= self.ranks)

    @property
    def batches(self) -> int | None:
        """How many batches each rank reads; None where there is no end."""
        return None if self.epochs is None else self.epochs * self.batches_per_epoch

    def epoch(self, number: int) -> Iterator[Samples]:
        """The samples of each of this rank's batches in one epoch, counted from 0."""
        order = self._permuted(number)
        whole, rest = divmod(self.samples, self.ranks * self.batch_size)
        for batch in range(whole):
            start = (batch * self.ranks + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]
        if self.batches_per_epoch > whole:
            first = whole * self.ranks * self.batch_size
            yield order[first + self.rank * rest // self.ranks : first + (self.rank + 1) * rest // self.ranks]

    def __iter__(self) -> Iterator[Samples]:
        """The samples of each of this rank's batches, epoch after epoch."""
        numbers: Iterable[int] = itertools.count() if self.epochs is None else range(self.epochs)
        for number in numbers:
            yield from self.epoch(number)

    def _permuted(self, number: int) -> Samples:
        if self.shuffle is None:
            return range(self.samples)
        random = np.random.default_rng((self.shuffle, number))
        if self.groups is None:
            return random.permutation(self.samples)
        ends = np.cumsum(self.groups)
        order = np.empty(self.samples, dtype=np.int64)
        filled = 0
        for group in random.permutation(len(self.groups)):
            length = self.groups[group]
            order[filled : filled + length] = ends[group] - length + random.permutation(length)
            filled += length
        return order
