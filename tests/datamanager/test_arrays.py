"""Batches of arrays and memory maps are the arrays' samples, bit for bit."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.datamanager.arrays import Arrays
from layerbench.datamanager.casting import Normalise
from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.order import Order
from layerbench.datamanager.sequential import batches
from layerbench.errors import UsageError

RANDOM = np.random.default_rng(0)


def read(source: Arrays) -> list[tuple[np.ndarray, ...]]:
    found = [tuple(array.copy() for array in batch) for batch in batches(source)]
    source.close()
    return found


def image_like(samples: int, shape: tuple[int, ...]) -> np.ndarray:
    return RANDOM.integers(0, 255, (samples, *shape)).astype(np.uint8)


@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("kind", ["array", "memmap", "load", "strided"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 80, 90)])
def test_batches_are_the_samples(tmp_path: Path, kind: str, shape: tuple[int, ...], shuffle: int | None) -> None:
    values, labels = image_like(50, shape), np.arange(50)
    array = values
    if kind == "memmap":
        values.tofile(tmp_path / "values")
        array = np.memmap(tmp_path / "values", np.uint8, "r", shape=values.shape)
    elif kind == "load":
        np.save(tmp_path / "values.npy", values)
        array = np.load(tmp_path / "values.npy", mmap_mode="r")
    elif kind == "strided":
        array = np.repeat(values, 2, axis=0)[::2]
    source = Arrays(array, labels, batch_size=16, dtypes=["float32", None], shuffle=shuffle, drop_last=False)
    mapped = kind in ("memmap", "load")
    assert [stage.name for stage in source.stages] == (["read", "cast"] if mapped else ["cast"])
    assert source.batches == 4
    found = read(source)
    order = [np.asarray(batch) for batch in Order(50, 16, shuffle=shuffle, drop_last=False)]
    assert [len(batch[1]) for batch in found] == [16, 16, 16, 2]
    for (some, named), samples in zip(found, order, strict=True):
        np.testing.assert_array_equal(some, values[samples].astype(np.float32))
        np.testing.assert_array_equal(named, samples)
        assert some.dtype == np.float32


def test_a_part_of_a_map_that_begins_within_a_page_is_read(tmp_path: Path) -> None:
    values = image_like(4000, (11,))
    values.tofile(tmp_path / "values")
    whole = np.memmap(tmp_path / "values", np.uint8, "r", shape=values.shape)
    for shuffle in (None, 1):
        source = Arrays(whole[1001:3501], batch_size=500, shuffle=shuffle)
        order = Order(2500, 500, shuffle=shuffle)
        for (some,), samples in zip(read(source), order, strict=True):
            np.testing.assert_array_equal(some, values[1001:3501][np.asarray(samples)])


@given(samples=st.integers(1, 400), length=st.integers(0, 30_000), batch=st.integers(1, 100))
def test_pieces_follow_each_other_and_are_some_two_mebibytes(samples: int, length: int, batch: int) -> None:
    source = Arrays(np.empty((samples, length), np.uint8), batch_size=batch, dtypes=["f4"], drop_last=False)
    for pieces in source.plan():
        assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
        sizes = [(piece.stop - piece.start) * length * 4 for piece in pieces]
        assert all(piece.stop > piece.start for piece in pieces)
        assert len(pieces) == 1 or all(2**20 <= size <= 2**22 for size in sizes)
        assert max(sizes) <= 2**22


def test_normalised_batches_are_what_numpy_computes() -> None:
    values = image_like(12, (3, 9, 7))
    how = Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), divisor=255)
    source = Arrays(values, batch_size=4, dtypes=["f4"], normalise=[how], shuffle=0)
    factor, offset = how.factors(source.fields[0])
    for (some,), samples in zip(read(source), Order(12, 4, shuffle=0), strict=True):
        np.testing.assert_array_equal(some, values[samples].astype(np.float32) * factor + offset)


@pytest.mark.parametrize("shuffle", [None, 0])
@pytest.mark.parametrize("shape", [(200,), (3, 100, 100)])
def test_nothing_of_a_batchs_size_is_allocated(shape: tuple[int, ...], shuffle: int | None) -> None:
    values = image_like(8_000_000 // int(np.prod(shape)), shape)
    source = Arrays(values, batch_size=len(values), dtypes=["f4"], shuffle=shuffle)
    out = np.empty(values.shape, np.float32)
    (pieces,) = source.plan()
    tracemalloc.start()
    try:
        for piece in pieces:
            source.stages[0].run(piece.item, (out[piece.start : piece.stop],))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < out.nbytes / 50
    assert out.sum(dtype=np.float64) == values.sum(dtype=np.float64)


def test_fields_tell_names_shapes_and_dtypes() -> None:
    source = Arrays(
        np.zeros((4, 2), ">i2"), np.zeros(4), batch_size=2, names=["pixels", "weights"], dtypes=[None, "f4"]
    )
    assert [(field.name, field.shape, field.dtype) for field in source.fields] == [
        ("pixels", (2,), np.dtype("int16")),
        ("weights", (), np.dtype("float32")),
    ]
    assert [field.name for field in Arrays(np.zeros(2), np.zeros(2), batch_size=1).fields] == ["array 1", "array 2"]


def test_pieces_are_named_for_their_samples() -> None:
    source = Arrays(np.zeros(6), batch_size=3)
    assert [piece.origin for pieces in source.plan() for piece in pieces] == ["samples 0 to 2", "samples 3 to 5"]
    (pieces,) = Arrays(np.zeros(6), batch_size=6, shuffle=0).plan()
    first, second = pieces[0].item[:2]
    assert pieces[0].origin == f"samples {first}, {second}, ..."
    assert next(iter(Arrays(np.zeros(1), batch_size=1).plan()))[0].origin == "sample 0"


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ((), "expected at least one array"),
        ((np.zeros(4), np.zeros(3)), "array 2 has 3 samples and array 1 has 4: they must be equally many"),
        ((np.float32(3),), "array 1: expected a NumPy array or memory map of samples, not a float32"),
        ((np.array(3),), "array 1: expected a NumPy array or memory map of samples, not a ndarray"),
        (([1, 2],), "array 1: expected a NumPy array or memory map of samples, not a list"),
        ((np.array([{}, {}]),), "array 1: has Python objects; expected numbers"),
        ((np.zeros(1),), "1 samples do not fill one batch of 2"),
    ],
)
def test_what_makes_no_batch_is_refused_in_one_line(arrays: tuple[np.ndarray, ...], told: str) -> None:
    with pytest.raises(UsageError, match=f"^{told}") as error:
        Arrays(*arrays, batch_size=2)
    assert "\n" not in str(error.value)


def test_a_data_manager_that_has_ended_keeps_no_array() -> None:
    values = np.zeros((4, 2))
    alive = weakref.ref(values)
    source = Arrays(values, batch_size=2)
    with DataManager(source) as manager:
        assert len(list(manager)) == 2
    del values, source
    gc.collect()
    assert alive() is None, manager
