"""LSTM built from oneDNN's matmul, so that its backward passes can be timed apart.

oneDNN's own LSTM primitive computes the gradients of data and weights in one fused call and keeps its state to
itself. Here, as in cuDNN, ``forward`` leaves gates and cell states in a reserve, ``backward_data`` reads it and
leaves the gate gradients there, and ``backward_weights`` is two matrix products over all time steps.

With gates o, i, f (logistic) and g (tanh), and a(t) the gates before activation:

    forward             a(t) = Wx x(t) + Wh h(t-1);  c(t) = f c(t-1) + i g;  h(t) = o tanh c(t)
    backward_data       dh(t) = diff_dst(t) + Wh^T da(t+1);  dc(t) = f(t+1) dc(t+1) + dh(t) o (1 - tanh² c(t))
                        da(t) = (dh tanh(c) o(1-o),  dc g i(1-i),  dc c(t-1) f(1-f),  dc i (1-g²))
                        diff_src(t) = Wx^T da(t)
    backward_weights    dWx = Σ da(t) x(t)^T;  dWh = Σ da(t) h(t-1)^T

See Hochreiter and Schmidhuber, Long short-term memory (1997), with the forget gate of Gers et al. (2000). Products
that do not depend on the step before are done for all time steps at once. A step's own products add the input's share
and apply the activation as post-operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import LSTM, Pass, SplitLSTM

from ._dnnl import ELTWISE_LOGISTIC, ELTWISE_TANH, Attributes, PostOps
from ._onednn_fc import COLUMNS, ROWS, matmul, transposed
from ._onednn_plan import OPAQUE, Operand, Problem
from ._onednn_race import Values, race

TO_KERNEL, TO_CANONICAL = (3, 0, 1, 2), (1, 2, 3, 0)
"""Where each gate of this kernel's order (o, i, f, g) stands in the canonical (i, f, g, o), and the reverse.

The gates whose gradient is a multiple of dc stand together, and so do those that are logistic.
"""

_CACHED = 256 * 1024
"""Bytes of the block of time steps that backward_data works on at a time."""

Products = dict[str, list[Problem]]


def reordered(weights: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Rows of a (4 H, X) matrix with its gates in another order, as a new array."""
    gates = weights.reshape(4, -1, weights.shape[1])
    return np.ascontiguousarray(gates[list(order)].reshape(weights.shape))


def by_gate(weights: np.ndarray, gates: slice) -> np.ndarray:
    """Weights of some of this kernel's gates, from (4 H, X) to what a gate's input is multiplied by: (gates, X, H)."""
    return reordered(weights, TO_KERNEL).reshape(4, -1, weights.shape[1])[gates].transpose(0, 2, 1)


def activated(function: int) -> Attributes:
    """Add the input's share, which is in the result's place already, and activate."""
    return Attributes(PostOps().sum().eltwise(function))


def products(layer: LSTM, batch: int) -> dict[Pass, Products]:
    """The matrix products of each pass by name, each with the problems that compute it.

    In ``forward`` each gate's (N, H) lies in one piece, for the element-wise part of a step. The gate gradients lie
    by rows (N, 4 H), for the products that sum over all gates.
    """
    steps, inputs, hidden = layer.time_steps, layer.input_size, layer.hidden_size

    def matrices(name: str, *sizes: int) -> Operand:
        return Operand(name, 0, sizes)

    def product(left: Operand, right: Operand, result: Operand, attributes: Attributes | None = None) -> list[Problem]:
        return [matmul(left, right, result, attributes=attributes, layouts=((ROWS,), (OPAQUE, ROWS, COLUMNS)))]

    def gates(name: str, count: int, function: int) -> list[Problem]:
        return product(
            matrices("hidden", 1, batch, hidden),
            matrices("weights", count, hidden, hidden),
            matrices(name, count, batch, hidden),
            activated(function),
        )

    rows = steps * batch
    diff_gates = matrices("diff_gates", rows, 4 * hidden)
    return {
        "forward": {
            "projection": product(
                matrices("src", steps, 1, batch, inputs),
                matrices("weights", 1, 4, inputs, hidden),
                matrices("gates", steps, 4, batch, hidden),
            ),
            "logistic": gates("gates", 3, ELTWISE_LOGISTIC),
            "tanh": gates("gates", 1, ELTWISE_TANH),
        },
        "backward_data": {
            "step": product(
                matrices("diff_gates", batch, 4 * hidden),
                matrices("weights", 4 * hidden, hidden),
                matrices("diff_hidden", batch, hidden),
                Attributes(PostOps().sum()),
            ),
            "diff_src": product(
                diff_gates, matrices("weights", 4 * hidden, inputs), matrices("diff_src", rows, inputs)
            ),
        },
        "backward_weights": {
            "weights_input": _of_rows(diff_gates, matrices("src", rows, inputs), "diff_weights_input"),
            "weights_hidden": _of_rows(diff_gates, matrices("hidden", rows, hidden), "diff_weights_hidden"),
        },
    }


