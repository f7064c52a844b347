"""Where overlap gains 1.6 times and where it cannot: batches are prepared while a matrix product is repeated.

The product is repeated for as long as makes the ratio of transfer to computation that was asked for.

The batch is of images that are cast and normalised. The work is a small fully connected layer's forward pass by the
fastest kernel, so that the two share little but memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from layerbench import registry, verify
from layerbench.collectives import OneRank
from layerbench.datamanager import Arrays
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Field
from layerbench.kernel import Budget, Job
from layerbench.layers import FC
from layerbench.overlap import rows
from layerbench.overlap.loops import Explicit, Implicit, Loop
from layerbench.overlap.sampling import collect
from layerbench.overlap.workloads import Repeated, lanes, repetitions, shared_cores, synthetic
from layerbench.overlap_records import Mode, Overlapped, OverlapTask
from layerbench.records import Options
from layerbench.sampling import Rule
from layerbench.stats import median

IMAGE = Field("images", (3, 224, 224), np.dtype("float32"))

TRANSFER = 20e-3
"""Seconds that a batch should take: long beside what a thread waits to be woken."""

MOST_IMAGES = 512

SECONDS = 4.0
"""Of each mode at a ratio, at most: there are many ratios, and they have one curve."""

TRIED = 9
"""Batches that tell how long one takes."""

WORK = FC(name="work", in_features=512, out_features=512)
WORK_BATCH = 64


def sweep(options: Options, asked: OverlapTask, cores: Sequence[int], progress: Callable[[str], None]) -> Overlapped:
    """Measure both modes at every ratio, on one rank.

    Parameters
    ----------
    options
        Kernels, dtype, threads, and when sampling stops.
    asked
        Ratios, depth and workers.
    cores
        To spare.
    progress
        Told what is being done.
    """
    found_kernel = registry.find(options.kernels, WORK, options.dtype)
    device = found_kernel.device()
    job = Job(WORK, WORK_BATCH, options.dtype, options.threads_per_rank)
    operands = verify.tensors(WORK, options.dtype, options.seed, 0, WORK_BATCH)
    progress("work: searching")
    choices = found_kernel.search(job, operands, Budget())
    run = found_kernel.prepare(job, operands, choices).run["forward"]

    shared = shared_cores(cores, options.threads_per_rank, device.name)
    images = _images(options.seed)
    rule = Rule(options.rel_error, min(options.max_time, SECONDS), options.max_samples)
    found = []
    for ratio in asked.ratios:
        progress(f"ratio {ratio:g}")
        # How quick a core is changes by the minute: both stages are timed anew for every ratio.
        times = repetitions(run, _transfer(images, options.seed) / ratio, device.synchronize)
        work = Repeated(run, times, device.synchronize)
        with ExitStack() as stack:
            loops: dict[Mode, Loop] = {
                "implicit": Implicit(work, _source(images, options.seed), None, device=device.name),
                "explicit": Explicit(
                    work,
                    _source(images, options.seed),
                    None,
                    depth=asked.depth,
                    workers=asked.workers,
                    bucket_bytes=asked.bucket_bytes,
                    cores=cores,
                    timeout=options.timeout,
                    device=device.name,
                ),
            }
            for loop in loops.values():
                stack.callback(loop.close)
            samples = collect(
                loops,
                asked.depth + 1,
                rule,
                OneRank(),
                lambda what, ratio=ratio: progress(f"ratio {ratio:g}: {what}"),  # type: ignore[misc]
            )
        found.append(
            rows.both(
                samples["implicit"],
                samples["explicit"],
                lanes=lanes(asked, shared=shared),
                shared=shared,
                rel_error=options.rel_error,
                nodes=1,
                placement="measured",
                workload="ratio sweep",
                batch=images,
            )
        )
    return Overlapped(rows=found, device=device.name, notes=[rows.SHARED] if shared else [])


def _source(images: int, seed: int) -> Arrays:
    return synthetic([IMAGE], images, seed)


def _images(seed: int) -> int:
    """How many images a batch has that takes about as long as it should."""
    few = 8
    return max(1, min(MOST_IMAGES, round(few * TRANSFER / _transfer(few, seed))))


def _transfer(images: int, seed: int) -> float:
    """Seconds that a batch of so many images takes by itself."""
    taken = []
    made = batches(_source(images, seed))
    for _ in range(TRIED):
        begin = time.perf_counter()
        next(made)
        taken.append(time.perf_counter() - begin)
    return median(taken)
