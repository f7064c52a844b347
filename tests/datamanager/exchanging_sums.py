"""What ranks exchange in the tests of gradient exchange: the sums, the order, the time, and what it costs."""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
import threading
import time
from typing import Any

import numpy as np
import psutil
from exchanging import SHAPES, SMALL, WAYS, copied, fill, made, rank, ranks, same, world

from layerbench.datamanager.exchange import BlockingExchange, GradientExchange, exchange_each
from layerbench.datamanager.exchange_mpi import Ordered
from layerbench.timeline import Timeline


def steps(count: str) -> None:
    """Many steps with delays and in random order, each compared bit for bit with what all ranks' gradients add up to.

    Every rank makes those of the others too. Some steps are compared with a blocking exchange as well.
    """
    for method, progress in WAYS:
        overlapped, blocking, sums, other = made(), made(), made(), made()
        everyone = [np.random.default_rng(each) for each in range(ranks)]
        chance = random.Random(rank + 100)
        whole = method != "ordered" and ranks > 2  # whose sums are exact in whatever order
        order = list(range(len(SHAPES)))
        alike = "ordered" if method == "ordered" else "allreduce"
        with (
            GradientExchange(overlapped, world, method=method, progress=progress, **SMALL) as exchange,
            BlockingExchange(blocking, world, method=alike) as reference,
        ):
            assert len(exchange.buckets) >= 4
            assert {bucket.packed for bucket in exchange.buckets} == {True, False}
            for step in range(int(count)):
                for each, rng in enumerate(everyone):
                    fill(other, rng, whole)
                    if each == rank:
                        copied(overlapped, other)
                    for total, addend in zip(sums, other, strict=True):
                        if total is not None:
                            total[...] = addend if each == 0 else total + addend
                copied(blocking, overlapped)
                if step % 2:
                    chance.shuffle(order)
                else:
                    order.sort(reverse=True)
                for index in order:
                    if chance.random() < 0.02:
                        time.sleep(chance.random() * 2e-3)
                    exchange.ready(index)
                    if chance.random() < 0.1:
                        exchange.progress()
                if chance.random() < 0.1:
                    time.sleep(chance.random() * 2e-3)
                exchange.wait()
                assert same(overlapped, sums), (method, progress, step)
                if step % 50 == 0:
                    for index in order:
                        reference.ready(index)
                    reference.wait()
                    assert same(blocking, sums), (alike, step)
            assert exchange.waited_seconds > 0
            assert reference.waited_seconds > 0
        print(f"{method} {progress} {ranks} done", flush=True)


def sums() -> None:
    """All dtypes that there are, and all ways to cut buckets, against NumPy."""
    for method, progress in WAYS:
        dtypes = ("f4", "f8", "c8", "i4", "u1", *(("f2", "c16") if method == "ordered" else ()))
        for dtype in dtypes if progress == "calls" else dtypes[:1]:
            for bucket, first in ((1, 1), (300, 10), (2**20, 2**20), (10**9, 64)):
                gradients = made(dtype, "i8")
                others = [made(dtype, "i8") for _ in range(ranks)]
                for each, of_one in enumerate(others):
                    for index, gradient in enumerate(of_one):
                        if gradient is not None:
                            gradient.reshape(-1)[:] = np.arange(gradient.size) % (13 + index) + each
                copied(gradients, others[rank])
                addresses = [None if gradient is None else gradient.ctypes.data for gradient in gradients]
                options = {"bucket_bytes": bucket, "first_bytes": first, "method": method, "progress": progress}
                with GradientExchange(gradients, world, **options) as exchange:
                    for again in range(2):
                        for index in reversed(range(len(gradients))):
                            exchange.ready(index)
                        exchange.wait()
                        for index, gradient in enumerate(gradients):
                            if gradient is not None:
                                total = sum(of_one[index].astype(gradient.dtype) for of_one in others) * ranks**again
                                assert np.array_equal(gradient, total.astype(gradient.dtype)), (method, dtype, index)
                assert addresses == [None if gradient is None else gradient.ctypes.data for gradient in gradients]
    for method in ("auto", "allreduce", "ordered"):
        for average in (False, True):
            gradients = [np.full(5, rank + 1.0, "f4"), None, np.full((2, 2), 10.0 * rank), np.empty(0)]
            exchange_each(gradients, world, method=method, average=average)
            divisor = ranks if average else 1
            assert (gradients[0] == np.float32(sum(range(1, ranks + 1)) / divisor)).all()
            assert (gradients[2] == 10.0 * sum(range(ranks)) / divisor).all()
    for method, progress in WAYS:
        gradients = [np.full(5, rank + 1.0, "f4"), np.full(7, rank + 2.0, "f4"), np.full(3000, rank + 3.0, "f4")]
        with GradientExchange(gradients, world, method=method, progress=progress, average=True, **SMALL) as exchange:
            for index in (2, 0, 1):
                exchange.ready(index)
            exchange.wait()
        for index, gradient in enumerate(gradients):
            assert (gradient == np.float32((sum(range(ranks)) + ranks * (index + 1)) / ranks)).all()
    print(f"sums {rank} done", flush=True)


