"""The LSTM's passes at work: buffers, and the loops over time steps; the mathematics is in ``_onednn_lstm``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from layerbench.device import Run
from layerbench.kernel import Choice, Choices, Job, Tensors
from layerbench.layers import LSTM, Pass

from ._dnnl import Desc, Memory, PrimitiveDesc, aligned
from ._onednn_lstm import TO_CANONICAL, forward_weights, gates_reordered, products, TO_KERNEL
from ._onednn_plan import Plan, Problem, bind, canonical, filled, rebuild

_CACHED = 256 * 1024
"""Bytes of one block of time steps whose factors are computed just before they are used, so as to stay in cache."""

_ONE = np.ones((), dtype=np.float32)


class _Product:
    """One matrix product of a pass with the plan chosen for it."""

    def __init__(self, problems: list[Problem], choice: Choice, name: str) -> None:
        plan = msgspec.convert(choice.settings[name], Plan)
        (self.problem,) = [problem for problem in problems if problem.operation == plan.operation]
        self.pd: PrimitiveDesc = rebuild(self.problem, plan)
        self._scratchpad = Memory(self.pd.scratchpad)

    def weights(self, array: np.ndarray) -> Memory:
        """Weights in the layout the plan wants; they are the right operand."""
        operand = self.problem.operands[1]
        return filled(operand, self.pd.desc(operand.argument), array)

    def on(self, left: np.ndarray | Memory, right: np.ndarray | Memory, result: np.ndarray) -> Run:
        """The timed call on these operands; arrays lie by rows and are used where they are."""
        memories = {
            operand.name: value
            if isinstance(value, Memory)
            else Memory(Desc.of_layout(operand.sizes, self._layout(operand.transposed)), value.reshape(-1))
            for operand, value in zip(self.problem.operands, (left, right, result), strict=True)
        }
        return bind(self.problem, self.pd, memories, self._scratchpad)

    @staticmethod
    def _layout(is_transposed: bool) -> str:
        return "ba" if is_transposed else "ab"


def _array(*sizes: int) -> np.ndarray:
    return aligned(4 * int(np.prod(sizes))).reshape(sizes)


class PreparedLSTM:
    """An LSTM with its reserve; see ``kernel.Prepared``."""

    def __init__(self, layer: LSTM, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._layer, self._batch = layer, job.batch
        steps, batch, hidden, inputs = layer.time_steps, job.batch, layer.hidden_size, layer.input_size
        self._src = _array(steps, batch, inputs)
        self._src[:] = tensors["src"]
        self._diff_dst = _array(steps, batch, hidden)
        self._diff_dst[:] = tensors["diff_dst"]
        # Hidden and cell states stand behind the zero state; step t reads index t and writes index t + 1.
        self._hidden = _array(steps + 1, batch, hidden)
        self._cell = _array(steps + 1, batch, hidden)
        self._cell_tanh = _array(steps, batch, hidden)
        self._gates = _array(steps, batch, 4 * hidden)
        self._diff_gates = _array(steps, batch, 4 * hidden)
        self._diff_src = _array(steps, batch, inputs)
        self.gradient = aligned(4 * layer.weights)
        self._diff_input = self.gradient[: 4 * hidden * inputs]
        self._diff_hidden = self.gradient[4 * hidden * inputs :]
        named = products(layer, job.batch)

        def product(pass_: Pass, name: str) -> _Product:
            return _Product(named[pass_][name], choices[pass_], name)

        self.run: Mapping[Pass, Run] = {
            "forward": self._forward(product, tensors),
            "backward_data": self._backward_data(product, tensors),
            "backward_weights": self._backward_weights(product),
        }
        self.run["forward"]()
        # Backward passes may be called in any order, so the reserve they share is filled once.
        self.run["backward_data"]()

    def _forward(self, product: Callable[[Pass, str], _Product], tensors: Tensors) -> Run:
        projection, step = product("forward", "projection"), product("forward", "step")
        project = projection.on(
            self._src, projection.weights(forward_weights(tensors["weights_input"])), self._gates
        )
        weights = step.weights(forward_weights(tensors["weights_hidden"]))
        width = self._layer.hidden_size
        part = _array(self._batch, width)
        calls = []
        for t in range(self._layer.time_steps):
            o, i, f, g = (self._gates[t, :, gate * width : (gate + 1) * width] for gate in range(4))
            gates = step.on(self._hidden[t], weights, self._gates[t])
            calls.append(
                (gates, o, i, f, g, self._cell[t], self._cell[t + 1], self._cell_tanh[t], self._hidden[t + 1])
            )
        multiply, add, tanh = np.multiply, np.add, np.tanh

        def run() -> None:
            project()
            for gates, o, i, f, g, before, cell, cell_tanh, hidden in calls:
                gates()
                multiply(f, before, cell)
                multiply(i, g, part)
                add(cell, part, cell)
                tanh(cell, cell_tanh)
                multiply(o, cell_tanh, hidden)

        return run

    def _factors(self, first: int, last: int, through_tanh: np.ndarray) -> Run:
        """For time steps of a block: what dc and dh are multiplied by to give each gate's gradient, and dh to give dc.

        The first are left where the gate gradients will stand, in the order o, i, f, g; the second in
        ``through_tanh``.
        """
        width = self._layer.hidden_size
        gates, factors = self._gates[first:last], self._diff_gates[first:last]
        logistic, factors_logistic = gates[..., : 3 * width], factors[..., : 3 * width]
        o, i, _, g = (gates[..., gate * width : (gate + 1) * width] for gate in range(4))
        of_o, of_i, of_f, of_g = (factors[..., gate * width : (gate + 1) * width] for gate in range(4))
        before, cell_tanh = self._cell[first:last], self._cell_tanh[first:last]
        multiply, subtract = np.multiply, np.subtract

        def run() -> None:
            subtract(_ONE, logistic, factors_logistic)
            multiply(factors_logistic, logistic, factors_logistic)
            multiply(of_o, cell_tanh, of_o)
            multiply(of_i, g, of_i)
            multiply(of_f, before, of_f)
            multiply(g, g, of_g)
            subtract(_ONE, of_g, of_g)
            multiply(of_g, i, of_g)
            multiply(cell_tanh, cell_tanh, through_tanh)
            subtract(_ONE, through_tanh, through_tanh)
            multiply(through_tanh, o, through_tanh)

        return run

    def _backward_data(self, product: Callable[[Pass, str], _Product], tensors: Tensors) -> Run:
        step, last_product = product("backward_data", "step"), product("backward_data", "diff_src")
        weights = step.weights(gates_reordered(tensors["weights_hidden"], TO_KERNEL))
        finish = last_product.on(
            self._diff_gates,
            last_product.weights(gates_reordered(tensors["weights_input"], TO_KERNEL)),
            self._diff_src,
        )
        steps, batch, width = self._layer.time_steps, self._batch, self._layer.hidden_size
        length = max(1, min(steps, _CACHED // (4 * batch * 10 * width)))
        diff_hidden = _array(steps, batch, width)
        diff_cell, part = _array(batch, width), _array(batch, width)
        diff_cell_row = diff_cell[:, None, :]
        through_tanh = _array(length, batch, width)

        def no_step_after() -> None:
            """The last time step's hidden state goes nowhere but to the output."""

        blocks = []
        for first in reversed(range(0, steps, length)):
            last = min(first + length, steps)
            calls = []
            for t in reversed(range(first, last)):
                diff_gates = self._diff_gates[t].reshape(batch, 4, width)
                recur = (
                    step.on(self._diff_gates[t + 1], weights, diff_hidden[t]) if t + 1 < steps else no_step_after
                )
                forget = self._gates[t, :, 2 * width : 3 * width]
                calls.append(
                    (recur, diff_hidden[t], through_tanh[t - first], diff_gates[:, 1:], diff_gates[:, 0], forget)
                )
            blocks.append((self._factors(first, last, through_tanh[: last - first]), calls))
        diff_dst, multiply, add, copy = self._diff_dst, np.multiply, np.add, np.copyto

        def run() -> None:
            copy(diff_hidden, diff_dst)
            diff_cell.fill(0)
            for factors, calls in blocks:
                factors()
                for recur, dh, through, of_cell, of_hidden, forget in calls:
                    recur()
                    multiply(dh, through, part)
                    add(diff_cell, part, diff_cell)
                    multiply(of_cell, diff_cell_row, of_cell)
                    multiply(of_hidden, dh, of_hidden)
                    multiply(diff_cell, forget, diff_cell)
            finish()

        return run

    def _backward_weights(self, product: Callable[[Pass, str], _Product]) -> Run:
        pairs = [
            (product("backward_weights", "weights_input"), self._src, self._diff_input),
            (product("backward_weights", "weights_hidden"), self._hidden[:-1], self._diff_hidden),
        ]
        runs = []
        self._gradients = []
        for chosen, source, result in pairs:
            operands = (source, self._diff_gates) if chosen.problem.result.transposed else (self._diff_gates, source)
            operand = chosen.problem.result
            memory = Memory(Desc.of_layout(operand.sizes, "ab"), result)
            runs.append(chosen.on(*operands, memory))
            self._gradients.append((operand, memory))
        of_input, of_hidden = runs

        def run() -> None:
            of_input()
            of_hidden()

        return run

    def poison(self) -> None:
        for array in (self._hidden[1:], self._diff_src, self.gradient):
            array.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._hidden[1:].copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._diff_src.copy()}
        return {
            operand.name: gates_reordered(canonical(operand, memory, shape), TO_CANONICAL)
            for (operand, memory), shape in zip(self._gradients, self._layer.weight_shapes.values(), strict=True)
        }
