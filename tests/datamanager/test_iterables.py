"""Whatever can be iterated is a source: its items are the batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.iterables import Batches
from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Field
from layerbench.errors import DataError, UsageError


def read(source: Batches) -> list[tuple[np.ndarray, ...]]:
    found = [tuple(array.copy() for array in batch) for batch in batches(source)]
    source.close()
    return found


def items(count: int, samples: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.full((samples, 3), number, np.float32), np.arange(samples) + number) for number in range(count)]


def test_items_are_batches() -> None:
    given = items(3)
    given[-1] = tuple(array[:2] for array in given[-1])  # type: ignore[assignment]
    source = Batches(given)
    assert source.fields == [Field("array 1", (3,), np.dtype("f4")), Field("array 2", (), np.dtype("i8"))]
    assert (source.batch_size, source.batches) == (4, None)
    for found, expected in zip(read(source), given, strict=True):
        for some, array in zip(found, expected, strict=True):
            np.testing.assert_array_equal(some, array)


def test_an_array_alone_is_a_batch_of_one_field() -> None:
    source = Batches(iter([np.ones((2, 5)), np.zeros((2, 5))]))
    assert [batch[0].sum() for batch in read(source)] == [10, 0]


def test_another_order_of_bytes_is_delivered_in_this_machines() -> None:
    source = Batches([np.arange(3, dtype=">i4"), np.arange(3, dtype="<i4")])
    assert source.fields[0].dtype == np.dtype("=i4")
    assert [batch[0].tolist() for batch in read(source)] == [[0, 1, 2]] * 2


class Counting:
    """Counts how many items were asked for, and whether it was closed."""

    def __init__(self, count: int) -> None:
        self.asked = 0
        self.closed = False
        self._count = count

    def generate(self) -> Iterator[np.ndarray]:
        try:
            for number in range(self._count):
                self.asked += 1
                yield np.full(2, number)
        finally:
            self.closed = True


def test_no_more_is_asked_for_than_is_needed() -> None:
    counting = Counting(1000)
    source = Batches(counting.generate(), batches=3)
    assert counting.asked == 1
    assert [batch[0][0] for batch in read(source)] == [0, 1, 2]
    assert (counting.asked, counting.closed) == (3, True)


def test_given_fields_nothing_is_asked_for_before_the_plan() -> None:
    counting = Counting(2)
    source = Batches(counting.generate(), batch_size=2, fields=[Field("x", (), np.dtype("i8"))])
    assert counting.asked == 0
    assert len(read(source)) == 2


def test_a_generator_is_closed_with_the_source() -> None:
    counting = Counting(1000)
    source = Batches(counting.generate())
    found = batches(source)
    next(found)
    source.close()
    assert counting.closed
    source.close()


def test_a_generator_that_nothing_was_asked_of_is_closed_with_the_source_too() -> None:
    generator = Counting(1).generate()
    source = Batches(generator, batch_size=2, fields=[Field("x", (), np.dtype("i8"))])
    source.close()
    assert list(generator) == []
    with pytest.raises(UsageError, match=r"^a generator can be gone through once; make a new one$"):
        source.plan()


class Beginning:
    """Begins anew each time it is iterated, and is its own iterator, as many loaders are."""

    def __iter__(self) -> Beginning:
        self.left = 3
        return self

    def __next__(self) -> np.ndarray:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return np.full(2, self.left)


@pytest.mark.parametrize("fields", [None, [Field("x", (), np.dtype("i8"))]])
def test_an_iterable_that_is_its_own_iterator_is_begun(fields: list[Field] | None) -> None:
    found = read(Batches(Beginning(), batch_size=2, fields=fields))
    assert [batch[0][0] for batch in found] == [2, 1, 0]


@pytest.mark.parametrize("where", ["iter", "next"])
def test_a_first_item_that_hangs_is_told_in_time(where: str) -> None:
    held = threading.Event()

    class Hanging:
        def __iter__(self) -> Iterator[np.ndarray]:
            if where == "iter":
                held.wait()
            return self._items()

        def _items(self) -> Iterator[np.ndarray]:
            held.wait()
            yield np.zeros(2)

    told = r"^batch 0 was not ready after 50 ms: plan of the source \(batch 0\) has not returned for .*; if it is only"
    with pytest.raises(DataError, match=told):
        Batches(Hanging(), timeout=0.05)
    held.set()


def test_given_fields_a_first_item_that_hangs_is_the_data_managers() -> None:
    held = threading.Event()

    class Hanging:
        def __iter__(self) -> Iterator[np.ndarray]:
            held.wait()
            return iter([np.zeros(2)])

    source = Batches(Hanging(), batch_size=2, fields=[Field("x", (), np.dtype("f8"))])
    with (
        pytest.raises(DataError, match=r"^batch 0 was not ready after 50 ms: plan of the source"),
        DataManager(source, timeout=0.05) as manager,
    ):
        next(iter(manager))
    held.set()


def test_a_first_item_may_take_its_time() -> None:
    def late() -> Iterator[np.ndarray]:
        time.sleep(0.05)
        yield np.zeros(2)

    assert len(read(Batches(late(), timeout=None))) == 1
    with pytest.raises(UsageError, match="timeout is a positive number of seconds"):
        Batches(late(), timeout=0)


@pytest.mark.parametrize("where", ["iter", "next"])
def test_an_error_in_the_first_item_is_told_with_the_batch(where: str) -> None:
    class Failing:
        def __iter__(self) -> Iterator[np.ndarray]:
            if where == "iter":
                raise OSError("the tape is\ntorn")
            return self._items()

        def _items(self) -> Iterator[np.ndarray]:
            raise OSError("the tape is\ntorn")
            yield

    with pytest.raises(DataError, match=r"^plan of the source \(batch 0\): OSError: the tape is torn$") as error:
        Batches(Failing())
    assert isinstance(error.value.__cause__, OSError)


def test_a_source_that_ends_early_is_an_error() -> None:
    source = Batches(iter(items(2)), batches=5)
    with pytest.raises(DataError, match=r"^source ended after 2 of 5 batches$"):
        list(batches(source))


def test_a_list_can_be_gone_through_again_and_a_generator_cannot() -> None:
    source = Batches(items(2))
    assert len(list(batches(source))) == len(list(batches(source))) == 2
    once = Batches(iter(items(2)))
    list(batches(once))
    with pytest.raises(UsageError, match=r"^a list_iterator can be gone through once; make a new one$"):
        once.plan()


def test_an_iterable_may_fill_the_same_array_again() -> None:
    def refilled() -> Iterator[np.ndarray]:
        array = np.empty(3)
        for number in range(4):
            array[:] = number
            yield array

    assert [batch[0].tolist() for batch in read(Batches(refilled()))] == [[number] * 3 for number in range(4)]


def test_tensors_are_taken_for_the_arrays_they_are() -> None:
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    source = Batches(torch.utils.data.DataLoader(dataset, batch_size=4))
    found = read(source)
    assert [len(batch[0]) for batch in found] == [4, 2]
    assert [batch[1].tolist() for batch in found] == [[0, 1, 2, 3], [4, 5]]


class Uncooperative:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("on another\ndevice")


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (np.zeros((5, 3), np.float32), "item 1 has 5 samples, and a slot has room for 4: give batch_size the size"),
        (
            np.zeros((4, 2), np.float32),
            "item 1: array 1 has samples of shape (2,) and float32; expected (3,) and float32",
        ),
        (np.zeros((4, 3)), "item 1: array 1 has samples of shape (3,) and float64; expected (3,) and float32"),
        ((np.zeros((4, 3), np.float32),) * 2, "item 1 has 2 arrays; expected 1 as the others have"),
        ((np.zeros(4), np.zeros(3)), "item 1 has arrays of [4, 3] samples; expected equally many"),
        (np.zeros((0, 3), np.float32), "item 1 has no samples; expected at least one"),
        ((), "item 1 is empty; expected at least one array"),
        ("four", "item 1 has a str in it; expected each item to be an array or a tuple of arrays"),
        ({"x": np.zeros(4)}, "item 1 has a dict in it; expected each item to be an array"),
        (None, "item 1 has a NoneType in it"),
        (np.float32(3), "item 1 has an array of shape () and float32; expected samples of numbers"),
        (np.array(["a"] * 4), "item 1 has an array of shape (4,) and <U1; expected samples of numbers"),
        (Uncooperative(), r"item 1: does not become a NumPy array: on another device"),
    ],
)
def test_an_item_unlike_the_first_is_told_in_one_line(second: Any, told: str) -> None:
    source = Batches([np.zeros((4, 3), np.float32), second])
    found = batches(source)
    next(found)
    with pytest.raises(DataError) as error:
        next(found)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("iterable", "options", "told"),
    [
        ([], {}, "the iterable gives no batch; expected at least one"),
        (iter(()), {}, "the iterable gives no batch; expected at least one"),
        (["text"], {}, "item 0 has a str in it; expected each item to be an array or a tuple of arrays"),
        (7, {}, "expected an iterable of batches, not a int"),
        (None, {}, "expected an iterable of batches, not a NoneType"),
        ([np.zeros(3)], {"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ([np.zeros(3)], {"batches": -1}, "batches must be a whole number of at least 1, not -1"),
        ([np.zeros(3)], {"batches": True}, "batches must be a whole number of at least 1, not True"),
    ],
)
def test_what_gives_no_batches_is_refused_in_one_line(iterable: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        Batches(iterable, **options)
    assert str(error.value) == told


def test_an_error_of_the_iterable_is_told_with_the_batch() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros(2)
        raise OSError("the tape is torn")

    found = batches(Batches(failing()))
    next(found)
    with pytest.raises(DataError, match=r"^plan of the source \(batch 1\): OSError: the tape is torn$"):
        next(found)


@pytest.mark.parametrize("wrong", ["x", [3], [Field("x", (2,), "f8")]])  # type: ignore[arg-type]
def test_fields_that_are_none_are_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"^fields: expected Field\(name, shape, numpy.dtype\(...\)\), not "):
        Batches([np.zeros((2, 2))], fields=wrong)