def _of_rows(diff_gates: Operand, source: Operand, result: str) -> list[Problem]:
    """A weight gradient ``diff_gates^T source``, or its transpose, of operands that both lie by rows."""
    gradient = Operand(result, 0, (diff_gates.sizes[1], source.sizes[1]))
    # What lies by rows lies by columns for a product that takes its transpose, which is the left operand both times.
    layouts = ((COLUMNS,), (ROWS,))
    return [
        matmul(transposed(diff_gates), source, gradient, layouts=layouts),
        matmul(transposed(source), diff_gates, transposed(gradient), operation="transposed matmul", layouts=layouts),
    ]


def block_length(steps: int, batch: int, units: int) -> int:
    """Time steps whose backward factors are computed at once, just before they are used, so as to stay in cache."""
    # A step gathers four gates, reads two states and writes five factors of (N, H) float32.
    return max(1, min(steps, _CACHED // (4 * batch * 15 * units)))


def reserve_bytes(layer: LSTM, batch: int) -> dict[Pass, int]:
    """Memory each pass keeps beside its operands; what passes share counts for the one that writes it."""
    state = 4 * batch * layer.hidden_size
    forward = layer.time_steps * 6 + 2  # gates, c and tanh c, the zero state, and a step's product
    # Gate gradients, dh; dc; a block.
    backward_data = layer.time_steps * 5 + 2 + 9 * block_length(layer.time_steps, batch, layer.hidden_size)
    return {"forward": forward * state, "backward_data": backward_data * state, "backward_weights": 0}


def _values(layer: LSTM | SplitLSTM) -> Values:
    """Small normal values for every operand, so that activations do not saturate."""
    values = np.random.default_rng(0).standard_normal(2**16, dtype=np.float32) / np.float32(math.sqrt(layer.fan_in))
    return lambda _: values


def search(layer: LSTM, job: Job, budget: Budget) -> dict[Pass, Choice]:
    """The fastest plan for each product of each pass.

    Raises
    ------
    KernelError
        If the workspace allowed is too small.
    """
    return race_products(layer, products(layer, job.batch), reserve_bytes(layer, job.batch), budget)


def race_products(
    layer: LSTM | SplitLSTM, of_passes: Mapping[Pass, Products], reserve: Mapping[Pass, int], budget: Budget
) -> dict[Pass, Choice]:
    """The fastest plan for each of these products; ``reserve`` is what a pass keeps beside them, in bytes."""
    values = _values(layer)
    choices: dict[Pass, Choice] = {}
    for pass_, named in of_passes.items():
        check_workspace(f"{layer.name} {pass_}", reserve[pass_], budget)
        winners = {
            name: race(problems, values, budget, f"{layer.name} {pass_} {name}") for name, problems in named.items()
        }
        choices[pass_] = Choice(
            algorithm="; ".join(f"{name} by {winner.plan.algorithm}" for name, winner in winners.items()),
            settings={name: winner.plan.settings for name, winner in winners.items()},
            workspace_bytes=reserve[pass_] + sum(winner.workspace_bytes for winner in winners.values()),
            tried=sum(winner.tried for winner in winners.values()),
        )
    return choices


def check_workspace(label: str, needed: int, budget: Budget) -> None:
    """Raise KernelError if a pass needs more than the workspace allowed."""
    if needed > budget.workspace:
        raise KernelError(f"{label}: needs {needed} bytes of workspace, and {budget.workspace} are allowed")
