"""Values that are exchanged: exact in every type, and no two ranks' alike."""

from __future__ import annotations

import numpy as np
import pytest

from layerbench.collective_bench import pattern
from layerbench.collective_bench.pattern import CHUNK, STORED, Pattern, added, decoded, encoded, moved, total
from layerbench.layers import DType


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("ranks", [1, 2, 3, 64, 200, 1000])
def test_sums_are_exact_in_every_type(dtype: DType, ranks: int) -> None:
    sums = total(ranks, dtype)
    assert sums.sum() > 0
    np.testing.assert_array_equal(decoded(encoded(sums, dtype), dtype), sums)
    assert sums.max() <= {"bf16": 256, "fp16": 2048}.get(dtype, 2**24)


def test_neighbours_and_receivers_have_other_values() -> None:
    assert (moved(0) != moved(1)).all()
    assert (moved(0, 0) != moved(0, 1)).all()
    assert (added(0, 4, "fp32") != added(1, 4, "fp32")).any()


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("elements", [1, 60, 61, 62, CHUNK + 7, 2 * CHUNK + 100])
def test_every_element_is_laid_and_looked_at(dtype: DType, elements: int) -> None:
    values = Pattern(np, moved(3), dtype, elements, start=5)
    array = np.zeros(elements, STORED[dtype])
    values.lay(array)
    expected = (np.arange(5, 5 + elements) + 3 * pattern.SHIFT) % pattern.PERIOD
    np.testing.assert_array_equal(decoded(array, dtype), expected)
    assert values.wrong(array) is None
    for place in {0, elements // 2, elements - 1}:
        broken = array.copy()
        broken[place] = encoded(np.array([99]), dtype)[0]
        assert values.wrong(broken, 10) == (f"element {10 + place:,} is 99 and should be {expected[place]}")


def test_not_a_number_is_wrong() -> None:
    values = Pattern(np, moved(0), "fp32", 4)
    assert "is nan and should be 0" in str(values.wrong(np.full(4, np.nan, np.float32)))
