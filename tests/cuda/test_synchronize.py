"""What the host waits for when it waits for the device."""

from __future__ import annotations

from layerbench.cuda.device import CudaDevice
from tests.cuda.simulated_kernels import Op
from tests.cuda.simulation import Simulation


def test_what_other_streams_do_is_not_waited_for(sim: Simulation, device: CudaDevice) -> None:
    with sim.cupy.cuda.Stream(non_blocking=True) as beside:
        beside.queue(Op(1e9))
    begin = sim.now
    sim.stream.queue(Op(5_000))
    device.synchronize()
    assert 5_000 <= sim.now - begin < 1e8
    with beside:
        device.synchronize()
    assert sim.now - begin > 0.9e9
