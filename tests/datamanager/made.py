"""Sources made for the data manager's tests: what is in a batch follows from its number, stages dawdle or fail."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from layerbench.datamanager.source import Field, Out, Piece, Stage

FIELDS = (Field("images", (2, 3), np.dtype(np.float32)), Field("labels", (), np.dtype(np.int64)))

Before = Callable[[str, int, int], None]
"""Called by each stage before its work: with its name, the batch, and the piece's start."""


def expected(batch: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of that number."""
    values = np.random.default_rng(batch).standard_normal((samples, 2, 3))
    return values.astype(np.float32), np.arange(samples, dtype=np.int64) + 1000 * batch


class Made:
    """Three stages: ``read`` makes float64, ``decode`` turns it round, ``cast`` turns it back and writes.

    Parameters
    ----------
    sizes
        Of each batch, the sizes of its pieces.
    before
        What happens in each stage before its work.
    tells
        Whether the number of batches is known.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], *, before: Before | None = None, tells: bool = True, room: int = 0
    ) -> None:
        self.fields: Sequence[Field] = FIELDS
        self.sizes = sizes
        self.batch_size = room or max((sum(pieces) for pieces in sizes), default=1)
        self.batches: int | None = len(sizes) if tells else None
        self.stages: Sequence[Stage] = [Stage(name, getattr(self, f"_{name}")) for name in ("read", "decode", "cast")]
        self.closed = 0
        self.planned = 0
        self._before = before or (lambda stage, batch, start: None)

    def plan(self) -> Iterator[Sequence[Piece]]:
        for batch, sizes in enumerate(self.sizes):
            self.planned += 1
            self._before("plan", batch, 0)
            starts = np.cumsum([0, *sizes]).tolist()
            yield [
                Piece(start, start + size, (batch, start, start + size), f"{batch}/{start}.jpg")
                for start, size in zip(starts, sizes, strict=False)
            ]

    def close(self) -> None:
        self.closed += 1

    def _read(self, item: tuple[int, int, int], out: Out) -> Any:
        batch, start, stop = item
        self._before("read", batch, start)
        values = np.random.default_rng(batch).standard_normal((sum(self.sizes[batch]), 2, 3))[start:stop]
        return item, values

    def _decode(self, value: Any, out: Out) -> Any:
        (batch, start, stop), values = value
        self._before("decode", batch, start)
        return (batch, start, stop), np.flip(values, 1)

    def _cast(self, value: Any, out: Out) -> None:
        (batch, start, stop), values = value
        self._before("cast", batch, start)
        out[0][...] = np.flip(values, 1)
        out[1][...] = np.arange(start, stop) + 1000 * batch


class Tiny:
    """One stage and one piece of two samples a batch: next to nothing to do."""

    def __init__(self, batches: int) -> None:
        self.fields: Sequence[Field] = (Field("x", (4,), np.dtype(np.float32)),)
        self.batch_size = 2
        self.batches: int | None = batches
        self.stages: Sequence[Stage] = [Stage("cast", self._cast)]
        self.closed = 0

    def plan(self) -> Iterator[Sequence[Piece]]:
        for batch in range(self.batches or 0):
            yield [Piece(0, 2, batch, "numbers")]

    def close(self) -> None:
        self.closed += 1

    def _cast(self, item: int, out: Out) -> None:
        out[0].fill(item)


def dawdle(seed: int, most: float = 3e-4) -> Before:
    """Stages that take a while, a different one each time."""
    chance = random.Random(seed)

    def before(stage: str, batch: int, start: int) -> None:
        if chance.random() < 0.5:
            time.sleep(chance.random() * most)

    return before


def raises(error: BaseException, *at: tuple[str, int, int]) -> Before:
    """Stages of which some fail: by name, batch and the piece's start."""

    def before(stage: str, batch: int, start: int) -> None:
        if (stage, batch, start) in at:
            raise error

    return before


def workers_alive(but: set[threading.Thread], besides: str = "") -> list[str]:
    """Threads that there were not before, given a while to end, other than those of a name."""
    until = time.monotonic() + 5
    while left := [one.name for one in threading.enumerate() if one not in but and one.name != besides]:
        if time.monotonic() > until:
            break
        time.sleep(0.005)
    return left
