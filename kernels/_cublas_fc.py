"""Fully connected layers as matrix products of cuBLASLt.

Canonical arrays are row-major, cuBLASLt's matrices column-major. A row-major array of (r, c) read by columns is its
transpose: a matrix of c rows and r columns whose columns lie c apart. So with src (N, I), weights (O, I) and
diff_dst (N, O), cuBLASLt sees src' = srcᵀ (I, N), weights' = weightsᵀ (I, O) and diff_dst' = diff_dstᵀ (O, N), and
must write the transposes of the results::

    dst'          = (src weightsᵀ)ᵀ   = weights srcᵀ       = weights'ᵀ src'       (O, N), summed over I
    diff_src'     = (diff_dst weights)ᵀ = weightsᵀ diff_dstᵀ = weights' diff_dst'   (I, N), summed over O
    diff_weights' = (diff_dstᵀ src)ᵀ  = srcᵀ diff_dst      = src' diff_dst'ᵀ      (I, O), summed over N

No operand is transposed in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from layerbench.cuda import library
from layerbench.device import Device, Run
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Choices, Job, Tensors
from layerbench.layers import FC, PASSES, DType, Pass

from . import _cuda_arrays as arrays
from ._cublas_lt import Algorithm, Matrix, Product, version, version_text
from ._search import fastest

OPERANDS: dict[Pass, tuple[str, str, str]] = {
    "forward": ("weights", "src", "dst"),
    "backward_data": ("weights", "diff_dst", "diff_src"),
    "backward_weights": ("src", "diff_dst", "diff_weights"),
}
"""A, B and D of each pass."""

_TRANSPOSED: dict[Pass, tuple[bool, bool]] = {
    "forward": (True, False),
    "backward_data": (False, False),
    "backward_weights": (False, True),
}

RACE_SECONDS, RACE_CALLS = 2e-4, 20
"""A candidate is timed over so many seconds of calls in a row, and so many calls at most: an event is half a µs."""


def _shapes(layer: FC, batch: int) -> dict[str, tuple[int, ...]]:
    """Canonical shapes of operands and results."""
    src, dst, weights = layer.input_shape(batch), layer.output_shape(batch), layer.weight_shapes["weights"]
    return {
        "src": src,
        "weights": weights,
        "diff_dst": dst,
        "dst": dst,
        "diff_src": src,
        "diff_weights": weights,
    }


def product(layer: FC, batch: int, dtype: DType, pass_: Pass) -> Product:
    """The product that a pass is."""
    shapes = _shapes(layer, batch)
    (a, b, d), (a_transposed, b_transposed) = OPERANDS[pass_], _TRANSPOSED[pass_]

    def seen(name: str, transposed: bool = False) -> Matrix:
        rows, columns = shapes[name]
        return Matrix(columns, rows, transposed)

    return Product(dtype, seen(a, a_transposed), seen(b, b_transposed), seen(d))


def _allocated(layer: FC, job: Job, tensors: Tensors) -> dict[str, Any]:
    """Operands on the device, and poisoned results."""
    held: dict[str, Any] = {}
    for name, shape in _shapes(layer, job.batch).items():
        if name in tensors:
            held[name] = arrays.to_device(tensors[name], job.dtype)
        else:
            held[name] = arrays.empty(shape, job.dtype)
            arrays.poison(held[name], job.dtype)
    return held


def _workspace(algorithms: list[Algorithm]) -> Any:
    """Scratch memory for the one that needs most; at least a byte, so that it has an address."""
    nbytes = max([1, *(algorithm.workspace for algorithm in algorithms)])
    return library.load().empty(nbytes, np.uint8)


def search(layer: FC, job: Job, tensors: Tensors, budget: Budget, device: Device) -> dict[Pass, Choice]:
    """The fastest algorithm for each pass, of all that the heuristics offer and that run.

    Raises
    ------
    KernelError
        If none runs, with the first one's reason.
    """
    held = _allocated(layer, job, tensors)
    return {pass_: _raced(layer, job, pass_, held, budget, device) for pass_ in PASSES}


def _raced(layer: FC, job: Job, pass_: Pass, held: Mapping[str, Any], budget: Budget, device: Device) -> Choice:
    label = f"cublas: {layer.name} {pass_}"
    described = product(layer, job.batch, job.dtype, pass_)
    try:
        offered = described.offered(min(budget.workspace, device.free_memory()))
    except KernelError as error:
        raise KernelError(f"{label}: {error}") from error
    workspace = _workspace(offered)
    matrices = [held[name] for name in OPERANDS[pass_]]
    runs: dict[str, Run] = {}
    named: dict[str, Algorithm] = {}
    refusal: KernelError | None = None
    for algorithm in offered:
        run = described.bound(algorithm, matrices, workspace)
        budget.progress(label)
        try:
            run()
            device.synchronize()
        except KernelError as error:
            refusal = refusal or error
            continue
        name = described.named(algorithm)
        if name in runs:
            name = f"{name}, variant {len(runs)}"
        runs[name], named[name] = run, algorithm
    if not runs:
        raise KernelError(f"{label}: none of {len(offered)} algorithms runs: {refusal}") from refusal
    seconds = device.time_parts([next(iter(runs.values()))], 1)[0]
    calls = max(1, min(RACE_CALLS, math.ceil(RACE_SECONDS / max(seconds, 1e-9))))
    winner = fastest({name: _repeated(run, calls) for name, run in runs.items()}, device, budget)
    return Choice(
        algorithm=winner,
        settings={"algorithm": named[winner].data.hex(), "version": version()},
        workspace_bytes=named[winner].workspace,
        tried=len(runs),
    )


def _repeated(run: Run, calls: int) -> Run:
    def repeated() -> None:
        for _ in range(calls):
            run()

    return repeated


class PreparedFC:
    """A fully connected layer with each pass bound to its memory; see ``kernel.PreparedLinked``.

    Every pass runs once, so that what refuses these sizes only when it runs is told now.
    """

    def __init__(self, layer: FC, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._dtype = job.dtype
        self._held = held = _allocated(layer, job, tensors)
        products = {pass_: product(layer, job.batch, job.dtype, pass_) for pass_ in PASSES}
        algorithms: dict[Pass, Algorithm] = {}
        for pass_ in PASSES:
            try:
                algorithms[pass_] = products[pass_].checked(_chosen(choices[pass_]))
            except KernelError as error:
                raise KernelError(f"cublas: {layer.name} {pass_}: {error}") from error
        workspace = _workspace(list(algorithms.values()))
        self.run: Mapping[Pass, Run] = {
            pass_: products[pass_].bound(algorithms[pass_], [held[name] for name in OPERANDS[pass_]], workspace)
            for pass_ in PASSES
        }
        self.gradient: Any = held["diff_weights"].reshape(-1)
        for pass_, run in self.run.items():
            try:
                run()
            except KernelError as error:
                raise KernelError(f"cublas: {layer.name} {pass_}: {error}") from error

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        library.load().copyto(self._held[operand], array)

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        library.load().copyto(out, self._held[result])

    def poison(self) -> None:
        for _, _, result in OPERANDS.values():
            arrays.poison(self._held[result], self._dtype)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        name = OPERANDS[pass_][2]
        return {name: arrays.to_host(self._held[name], self._dtype)}


def _chosen(choice: Choice) -> bytes:
    """The algorithm of a choice, which may have been made on another host.

    Raises
    ------
    KernelError
        If another version of the library made it, whose bytes mean something else.
    """
    made, here = int(choice.settings["version"]), version()
    if made != here:
        raise KernelError(
            f"the algorithm was chosen by cuBLASLt {version_text(made)}, and here is {version_text(here)}: "
            "install the same version on every host"
        )
    return bytes.fromhex(choice.settings["algorithm"])
