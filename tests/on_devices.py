"""A kernel library that runs on devices of which a machine has as many as ``DEVICES`` says; NumPy computes for them.

They tell what a GPU tells: clocks, energy, what it takes to queue a call, and when they ran slowly; they replay graphs.
``SEEN`` is what each rank sees of them, ranks separated by ``;``, as a launcher that binds them leaves it.
"""

import os
import time
from pathlib import Path

from layerbench import registry
from layerbench.conditions import Conditions
from layerbench.device import Host
from layerbench.kernel import Availability


class Replaying:
    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        return getattr(self._device, name)

    def time_parts(self, parts, repetitions, before_each=None):
        assert before_each is None, "nothing is flushed between the calls of a graph"
        return self._device.time_parts(parts, repetitions)


class Simulated(Host):
    name = "simulated"
    slow_samples = int(os.environ.get("SLOW", "0"))

    def __init__(self):
        super().__init__()
        self._timed = 0

    def time_parts(self, parts, repetitions, before_each=None):
        self._timed += 1
        return super().time_parts(parts, repetitions, before_each)

    def replayed(self):
        return Replaying(self)

    def rotation(self, nbytes):
        return 3

    def connect(self, ranks, collectives, dtype):
        return ranks

    def slowed(self):
        return self._timed > 5 and self._timed <= 5 + self.slow_samples

    def conditions(self):
        return Conditions(
            core_clock=1.5e9,
            memory_clock=2.6e9,
            temperature=50.0,
            power=300.0 + self._timed,
            throttle_reasons=["sw_power_cap"],
            usual_core_clock=2e9,
        )

    def energy(self, run, seconds):
        run()
        return 0.25

    def launch_seconds(self, run):
        if "UNTOLD" in os.environ:  # a call of more launches than fit the queue
            return None
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin


class OnDevices:
    name = "on_devices"
    preference = None
    links_layers = True
    prepared = 0

    def __init__(self):
        self._numpy = registry.named("numpy")
        self._device = Simulated()

    def availability(self):
        return Availability(ok=True, version="1")

    def supports(self, layer, dtype):
        return "no recurrent layers" if layer.kind == "lstm" else self._numpy.supports(layer, dtype)

    def device(self):
        return self._device

    def devices(self):
        seen = os.environ.get("SEEN")
        if seen:
            return seen.split(";")[int(os.environ.get("PMI_RANK", "0"))].split(",")
        return [f"GPU-{number}" for number in range(int(os.environ["DEVICES"]))]

    def use(self, device):
        assert device in self.devices()

    def search(self, job, tensors, budget):
        if "BUDGET" in os.environ:
            Path(os.environ["BUDGET"]).write_text(str(budget.workspace))
        return self._numpy.search(job, tensors, budget)

    def prepare(self, job, tensors, choices):
        return self._numpy.prepare(job, tensors, choices)

    def error_limit(self, dtype, choice):
        return self._numpy.error_limit(dtype, choice)


KERNEL = OnDevices()
