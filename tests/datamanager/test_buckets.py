"""Which gradients are exchanged together, and the memory in which they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.datamanager.buckets import BUCKET_BYTES, FIRST_BYTES, Bucket, Packing, buckets, flat
from layerbench.errors import UsageError

GRADIENTS = st.lists(
    st.none() | st.tuples(st.integers(0, 40), st.sampled_from(("f4", "f8", "f2"))).map(lambda each: np.zeros(*each)),
    max_size=30,
)
SIZES = st.integers(1, 400)


def of_bytes(*sizes: int) -> list[np.ndarray]:
    return [np.zeros(size, np.uint8) for size in sizes]


def indices(found: tuple[Bucket, ...]) -> list[tuple[int, ...]]:
    return [bucket.indices for bucket in found]


def test_a_bucket_is_closed_when_it_has_reached_its_size_and_the_first_one_sooner() -> None:
    found = buckets(of_bytes(1, 5, 4, 9, 5, 3, 3), bucket_bytes=10, first_bytes=6)
    assert indices(found) == [(6, 5), (4, 3), (2, 1, 0)]
    assert [bucket.bytes for bucket in found] == [6, 14, 10]
    assert [bucket.packed for bucket in found] == [True, True, True]


def test_a_gradient_that_fills_a_bucket_is_alone_and_closes_what_was_gathered_before() -> None:
    found = buckets(of_bytes(1, 10, 2, 30, 3), bucket_bytes=10, first_bytes=10)
    assert indices(found) == [(4,), (3,), (2,), (1,), (0,)]
    assert not any(bucket.packed for bucket in found)


def test_a_first_size_above_the_others_is_that_of_the_others() -> None:
    assert indices(buckets(of_bytes(4, 4, 4), bucket_bytes=4, first_bytes=100)) == [(2,), (1,), (0,)]


def test_dtypes_gather_apart_and_buckets_come_in_the_order_in_which_they_are_complete() -> None:
    gradients = [np.zeros(size, dtype) for size, dtype in ((1, "f4"), (8, "f8"), (1, "f4"), (8, "f8"), (1, "f4"))]
    found = buckets(gradients, bucket_bytes=100, first_bytes=100)
    assert indices(found) == [(3, 1), (4, 2, 0)], "the doubles are full before the first single is there"


def test_sizes_are_by_default_those_of_the_common_libraries() -> None:
    assert (BUCKET_BYTES, FIRST_BYTES) == (25 * 2**20, 2**20)
    mebibyte = [np.empty(2**18, np.float32)] * 30
    assert [len(bucket.indices) for bucket in buckets(mebibyte)] == [1, 25, 4]


def test_nothing_to_exchange_is_no_bucket() -> None:
    assert buckets([]) == ()
    assert buckets([None, np.empty(0), np.empty((3, 0))]) == ()


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "25 MB", None, "\n"])
@pytest.mark.parametrize("name", ["bucket_bytes", "first_bytes"])
def test_a_size_that_is_none_is_refused_in_one_line(name: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected a whole number of bytes, at least 1, not ") as error:
        buckets(of_bytes(1), **{name: wrong})
    assert "\n" not in str(error.value)


@given(GRADIENTS, SIZES, SIZES)
def test_every_gradient_is_in_one_bucket_in_descending_order_with_its_like(
    gradients: list[Any], bucket_bytes: int, first_bytes: int
) -> None:
    found = buckets(gradients, bucket_bytes, first_bytes)
    wanted = [index for index, each in enumerate(gradients) if each is not None and each.size]
    assert sorted(index for bucket in found for index in bucket.indices) == wanted
    lowest = [bucket.indices[-1] for bucket in found]
    assert lowest == sorted(lowest, reverse=True)
    for bucket in found:
        assert list(bucket.indices) == sorted(bucket.indices, reverse=True)
        assert len({gradients[index].dtype for index in bucket.indices}) == 1
        assert bucket.bytes == sum(gradients[index].nbytes for index in bucket.indices)
        assert bucket.packed == (len(bucket.indices) > 1)


@given(GRADIENTS, SIZES, SIZES)
def test_no_bucket_goes_on_after_it_is_full(gradients: list[Any], bucket_bytes: int, first_bytes: int) -> None:
    for bucket in buckets(gradients, bucket_bytes, first_bytes):
        before_the_last = bucket.bytes - gradients[bucket.indices[-1]].nbytes
        assert before_the_last < bucket_bytes
        if bucket.packed:
            assert all(gradients[index].nbytes < bucket_bytes for index in bucket.indices)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), SIZES, SIZES)
def test_of_one_dtype_all_buckets_but_the_last_are_full_unless_a_large_gradient_follows(
    sizes: list[int], bucket_bytes: int, first_bytes: int
) -> None:
    found = buckets(of_bytes(*sizes), bucket_bytes, first_bytes)
    assert [index for bucket in found for index in bucket.indices] == list(reversed(range(len(sizes))))
    for number, bucket in enumerate(found[:-1]):
        full = bucket.bytes >= (bucket_bytes if number else min(first_bytes, bucket_bytes))
        assert full or sizes[found[number + 1].indices[0]] >= bucket_bytes


@given(GRADIENTS, SIZES)
def test_packed_gradients_come_back_as_they_went(gradients: list[Any], size: int) -> None:
    views = flat(gradients)
    for index, view in enumerate(views):
        if view is not None:
            view[:] = np.arange(view.size) + index
    copies = [None if view is None else view.copy() for view in views]
    found = buckets(views, size, size)
    packing = Packing(views, found, np.empty)
    for index, view in enumerate(views):
        if view is not None:
            packing.pack(index)
    for number, bucket in enumerate(found):
        alone = np.concatenate([copies[index] for index in bucket.indices])
        np.testing.assert_array_equal(packing.buffers[number], alone)
        assert np.shares_memory(packing.buffers[number], views[bucket.indices[0]]) == (not bucket.packed)
        packing.buffers[number] *= 2
        packing.unpack(number)
    for view, copy in zip(views, copies, strict=True):
        if view is not None:
            np.testing.assert_array_equal(view, 2 * copy)


def test_gradients_of_several_dimensions_are_seen_flat_where_they_are() -> None:
    gradient = np.zeros((2, 3))
    (view,) = flat([gradient])
    view[:] = np.arange(6)
    assert gradient.tolist() == [[0, 1, 2], [3, 4, 5]]


def read_only() -> np.ndarray:
    array = np.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ([1.0, 2.0], r"expected an array or None, not \[1.0, 2.0\]"),
        ("a\nb", "expected an array or None, not "),
        (np.zeros((4, 4))[:, 1], "is not contiguous in C's order"),
        (np.zeros((4, 4)).T, "is not contiguous in C's order"),
        (read_only(), "is read-only"),
        (np.zeros(3, np.dtype("f4").newbyteorder()), "has another byte order"),
    ],
)
def test_what_cannot_be_replaced_where_it_is_is_refused_in_one_line(wrong: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=f"^gradient 1: {problem}") as error:
        flat([np.zeros(2), wrong])
    assert "\n" not in str(error.value)


def test_gradients_that_share_memory_are_refused_and_neighbours_are_not() -> None:
    memory = np.zeros(10)
    assert [len(view) for view in flat([memory[5:], memory[:5]])] == [5, 5]
    with pytest.raises(UsageError, match=r"^gradients 0 and 2 share memory"):
        flat([memory[4:], None, memory[:5]])
