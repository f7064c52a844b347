"""What a GPU's memory and arithmetic reach: how much is moved and computed, and by how much it is divided."""

from __future__ import annotations

import pytest

from layerbench.cuda import probes
from layerbench.cuda.device import CudaDevice
from layerbench.errors import OutOfMemoryError
from tests.cuda.simulation import Simulation, real_device


def test_bandwidth_is_of_the_triad_and_of_reading(device: CudaDevice) -> None:
    assert device.bandwidth(3) == pytest.approx([1e12] * 20 + [1.25e12] * 20)


def test_each_array_exceeds_four_caches_and_all_take_a_quarter_of_what_is_free() -> None:
    assert probes.array_bytes(12 * 2**20, 2**18 - 1) == 2**20
    assert probes.array_bytes(2**40, 2**20) == 2**30, "and each at most 1 GiB"
    with pytest.raises(OutOfMemoryError, match=r"three arrays .* 262 kB.*3\.15 MB.*free 12\.6 MB"):
        probes.array_bytes(12 * 2**20, 2**18)


def test_too_little_memory_is_told_before_any_is_taken(sim: Simulation, device: CudaDevice) -> None:
    sim.memory = 2**24
    with pytest.raises(OutOfMemoryError, match="bandwidth needs three arrays"):
        device.bandwidth(1)
    assert sim.allocations == 0


def test_arithmetic_is_of_single_and_double_precision(device: CudaDevice) -> None:
    assert device.arithmetic("fp32") == pytest.approx([1e13] * 10)
    assert device.arithmetic("fp64") == pytest.approx([0.5e13] * 10)


@pytest.mark.parametrize("dtype", ["tf32", "bf16", "fp16", "int8"])
def test_what_runs_on_tensor_cores_is_not_measured(device: CudaDevice, dtype: str) -> None:
    assert device.arithmetic(dtype) == []  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_real_gpu_reaches_what_no_cache_could() -> None:
    device = real_device()
    bandwidth, arithmetic = max(device.bandwidth(1)), max(device.arithmetic("fp32"))
    assert 1e11 < bandwidth < 2e13
    assert 1e12 < arithmetic < 1e15
