"""A fully connected layer as NumPy's matrix product, into buffers that exist already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from layerbench.device import Run
from layerbench.kernel import Tensors
from layerbench.layers import Pass


class NumpyFC:
    """A prepared fully connected layer; tensors in canonical layout."""

    def __init__(self, tensors: Tensors) -> None:
        self._src, self._weights, self._diff_dst = (
            np.array(tensors[name], order="C") for name in ("src", "weights", "diff_dst")
        )
        self._results: dict[Pass, tuple[str, np.ndarray]] = {
            "forward": ("dst", np.empty_like(self._diff_dst)),
            "backward_data": ("diff_src", np.empty_like(self._src)),
            "backward_weights": ("diff_weights", np.empty_like(self._weights)),
        }
        self.gradient = self._results["backward_weights"][1].reshape(-1)
        self.buffers: Mapping[Pass, np.ndarray] = {
            pass_: result.reshape(-1) for pass_, (_, result) in self._results.items()
        }
        self.run: Mapping[Pass, Run] = {
            "forward": self._forward,
            "backward_data": self._backward_data,
            "backward_weights": self._backward_weights,
        }
        self._linked = {
            "src": self._src,
            "diff_dst": self._diff_dst,
            "dst": self._results["forward"][1],
            "diff_src": self._results["backward_data"][1],
        }
        self.poison()
        self._forward()

    def _forward(self) -> None:
        np.matmul(self._src, self._weights.T, out=self._results["forward"][1])

    def _backward_data(self) -> None:
        np.matmul(self._diff_dst, self._weights, out=self._results["backward_data"][1])

    def _backward_weights(self) -> None:
        out = self._results["backward_weights"][1]
        if len(self._src) == 1:
            # matmul takes an outer product element by element, several times slower than a multiplication.
            np.multiply(self._diff_dst.T, self._src, out=out)
        else:
            np.matmul(self._diff_dst.T, self._src, out=out)

    def put(self, operand: Literal["src", "diff_dst"], array: np.ndarray) -> None:
        np.copyto(self._linked[operand], array)

    def take(self, result: Literal["dst", "diff_src"], out: np.ndarray) -> None:
        np.copyto(out, self._linked[result])

    def poison(self) -> None:
        for _, result in self._results.values():
            result.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        name, result = self._results[pass_]
        return {name: result.copy()}
