"""Measures the ceilings of one rank: its peak rate of computation, and its bandwidth to memory.

In the roofline model (Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, 2009) a pass of arithmetic intensity I FLOP a byte runs at no more than min(peak, bandwidth × I). Both
are measured as a measuring rank would: pinned, with its threads, dtype and device, and with the node to itself.

The best repetition counts, because a roof is a ceiling and no typical value. The peak is still what kernels reach, and
not what the processor is made for: a convolution that stays in cache may exceed a matrix product by some per cent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from layerbench import registry, verify
from layerbench.device import Device, Run
from layerbench.errors import KernelError, LayerbenchError, OutOfMemoryError, UnavailableError, VerificationError
from layerbench.kernel import Budget, Choices, Job, Kernel
from layerbench.layers import FC, PASSES, AnyLayer
from layerbench.records import Options, Roofline
from layerbench.suite import memory_needed
from layerbench.units import size

Progress = Callable[[str], None]

SIZES = (256, 512, 1024, 2048, 4096, 8192)
"""Rows and columns of the square matrices, each twice the last: the larger ones where there is time for them."""

GROWTH = 8
"""How much longer a product of twice the size takes."""

SECONDS = 1.5
"""For all matrix products together."""

LONG = 1e-3
SECONDS_FOR_LONG = 20.0
"""A product quicker than this keeps no device busy: larger ones are tried for so much longer."""

SAMPLES = 5
SHORTEST = 1e-3
"""Repetitions of each product, and the least seconds that each lasts."""


class Peak(NamedTuple):
    """Rates in FLOP/s of one pass of one matrix product, and which that is."""

    rates: list[float]
    source: str


def measure(options: Options, layers: Sequence[AnyLayer], progress: Progress) -> Roofline:
    """Measure peak and bandwidth of this rank.

    Parameters
    ----------
    options
        Their dtype, threads and kernels are those of the ceilings.
    layers
        The run's layers: the first that has a kernel says which device is meant.
    progress
        Told what is being done; a watchdog listens.

    Returns
    -------
    Roofline
        Also where a figure could not be had: it is 0.0 then, and ``reason`` says why.

    Raises
    ------
    UnavailableError
        If no layer has a kernel, so that there is no device.
    """
    own = _kernel_of(options, layers)
    device = own.device()
    reasons = []
    peak = Peak([], "")
    bandwidth: list[float] = []
    try:
        peak = _peak(own, options, progress)
    except Exception as error:
        reasons.append(f"no peak: {_told(error)}")
    progress("roofline: arithmetic")
    try:
        in_registers = Peak(device.arithmetic(options.dtype), device.arithmetic_source)
        peak = max(peak, in_registers, key=lambda each: max(each.rates, default=0.0))
    except Exception as error:
        reasons.append(f"no arithmetic in registers: {_told(error)}")
    progress("roofline: bandwidth")
    try:
        bandwidth = device.bandwidth(options.threads_per_rank)
    except Exception as error:
        reasons.append(f"no bandwidth: {_told(error)}")
    return Roofline(
        device=device.name,
        dtype=options.dtype,
        threads=options.threads_per_rank,
        flops=max(peak.rates, default=0.0),
        bandwidth=max(bandwidth, default=0.0),
        flops_source=peak.source,
        bandwidth_source=device.bandwidth_source if bandwidth else "",
        flops_samples=peak.rates,
        bandwidth_samples=bandwidth,
        reason="; ".join(reasons),
    )


def _kernel_of(options: Options, layers: Sequence[AnyLayer]) -> Kernel:
    """The kernel library of the first layer that has one."""
    reason = "the run has no layers"
    for layer in layers:
        try:
            return registry.find(options.kernels, layer, options.dtype)
        except UnavailableError as error:
            reason = str(error)
    raise UnavailableError(reason)


def _peak(own: Kernel, options: Options, progress: Progress) -> Peak:
    """The fastest matrix product of the run's own library and of all that ``auto`` might choose on its device.

    Raises
    ------
    KernelError
        If there is none; the reason of each library is given.
    """
    until = time.perf_counter() + SECONDS
    best = Peak([], "")
    reasons = []
    for kernel in [own, *_others(own)]:
        # A library may raise whatever it likes, at a size of its choice; what was measured before stands.
        try:
            for found in _products(kernel, options, until, progress):
                best = max(best, found, key=lambda peak: max(peak.rates, default=0.0))
        except Exception as error:
            reasons.append(f"{kernel.name}: {_told(error)}")
    if not best.rates:
        raise KernelError(f"no matrix product in {options.dtype}: {'; '.join(reasons)}")
    return best


def _others(own: Kernel) -> list[Kernel]:
    """Available libraries of the same device."""
    return [
        kernel
        for kernel in registry.registry().values()
        if kernel.preference is not None
        and kernel.name != own.name
        and kernel.availability().ok
        and kernel.device().name == own.device().name
    ]


def _products(kernel: Kernel, options: Options, until: float, progress: Progress) -> Iterator[Peak]:
    """Time matrix products of growing size, each pass by itself, while the next one will be done in time.

    Raises
    ------
    UnavailableError
        If the library has none in this dtype.
    OutOfMemoryError
        If too little memory is free for the next one.
    VerificationError
        If no pass agrees with the float64 reference. Where some do, the others are left out.
    """
    choices: Choices | None = None
    searching = 0.0
    until_long = time.perf_counter() + SECONDS_FOR_LONG
    for rows in SIZES:
        layer = FC(name=f"product of {rows}", in_features=rows, out_features=rows)
        job = Job(layer, rows, options.dtype, options.threads_per_rank)
        _check(kernel, job)
        progress(f"roofline: {kernel.name}: {layer.name}")
        begin = time.perf_counter()
        operands = verify.tensors(layer, job.dtype, options.seed, 0, rows)
        # What was best at half the size will do where another search would take most of the time that is left.
        if choices is None or begin + 2 * GROWTH * searching < until:
            budget = Budget(runs=1, progress=lambda what: progress(f"roofline: {kernel.name}: trying {what}"))
            searched = time.perf_counter()
            choices = kernel.search(job, operands, budget)
            searching = time.perf_counter() - searched
            begin += searching
        checks = verify.verify(kernel, job, operands, choices)
        sound = [pass_ for pass_ in PASSES if checks[pass_].ok]
        if not sound:
            raise VerificationError(f"every pass of a {layer.name} gave a wrong result")
        prepared = kernel.prepare(job, operands, choices)
        flop, quickest = 2 * layer.macs(rows), math.inf
        for pass_ in sound:
            rates = _rates(prepared.run[pass_], flop, kernel.device(), until)
            quickest = min(quickest, flop / max(rates))
            named = f"{kernel.name} {kernel.availability().version}".strip()
            yield Peak(rates, f"{named}, fc {rows} x {rows} x {rows}, {pass_}, {choices[pass_].algorithm}")
        now = time.perf_counter()
        next_one = now + GROWTH * (now - begin)
        if next_one > until and not (quickest < LONG and next_one < until_long):
            return


def _check(kernel: Kernel, job: Job) -> None:
    """Refuse what the library cannot do, and what does not fit."""
    if refusal := kernel.supports(job.layer, job.dtype):
        raise UnavailableError(refusal)
    needed, free = memory_needed(job.layer, job.batch, job.dtype), kernel.device().free_memory()
    if needed > free:
        raise OutOfMemoryError(f"a {job.layer.name} needs {size(needed)} of memory and {size(free)} are free")


def _rates(run: Run, flop: int, device: Device, until: float) -> list[float]:
    """FLOP/s of each repetition of a call of ``flop`` operations: one at least, more while there is time."""
    (warm,) = device.time_parts([run], 1)
    times = max(1, math.ceil(SHORTEST / max(warm, 1e-9)))
    rates: list[float] = []
    while not rates or (len(rates) < SAMPLES and time.perf_counter() < until):
        rates.append(flop / max(device.time_parts([run], times)[0], 1e-9))
    return rates


def _told(error: Exception) -> str:
    """An error in one line; one that is not ours with its type."""
    told = str(error) if isinstance(error, LayerbenchError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())
