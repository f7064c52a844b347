"""Making a training step ready on all ranks: algorithms chosen and verified, layers prepared and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from layerbench import registry, verify
from layerbench.collectives import Ranks, agreed, on_rank_0
from layerbench.device import Host
from layerbench.errors import KernelError, OutOfMemoryError, UnavailableError, UsageError, VerificationError
from layerbench.kernel import Budget, Choices, Job, Kernel, PreparedLinked, Tensors
from layerbench.layers import ITEMSIZE, AnyLayer, DType, SplitLSTM
from layerbench.training_step import TrainingStep, scratch_elements
from layerbench.units import size

T = TypeVar("T")

_ARRAYS: dict[DType, str] = {"fp64": "float64", "fp16": "float16"}
"""What canonical arrays are of; float32 where nothing is said, as :func:`layerbench.verify.tensors` has it."""


def memory_needed(layers: Sequence[AnyLayer], batch: int, dtype: DType) -> int:
    """Least memory in bytes that a step takes on a rank with so many samples.

    All layers with their gradients, room for what goes from one to the next, and the operands of the layer that is just
    being prepared. The batches themselves are not counted.
    """
    passed = sum(scratch_elements(layers, batch)) * ITEMSIZE[dtype]
    kept = sum(layer.operand_bytes(batch, dtype) for layer in layers)
    return kept + passed + max((layer.bytes(batch, dtype) for layer in layers), default=0)


def prepare_step(
    layers: Sequence[AnyLayer],
    batch: int,
    ranks: Ranks,
    *,
    dtype: DType = "fp32",
    threads: int = 1,
    kernels_name: str = "auto",
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> TrainingStep:
    """Make a step ready on every rank; all of them call this together.

    Rank 0 chooses the algorithms and compares them with the float64 reference, and the others take its choices, so that
    gradients are laid out alike. Weights are the same on every rank.

    Parameters
    ----------
    batch
        Samples of this rank; at least one.
    threads
        That a rank computes with.
    kernels_name
        ``auto``, or a kernel's name or file.
    seed
        Of the weights.
    budget
        What the search for algorithms may spend on each pass.
    progress
        Told what is being done.

    Raises
    ------
    UsageError
        If there are no layers, or a rank has no samples.
    UnavailableError
        If no kernel can run a layer in a network, or layers would run on different devices.
    OutOfMemoryError
        If memory is too small; several ranks on one machine have to share it, which the caller sees to.
    VerificationError
        If a pass gives a wrong result.
    KernelError
        If a kernel fails, or ranks lay out their gradients differently.
    """

    def found_kernels() -> list[Kernel]:
        if not layers:
            raise UsageError("a training step needs at least one layer; choose some with --filter")
        if batch < 1:
            raise UsageError(f"rank {ranks.rank} has no samples: raise --batch or use fewer nodes")
        if dtype == "int8":
            raise UsageError("gradients are no whole numbers: a training step needs another --dtype than int8")
        return [registry.find(kernels_name, layer, dtype, linked=True) for layer in layers]

    found = agreed(ranks, found_kernels)
    device = found[0].device()
    agreed(ranks, lambda: _check(layers, batch, dtype, found))
    prepared: list[PreparedLinked] = []
    for index, (layer, kernel) in enumerate(zip(layers, found, strict=True)):
        made = _prepare_layer(Job(layer, batch, dtype, threads), kernel, ranks, seed + index, budget, progress)
        prepared.append(made)
    _check_gradients(layers, prepared, ranks)
    return agreed(ranks, lambda: TrainingStep(layers, prepared, batch, np.dtype(_ARRAYS.get(dtype, "float32")), device))


def _check(layers: Sequence[AnyLayer], batch: int, dtype: DType, found: Sequence[Kernel]) -> None:
    """Refuse what cannot work before anything is allocated."""
    device = found[0].device()
    for layer, kernel in zip(layers, found, strict=True):
        if kernel.device().name != device.name:
            raise UnavailableError(
                f"{layers[0].name} would run on {device.name} by {found[0].name} and {layer.name} on "
                f"{kernel.device().name} by {kernel.name}, but a network has to be on one: choose with --kernels"
            )
    if dtype == "bf16" and device.name != Host.name:
        # Neither NumPy nor what arrays on a device are made with has the type: batches could not be cast to it there.
        raise UnavailableError(f"a training step in bf16 runs on the processor only, not on {device.name}: use fp16")
    needed, free = memory_needed(layers, batch, dtype), device.free_memory()
    if needed > free:
        raise OutOfMemoryError(
            f"a training step of {len(layers)} layers with {batch} samples needs {size(needed)} of memory and "
            f"{size(free)} are free: lower --batch or use more nodes"
        )


def _prepare_layer(
    job: Job, kernel: Kernel, ranks: Ranks, seed: int, budget: Budget | None, progress: Callable[[str], None]
) -> PreparedLinked:
    layer = job.layer
    assert not isinstance(layer, SplitLSTM)
    progress(f"{layer.name}: operands")
    operands = agreed(ranks, lambda: verify.tensors(layer, job.dtype, seed, 0, job.batch))
    allowed = replace(budget or Budget(), progress=lambda what: progress(f"{layer.name}: trying {what}"))
    choices = on_rank_0(ranks, lambda: kernel.search(job, operands, allowed))
    progress(f"{layer.name}: verifying")
    on_rank_0(ranks, lambda: _verify(kernel, job, operands, choices))
    progress(f"{layer.name}: preparing")
    return cast(PreparedLinked, agreed(ranks, lambda: kernel.prepare(job, operands, choices)))


def _check_gradients(layers: Sequence[AnyLayer], prepared: Sequence[PreparedLinked], ranks: Ranks) -> None:
    """See that ranks have laid out alike what they are to add up; every rank finds out the same."""
    of_ranks = ranks.all_gather([each.gradient.size for each in prepared])
    for layer, sizes in zip(layers, zip(*of_ranks, strict=True), strict=True):
        if len(set(sizes)) > 1:
            raise KernelError(
                f"{layer.name}: ranks are to add up gradients that the kernel lays out in {min(sizes)} elements on one "
                f"and {max(sizes)} on another; choose another with --kernels"
            )


def _verify(kernel: Kernel, job: Job, operands: Tensors, choices: Choices) -> bool:
    for pass_, check in verify.verify(kernel, job, operands, choices).items():
        if not check.ok:
            raise VerificationError(
                f"{job.layer.name}: {pass_} by {kernel.name}'s {choices[pass_].algorithm} has a relative error of "
                f"{check.relative_error:.2g}, allowed are {check.limit:.2g}: choose another with --kernels"
            )
    return True
