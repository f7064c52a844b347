"""A simulated GPU, as most tests of this folder want it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from layerbench.cuda import device as devices
from layerbench.cuda.device import CudaDevice
from tests.cuda.simulation import Simulation, forget, simulated


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """The GPU, and what is in its place."""
    yield simulated(monkeypatch)
    forget()


@pytest.fixture
def device(sim: Simulation) -> CudaDevice:
    """It, as the harness has it."""
    return devices.current()
