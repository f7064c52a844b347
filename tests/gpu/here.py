"""Makes a step's process what a measuring rank would be: its cores, its threads, its device."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from layerbench import allocation, plan, registry, suite, verify
from layerbench.errors import LayerbenchError
from layerbench.kernel import Budget, Choice, Job, Kernel, Prepared, Tensors
from layerbench.launch import rank_environment
from layerbench.layers import AnyLayer, Pass
from layerbench.pinning import assign, seat
from layerbench.records import WORKSPACE, Cache, Options
from tests.gpu import job as jobs


class Ready(NamedTuple):
    """A layer that a kernel library has been prepared for, and found to compute rightly."""

    kernel: Kernel
    prepared: Prepared
    choices: Mapping[Pass, Choice]
    sound: tuple[Pass, ...]
    """Passes that agree with the reference."""


def take() -> tuple[int, int]:
    """Keep to the cores of one rank, and to one device; returns its threads, and how many devices there are."""
    _, threads = plan.room(allocation.choose("none", ""), [1], 1, None)
    os.environ.update(rank_environment(threads, (), os.environ))
    os.sched_setaffinity(0, assign([seat()], threads, oversubscribe=False)[0][:threads])
    importlib.import_module("threadpoolctl").threadpool_limits(threads)
    kernel = registry.on_devices(str(jobs.REMEMBERED))
    if kernel is None:
        return threads, 0
    seen = kernel.devices()
    kernel.use(seen[0])
    return threads, len(seen)


def layers(job: jobs.Job) -> list[AnyLayer]:
    """Of the suite that was asked for."""
    return list(suite.load(job.suite).layers)


def options(job: jobs.Job, threads: int, devices: int, cache: Cache = "hot", *, graph: bool = False) -> Options:
    """What one rank is to measure, as ``layerbench run`` would have it."""
    return Options(
        nodes=[1],
        batch=job.batch,
        scaling="strong",
        dtype=job.dtype,  # type: ignore[arg-type]
        kernels=str(jobs.REMEMBERED),
        threads_per_rank=threads,
        ranks_per_node=1,
        filter="",
        rel_error=0.01,
        max_time=job.max_time,
        max_samples=10_000,
        cache=cache,
        oversubscribe=False,
        network="this-machine",
        launcher="none",
        launcher_args="",
        hosts=[],
        timeout=120.0,
        seed=0,
        workspace=WORKSPACE,
        cuda_graph=graph,
        devices=devices,
    )


def operands(job: jobs.Job, layer: AnyLayer) -> Tensors:
    return verify.tensors(layer, job.dtype, 0, 0, job.batch)  # type: ignore[arg-type]


def ready(
    job: jobs.Job, kernel: Kernel, layer: AnyLayer, tensors: Tensors, threads: int, progress: Callable[[str], None]
) -> Ready:
    """Search, verify and prepare.

    Raises
    ------
    LayerbenchError
        If the library cannot do it, or none of its passes computes rightly.
    """
    share = Job(layer, job.batch, job.dtype, threads)  # type: ignore[arg-type]
    choices = kernel.search(share, tensors, Budget(progress=progress))
    checks = verify.verify(kernel, share, tensors, choices)
    sound = tuple(pass_ for pass_, check in checks.items() if check.ok)
    if not sound:
        raise LayerbenchError(f"{kernel.name}: every pass of {layer.name} gave a wrong result")
    return Ready(kernel, kernel.prepare(share, tensors, choices), choices, sound)


def found(job: jobs.Job, layer: AnyLayer) -> Kernel:
    """What runs a layer of those that were asked for.

    Raises
    ------
    UnavailableError
        If none can.
    """
    return registry.find(str(jobs.REMEMBERED), layer, job.dtype)  # type: ignore[arg-type]


def one_line(error: BaseException) -> str:
    """An error in one line; one that is not of layerbench with its type."""
    told = str(error) if isinstance(error, LayerbenchError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())


def plain(interval: Any) -> list[float]:
    """Median, low and high end, as JSON holds them."""
    return [float(value) for value in interval[:3]]