def own_messages() -> None:
    """Other collectives of the same communicator, in the middle of steps, do not meet those of the exchange."""
    for method, progress in WAYS:
        gradients = [np.zeros(1000, "f4"), np.zeros(1000, "f4")]
        with GradientExchange(gradients, world, method=method, progress=progress, **SMALL) as exchange:
            for step in range(20):
                for gradient in gradients:
                    gradient[:] = rank + step
                mine, theirs = np.full(1000, 1.0, "f4"), np.empty(1000, "f4")
                exchange.ready(1)
                if rank == 0:
                    world.Allreduce(mine, theirs)
                exchange.ready(0)
                if rank != 0:
                    world.Allreduce(mine, theirs)
                exchange.wait()
                assert (theirs == ranks).all()
                for gradient in gradients:
                    assert (gradient == sum(range(ranks)) + ranks * step).all()
    for _ in range(800):  # makes more communicators than there can be at once
        with GradientExchange([np.zeros(1)], world, method="ordered"):
            pass
    print(f"messages {rank} done", flush=True)


def turns() -> None:
    """Sums in order of ranks are gathered in one order, though ranks look after them in different ones."""
    buffers = [np.zeros(1000), np.zeros(10), np.zeros(100)]
    sums_of = Ordered(world.Dup(), buffers)
    for again in range(100):
        for number, buffer in enumerate(buffers):
            buffer[:] = again + rank + number
            sums_of.start(number)
        for request in sums_of._scattering:
            request.Wait()  # so that each could be next
        order = random.Random(again * ranks + rank).sample(range(3), 3)
        while sum(sums_of.test(number) for number in order) < len(order):
            pass
        for number, buffer in enumerate(buffers):
            assert (buffer == ranks * (again + number) + sum(range(ranks))).all(), (again, number)
    sums_of.free()
    print(f"turns {rank} done", flush=True)


def told() -> None:
    """A span for each bucket and step, and where the thread runs."""
    core = max(os.sched_getaffinity(0))
    for way, progress in (("overlapped", "calls"), ("overlapped", "thread"), ("blocking", "")):
        timeline, gradients = Timeline(), made()
        begin = time.perf_counter_ns()
        if way == "blocking":
            made_one: Any = BlockingExchange(gradients, world, timeline=timeline)
        else:
            made_one = GradientExchange(gradients, world, progress=progress, cores=[core], timeline=timeline, **SMALL)
        with made_one as exchange:
            if progress == "thread":
                thread = next(each for each in threading.enumerate() if each.daemon)
                assert os.sched_getaffinity(thread.native_id) == {core}
            for _ in range(3):
                for index in reversed(range(len(gradients))):
                    exchange.ready(index)
                exchange.wait()
        stop = time.perf_counter_ns()
        names = [f"bucket {number}" for number in range(len(exchange.buckets))]
        if way == "blocking":
            names = [f"gradient {bucket.indices[0]}" for bucket in exchange.buckets]
            assert names[:2] == ["gradient 10", "gradient 9"], "the last one first"
        assert sorted((span.step, span.name) for span in timeline.spans) == sorted(itertools.product(range(3), names))
        for span in timeline.spans:
            assert span.lane == "communication"
            assert begin <= span.start <= span.stop <= stop
    print(f"told {rank} done", flush=True)


def moving(progress: str) -> None:
    """Exchanges are done while the caller computes, before he waits."""
    gradients = [np.full(50_000, rank, "f4") for _ in range(3)]
    timeline = Timeline()
    with GradientExchange(gradients, world, progress=progress, timeline=timeline, **SMALL) as exchange:
        for index in (2, 1, 0):
            exchange.ready(index)
        deadline = time.monotonic() + 30
        while len(timeline.spans) < 3:
            assert time.monotonic() < deadline
            if progress == "calls":
                exchange.progress()
            else:
                time.sleep(1e-3)
        assert exchange.waited_seconds == 0
        exchange.wait()
    print(f"moving {rank} done", flush=True)


def resting() -> None:
    """The thread leaves the core to others while nothing moves."""
    gradients = [np.full(3000, rank, "f4")]
    with GradientExchange(gradients, world, progress="thread", **SMALL) as exchange:
        for _ in range(2):
            world.Barrier()
            begin = time.process_time()
            if rank == 0:
                exchange.ready(0)
            time.sleep(1)
            assert time.process_time() - begin < 0.4
            if rank != 0:
                exchange.ready(0)
            exchange.wait()
    print(f"resting {rank} done", flush=True)


def soak(count: str) -> None:
    """Nothing grows: memory, threads, open files.

    What grows with the steps grows in each quarter of them. What is done once, like a huge page that the kernel hands
    out when it has one, happens in one of them.
    """
    process = psutil.Process()
    for method, progress in WAYS:
        gradients = [np.zeros(size, "f4") for size in (100, 3, 5000, 40, 700)]
        figures: list[tuple[int, ...]] = []
        with GradientExchange(gradients, world, method=method, progress=progress, **SMALL) as exchange:
            for step in range(int(count)):
                for index in reversed(range(len(gradients))):
                    exchange.ready(index)
                exchange.progress()
                exchange.wait()
                if (step + 1) % (int(count) // 5) == 0:
                    gc.collect()
                    figures.append(
                        (
                            len(gc.get_objects()),
                            threading.active_count(),
                            process.num_fds(),
                            process.memory_info().rss,
                        )
                    )
        assert len(figures) == 5
        by_quarter = [np.subtract(later, earlier) for earlier, later in itertools.pairwise(figures)]
        grown = np.min(by_quarter, axis=0)
        assert (grown <= (20, 0, 0, 2**18)).all(), (method, progress, by_quarter)
        assert threading.active_count() == 1, "the thread has ended with the exchange"
    print(f"soak {rank} done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
