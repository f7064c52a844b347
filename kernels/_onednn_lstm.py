"""LSTM built from oneDNN's matmul, so that its backward passes can be timed apart.

oneDNN's own LSTM primitive computes the gradients of data and weights in one fused call and keeps its state to
itself. Here, as in cuDNN, ``forward`` leaves gates and cell states in a reserve, ``backward_data`` reads it and
leaves the gate gradients there, and ``backward_weights`` is two matrix products over all time steps.

With gates o, i, f, g in that order (logistic but for g, which is tanh), ``a`` the gates before activation, and
W = weights:

    forward             a(t) = x(t) Wx^T + h(t-1) Wh^T;  c(t) = f c(t-1) + i g;  h(t) = o tanh c(t)
    backward_data       dh(t) = diff_dst(t) + da(t+1) Wh;  dc(t) = f(t+1) dc(t+1) + dh(t) o (1 - tanh² c(t))
                        do = dh tanh(c) o(1-o);  di = dc g i(1-i);  df = dc c(t-1) f(1-f);  dg = dc i (1-g²)
                        diff_src = da Wx
    backward_weights    dWx = Σ da(t)^T x(t);  dWh = Σ da(t)^T h(t-1)

See Hochreiter and Schmidhuber, Long short-term memory (1997), with the forget gate of Gers et al. (2000). The
products that do not depend on the step before are done for all time steps at once. Each step is one product whose
post-operations add the input's share and apply the logistic function to all gates; tanh x = 2 logistic(2x) - 1 turns
the cell gate's, whose weights are doubled for it, into its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import LSTM, Pass

from ._dnnl import BINARY_ADD, BINARY_MUL, Attributes, Desc, Memory, PostOps, binary_operand
from ._onednn_fc import both_ways, matmul, transposed
from ._onednn_plan import Operand, Problem
from ._onednn_race import race

TO_KERNEL, TO_CANONICAL = (3, 0, 1, 2), (1, 2, 3, 0)
"""Where each gate of this kernel's order (o, i, f, g) stands in the canonical (i, f, g, o), and the reverse.

The gates whose gradient is a multiple of dc stand together, and so do those that are logistic.
"""

Products = dict[str, list[Problem]]


def gates_reordered(weights: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Rows of a (4 H, X) matrix with its gates in another order, as a new array."""
    return np.ascontiguousarray(weights.reshape(4, -1, weights.shape[1])[list(order)].reshape(weights.shape))


