"""Errors in sources and stages: raised in the consumer, in their place, with their origin."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.source import Piece, SkippedError
from layerbench.errors import DataError
from tests.datamanager.looped import ended
from tests.datamanager.made import Made, Tiny, raises, workers_alive


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert workers_alive(before) == []


@pytest.mark.parametrize("stage", ["read", "decode", "cast"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_stage_is_raised_in_its_place(stage: str, depth: int, workers: int) -> None:
    cause = OSError(5, "Input/output error")
    source = Made([[1, 2]] * 20, before=raises(cause, (stage, 7, 1)))
    seen, error = ended(DataManager(source, depth=depth, workers=workers))
    assert str(error) == f"{stage} of 7/1.jpg (batch 7): OSError: [Errno 5] Input/output error"
    assert seen == list(range(7))
    assert error.__cause__ is cause
    assert source.closed == 1


def test_an_error_in_the_plan_is_raised_in_its_place() -> None:
    source = Made([[1]] * 20, before=raises(PermissionError("no"), ("plan", 3, 0)))
    seen, error = ended(DataManager(source))
    assert str(error) == "plan of the source (batch 3): PermissionError: no"
    assert seen == [0, 1, 2]
    assert source.closed == 1


def test_of_several_errors_the_first_batchs_is_raised() -> None:
    # The later batch fails at once, the earlier one after a while.
    def before(stage: str, batch: int, start: int) -> None:
        if stage == "read" and batch == 2:
            time.sleep(0.05)
        if stage == "read" and batch >= 2:
            raise ValueError(f"batch {batch}")

    with (
        pytest.raises(DataError, match=r"read of 2/0\.jpg \(batch 2\): ValueError: batch 2"),
        DataManager(Made([[1]] * 9, before=before), depth=4, workers=3) as batches,
    ):
        for _ in batches:
            pass


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit(), MemoryError(), RecursionError("deep")],
)
def test_whatever_a_stage_raises_is_told(error: BaseException) -> None:
    source = Made([[1]] * 5, before=raises(error, ("decode", 2, 0)))
    with (
        pytest.raises(DataError, match=rf"decode of 2/0\.jpg \(batch 2\): {type(error).__name__}"),
        DataManager(source) as batches,
    ):
        for _ in batches:
            pass


def test_an_error_of_many_lines_is_told_on_one() -> None:
    source = Made([[1]], before=raises(ValueError("first\n  second\x1b[31m\r" + "x" * 1000), ("read", 0, 0)))
    with pytest.raises(DataError) as caught:
        list(DataManager(source))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_error_that_is_not_reached_is_not_told() -> None:
    source = Made([[1]] * 20, before=raises(OSError("no"), ("read", 5, 0)))
    with DataManager(source, depth=3) as batches:
        for batch in batches:
            if batch.index == 3:
                break
    assert source.closed == 1


@pytest.mark.parametrize(("tells", "has"), [(5, 3), (1, 0)])
def test_a_source_that_ends_early_is_an_error_after_its_batches(tells: int, has: int) -> None:
    source = Made([[1]] * has, room=1)
    source.batches = tells
    seen, error = ended(DataManager(source))
    assert str(error) == f"source ended after {has} of {tells} batches"
    assert seen == list(range(has))


def test_a_source_with_more_batches_than_it_tells_of_is_an_error() -> None:
    source = Made([[1]] * 5)
    source.batches = 3
    with pytest.raises(DataError, match="the source has more than the 3 batches it tells of"):
        list(DataManager(source))


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([(0, 2), (3, 4)], "b is samples 3 to 4 where 2 was expected to begin"),
        ([(0, 2), (1, 4)], "b is samples 1 to 4 where 2 was expected to begin"),
        ([(1, 2)], "a is samples 1 to 2 where 0 was expected to begin"),
        ([(0, 0)], "a is samples 0 to 0 where 0 was expected to begin"),
        ([(0, 2), (2, 1)], "b is samples 2 to 1 where 2 was expected to begin"),
        ([], "it has no pieces"),
        ([(0, 3), (3, 5)], "a batch larger than a slot: it has 5 samples, and a slot has room for 4"),
        (None, "TypeError"),
    ],
)
def test_pieces_that_do_not_make_a_batch_are_an_error(pieces: list[tuple[int, int]] | None, told: str) -> None:
    class Broken(Tiny):
        def plan(self) -> Iterator[list[Piece]]:
            yield [Piece(0, 4, 0, "whole")]
            yield pieces and [  # type: ignore[misc]
                Piece(*bounds, 1, name) for bounds, name in zip(pieces, "ab", strict=False)
            ]

    source = Broken(2)
    source.batch_size = 4
    seen, error = ended(DataManager(source))
    assert str(error).startswith("plan of the source (batch 1): ")
    assert told in str(error)
    assert seen == [0]


def test_a_batch_of_which_all_is_skipped_is_not_delivered() -> None:
    at = [("decode", 1, 0), ("read", 1, 2), ("read", 4, 0), ("cast", 4, 2)]
    with DataManager(Made([[2, 1]] * 5, before=raises(SkippedError("gone"), *at))) as batches:
        assert [(batch.index, batch.samples) for batch in batches] == [(0, 3), (2, 3), (3, 3)]
    assert [skipped.batch for skipped in batches.skipped] == [1, 1, 4, 4]
