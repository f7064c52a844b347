"""Layers that are timed on one rank: how much of the ceilings each kind reaches, at small and at large batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from layerbench import registry, verify
from layerbench.collectives import OneRank
from layerbench.errors import LayerbenchError, OutOfMemoryError, UnavailableError, VerificationError
from layerbench.kernel import Budget, Job, Kernel
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, DType
from layerbench.machine import INTERVAL, KernelPoint
from layerbench.records import Options
from layerbench.sampling import Row, Rule, collect
from layerbench.stats import interval
from layerbench.suite import memory_needed
from layerbench.units import size

Progress = Callable[[str], None]

LAYERS: tuple[AnyLayer, ...] = (
    Conv(name="conv-13", input=(13, 13), in_channels=256, out_channels=384, filter=(3, 3), padding=(1, 1)),
    FC(name="fc-4096", in_features=4096, out_features=4096),
    LSTM(name="lstm-128", input_size=128, hidden_size=128, time_steps=50),
    Conv(name="conv-56", input=(56, 56), in_channels=64, out_channels=64, filter=(3, 3), padding=(1, 1)),
    FC(name="fc-1024", in_features=1024, out_features=1024),
    LSTM(name="lstm-512", input_size=512, hidden_size=512, time_steps=20),
    Conv(name="conv-28", input=(28, 28), in_channels=256, out_channels=128, filter=(1, 1)),
)
"""Of every kind some that are bound by memory and some that are not."""

BATCHES = (16, 1, 64, 4, 256)
"""The middle first: where time runs out, all layers have been timed at some."""

SMALLEST: tuple[AnyLayer, ...] = (
    Conv(name="conv", input=(1, 1), in_channels=1, out_channels=1, filter=(1, 1)),
    FC(name="fc", in_features=1, out_features=1),
    LSTM(name="lstm", input_size=1, hidden_size=1, time_steps=1),
)
"""One of each kind that computes next to nothing, so that its time is that of its launch."""

REL_ERROR = 0.02

IN_ALL = 120
"""Times the seconds of one measurement, that all layers may take together."""

LAUNCHES = 300
LAUNCH_REPETITIONS = 20


def probe(options: Options, dtype: DType, peak: float, progress: Progress) -> tuple[list[KernelPoint], list[str]]:
    """Time layers of every kind, each pass verified before.

    Parameters
    ----------
    options
        Kernels and threads of the rank; ``max_time`` is for each layer and batch.
    dtype, peak
        In what, and how many FLOP/s that can be at most: what would take longer than ``max_time`` is left out.
    progress
        Told what is being done; a watchdog listens.

    Returns
    -------
    list of KernelPoint and list of str
        What was measured, and what could not be.
    """
    found: list[KernelPoint] = []
    reasons: list[str] = []
    until = time.perf_counter() + IN_ALL * options.max_time
    failed: set[str] = set()
    for batch in BATCHES:
        for layer in LAYERS:
            if layer.name in failed or 2 * layer.macs(batch) / peak > options.max_time:
                continue
            if time.perf_counter() > until:
                return found, reasons
            progress(f"{layer.name}, batch {batch}")
            try:
                found += _points(options, layer, Job(layer, batch, dtype, options.threads_per_rank), progress)
            except OutOfMemoryError:
                continue
            except LayerbenchError as error:
                failed.add(layer.name)
                reasons.append(f"{layer.name}: {' '.join(str(error).split())}")
    return found, reasons


def _points(options: Options, layer: AnyLayer, job: Job, progress: Progress) -> Iterator[KernelPoint]:
    kernel = registry.find(options.kernels, layer, job.dtype)
    needed, free = memory_needed(layer, job.batch, job.dtype), kernel.device().free_memory()
    if needed > free:
        raise OutOfMemoryError(f"{layer.name} needs {size(needed)} of memory and {size(free)} are free")
    operands = verify.tensors(layer, job.dtype, options.seed, 0, job.batch)
    told = f"{layer.name}, batch {job.batch}: trying "
    choices = kernel.search(job, operands, Budget(runs=2, progress=lambda what: progress(told + what)))
    checks = verify.verify(kernel, job, operands, choices)
    if wrong := [pass_ for pass_ in PASSES if not checks[pass_].ok]:
        raise VerificationError(f"{' and '.join(wrong)} gave a wrong result")
    prepared = kernel.prepare(job, operands, choices)
    runs = [prepared.run[pass_] for pass_ in PASSES]
    device = kernel.device()

    def time_step(repetitions: int) -> list[Row]:
        return [device.time_parts(runs, repetitions)]

    rule = Rule(max(options.rel_error, REL_ERROR), options.max_time, options.max_samples)
    sampled = collect(
        time_step,
        [True] * len(runs),
        rule,
        OneRank(),
        lambda count: progress(f"{layer.name}, batch {job.batch}: {count} samples"),
        passes=range(len(runs)),
    )
    assert sampled is not None, "there is one rank, which is rank 0"
    for pass_, samples in zip(PASSES, sampled.parts, strict=True):
        times = interval(samples, INTERVAL)
        yield KernelPoint(
            layer=layer,
            pass_=pass_,
            batch=job.batch,
            dtype=job.dtype,
            seconds=times.median,
            low=times.low,
            high=times.high,
        )


def launches(options: Options, dtype: DType, progress: Progress) -> dict[str, list[float]]:
    """Seconds that the smallest layer of each kind takes, forward, and that an empty call takes; each of several times.

    Raises
    ------
    UnavailableError
        If no kind has a kernel.
    """
    found: dict[str, list[float]] = {}
    reasons = []
    for layer in SMALLEST:
        progress(f"launch of {layer.kind}")
        job = Job(layer, 1, dtype, options.threads_per_rank)
        try:
            kernel = registry.find(options.kernels, layer, dtype)
            found[layer.kind] = _launches(kernel, job, options)
            found.setdefault("an empty call", _repeated(kernel, lambda: None))
        except LayerbenchError as error:
            reasons.append(str(error))
    if not found:
        raise UnavailableError("; ".join(reasons))
    return found


def _launches(kernel: Kernel, job: Job, options: Options) -> list[float]:
    operands = verify.tensors(job.layer, job.dtype, options.seed, 0, job.batch)
    prepared = kernel.prepare(job, operands, kernel.search(job, operands, Budget(runs=1)))
    return _repeated(kernel, prepared.run["forward"])


def _repeated(kernel: Kernel, run: Callable[[], None]) -> list[float]:
    device = kernel.device()
    device.time_parts([run], LAUNCHES)
    return [device.time_parts([run], LAUNCHES)[0] for _ in range(LAUNCH_REPETITIONS)]


def kinds(points: Sequence[KernelPoint]) -> dict[str, int]:
    """How many layers and batches of each kind were timed."""
    timed = {(point.layer.kind, point.layer.name, point.batch) for point in points}
    names = [kind for kind, _, _ in timed]
    return {kind: names.count(kind) for kind in sorted(set(names))}
