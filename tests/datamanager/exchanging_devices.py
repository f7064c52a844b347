"""Gradients on simulated devices in the tests of gradient exchange."""

from __future__ import annotations

import functools
import itertools
import random
import sys
import time
from typing import Any

import numpy as np
from exchanging import SMALL, raised, rank, ranks, world
from simulated_nccl import install

from layerbench.datamanager.exchange import BlockingExchange, GradientExchange
from layerbench.errors import MeasurementError, UnavailableError
from layerbench.timeline import Timeline


def on_devices() -> None:
    """The order of work on streams, where all of it is done as late as it may be."""
    cupy = install()
    communicators = cupy.cuda.nccl.NcclCommunicator
    compute = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device.current.append(1)
    sizes = (300, 7, 0, 30, 1, 641, 1500, 3)
    chance = random.Random(rank)
    for blocking, average in itertools.product((False, True), (False, True)):
        timeline, dtype = Timeline(), "f8" if average else "f4"
        gradients = [cupy.empty(size, "f8" if size == 641 else dtype) for size in sizes]
        options: dict[str, Any] = {"average": average, "timeline": timeline}
        kind: Any = BlockingExchange if blocking else GradientExchange
        with compute, kind(gradients, world, **options, **({} if blocking else SMALL)) as exchange:
            assert communicators.alive == 1
            order = list(range(len(sizes)))
            for step in range(50):
                chance.shuffle(order)
                for index in order:
                    gradients[index].write(rank * 10 + step + index)
                    exchange.ready(index)
                    if chance.random() < 0.3:
                        exchange.progress()
                exchange.wait()
                assert len(gradients[0].memory) == sizes[0]
                seen = [np.empty(size) for size in sizes]
                for gradient, copy in zip(gradients, seen, strict=True):
                    compute.queue(functools.partial(lambda to, of: np.copyto(to, of.memory), copy, gradient))
                compute.synchronize()
                for index, copy in enumerate(seen):
                    total = 10 * sum(range(ranks)) + ranks * (step + index)
                    assert (copy == total / (ranks if average else 1)).all(), (step, index, copy)
        assert communicators.alive == 0
        assert len(timeline.spans) == 50 * len(exchange.buckets)
        assert [span.step for span in timeline.spans] == sorted(span.step for span in timeline.spans)
        now = time.perf_counter_ns()
        assert all(now - 60e9 < span.start <= span.stop <= now + 1e6 for span in timeline.spans)

    cupy.cuda.Device.current.append(0)
    other = cupy.empty(3, "f4")
    cupy.cuda.Device.current.pop()
    error = raised(lambda: GradientExchange([gradients[0], other], world))
    assert "gradient 1: is on device 0, gradient 0 on device 1" in str(error), error
    error = raised(lambda: GradientExchange([gradients[0], np.zeros(3)], world))
    assert "gradients 0 and 1: one is on the host" in str(error), error
    error = raised(lambda: GradientExchange([cupy.empty(3, "c8")], world))
    assert "NCCL cannot add complex64" in str(error), error
    error = raised(lambda: GradientExchange(gradients, world, method="ordered"))
    assert "is for gradients on the host" in str(error), error

    def failing_step() -> None:
        with GradientExchange(gradients, world) as exchange:
            communicators.failing = True
            for index in range(len(sizes)):
                exchange.ready(index)

    error = raised(failing_step)
    assert isinstance(error, MeasurementError)
    assert "bucket 0 failed: NCCL_ERROR" in str(error), error
    assert communicators.alive == 0
    cupy.cuda.nccl.available = False
    error = raised(lambda: GradientExchange(gradients, world))
    assert isinstance(error, UnavailableError)
    assert "which CuPy does not find" in str(error), error
    print(f"devices {rank} done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
