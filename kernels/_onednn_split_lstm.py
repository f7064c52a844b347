"""Some units of an LSTM from oneDNN's matmul, cut into segments where ranks exchange its state.

The mathematics is that of ``_onednn_lstm``, with its order of gates. States lie with units first, (units, N): the own
units' are then one piece of the state of all, (H, N), as ranks gather it, and the next time step multiplies it where it
is. Weights are the left operand of every product with them. In ``backward_data`` a time step gives, of the gradient of
all hidden states before it, what comes by way of the own units: that is added up over ranks, and each goes on with its
own part. ``backward_weights`` sums over samples and time steps at once, for which gate gradients and hidden states are
copied to (features, T, N), within the timed pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from layerbench.device import Run
from layerbench.kernel import Budget, Choice, Choices, Gather, Job, Reduce, Segment, Tensors
from layerbench.layers import PASSES, Pass, SplitLSTM

from ._dnnl import ELTWISE_LOGISTIC, ELTWISE_TANH, Attributes, Memory, aligned
from ._onednn_fc import COLUMNS, ROWS, matmul, transposed
from ._onednn_lstm import TO_CANONICAL, TO_KERNEL, Products, activated, block_length, race_products, reordered
from ._onednn_lstm_run import Product, array, factors_of_gates
from ._onednn_plan import OPAQUE, Operand, Problem, canonical


def products(layer: SplitLSTM, batch: int) -> dict[Pass, Products]:
    """The matrix products of each pass by name, each with the problems that compute it."""
    steps, inputs, hidden, gates = layer.time_steps, layer.input_size, layer.hidden_size, 4 * layer.units
    rows = steps * batch

    def matrices(name: str, *sizes: int) -> Operand:
        return Operand(name, 0, sizes)

    def product(right: Operand, result: Operand, attributes: Attributes | None = None) -> list[Problem]:
        """Of weights, as many rows as the result has, from the left."""
        stack = (1,) * (len(result.sizes) - 2)
        weights = matrices("weights", *stack, result.sizes[-2], right.sizes[-2])
        return [matmul(weights, right, result, attributes=attributes, layouts=((ROWS, COLUMNS, OPAQUE), (ROWS,)))]

    def gradient(source: Operand, layout: str, name: str) -> list[Problem]:
        """Of gate gradients by rows and a source that lies as the layout says, or the transpose."""
        of_gates, result = matrices("diff_gates", gates, rows), matrices(name, gates, source.sizes[1])
        other = ROWS if layout == COLUMNS else COLUMNS
        return [
            matmul(of_gates, source, result, layouts=((ROWS,), (layout,))),
            matmul(
                transposed(source),
                transposed(of_gates),
                transposed(result),
                operation="transposed matmul",
                layouts=((other,), (COLUMNS,)),
            ),
        ]

    state = matrices("hidden", hidden, batch)
    three = matrices("gates", 3 * layer.units, batch)
    fourth = matrices("gates", layer.units, batch)
    return {
        "forward": {
            "projection": product(matrices("src", steps, inputs, batch), matrices("gates", steps, gates, batch)),
            "logistic": product(state, three, activated(ELTWISE_LOGISTIC)),
            "tanh": product(state, fourth, activated(ELTWISE_TANH)),
        },
        "backward_data": {
            "step": product(matrices("diff_gates", gates, batch), matrices("diff_hidden", hidden, batch)),
            "diff_src": product(
                matrices("diff_gates", steps, gates, batch), matrices("diff_src", steps, inputs, batch)
            ),
        },
        "backward_weights": {
            "weights_input": gradient(matrices("src", rows, inputs), ROWS, "diff_weights_input"),
            "weights_hidden": gradient(matrices("hidden", rows, hidden), COLUMNS, "diff_weights_hidden"),
        },
    }


def reserve_bytes(layer: SplitLSTM, batch: int) -> dict[Pass, int]:
    """Memory each pass keeps beside its operands; what passes share counts for the one that writes it."""
    own, every = 4 * batch * layer.units, 4 * batch * layer.hidden_size
    steps = layer.time_steps
    block = 9 * block_length(steps, batch, layer.units)
    return {
        "forward": (6 * steps + 2) * own + (steps + 1) * every,  # gates, c and tanh c, a product; the state of all
        "backward_data": (4 * steps + 3 + block) * own + every,  # gate gradients; dh, dc, a product; a block
        "backward_weights": 4 * steps * own + steps * every,  # the copies
    }


def search(layer: SplitLSTM, job: Job, budget: Budget) -> dict[Pass, Choice]:
    """The fastest plan for each product of each pass.

    Raises
    ------
    KernelError
        If the workspace allowed is too small.
    """
    return race_products(layer, products(layer, job.batch), reserve_bytes(layer, job.batch), budget)


class PreparedSplitLSTM:
    """Units of an LSTM with their reserve; see ``kernel.PreparedUnits``."""

    def __init__(self, layer: SplitLSTM, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._layer, self._batch = layer, job.batch
        self._own = slice(job.first_unit, job.first_unit + layer.units)
        steps, batch, units, hidden, inputs = self._sizes
        self._src = array(steps, inputs, batch)
        self._src[:] = tensors["src"].swapaxes(1, 2)
        self._src_by_row = array(steps, batch, inputs)
        self._src_by_row[:] = tensors["src"]
        self._diff_dst = array(steps, units, batch)
        self._diff_dst[:] = tensors["diff_dst"].swapaxes(1, 2)
        # Hidden and cell states stand behind the zero state; step t reads index t and writes index t + 1.
        self._hidden = array(steps + 1, hidden, batch)
        self._own_hidden = array(steps, units, batch)
        self._cell = array(steps + 1, units, batch)
        self._cell_tanh = array(steps, units, batch)
        self._gates = array(steps, 4, units, batch)
        self._diff_gates = array(steps, 4, units, batch)
        self._diff_hidden = array(hidden, batch)
        self._diff_src = array(steps, inputs, batch)
        self.gradient = aligned(4 * layer.weights)
        named = products(layer, batch)

        def product(pass_: Pass, name: str) -> Product:
            return Product(named[pass_][name], choices[pass_], name)

        weights = {name: reordered(tensors[name], TO_KERNEL) for name in layer.weight_shapes}
        self.segments: Mapping[Pass, Sequence[Segment]] = {
            "forward": self._forward(product, weights),
            "backward_data": self._backward_data(product, weights),
            "backward_weights": [Segment(self._backward_weights(product))],
        }
        self.run: Mapping[Pass, Run] = {pass_: partial(_all_of, self.segments[pass_]) for pass_ in PASSES}
        self.run["forward"]()
        # Backward passes may be called in any order, so the reserve they share is filled once.
        self.run["backward_data"]()

    @property
    def _sizes(self) -> tuple[int, int, int, int, int]:
        """Time steps, samples, own units, all units, inputs."""
        layer = self._layer
        return layer.time_steps, self._batch, layer.units, layer.hidden_size, layer.input_size

    def _forward(self, product: Callable[[Pass, str], Product], weights: Mapping[str, np.ndarray]) -> list[Segment]:
        projection, logistic, tanh = (product("forward", name) for name in ("projection", "logistic", "tanh"))
        steps, batch, units, _, _ = self._sizes
        project = projection.on(projection.weights(weights["weights_input"]), self._src, self._gates)
        three, fourth = np.split(weights["weights_hidden"], [3 * units])
        weights_logistic, weights_tanh = logistic.weights(three), tanh.weights(fourth)
        part = array(units, batch)
        multiply, add, hyperbolic = np.multiply, np.add, np.tanh

        def step(t: int) -> Run:
            gates, hidden = self._gates[t], self._hidden[t]
            logistic_gates = logistic.on(weights_logistic, hidden, gates[:3])
            tanh_gate = tanh.on(weights_tanh, hidden, gates[3])
            o, i, f, g = gates
            before, cell, cell_tanh, own = self._cell[t], self._cell[t + 1], self._cell_tanh[t], self._own_hidden[t]

            def run() -> None:
                if t == 0:
                    project()
                logistic_gates()
                tanh_gate()
                multiply(f, before, cell)
                multiply(i, g, part)
                add(cell, part, cell)
                hyperbolic(cell, cell_tanh)
                multiply(o, cell_tanh, own)

            return run

        return [
            Segment(step(t), Gather(self._own_hidden[t].reshape(-1), self._hidden[t + 1].reshape(-1)))
            for t in range(steps)
        ]

    def _backward_data(
        self, product: Callable[[Pass, str], Product], weights: Mapping[str, np.ndarray]
    ) -> list[Segment]:
        of_step, of_input = product("backward_data", "step"), product("backward_data", "diff_src")
        weights_hidden, weights_input = (
            of_pass.weights(weights[name].T)
            for of_pass, name in ((of_step, "weights_hidden"), (of_input, "weights_input"))
        )
        finish = of_input.on(weights_input, self._diff_gates, self._diff_src)
        steps, batch, units, _, _ = self._sizes
        length = block_length(steps, batch, units)
        from_after = self._diff_hidden[self._own]
        sum_, diff_cell, part = (array(units, batch) for _ in range(3))
        room = array(9, length, units, batch).reshape(-1)
        multiply, add, copy = np.multiply, np.add, np.copyto

        def step(t: int, begin: Run | None, gates: np.ndarray, factors: np.ndarray) -> Run:
            """A time step; ``begin`` computes the factors of the block of which it is the first to run."""
            o, i, f, g, of_dc = factors
            gradients, forget, diff_dst = factors[:4], gates[2], self._diff_dst[t]
            diff_gates = self._diff_gates[t]
            recur = of_step.on(weights_hidden, diff_gates, self._diff_hidden) if t else finish
            last = t == steps - 1
            dh = diff_dst if last else sum_

            def run() -> None:
                if begin is not None:
                    begin()
                if last:
                    diff_cell.fill(0)
                else:
                    add(diff_dst, from_after, dh)
                multiply(dh, of_dc, part)
                add(diff_cell, part, diff_cell)
                # Each factor becomes the gradient it was a factor of.
                multiply(o, dh, o)
                multiply(i, diff_cell, i)
                multiply(f, diff_cell, f)
                multiply(g, diff_cell, g)
                copy(diff_gates, gradients)
                multiply(diff_cell, forget, diff_cell)
                recur()

            return run

        segments = []
        for first in reversed(range(0, steps, length)):
            block = slice(first, min(first + length, steps))
            count = block.stop - first
            every = room[: 9 * count * batch * units].reshape(9, count, units, batch)
            gates, factors = every[:4], every[4:]
            begin = factors_of_gates(self._gates[block], self._cell[block], self._cell_tanh[block], gates, factors)
            for t in reversed(range(first, block.stop)):
                run = step(t, begin if t == block.stop - 1 else None, gates[:, t - first], factors[:, t - first])
                added_up = self._diff_hidden if t else self._diff_src
                segments.append(Segment(run, Reduce(added_up.reshape(-1))))
        return segments

    def _backward_weights(self, product: Callable[[Pass, str], Product]) -> Run:
        steps, batch, units, hidden, inputs = self._sizes
        diff_gates, states = array(4 * units, steps, batch), array(hidden, steps, batch)
        boundary = 4 * units * inputs
        runs = []
        self._gradients: list[tuple[Operand, Memory]] = []
        for name, source, result in (
            ("weights_input", self._src_by_row, self.gradient[:boundary]),
            ("weights_hidden", states, self.gradient[boundary:]),
        ):
            chosen = product("backward_weights", name)
            operand = chosen.problem.result
            operands = (source, diff_gates) if operand.transposed else (diff_gates, source)
            runs.append(chosen.on(*operands, result))
            self._gradients.append((operand, Memory(chosen.pd.desc(operand.argument), result)))
        of_input, of_hidden = runs
        gates_by_step = self._diff_gates.reshape(steps, -1, batch).swapaxes(0, 1)
        states_by_step = self._hidden[:-1].swapaxes(0, 1)
        copy = np.copyto

        def run() -> None:
            copy(diff_gates, gates_by_step)
            copy(states, states_by_step)
            of_input()
            of_hidden()

        return run

    def poison(self) -> None:
        for result in (self._own_hidden, self._hidden[1:], self._diff_hidden, self._diff_src, self.gradient):
            result.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._own_hidden.swapaxes(1, 2).copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._diff_src.swapaxes(1, 2).copy()}
        return {
            operand.name: reordered(canonical(operand, memory, shape), TO_CANONICAL)
            for (operand, memory), shape in zip(self._gradients, self._layer.weight_shapes.values(), strict=True)
        }


def _all_of(segments: Sequence[Segment]) -> None:
    for segment in segments:
        segment.run()
