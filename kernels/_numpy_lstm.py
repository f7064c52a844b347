"""An LSTM in NumPy: one matrix product for all time steps wherever no step waits for another.

The input's product, the input's gradient and both weight gradients are each one product over all T N rows;
only the hidden state's product is taken step by step. ``forward`` keeps the gates and cell states,
``backward_data`` leaves the gate gradients, and ``backward_weights`` is two products that read those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from layerbench.device import Run
from layerbench.kernel import Tensors
from layerbench.layers import LSTM, Pass

_INPUT, _FORGET, _CELL, _OUTPUT = range(4)


class NumpyLSTM:
    """A prepared LSTM; canonical layout, states (T, N, H), gates (T, N, 4, H) in the weights' order."""

    def __init__(self, layer: LSTM, tensors: Tensors) -> None:
        self._src, self._weights_input, self._weights_hidden, self._diff_dst = (
            np.array(tensors[name], order="C") for name in ("src", "weights_input", "weights_hidden", "diff_dst")
        )
        dtype = self._src.dtype
        steps, batch, _ = self._src.shape
        hidden = layer.hidden_size
        self._rows = (steps * batch, -1)
        # Both states start with the zero state, so that step t reads index t and writes t + 1.
        self._hidden = np.zeros((steps + 1, batch, hidden), dtype)
        self._cell = np.zeros((steps + 1, batch, hidden), dtype)
        self._tanh_cell = np.zeros((steps, batch, hidden), dtype)
        self._gates = np.zeros((steps, batch, 4, hidden), dtype)
        self._diff_gates = np.zeros((steps, batch, 4, hidden), dtype)
        self._hidden_to_cell = np.zeros((steps, batch, hidden), dtype)
        self._diff_src = np.zeros_like(self._src)
        self._linked = {
            "src": self._src,
            "diff_dst": self._diff_dst,
            "dst": self._hidden[1:],
            "diff_src": self._diff_src,
        }
        self.gradient = np.zeros(layer.weights, dtype)
        boundary = self._weights_input.size
        self._diff_input = self.gradient[:boundary].reshape(self._weights_input.shape)
        self._diff_hidden = self.gradient[boundary:].reshape(self._weights_hidden.shape)

        # One call activates all gates: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, and the cell gate is tanh itself.
        self._scale = np.array([[0.5], [0.5], [1.0], [0.5]], dtype)
        self._shift = 1 - self._scale
        self._step_gates = np.zeros((batch, 4, hidden), dtype)
        self._step_state = np.zeros((3, batch, hidden), dtype)

        self.run: Mapping[Pass, Run] = {
            "forward": self._forward,
            "backward_data": self._backward_data,
            "backward_weights": self._backward_weights,
        }
        self._forward()
        # backward_weights reads the gate gradients and may be called first.
        self._backward_data()

    @property
    def workspace_bytes(self) -> int:
        """What the passes keep beside operands and results."""
        kept = (self._cell, self._tanh_cell, self._gates, self._diff_gates, self._hidden_to_cell)
        return sum(array.nbytes for array in kept)

    def _forward(self) -> None:
        np.matmul(self._src.reshape(self._rows), self._weights_input.T, out=self._gates.reshape(self._rows))
        from_hidden, kept = self._step_gates, self._step_state[0]
        for t in range(len(self._src)):
            gates = self._gates[t]
            np.matmul(self._hidden[t], self._weights_hidden.T, out=from_hidden.reshape(len(kept), -1))
            gates += from_hidden
            gates *= self._scale
            np.tanh(gates, out=gates)
            gates *= self._scale
            gates += self._shift
            cell = self._cell[t + 1]
            np.multiply(gates[:, _INPUT], gates[:, _CELL], out=cell)
            np.multiply(gates[:, _FORGET], self._cell[t], out=kept)
            cell += kept
            np.tanh(cell, out=self._tanh_cell[t])
            np.multiply(gates[:, _OUTPUT], self._tanh_cell[t], out=self._hidden[t + 1])

    def _backward_data(self) -> None:
        self._gather_factors()
        dh, dc, scratch = self._step_state
        dc.fill(0)
        last = len(self._src) - 1
        for t in range(last, -1, -1):
            dh[...] = self._diff_dst[t]
            if t < last:
                np.matmul(self._diff_gates[t + 1].reshape(len(dh), -1), self._weights_hidden, out=scratch)
                dh += scratch
                dc *= self._gates[t + 1, :, _FORGET]
            np.multiply(dh, self._hidden_to_cell[t], out=scratch)
            dc += scratch
            diff_gates = self._diff_gates[t]
            diff_gates[:, :_OUTPUT] *= dc[:, np.newaxis]
            diff_gates[:, _OUTPUT] *= dh
        np.matmul(self._diff_gates.reshape(self._rows), self._weights_input, out=self._diff_src.reshape(self._rows))

    def _gather_factors(self) -> None:
        """All in the gate gradients that no later step changes, for every step at once.

        With dh and dc the gradients of the hidden and the cell state, a gate's gradient before its activation
        is dc (input, forget, cell) or dh (output) times what is left here in ``_diff_gates``, and dc gains dh
        times ``_hidden_to_cell``.
        """
        gates, factors, tanh_cell = self._gates, self._diff_gates, self._tanh_cell
        np.subtract(1, gates, out=factors)
        factors *= gates
        np.square(gates[:, :, _CELL], out=factors[:, :, _CELL])
        np.subtract(1, factors[:, :, _CELL], out=factors[:, :, _CELL])
        factors[:, :, _INPUT] *= gates[:, :, _CELL]
        factors[:, :, _FORGET] *= self._cell[:-1]
        factors[:, :, _CELL] *= gates[:, :, _INPUT]
        factors[:, :, _OUTPUT] *= tanh_cell
        np.square(tanh_cell, out=self._hidden_to_cell)
        np.subtract(1, self._hidden_to_cell, out=self._hidden_to_cell)
        self._hidden_to_cell *= gates[:, :, _OUTPUT]

    def _backward_weights(self) -> None:
        diff_gates = self._diff_gates.reshape(self._rows).T
        np.matmul(diff_gates, self._src.reshape(self._rows), out=self._diff_input)
        np.matmul(diff_gates, self._hidden[:-1].reshape(self._rows), out=self._diff_hidden)

    def put(self, operand: Literal["src", "diff_dst"], array: np.ndarray) -> None:
        np.copyto(self._linked[operand], array)

    def take(self, result: Literal["dst", "diff_src"], out: np.ndarray) -> None:
        np.copyto(out, self._linked[result])

    def poison(self) -> None:
        for result in (self._hidden[1:], self._diff_src, self.gradient):
            result.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._hidden[1:].copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._diff_src.copy()}
        return {
            "diff_weights_input": self._diff_input.copy(),
            "diff_weights_hidden": self._diff_hidden.copy(),
        }
