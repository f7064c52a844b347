"""Layers prepared for PyTorch; ``torch`` is imported when the first is made.

``backward_together``, where it is not None, computes the results of both backward passes in one call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from layerbench.device import Run
from layerbench.kernel import Tensors
from layerbench.layers import LSTM, Conv, Pass

from ._pytorch_place import Place

MEMORY_FORMATS = ("contiguous", "channels_last")


def _on_host(tensor: Any) -> np.ndarray:
    """A copy in canonical layout."""
    found = tensor.detach().cpu().contiguous()
    # NumPy has no bf16, and float32 holds its values exactly.
    array: np.ndarray = (found.float() if str(found.dtype) == "torch.bfloat16" else found).numpy()
    return array.copy()


class TorchConv:
    """A prepared convolution; each pass has its operands in its own memory format."""

    backward_together: Run | None = None

    def __init__(self, layer: Conv, tensors: Tensors, formats: Mapping[Pass, str], place: Place) -> None:
        import torch

        self._torch = torch
        self._layer = layer
        self._place = place
        self._operands = {
            name: {f: self._laid_out(place.tensor(tensors[name]), f) for f in set(formats.values())}
            for name in ("src", "weights", "diff_dst")
        }
        self._formats = formats
        src, weights = (
            self._operands["src"][formats["forward"]],
            self._operands["weights"][formats["forward"]],
        )
        self._dst: Any = torch.full_like(self._operands["diff_dst"][formats["forward"]], math.nan)
        self._diff_src: Any = torch.full_like(src, math.nan)
        # A view with the strides of the gradient as PyTorch returns it, so that the copy is a plain one.
        like = torch.empty_like(self._operands["weights"][formats["backward_weights"]])
        flat = torch.full((layer.weights,), math.nan, dtype=weights.dtype, device=weights.device)
        self._diff_weights = flat.as_strided(like.shape, like.stride())
        self.gradient = place.shared(flat)
        self.run: Mapping[Pass, Run] = {
            "forward": place.queued(self._forward),
            "backward_data": place.queued(self._backward_data),
            "backward_weights": place.queued(self._backward_weights),
        }
        self._forward()

    def _laid_out(self, tensor: Any, memory_format: str) -> Any:
        chosen = self._torch.channels_last if memory_format == "channels_last" else self._torch.contiguous_format
        return tensor.clone(memory_format=chosen)

    def _forward(self) -> None:
        memory_format = self._formats["forward"]
        layer = self._layer
        self._dst = self._torch.nn.functional.conv2d(
            self._operands["src"][memory_format],
            self._operands["weights"][memory_format],
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )

    def _backward(self, pass_: Pass, results: tuple[bool, bool, bool]) -> Any:
        operands = [self._operands[name][self._formats[pass_]] for name in ("diff_dst", "src", "weights")]
        layer = self._layer
        return self._torch.ops.aten.convolution_backward(
            *operands, None, layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups, results
        )

    def _backward_data(self) -> None:
        self._diff_src = self._backward("backward_data", (True, False, False))[0]

    def _backward_weights(self) -> None:
        self._diff_weights.copy_(self._backward("backward_weights", (False, True, False))[1])

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        with self._place.entered():
            for laid_out in self._operands[operand].values():
                laid_out.copy_(self._place.given(array))

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        with self._place.entered():
            self._place.given(out).copy_(self._dst if result == "dst" else self._diff_src)

    def poison(self) -> None:
        with self._place.entered():
            for result in (self._dst, self._diff_src, self._diff_weights):
                result.fill_(math.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        with self._place.entered():
            if pass_ == "forward":
                return {"dst": _on_host(self._dst)}
            if pass_ == "backward_data":
                return {"diff_src": _on_host(self._diff_src)}
            return {"diff_weights": _on_host(self._diff_weights)}


class TorchFC:
    """A prepared fully connected layer; autograd's matrix products, into buffers that exist already."""

    backward_together: Run | None = None

    def __init__(self, tensors: Tensors, place: Place) -> None:
        import torch

        self._torch = torch
        self._place = place
        self._src, self._weights, self._diff_dst = (
            place.tensor(tensors[name]).clone() for name in ("src", "weights", "diff_dst")
        )
        self._dst, self._diff_src, self._diff_weights = (
            torch.full_like(like, math.nan) for like in (self._diff_dst, self._src, self._weights)
        )
        self.gradient = place.shared(self._diff_weights.view(-1))
        self.run: Mapping[Pass, Run] = {
            "forward": place.queued(self._forward),
            "backward_data": place.queued(self._backward_data),
            "backward_weights": place.queued(self._backward_weights),
        }
        self._forward()

    def _forward(self) -> None:
        self._torch.mm(self._src, self._weights.t(), out=self._dst)

    def _backward_data(self) -> None:
        self._torch.mm(self._diff_dst, self._weights, out=self._diff_src)

    def _backward_weights(self) -> None:
        self._torch.mm(self._diff_dst.t(), self._src, out=self._diff_weights)

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        kept = self._src if operand == "src" else self._diff_dst
        with self._place.entered():
            kept.copy_(self._place.given(array))

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        with self._place.entered():
            self._place.given(out).copy_(self._dst if result == "dst" else self._diff_src)

    def poison(self) -> None:
        with self._place.entered():
            for result in (self._dst, self._diff_src, self._diff_weights):
                result.fill_(math.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        with self._place.entered():
            if pass_ == "forward":
                return {"dst": _on_host(self._dst)}
            if pass_ == "backward_data":
                return {"diff_src": _on_host(self._diff_src)}
            return {"diff_weights": _on_host(self._diff_weights)}


class TorchLSTM:
    """A prepared ``torch.nn.LSTM`` in training mode, without bias and from a zero state.

    Every forward leaves a new autograd graph, and the backward passes walk the newest.
    """

    def __init__(self, layer: LSTM, tensors: Tensors, place: Place) -> None:
        import torch

        self._torch = torch
        self._place = place
        self._src = place.tensor(tensors["src"]).clone().requires_grad_()
        self._diff_dst = place.tensor(tensors["diff_dst"]).clone()
        self._lstm = torch.nn.LSTM(
            layer.input_size, layer.hidden_size, bias=False, dtype=self._src.dtype, device=self._src.device
        )
        self._weights = [self._lstm.weight_ih_l0, self._lstm.weight_hh_l0]
        with torch.no_grad():
            for parameter, name in zip(self._weights, layer.weight_shapes, strict=True):
                parameter.copy_(place.tensor(tensors[name]))
        self._graph: Any = None
        self._dst: Any = torch.full_like(self._diff_dst, math.nan)
        self._diff_src: Any = torch.full_like(self._diff_dst, math.nan)
        flat = torch.full((layer.weights,), math.nan, dtype=self._src.dtype, device=self._src.device)
        parts = flat.split([parameter.numel() for parameter in self._weights])
        self._diff_weights = {
            f"diff_{name}": part.view(shape)
            for (name, shape), part in zip(layer.weight_shapes.items(), parts, strict=True)
        }
        self.gradient = place.shared(flat)
        self.run: Mapping[Pass, Run] = {
            "forward": place.queued(self._forward, captured=False),
            "backward_data": place.queued(self._backward_data, captured=False),
            "backward_weights": place.queued(self._backward_weights, captured=False),
        }
        self.backward_together: Run | None = place.queued(self._backward_together, captured=False)
        self._forward()

    def _forward(self) -> None:
        self._graph = self._lstm(self._src)[0]
        self._dst = self._graph

    def _gradients(self, inputs: list[Any]) -> Any:
        return self._torch.autograd.grad(self._graph, inputs, self._diff_dst, retain_graph=True)

    def _backward_data(self) -> None:
        (self._diff_src,) = self._gradients([self._src])

    def _backward_weights(self) -> None:
        self._keep(self._gradients(self._weights))

    def _backward_together(self) -> None:
        self._diff_src, *diff_weights = self._gradients([self._src, *self._weights])
        self._keep(diff_weights)

    def _keep(self, diff_weights: Any) -> None:
        for kept, computed in zip(self._diff_weights.values(), diff_weights, strict=True):
            kept.copy_(computed)

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        kept = self._src if operand == "src" else self._diff_dst
        with self._place.entered(), self._torch.no_grad():
            kept.copy_(self._place.given(array))

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        with self._place.entered():
            self._place.given(out).copy_((self._dst if result == "dst" else self._diff_src).detach())

    def poison(self) -> None:
        # The graph holds on to its output, which must not change under it: the results are replaced instead.
        with self._place.entered():
            self._dst = self._torch.full_like(self._diff_dst, math.nan)
            self._diff_src = self._torch.full_like(self._src, math.nan)
            for result in self._diff_weights.values():
                result.fill_(math.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        with self._place.entered():
            if pass_ == "forward":
                return {"dst": _on_host(self._dst)}
            if pass_ == "backward_data":
                return {"diff_src": _on_host(self._diff_src)}
            return {name: _on_host(result) for name, result in self._diff_weights.items()}
