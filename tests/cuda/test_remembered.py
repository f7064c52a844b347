"""What is remembered of calls: by identity, and no longer than they are there."""

from __future__ import annotations

import gc
from dataclasses import dataclass

from layerbench.cuda.remembered import Remembered


@dataclass(frozen=True)
class Alike:
    number: int

    def __call__(self) -> None:
        return


@dataclass
class Unhashable:
    number: int

    def __call__(self) -> None:
        return


class Slots:
    __slots__ = ()

    def __call__(self) -> None:
        return


def test_calls_that_compare_equal_are_not_the_same() -> None:
    first, second, kept = Alike(1), Alike(1), Remembered[str]()
    kept.put(first, "first")
    assert kept.get(second) is None
    kept.put(second, "second")
    assert (kept.get(first), kept.get(second)) == ("first", "second")


def test_a_call_need_not_be_hashable() -> None:
    call, kept = Unhashable(1), Remembered[int]()
    kept.put(call, 1)
    kept.put(call, 2)
    assert kept.get(call) == 2
    assert len(kept) == 1


def test_nothing_is_remembered_of_a_call_that_is_gone() -> None:
    call, other, kept = Alike(1), Alike(2), Remembered[int]()
    kept.put(call, 1)
    kept.put(other, 2)
    kept.put(call, 3)
    gc.collect()
    assert len(kept) == 2
    del call
    gc.collect()
    assert len(kept) == 1
    assert kept.get(other) == 2


def test_nothing_is_remembered_of_what_cannot_be_referred_to_weakly() -> None:
    call, kept = Slots(), Remembered[int]()
    kept.put(call, 1)
    assert kept.get(call) is None


def test_the_oldest_is_the_one_that_was_put_first() -> None:
    calls, kept = [Alike(number) for number in range(3)], Remembered[int]()
    for call in (*calls, calls[0]):
        kept.put(call, call.number)
    kept.forget_oldest()
    assert [kept.get(call) for call in calls] == [0, None, 2]
    kept.forget(calls[2])
    assert len(kept) == 1
