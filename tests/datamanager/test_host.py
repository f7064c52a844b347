from __future__ import annotations

import numpy as np
import pytest

from layerbench.datamanager.device import Device
from layerbench.datamanager.host import ALIGNMENT, Host, aligned
from layerbench.datamanager.source import Field
from layerbench.errors import OutOfMemoryError


@pytest.mark.parametrize("shape", [(), (3,), (3, 5, 7)])
@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "i8", "c16", "?", "U3"])
def test_arrays_begin_at_a_cache_line(shape: tuple[int, ...], dtype: str) -> None:
    arrays = [aligned(Field("x", shape, np.dtype(dtype)), 5) for _ in range(4)]
    for array in arrays:
        assert array.shape == (5, *shape)
        assert array.dtype == np.dtype(dtype)
        assert array.ctypes.data % ALIGNMENT == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_the_host_is_a_device_without_slots_of_its_own() -> None:
    host = Host()
    assert isinstance(host, Device)
    assert host.slot([], 1, timed=True) is None
    host.close()


def test_what_is_fetched_stays_when_the_slot_is_refilled() -> None:
    array = np.arange(4)
    fetched = Host().fetch(array[1:])
    array.fill(0)
    assert fetched.result().tolist() == [1, 2, 3]


def test_memory_that_the_system_refuses_is_told_in_one_line() -> None:
    with pytest.raises(OutOfMemoryError, match=r"a slot's 'x' needs 576461 TB, which the system refuses"):
        aligned(Field("x", (2**40,), np.dtype(np.float64)), 2**16)
