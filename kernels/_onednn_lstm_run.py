"""The LSTM's passes at work: buffers, and the loops over time steps; the mathematics is in ``_onednn_lstm``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
import numpy as np

from layerbench.device import Run
from layerbench.kernel import Choice, Choices, Job, Tensors
from layerbench.layers import LSTM, Pass

from ._dnnl import Memory, aligned
from ._onednn_lstm import TO_CANONICAL, TO_KERNEL, block_length, by_gate, products, reordered
from ._onednn_plan import Operand, Plan, Problem, bind, canonical, filled, rebuild

_ONE = np.ones((), dtype=np.float32)


class Product:
    """One matrix product of a pass with the plan chosen for it."""

    def __init__(self, problems: list[Problem], choice: Choice, name: str) -> None:
        plan = msgspec.convert(choice.settings[name], Plan)
        (self.problem,) = [problem for problem in problems if problem.operation == plan.operation]
        self.pd = rebuild(self.problem, plan)
        self._scratchpad = Memory(self.pd.scratchpad)

    def weights(self, array: np.ndarray) -> Memory:
        """Weights in the layout the plan wants; they are the operand of that name."""
        (operand,) = (operand for operand in self.problem.operands if operand.name == "weights")
        return filled(operand, self.pd.desc(operand.argument), array)

    def on(self, left: np.ndarray | Memory, right: np.ndarray | Memory, result: np.ndarray) -> Run:
        """The timed call on these operands; arrays are used where they are."""
        memories = {
            operand.name: given
            if isinstance(given, Memory)
            else Memory(self.pd.desc(operand.argument), given.reshape(-1))
            for operand, given in zip(self.problem.operands, (left, right, result), strict=True)
        }
        return bind(self.problem, self.pd, memories, self._scratchpad)


def array(*sizes: int) -> np.ndarray:
    """An array of zeros of these sizes that starts on a cache line."""
    return aligned(4 * int(np.prod(sizes))).reshape(sizes)


def factors_of_gates(
    gates: np.ndarray, cell: np.ndarray, cell_tanh: np.ndarray, room: np.ndarray, factors: np.ndarray
) -> Run:
    """For some time steps, what each gate's gradient is of dh (o) or dc (i, f, g), and dc's of dh.

    Parameters
    ----------
    gates, cell, cell_tanh
        Of these steps, (steps, 4, ...), and the states, (steps, ...): cell states before the step.
    room
        For the gates in one piece each, (4, steps, ...), where they are afterwards.
    factors
        (5, steps, ...); gets the factors of o, i, f, g and dc.
    """
    source = gates.swapaxes(0, 1)
    logistic, of_logistic = room[:3], factors[:3]
    o, i, _, g = room
    of_o, of_i, of_f, of_g, of_dc = factors
    multiply, subtract, copy = np.multiply, np.subtract, np.copyto

    def run() -> None:
        copy(room, source)
        subtract(_ONE, logistic, of_logistic)
        multiply(of_logistic, logistic, of_logistic)
        multiply(of_o, cell_tanh, of_o)
        multiply(of_i, g, of_i)
        multiply(of_f, cell, of_f)
        multiply(g, g, of_g)
        subtract(_ONE, of_g, of_g)
        multiply(of_g, i, of_g)
        multiply(cell_tanh, cell_tanh, of_dc)
        subtract(_ONE, of_dc, of_dc)
        multiply(of_dc, o, of_dc)

    return run


class PreparedLSTM:
    """An LSTM with its reserve; see ``kernel.Prepared``."""

    def __init__(self, layer: LSTM, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._layer, self._batch = layer, job.batch
        steps, batch, hidden, inputs = layer.time_steps, job.batch, layer.hidden_size, layer.input_size
        self._src = array(steps, batch, inputs)
        self._src[:] = tensors["src"]
        self._diff_dst = array(steps, batch, hidden)
        self._diff_dst[:] = tensors["diff_dst"]
        # Hidden and cell states stand behind the zero state; step t reads index t and writes index t + 1.
        self._hidden = array(steps + 1, batch, hidden)
        self._cell = array(steps + 1, batch, hidden)
        self._cell_tanh = array(steps, batch, hidden)
        self._gates = array(steps, 4, batch, hidden)
        self._diff_gates = array(steps, batch, 4, hidden)
        self._diff_src = array(steps, batch, inputs)
        self._linked = {
            "src": self._src,
            "diff_dst": self._diff_dst,
            "dst": self._hidden[1:],
            "diff_src": self._diff_src,
        }
        self.gradient = aligned(4 * layer.weights)
        self._diff_input = self.gradient[: 4 * hidden * inputs]
        self._diff_hidden = self.gradient[4 * hidden * inputs :]
        named = products(layer, job.batch)

        def product(pass_: Pass, name: str) -> Product:
            return Product(named[pass_][name], choices[pass_], name)

        self.run: Mapping[Pass, Run] = {
            "forward": self._forward(product, tensors),
            "backward_data": self._backward_data(product, tensors),
            "backward_weights": self._backward_weights(product),
        }
        self.run["forward"]()
        # Backward passes may be called in any order, so the reserve they share is filled once.
        self.run["backward_data"]()

    def _forward(self, product: Callable[[Pass, str], Product], tensors: Tensors) -> Run:
        projection, logistic, tanh = (product("forward", name) for name in ("projection", "logistic", "tanh"))
        every, first_three, last = slice(0, 4), slice(0, 3), slice(3, 4)
        project = projection.on(self._src, projection.weights(by_gate(tensors["weights_input"], every)), self._gates)
        weights_logistic = logistic.weights(by_gate(tensors["weights_hidden"], first_three))
        weights_tanh = tanh.weights(by_gate(tensors["weights_hidden"], last))
        part = array(self._batch, self._layer.hidden_size)
        steps = [
            (
                logistic.on(self._hidden[t], weights_logistic, self._gates[t, first_three]),
                tanh.on(self._hidden[t], weights_tanh, self._gates[t, last]),
                *self._gates[t],
                self._cell[t],
                self._cell[t + 1],
                self._cell_tanh[t],
                self._hidden[t + 1],
            )
            for t in range(self._layer.time_steps)
        ]
        multiply, add, hyperbolic = np.multiply, np.add, np.tanh

        def run() -> None:
            project()
            for logistic_gates, tanh_gate, o, i, f, g, before, cell, cell_tanh, hidden in steps:
                logistic_gates()
                tanh_gate()
                multiply(f, before, cell)
                multiply(i, g, part)
                add(cell, part, cell)
                hyperbolic(cell, cell_tanh)
                multiply(o, cell_tanh, hidden)

        return run

    def _backward_data(self, product: Callable[[Pass, str], Product], tensors: Tensors) -> Run:
        step, last_product = product("backward_data", "step"), product("backward_data", "diff_src")
        weights = step.weights(reordered(tensors["weights_hidden"], TO_KERNEL))
        weights_input = last_product.weights(reordered(tensors["weights_input"], TO_KERNEL))
        finish = last_product.on(self._diff_gates, weights_input, self._diff_src)
        steps, batch, width = self._layer.time_steps, self._batch, self._layer.hidden_size
        length = block_length(steps, batch, width)
        diff_hidden = array(steps, batch, width)
        diff_cell, part = array(batch, width), array(batch, width)
        room = array(9, length, batch, width).reshape(-1)
        # NumPy allocates for operands that are not in one piece, except to copy them: gates are gathered for a block,
        # and the gradients of a step scattered to rows, for the products.

        def no_step_after() -> None:
            """The last time step's hidden state goes nowhere but to the output."""

        blocks = []
        for first in reversed(range(0, steps, length)):
            last = min(first + length, steps)
            every = room[: 9 * (last - first) * batch * width].reshape(9, last - first, batch, width)
            gates, factors = every[:4], every[4:]
            calls = []
            for t in reversed(range(first, last)):
                recur = no_step_after
                if t + 1 < steps:
                    recur = step.on(self._diff_gates[t + 1], weights, diff_hidden[t])
                factor = factors[:, t - first]
                calls.append(
                    (
                        recur,
                        diff_hidden[t],
                        *factor,
                        gates[2, t - first],
                        factor[:4],
                        self._diff_gates[t].swapaxes(0, 1),
                    )
                )
            block = slice(first, last)
            run_factors = factors_of_gates(
                self._gates[block], self._cell[block], self._cell_tanh[block], gates, factors
            )
            blocks.append((run_factors, calls))
        diff_dst, multiply, add, copy = self._diff_dst, np.multiply, np.add, np.copyto

        def run() -> None:
            copy(diff_hidden, diff_dst)
            diff_cell.fill(0)
            for prepare_factors, calls in blocks:
                prepare_factors()
                for recur, dh, o, i, f, g, of_dc, forget, gradients, by_row in calls:
                    recur()
                    multiply(dh, of_dc, part)
                    add(diff_cell, part, diff_cell)
                    # Each factor becomes the gradient it was a factor of.
                    multiply(o, dh, o)
                    multiply(i, diff_cell, i)
                    multiply(f, diff_cell, f)
                    multiply(g, diff_cell, g)
                    copy(by_row, gradients)
                    multiply(diff_cell, forget, diff_cell)
            finish()

        return run

    def _backward_weights(self, product: Callable[[Pass, str], Product]) -> Run:
        pairs = [
            (product("backward_weights", "weights_input"), self._src, self._diff_input),
            (product("backward_weights", "weights_hidden"), self._hidden[:-1], self._diff_hidden),
        ]
        runs = []
        self._gradients: list[tuple[Operand, Memory]] = []
        for chosen, source, result in pairs:
            operand = chosen.problem.result
            operands = (source, self._diff_gates) if operand.transposed else (self._diff_gates, source)
            runs.append(chosen.on(*operands, result))
            self._gradients.append((operand, Memory(chosen.pd.desc(operand.argument), result)))
        of_input, of_hidden = runs

        def run() -> None:
            of_input()
            of_hidden()

        return run

    def put(self, operand: Literal["src", "diff_dst"], array: np.ndarray) -> None:
        np.copyto(self._linked[operand], array)

    def take(self, result: Literal["dst", "diff_src"], out: np.ndarray) -> None:
        np.copyto(out, self._linked[result])

    def poison(self) -> None:
        for array in (self._hidden[1:], self._diff_src, self.gradient):
            array.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._hidden[1:].copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._diff_src.copy()}
        return {
            operand.name: reordered(canonical(operand, memory, shape), TO_CANONICAL)
            for (operand, memory), shape in zip(self._gradients, self._layer.weight_shapes.values(), strict=True)
        }
