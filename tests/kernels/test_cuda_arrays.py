"""Operands on their way to a CUDA device and back; bf16 bit by bit."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from layerbench.cuda import library
from layerbench.layers import DType
from tests.kernels.simulated_arrays import CuPy

arrays = importlib.import_module("layerbench.kernels._cuda_arrays")

EVERY_BF16 = np.arange(2**16, dtype=np.uint16)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> CuPy:
    simulated = CuPy()
    monkeypatch.setattr(library, "load", lambda: simulated)
    return simulated


def test_every_bf16_survives_the_way_there_and_back() -> None:
    values = arrays.bf16_values(EVERY_BF16)
    assert values.dtype == np.float32
    back = arrays.bf16_bits(values)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(back[number], EVERY_BF16[number])
    assert np.isnan(arrays.bf16_values(back[~number])).all()


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    generator = np.random.default_rng(0)
    # All signs and exponents of finite numbers, and of the lower halves those next to a tie.
    upper = generator.integers(0, 0x7F7F, 20_000).astype(np.uint32) | (generator.integers(0, 2, 20_000) << 15).astype(
        np.uint32
    )
    lower = generator.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32), 20_000)
    values = (upper << 16 | lower).view(np.float32)
    below = arrays.bf16_values(upper.astype(np.uint16)).astype(np.float64)
    above = arrays.bf16_values((upper + 1).astype(np.uint16)).astype(np.float64)
    got = arrays.bf16_values(arrays.bf16_bits(values)).astype(np.float64)
    exact = values.astype(np.float64)
    assert (np.abs(got - exact) == np.minimum(np.abs(below - exact), np.abs(above - exact))).all()
    ties = lower == 0x8000
    assert ties.any()
    assert (arrays.bf16_bits(values)[ties] % 2 == 0).all()


def test_infinities_and_what_is_too_large_for_bf16() -> None:
    values = np.array([np.inf, -np.inf, np.finfo(np.float32).max], np.float32)
    np.testing.assert_array_equal(arrays.bf16_values(arrays.bf16_bits(values)), [np.inf, -np.inf, np.inf])


def test_no_nan_becomes_a_number() -> None:
    bits = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000], np.uint32)
    assert np.isnan(arrays.bf16_values(arrays.bf16_bits(bits.view(np.float32)))).all()


@pytest.mark.parametrize(
    ("dtype", "stored", "host"),
    [
        ("fp64", np.float64, np.float64),
        ("fp32", np.float32, np.float32),
        ("tf32", np.float32, np.float32),
        ("bf16", np.uint16, np.float32),
        ("fp16", np.float16, np.float16),
        ("int8", np.int8, np.int8),
    ],
)
def test_there_and_back(cupy: CuPy, dtype: DType, stored: type, host: type) -> None:
    values = np.arange(-12, 12).reshape(4, 6).astype(host)
    there = arrays.to_device(values.T, dtype)
    assert there.dtype == stored == arrays.storage(dtype)
    assert there.flags.c_contiguous
    back = arrays.to_host(there, dtype)
    assert back.dtype == host
    np.testing.assert_array_equal(back, values.T)
    turned = arrays.to_host(there.transpose(1, 0), dtype)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, values)


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
def test_poison_is_not_a_number(cupy: CuPy, dtype: DType) -> None:
    array = arrays.empty((3, 5), dtype)
    assert array.shape == (3, 5)
    arrays.poison(array, dtype)
    assert np.isnan(arrays.to_host(array, dtype)).all()


@pytest.mark.parametrize(("stored", "least"), [(np.int8, -128), (np.int32, -(2**31))])
def test_poison_of_whole_numbers_is_the_most_negative(cupy: CuPy, stored: type, least: int) -> None:
    array = cupy.empty((3, 5), stored)
    arrays.poison(array, "int8")
    assert (array.get() == least).all()
