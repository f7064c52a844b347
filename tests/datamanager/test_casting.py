"""Conversion and normalisation, in place and from elsewhere, are what plain NumPy computes, bit for bit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.datamanager.casting import Cast, Normalise, casts, staged
from layerbench.errors import UsageError

PAIRS = [
    ("uint8", "float32"),
    ("uint8", "float64"),
    ("uint8", "float16"),
    ("int16", "float32"),
    (">i2", "int32"),
    (">f4", "float32"),
    ("int32", "float32"),
    ("float16", "float32"),
    ("float64", "float32"),
    ("float32", "complex128"),
    ("bool", "float32"),
    ("uint8", "uint8"),
]


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize(("stored", "delivered"), PAIRS)
@pytest.mark.parametrize("samples", [1, 3, 500])
def test_samples_are_converted_where_they_lie(stored: str, delivered: str, samples: int) -> None:
    values = numbers((samples, 7, 23), stored)
    cast = Cast("x", (7, 23), np.dtype(stored), delivered, None)
    out = np.zeros((samples + 2, 7, 23), delivered)
    place = out[1:-1]
    room = staged(place, np.dtype(stored))
    assert np.may_share_memory(room, place) == (np.dtype(stored).itemsize <= np.dtype(delivered).itemsize)
    room[...] = values
    cast.in_place(room, place)
    np.testing.assert_array_equal(place, values.astype(delivered))
    assert not out[0].any()
    assert not out[-1].any()


@given(
    samples=st.integers(1, 4),
    length=st.integers(1, 40_000),
    pair=st.sampled_from(PAIRS),
)
def test_in_place_is_the_same_as_from_elsewhere(samples: int, length: int, pair: tuple[str, str]) -> None:
    stored, delivered = pair
    values = numbers((samples, length), stored)
    cast = Cast("x", (length,), np.dtype(stored), delivered, None)
    out = np.empty((samples, length), delivered)
    room = staged(out, np.dtype(stored))
    room[...] = values
    cast.in_place(room, out)
    elsewhere = np.empty_like(out)
    cast.into(values, elsewhere)
    assert out.tobytes() == elsewhere.tobytes() == values.astype(delivered).tobytes()


@pytest.mark.parametrize("stored", ["uint8", "float32", "float64", ">f4"])
def test_normalised_is_value_times_factor_plus_offset(stored: str) -> None:
    values = numbers((5, 3, 6, 4), stored)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    cast = Cast("x", (3, 6, 4), np.dtype(stored), "float32", Normalise(mean, std, divisor=255))
    factor = (1 / (255 * np.array(std))).astype(np.float32).reshape(3, 1, 1)
    offset = (-np.array(mean) / np.array(std)).astype(np.float32).reshape(3, 1, 1)
    expected = values.astype(np.float32) * factor + offset
    out = np.empty((5, 3, 6, 4), np.float32)
    cast.into(values, out)
    np.testing.assert_array_equal(out, expected)
    room = staged(out, np.dtype(stored))
    room[...] = values
    cast.in_place(room, out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(
        out, (values / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1)), rtol=1e-4
    )


def test_channels_may_be_the_last_axis_and_mean_one_number() -> None:
    values = numbers((2, 4, 3), "uint8")
    out = np.empty(values.shape, np.float64)
    Cast("x", (4, 3), values.dtype, "f8", Normalise(10, (1, 2, 4), axis=-1)).into(values, out)
    np.testing.assert_array_equal(out, (values - 10.0) / [1, 2, 4])


def test_casting_in_place_takes_no_memory_that_grows_with_the_samples() -> None:
    cast = Cast("x", (1000,), np.dtype("uint8"), "float32", Normalise(3, 2))
    out = np.empty((2000, 1000), np.float32)
    tracemalloc.start()
    try:
        room = staged(out, np.dtype("uint8"))
        room[...] = 5
        cast.in_place(room, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (out == 1).all()
    assert peak < out.nbytes / 50


@pytest.mark.parametrize(
    ("stored", "delivered", "normalise", "told"),
    [
        ("float32", "uint8", None, "x: float32 does not become uint8 without losing more than precision"),
        ("complex64", "float32", None, "x: complex64 does not become float32"),
        ("object", None, None, "x: has Python objects; expected numbers"),
        ("U4", None, None, "x: has <U4; expected numbers"),
        ("uint8", "U4", None, "x: uint8 does not become <U4"),
        ("uint8", "floaty", None, "x: expected a dtype such as 'float32', not 'floaty'"),
        ("uint8", "int32", Normalise(0, 1), "x: normalised values are delivered as floating-point numbers, not int32"),
        ("uint8", "float32", Normalise((1, 2), 1), "x: mean and std are of 2 channels, and axis 0"),
        ("uint8", "float32", Normalise((1, 2, 3), (1, 2)), "x: mean and std must be one number each"),
        ("uint8", "float32", Normalise(0, 0), "x: mean must be finite, std and divisor positive"),
        ("uint8", "float32", Normalise(0, (1, 2, 3), axis=4), "x: mean and std are of 3 channels, and axis 4"),
    ],
)
def test_what_cannot_be_cast_is_refused(
    stored: str, delivered: str | None, normalise: Normalise | None, told: str
) -> None:
    with pytest.raises(UsageError, match=f"^{told}"):
        Cast("x", (3, 2), np.dtype(stored), delivered, normalise)


def test_there_is_one_choice_for_each_field() -> None:
    fields = [("a", (), np.dtype("u1")), ("b", (), np.dtype("u1"))]
    assert [cast.field.dtype for cast in casts(fields, [None, "f4"], None)] == [np.uint8, np.float32]
    with pytest.raises(UsageError, match=r"^dtypes must be a sequence of 2, one for each field of a batch, not 'f4'$"):
        casts(fields, "f4", None)
    with pytest.raises(UsageError, match=r"^normalise must be a sequence of 2"):
        casts(fields, None, [None])


def test_a_normalisation_is_of_numbers() -> None:
    field = ("x", (2,), np.dtype("f4"))
    with pytest.raises(UsageError, match=r"^x: mean and std must be numbers, not Normalise\(mean=0, std='wide'"):
        casts([field], None, [Normalise(0, "wide")])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^x: expected a Normalise or None, not 3$"):
        casts([field], None, [3])  # type: ignore[list-item]
