"""Convolution as problems for oneDNN."""

from __future__ import annotations

from collections.abc import Sequence

from layerbench.layers import Conv, Pass

from ._dnnl import (
    ARG_DIFF_DST,
    ARG_DIFF_SRC,
    ARG_DIFF_WEIGHTS,
    ARG_DST,
    ARG_SRC,
    ARG_WEIGHTS,
    CONVOLUTION_DIRECT,
    CONVOLUTION_WINOGRAD,
    FORWARD_TRAINING,
    Attributes,
    Desc,
    PrimitiveDesc,
    dims,
    implementations,
)
from ._onednn_plan import OPAQUE, Operand, Problem

_CREATE = "dnnl_convolution_{}_primitive_desc_create"
_NCHW, _NHWC = "abcd", "acdb"
_ACTIVATIONS = (
    (OPAQUE, OPAQUE),
    (_NHWC, _NHWC),
    (_NCHW, _NCHW),
    (_NCHW, OPAQUE),
    (_NCHW, _NHWC),
    (_NHWC, OPAQUE),
    (OPAQUE, _NHWC),
    ("aBcd16b", "aBcd16b"),
    ("aBcd8b", "aBcd8b"),
)
"""Layouts of input and output worth asking for; what oneDNN prefers depends on the other two operands' layouts."""


def _requests(pass_: Pass, groups: int) -> tuple[tuple[str, ...], ...]:
    plain, filters_last = ("abcde", "decab") if groups > 1 else ("abcd", "cdba")
    found = [(source, OPAQUE, result) for source, result in _ACTIVATIONS]
    found += [(_NCHW, plain, _NCHW), (_NHWC, filters_last, _NHWC), (OPAQUE, filters_last, OPAQUE)]
    return tuple(_in_order(pass_, *request) for request in found)


def _in_order(pass_: Pass, src: str, weights: str, dst: str) -> tuple[str, str, str]:
    """Operands in the order of a problem: the pass's result last."""
    if pass_ == "forward":
        return src, weights, dst
    return (weights, dst, src) if pass_ == "backward_data" else (src, dst, weights)


def _operands(layer: Conv, batch: int, pass_: Pass) -> tuple[Operand, ...]:
    weights = layer.weight_shapes["weights"]
    if layer.groups > 1:
        weights = (layer.groups, layer.out_channels // layer.groups, *weights[1:])
    src, dst = layer.input_shape(batch), layer.output_shape(batch)
    if pass_ == "forward":
        return Operand("src", ARG_SRC, src), Operand("weights", ARG_WEIGHTS, weights), Operand("dst", ARG_DST, dst)
    diff_dst = Operand("diff_dst", ARG_DIFF_DST, dst)
    if pass_ == "backward_data":
        return Operand("weights", ARG_WEIGHTS, weights), diff_dst, Operand("diff_src", ARG_DIFF_SRC, src)
    return Operand("src", ARG_SRC, src), diff_dst, Operand("diff_weights", ARG_DIFF_WEIGHTS, weights)


def problems(layer: Conv, batch: int, pass_: Pass) -> list[Problem]:
    """The convolution primitives that compute a pass: direct, and Winograd where oneDNN has it."""
    operands = _operands(layer, batch, pass_)
    requests = _requests(pass_, layer.groups)
    algorithms = {"convolution": CONVOLUTION_DIRECT, "winograd convolution": CONVOLUTION_WINOGRAD}
    return [
        Problem(name, operands, lambda descs, kind=kind: _create(layer, batch, pass_, kind, descs), requests)  # type: ignore[misc]
        for name, kind in algorithms.items()
    ]


def _create(layer: Conv, batch: int, pass_: Pass, kind: int, descs: Sequence[Desc]) -> list[PrimitiveDesc]:
    # The layer's padding is symmetric and its output size rounded down, which oneDNN does by the same formula.
    padding = dims(layer.padding)
    # oneDNN counts the pixels skipped between taps.
    geometry = (dims(layer.stride), dims([step - 1 for step in layer.dilation]), padding, padding)
    attributes = Attributes()
    first, second, result = descs
    if pass_ == "forward":
        return implementations(
            _CREATE.format(pass_), FORWARD_TRAINING, kind, first, second, None, result, *geometry, attributes
        )
    anything = [Desc.of_layout(operand.sizes, OPAQUE) for operand in _operands(layer, batch, "forward")]
    hints = implementations(
        _CREATE.format("forward"),
        FORWARD_TRAINING,
        CONVOLUTION_DIRECT,
        anything[0],
        anything[1],
        None,
        anything[2],
        *geometry,
        attributes,
    )
    if not hints:
        return []
    bias = () if pass_ == "backward_data" else (None,)
    tensors = (result, first, second) if pass_ == "backward_data" else (first, result, *bias, second)
    return implementations(_CREATE.format(pass_), kind, *tensors, *geometry, hints[0], attributes)
