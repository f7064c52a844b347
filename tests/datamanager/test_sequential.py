"""The plain loop over a source: one slot, pieces that are skipped, errors with their origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Field, Out, Piece, SkippedError, Stage
from layerbench.errors import DataError
from layerbench.timeline import Timeline


class Numbered:
    """Batches of pieces of two samples, which hold their piece's number."""

    fields: Sequence[Field] = (Field("number", (2,), np.dtype(np.int64)), Field("half", (), np.dtype(np.float32)))
    batch_size = 6

    def __init__(self, plan: Callable[[], Iterator[Sequence[Piece]]], batches: int | None, skip: Sequence[int] = ()):
        self._plan, self._skip = plan, skip
        self.batches = batches
        self.stages: Sequence[Stage] = [Stage("read", self._read), Stage("cast", self._cast)]

    def plan(self) -> Iterator[Sequence[Piece]]:
        return self._plan()

    def close(self) -> None: ...

    def _read(self, item: int, out: Out) -> int:
        if item in self._skip:
            raise SkippedError("not wanted")
        if item == 99:
            raise OSError("the disk is gone")
        return item

    def _cast(self, item: Any, out: Out) -> None:
        out[0][...] = item
        out[1][...] = item / 2


def pieces(*numbers: int) -> list[Piece]:
    return [Piece(2 * place, 2 * place + 2, number, f"piece {number}") for place, number in enumerate(numbers)]


def test_batches_are_made_in_one_place() -> None:
    source = Numbered(lambda: iter([pieces(0, 1, 2), pieces(3, 4)]), 2)
    seen = []
    where = set()
    for number, half in batches(source):
        seen.append(number[:, 1].tolist())
        where.add(number.ctypes.data)
        np.testing.assert_array_equal(half, number[:, 0] / 2)
        assert number.ctypes.data % 64 == 0
    assert seen == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4]]
    assert len(where) == 1


def test_skipped_pieces_leave_no_holes() -> None:
    source = Numbered(lambda: iter([pieces(0, 1, 2), pieces(3, 4), pieces(5, 6, 7)]), 3, skip=(0, 3, 4, 6))
    assert [number[:, 0].tolist() for number, _ in batches(source)] == [[1, 1, 2, 2], [5, 5, 7, 7]]


def test_each_stage_has_a_span_for_each_piece() -> None:
    timeline = Timeline()
    source = Numbered(lambda: iter([pieces(0, 1), pieces(2)]), None, skip=(1,))
    list(batches(source, timeline=timeline))
    assert [(span.lane, span.name, span.step) for span in timeline.spans] == [
        ("read 0", "read", 0),
        ("cast 0", "cast", 0),
        ("read 0", "read", 0),
        ("read 0", "read", 1),
        ("cast 0", "cast", 1),
    ]
    assert all(span.start <= span.stop for span in timeline.spans)


def failing_plan() -> Iterator[Sequence[Piece]]:
    yield pieces(0)
    raise ValueError("no such list")


@pytest.mark.parametrize(
    ("plan", "count", "made", "told"),
    [
        (lambda: iter([pieces(0), pieces(1)]), 3, 2, "source ended after 2 of 3 batches"),
        (lambda: iter([pieces(0), pieces(1)]), 1, 1, "source has more than the 1 batches that it says it has"),
        (lambda: iter([pieces(0), pieces(1, 99)]), 2, 1, "read of piece 99 (batch 1): OSError: the disk is gone"),
        (
            lambda: iter([pieces(0, 1, 2, 3)]),
            1,
            0,
            "plan of the source (batch 0): a batch larger than a slot: it has 8 samples, and a slot has room for 6",
        ),
        (lambda: iter([pieces(0)[:0]]), 1, 0, "plan of the source (batch 0): it has no pieces"),
        (
            lambda: iter([[Piece(1, 3, 0, "here")]]),
            1,
            0,
            "plan of the source (batch 0): its pieces must follow each other from 0, and here is samples 1 to 3",
        ),
        (
            lambda: iter([[Piece(0, 0, 0, "here")]]),
            1,
            0,
            "plan of the source (batch 0): its pieces must follow each other from 0, and here is samples 0 to 0",
        ),
        (failing_plan, 2, 1, "plan of the source (batch 1): ValueError: no such list"),
    ],
)
def test_what_fails_is_told_with_its_origin_after_what_was_made(
    plan: Callable[[], Iterator[Sequence[Piece]]], count: int, made: int, told: str
) -> None:
    found = batches(Numbered(plan, count))
    for _ in range(made):
        next(found)
    with pytest.raises(DataError) as error:
        next(found)
    assert str(error.value).startswith(told)