def forward_weights(weights: np.ndarray) -> np.ndarray:
    """Weights as the forward pass multiplies them: this kernel's gate order, the cell gate doubled."""
    reordered = gates_reordered(weights, TO_KERNEL)
    reordered[3 * len(weights) // 4 :] *= 2
    return reordered


def _activation(hidden: int) -> tuple[Attributes, dict[int, Memory]]:
    """Post-operations of a step's product: add the input's share, then logistic, or tanh for the cell gate."""
    row = Desc.of_layout((1, 4 * hidden), "ab")
    scale, shift = Memory(row), Memory(row)
    scale.buffer[:] = 1
    scale.buffer[3 * hidden :] = 2
    shift.buffer[3 * hidden :] = -1
    post_ops = PostOps().sum().logistic().binary(BINARY_MUL, row).binary(BINARY_ADD, row)
    return Attributes(post_ops), {binary_operand(2): scale, binary_operand(3): shift}


def products(layer: LSTM, batch: int) -> dict[Pass, Products]:
    """The matrix products of each pass by name, each with the problems that compute it.

    Operands are rows of all time steps, or of one: ``src`` (TN, I), ``hidden`` (TN, H), ``gates`` and
    ``diff_gates`` (TN, 4H), with N for TN in ``step``.
    """
    steps, inputs, hidden = layer.time_steps * batch, layer.input_size, layer.hidden_size

    def rows(name: str, count: int, width: int) -> Operand:
        return Operand(name, 0, (count, width))

    by_rows = {"left_layouts": ("ab",)}
    weights_input = rows("weights_input", 4 * hidden, inputs)
    weights_hidden = rows("weights_hidden", 4 * hidden, hidden)
    activation, constants = _activation(hidden)
    forward = {
        "projection": [
            matmul(rows("src", steps, inputs), transposed(weights_input), rows("gates", steps, 4 * hidden), **by_rows)
        ],
        "step": [
            matmul(
                rows("hidden", batch, hidden),
                transposed(weights_hidden),
                rows("gates", batch, 4 * hidden),
                attributes=activation,
                constants=constants,
                **by_rows,
            )
        ],
    }
    diff_gates = rows("diff_gates", steps, 4 * hidden)
    backward_data = {
        "step": [
            matmul(
                rows("diff_gates", batch, 4 * hidden),
                weights_hidden,
                rows("diff_hidden", batch, hidden),
                attributes=Attributes(PostOps().sum()),
                **by_rows,
            )
        ],
        "diff_src": [matmul(diff_gates, weights_input, rows("diff_src", steps, inputs), **by_rows)],
    }
    gradients = {
        "weights_input": _both_rows(diff_gates, rows("src", steps, inputs), "diff_weights_input"),
        "weights_hidden": _both_rows(diff_gates, rows("hidden", steps, hidden), "diff_weights_hidden"),
    }
    return {"forward": forward, "backward_data": backward_data, "backward_weights": gradients}


def _both_rows(diff_gates: Operand, source: Operand, result: str) -> list[Problem]:
    """A weight gradient, as matmul or transposed matmul of operands that both lie by rows."""
    found = both_ways(
        transposed(diff_gates), source, Operand(result, 0, (diff_gates.sizes[1], source.sizes[1]))
    )
    # An operand that the primitive sees transposed lies by columns for it.
    return [
        Problem(
            problem.operation,
            problem.operands,
            problem.create,
            (tuple("ba" if operand.transposed else "ab" for operand in problem.operands[:2]) + ("ab",),),
        )
        for problem in found
    ]


def reserve_bytes(layer: LSTM, batch: int) -> dict[Pass, int]:
    """Memory each pass keeps beside its operands: the reserve to the pass that writes it."""
    row = 4 * batch * layer.hidden_size
    forward = layer.time_steps * 6 * row + row  # gates, tanh c, and c with the zero state before it
    backward_data = layer.time_steps * 5 * row + (3 + layer.time_steps) * row  # gate gradients, dh, and a step's own
    return {"forward": forward, "backward_data": backward_data, "backward_weights": 0}


def _filler(layer: LSTM) -> Callable[[Operand, Desc], Memory]:
    generator = np.random.default_rng(0)

    def fill(_: Operand, desc: Desc) -> Memory:
        memory = Memory(desc)
        memory.buffer[:] = generator.standard_normal(memory.buffer.size, dtype=np.float32) / math.sqrt(layer.fan_in)
        return memory

    return fill


def search(layer: LSTM, job: Job, budget: Budget) -> dict[Pass, Choice]:
    """The fastest plan for each product of each pass.

    Raises
    ------
    KernelError
        If the workspace allowed is too small.
    """
    fill, reserve = _filler(layer), reserve_bytes(layer, job.batch)
    choices: dict[Pass, Choice] = {}
    for pass_, named in products(layer, job.batch).items():
        check_workspace(f"{layer.name} {pass_}", reserve[pass_], budget)
        winners = {
            name: race(problems, fill, budget, f"{layer.name} {pass_} {name}") for name, problems in named.items()
        }
        choices[pass_] = Choice(
            algorithm="; ".join(f"{name} by {winner.plan.algorithm}" for name, winner in winners.items()),
            settings={name: msgspec.to_builtins(winner.plan) for name, winner in winners.items()},
            workspace_bytes=reserve[pass_] + sum(winner.workspace_bytes for winner in winners.values()),
            tried=sum(winner.tried for winner in winners.values()),
        )
    return choices


def check_workspace(label: str, needed: int, budget: Budget) -> None:
    """Raise KernelError if a pass needs more than the workspace allowed."""
    if needed > budget.workspace:
        raise KernelError(f"{label}: needs {needed} bytes of workspace, and {budget.workspace} are allowed")
