"""Operands, and the comparison of every pass with the float64 reference before it is timed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from layerbench.errors import KernelError, VerificationError
from layerbench.kernel import Choices, Job, Kernel, Prepared, Tensors
from layerbench.layers import PASSES, DType, Layer, Pass, Shape

_INT8_DEVIATION = 32.0
"""Standard deviation of int8 operands: the range is four of them, and one value in eighty rounds to zero."""

FEW = 2
"""Samples that passes are verified with, unless their algorithms refuse so few."""

_BLOCK = 2**18
"""Values compared at a time."""


@dataclass(frozen=True)
class Verification:
    """How far a pass is from the reference: ``ok`` if ``relative_error`` is within ``limit``.

    ``relative_error`` is ‖out - ref‖ / ‖ref‖ over all results of the pass, infinite if any value is not a
    number. ``batch`` is the number of samples it was tried with.
    """

    relative_error: float
    limit: float
    ok: bool
    batch: int


def tensors(layer: Layer, dtype: DType, seed: int, start: int, stop: int) -> dict[str, np.ndarray]:
    """Operands of samples ``start`` to ``stop`` of the global batch: seeded normal values.

    Every sample has a random stream of its own, so a rank's share is the same slice of the batch however many
    ranks there are. Weights have one stream, are the same on every rank, and are scaled by 1 / sqrt(fan-in)
    so that outputs keep the inputs' variance.

    Returns
    -------
    dict of ndarray
        ``src``, the layer's weights by name, and ``diff_dst``; canonical layout. NumPy has no bf16: such
        operands are float32 arrays whose values bf16 holds exactly.
    """

    def stream(*key: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))

    drawn = np.float64 if dtype == "fp64" else np.float32

    def samples(operand: int, shape: Callable[[int], Shape]) -> np.ndarray:
        axis = _batch_axis(shape)
        values = np.empty((stop - start, *shape(1)[:axis], *shape(1)[axis + 1 :]), drawn)
        for sample, out in enumerate(values, start):
            stream(operand, sample).standard_normal(out=out, dtype=drawn)
        return np.ascontiguousarray(np.moveaxis(_rounded(values, dtype), 0, axis))

    operands = {"src": samples(0, layer.input_shape)}
    # Scaled integers would be mostly zeros, which some chips multiply faster.
    scale = 1.0 if dtype == "int8" else layer.fan_in**-0.5
    for operand, (name, shape) in enumerate(layer.weight_shapes.items(), 2):
        weights = stream(operand).standard_normal(shape, dtype=drawn)
        weights *= scale
        operands[name] = _rounded(weights, dtype)
    operands["diff_dst"] = samples(1, layer.output_shape)
    return operands


def _batch_axis(shape: Callable[[int], Shape]) -> int:
    """The axis of a canonical shape that the batch decides."""
    return next(axis for axis, (one, two) in enumerate(zip(shape(1), shape(2), strict=True)) if one != two)


def _rounded(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Values as the dtype holds them; tf32 is float32 in memory and rounded by the chip."""
    if dtype == "fp16":
        return values.astype(np.float16)
    if dtype == "int8":
        return np.rint(values * _INT8_DEVIATION).clip(-127, 127).astype(np.int8)
    if dtype == "bf16":
        # Round to nearest, ties to even, on the bits: bf16 is the upper half of a float32.
        bits = values.view(np.uint32)
        bits += 0x7FFF + (bits >> 16 & 1)
        bits &= 0xFFFF0000
    return values


def verify(kernel: Kernel, job: Job, operands: Tensors, choices: Choices) -> dict[Pass, Verification]:
    """Compare every pass of the chosen algorithms with the float64 reference.

    The layer is prepared with the first few samples of the operands, or with all of them if the algorithms refuse so
    few. Before each
    pass all results are poisoned with NaN, and for a backward pass a training forward is run again, whose
    output may be its state; so nothing that an earlier call left behind can pass for a result.

    Raises
    ------
    KernelError
        If the kernel cannot prepare or run the layer.
    VerificationError
        If results have other names or shapes than the contract gives them.
    """
    # The package's folder mapping hides kernels/ from static analysis, so it is imported by name.
    reference = importlib.import_module("layerbench.kernels.reference").reference
    small, operands, prepared = _prepare_small(kernel, job, operands, choices)
    verifications: dict[Pass, Verification] = {}
    for pass_ in PASSES:
        prepared.poison()
        if pass_ != "forward":
            prepared.run["forward"]()
        prepared.run[pass_]()
        kernel.device().synchronize()
        expected = reference(job.layer, pass_, operands)
        error = relative_error(kernel.name, job.layer.name, prepared.results(pass_), expected)
        limit = kernel.error_limit(job.dtype, choices[pass_])
        verifications[pass_] = Verification(error, limit, error <= limit, small.batch)
    return verifications


def _prepare_small(kernel: Kernel, job: Job, operands: Tensors, choices: Choices) -> tuple[Job, Tensors, Prepared]:
    small = replace(job, batch=min(FEW, job.batch))
    few = _first(job.layer, operands, small.batch)
    try:
        return small, few, kernel.prepare(small, few, choices)
    except KernelError:
        if small.batch == job.batch:
            raise
    return job, operands, kernel.prepare(job, operands, choices)


def _first(layer: Layer, operands: Tensors, samples: int) -> Tensors:
    """The operands of the first samples of a batch."""
    shapes = {"src": layer.input_shape, "diff_dst": layer.output_shape}
    few = {
        name: np.ascontiguousarray(operands[name].take(range(samples), axis=_batch_axis(shape)))
        for name, shape in shapes.items()
    }
    return {**operands, **few}


def relative_error(
    kernel: str, layer: str, results: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> float:
    """‖out - ref‖ / ‖ref‖ over all tensors together; infinite where a value is not finite."""
    came = {name: result.shape for name, result in results.items()}
    wanted = {name: result.shape for name, result in expected.items()}
    if came != wanted:
        raise VerificationError(f"{kernel}: {layer}: results must be {wanted}, not {came}: mend the kernel's results()")
    squares = [_squares(results[name].reshape(-1), expected[name].reshape(-1)) for name in expected]
    difference, norm = (math.sqrt(sum(column)) for column in zip(*squares, strict=True))
    if difference == 0:
        return 0.0
    error = difference / norm if norm else math.inf
    return error if math.isfinite(error) else math.inf


def _squares(result: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """‖out - ref‖² and ‖ref‖², block by block, so that a large tensor needs no third of its size."""
    difference = norm = 0.0
    for start in range(0, len(expected), _BLOCK):
        block = expected[start : start + _BLOCK]
        away = result[start : start + _BLOCK] - block
        difference += float(away @ away)
        norm += float(block @ block)
    return difference, norm
