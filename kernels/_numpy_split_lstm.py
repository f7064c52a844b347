"""Some units of an LSTM in NumPy, cut into segments where ranks exchange its state.

States lie with units first, (units, N): the own units' are then one piece of the state of all, (H, N), as ranks gather
it, and the next time step multiplies it where it is. So do gates and inputs, (features, T, N), for products over all
time steps: only the weight gradient needs the states in that order too, which are copied, within the timed pass.

In ``backward_data`` a time step gives, of the gradient of all hidden states before it, what comes by way of the own
units: that is added up over ranks, and each goes on with its own part.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from layerbench.device import Run
from layerbench.kernel import Gather, Reduce, Segment, Tensors
from layerbench.layers import PASSES, Pass, SplitLSTM

_INPUT, _FORGET, _CELL, _OUTPUT = range(4)


class NumpySplitLSTM:
    """Prepared units of an LSTM; see ``kernel.PreparedUnits``.

    Parameters
    ----------
    first
        The first of the units among those of the whole layer.
    """

    def __init__(self, layer: SplitLSTM, first: int, tensors: Tensors) -> None:
        def features_first(name: str) -> np.ndarray:
            """(T, N, X) as (X, T, N)."""
            return np.ascontiguousarray(tensors[name].transpose(2, 0, 1))

        self._weights_input, self._weights_hidden = (
            np.array(tensors[name], order="C") for name in ("weights_input", "weights_hidden")
        )
        self._src = features_first("src")
        self._diff_dst = np.ascontiguousarray(tensors["diff_dst"].swapaxes(1, 2))
        dtype = self._src.dtype
        steps, units, batch = self._diff_dst.shape
        self._steps, self._own = steps, slice(first, first + units)
        # All states start with the zero state, so that step t reads index t and writes t + 1.
        self._hidden = np.zeros((steps + 1, layer.hidden_size, batch), dtype)
        self._cell = np.zeros((steps + 1, units, batch), dtype)
        self._own_hidden, self._tanh_cell, self._hidden_to_cell = (
            np.zeros((steps, units, batch), dtype) for _ in range(3)
        )
        self._gates, self._diff_gates = (np.zeros((4, units, steps, batch), dtype) for _ in range(2))
        self._diff_hidden_part = np.zeros((layer.hidden_size, batch), dtype)
        self._diff_src = np.zeros_like(self._src)
        self._hidden_by_feature = np.zeros((layer.hidden_size, steps, batch), dtype)
        self.gradient = np.zeros(layer.weights, dtype)
        boundary = self._weights_input.size
        self._diff_input = self.gradient[:boundary].reshape(self._weights_input.shape)
        self._diff_hidden = self.gradient[boundary:].reshape(self._weights_hidden.shape)
        self._rows = (4 * units, steps * batch)
        self._step_gates = np.zeros((4, units, batch), dtype)
        self._step_state = np.zeros((3, units, batch), dtype)

        # One call activates all gates: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, and the cell gate is tanh itself.
        self._scale = np.array([0.5, 0.5, 1.0, 0.5], dtype).reshape(4, 1, 1)
        self._shift = 1 - self._scale

        self.segments: Mapping[Pass, list[Segment]] = {
            "forward": [self._forward_segment(t) for t in range(steps)],
            "backward_data": [self._backward_segment(t) for t in reversed(range(steps))],
            "backward_weights": [Segment(self._backward_weights)],
        }
        self.run: Mapping[Pass, Run] = {pass_: partial(self._run, pass_) for pass_ in PASSES}
        self.run["forward"]()
        # backward_weights reads the gate gradients and may be called first.
        self.run["backward_data"]()

    @property
    def workspace_bytes(self) -> int:
        """What the passes keep beside operands and results."""
        kept = (
            self._cell,
            self._tanh_cell,
            self._gates,
            self._diff_gates,
            self._hidden_to_cell,
            self._hidden,
            self._hidden_by_feature,
        )
        return sum(array.nbytes for array in kept)

    def _run(self, pass_: Pass) -> None:
        for segment in self.segments[pass_]:
            segment.run()

    def _forward_segment(self, t: int) -> Segment:
        exchange = Gather(self._own_hidden[t].reshape(-1), self._hidden[t + 1].reshape(-1))
        return Segment(_after(self._project, partial(self._forward_step, t), t == 0), exchange)

    def _project(self) -> None:
        np.matmul(self._weights_input, self._src.reshape(len(self._src), -1), out=self._gates.reshape(self._rows))

    def _forward_step(self, t: int) -> None:
        gates, kept = self._step_gates, self._step_state[0]
        np.matmul(self._weights_hidden, self._hidden[t], out=gates.reshape(len(self._weights_hidden), -1))
        gates += self._gates[:, :, t]
        gates *= self._scale
        np.tanh(gates, out=gates)
        gates *= self._scale
        gates += self._shift
        self._gates[:, :, t] = gates
        cell = self._cell[t + 1]
        np.multiply(gates[_INPUT], gates[_CELL], out=cell)
        np.multiply(gates[_FORGET], self._cell[t], out=kept)
        cell += kept
        np.tanh(cell, out=self._tanh_cell[t])
        np.multiply(gates[_OUTPUT], self._tanh_cell[t], out=self._own_hidden[t])

    def _backward_segment(self, t: int) -> Segment:
        """A time step; what it hands to the step before is added up over ranks, and the input's gradient at the end."""
        step = _after(self._gather_factors, partial(self._backward_step, t), t == self._steps - 1)
        if t:
            return Segment(step, Reduce(self._diff_hidden_part.reshape(-1)))
        return Segment(_after(step, self._finish, True), Reduce(self._diff_src.reshape(-1)))

    def _backward_step(self, t: int) -> None:
        dh, dc, scratch = self._step_state
        dh[...] = self._diff_dst[t]
        if t < self._steps - 1:
            dh += self._diff_hidden_part[self._own]
            dc *= self._gates[_FORGET, :, t + 1]
        else:
            dc.fill(0)
        np.multiply(dh, self._hidden_to_cell[t], out=scratch)
        dc += scratch
        diff_gates = self._diff_gates[:, :, t]
        diff_gates[:_OUTPUT] *= dc
        diff_gates[_OUTPUT] *= dh
        if t:
            by_row = self._diff_gates.reshape(len(self._weights_hidden), self._steps, -1)[:, t]
            np.matmul(self._weights_hidden.T, by_row, out=self._diff_hidden_part)

    def _finish(self) -> None:
        diff_gates = self._diff_gates.reshape(self._rows)
        np.matmul(self._weights_input.T, diff_gates, out=self._diff_src.reshape(len(self._src), -1))

    def _gather_factors(self) -> None:
        """All in the gate gradients that no later step changes, for every step at once.

        With dh and dc the gradients of the hidden and the cell state, a gate's gradient before its activation
        is dc (input, forget, cell) or dh (output) times what is left here in ``_diff_gates``, and dc gains dh
        times ``_hidden_to_cell``.
        """
        gates, factors = self._gates, self._diff_gates
        np.subtract(1, gates, out=factors)
        factors *= gates
        np.square(gates[_CELL], out=factors[_CELL])
        np.subtract(1, factors[_CELL], out=factors[_CELL])
        factors[_INPUT] *= gates[_CELL]
        factors[_FORGET] *= self._cell[:-1].swapaxes(0, 1)
        factors[_CELL] *= gates[_INPUT]
        factors[_OUTPUT] *= self._tanh_cell.swapaxes(0, 1)
        np.square(self._tanh_cell, out=self._hidden_to_cell)
        np.subtract(1, self._hidden_to_cell, out=self._hidden_to_cell)
        self._hidden_to_cell *= gates[_OUTPUT].swapaxes(0, 1)

    def _backward_weights(self) -> None:
        diff_gates = self._diff_gates.reshape(self._rows)
        np.matmul(diff_gates, self._src.reshape(len(self._src), -1).T, out=self._diff_input)
        np.copyto(self._hidden_by_feature, self._hidden[:-1].swapaxes(0, 1))
        np.matmul(diff_gates, self._hidden_by_feature.reshape(len(self._hidden[0]), -1).T, out=self._diff_hidden)

    def poison(self) -> None:
        for result in (self._own_hidden, self._hidden[1:], self._diff_hidden_part, self._diff_src, self.gradient):
            result.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._own_hidden.swapaxes(1, 2).copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._diff_src.transpose(1, 2, 0).copy()}
        return {
            "diff_weights_input": self._diff_input.copy(),
            "diff_weights_hidden": self._diff_hidden.copy(),
        }


def _after(before: Run, run: Run, both: bool) -> Run:
    """A call of both, or of the second alone."""
    if not both:
        return run

    def one_after_another() -> None:
        before()
        run()

    return one_after_another
