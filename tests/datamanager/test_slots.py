from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.datamanager.slots import Skipped, Slot, close_gaps


@given(st.lists(st.booleans(), max_size=40))
def test_what_follows_a_hole_moves_down_over_it_in_every_array(kept: list[bool]) -> None:
    samples = len(kept)
    wide, narrow = np.arange(3.0 * samples).reshape(samples, 3), np.arange(samples)
    left_wide, left_narrow = wide[kept].copy() if samples else wide.copy(), narrow[kept].copy()
    holes = [(index, index + 1) for index, keep in enumerate(kept) if not keep]
    left = close_gaps((wide, narrow), holes, samples)
    assert left == sum(kept)
    np.testing.assert_array_equal(wide[:left], left_wide)
    np.testing.assert_array_equal(narrow[:left], left_narrow)


def test_large_holes_and_small_ones() -> None:
    array = np.arange(20)
    assert close_gaps([array], [(0, 5), (6, 7), (10, 18)], 20) == 6
    assert array[:6].tolist() == [5, 7, 8, 9, 18, 19]


def test_a_slot_is_full_when_its_last_piece_is_done_whatever_was_skipped() -> None:
    slot = Slot((np.arange(6.0),), 8)
    slot.begin(4, 6, 3)
    slot.piece_done()
    slot.skipped.append((2, 4, Skipped("b", "why", 4)))
    slot.piece_done()
    assert slot.full.empty()
    slot.piece_done()
    assert not slot.full.empty()
    assert slot.samples == 4
    assert slot.batch()[0].tolist() == [0, 1, 4, 5]


def test_the_whole_slot_is_no_view() -> None:
    arrays = (np.zeros((4, 2)), np.zeros(4))
    slot = Slot(arrays, 4)
    slot.begin(0, 4, 1)
    assert slot.batch() is arrays
    assert slot.place(0, 4) is arrays
    assert [part.shape for part in slot.place(1, 3)] == [(2, 2), (2,)]


def test_a_device_slot_takes_over_all_but_the_samples() -> None:
    filled, slot = Slot((np.zeros(4),), 4), Slot((np.ones(4),), 4)
    filled.begin(7, 3, 1)
    filled.skipped.append((0, 1, Skipped("a", "why", 7)))
    slot.take_over(filled)
    assert (slot.index, slot.samples, slot.failure, slot.ended) == (7, 3, None, False)
    assert [skipped.origin for _, _, skipped in slot.skipped] == ["a"]
    assert filled.skipped == []
    assert slot.arrays[0].tolist() == [1] * 4


@pytest.mark.parametrize("failing", [True, False])
def test_an_end_makes_a_slot_full(failing: bool) -> None:
    from layerbench.errors import DataError

    slot = Slot((), 1)
    error = DataError("no") if failing else None
    slot.end(3, error)
    assert not slot.full.empty()
    assert slot.ended is not failing
    assert slot.failure is error
