"""Fully connected layers, and matrix products in general, as problems for oneDNN.

Every pass is a product of two matrices, so that beside the inner product primitive the matmul primitive can compute
it, in two ways: C = A B, or transposed, C^T = B^T A^T. The second makes the weights the left operand, whose rows are
walked in order while the few activations stay in cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from layerbench.layers import FC, Pass

from ._dnnl import (
    ARG_DIFF_DST,
    ARG_DIFF_SRC,
    ARG_DIFF_WEIGHTS,
    ARG_DST,
    ARG_SRC,
    ARG_WEIGHTS,
    FORWARD_TRAINING,
    Attributes,
    Desc,
    PrimitiveDesc,
    implementations,
)
from ._onednn_plan import OPAQUE, Operand, Problem

_CREATE = "dnnl_inner_product_{}_primitive_desc_create"
ROWS, COLUMNS = "ab", "ba"


def matmul(
    left: Operand,
    right: Operand,
    result: Operand,
    *,
    operation: str = "matmul",
    attributes: Attributes | None = None,
    layouts: tuple[Sequence[str], Sequence[str]],
) -> Problem:
    """The product ``result = left right`` with the result by rows.

    Parameters
    ----------
    left, right, result
        Matrices (M, K), (K, N) and (M, N), or stacks of them that broadcast; their ``argument`` is set here.
    layouts
        Layouts the left and the right matrix may have.
    attributes
        With post-operations on the result.
    """
    chosen = attributes or Attributes()

    def create(descs: Sequence[Desc]) -> list[PrimitiveDesc]:
        first, second, third = descs
        return implementations("dnnl_matmul_primitive_desc_create", first, second, None, third, chosen)

    operands = tuple(
        Operand(operand.name, argument, operand.sizes, operand.transposed)
        for operand, argument in ((left, ARG_SRC), (right, ARG_WEIGHTS), (result, ARG_DST))
    )
    stack = len(left.sizes) - 2

    def of_stack(layout: str) -> str:
        """The layout of a stack of matrices, each with this layout: ``ab`` is ``abc`` for a stack."""
        if layout == OPAQUE or not stack:
            return layout
        return "abcdef"[:stack] + "".join(chr(ord(letter) + stack) for letter in layout)

    requests = tuple(tuple(map(of_stack, request)) for request in product(*layouts, (ROWS,)))
    return Problem(operation, operands, create, requests)


def transposed(operand: Operand) -> Operand:
    """The transpose of a matrix."""
    return Operand(operand.name, operand.argument, operand.sizes[::-1], not operand.transposed)


def _both_ways(left: Operand, right: Operand, result: Operand, left_layouts: Sequence[str]) -> list[Problem]:
    """A product, and the product of the transposes."""
    layouts = (left_layouts, (OPAQUE, ROWS, COLUMNS))
    return [
        matmul(left, right, result, layouts=layouts),
        matmul(
            transposed(right),
            transposed(left),
            transposed(result),
            operation="transposed matmul",
            layouts=layouts,
        ),
    ]


def problems(layer: FC, batch: int, pass_: Pass) -> list[Problem]:
    """The primitives that compute a pass: inner product, and matmul both ways."""
    src = Operand("src", ARG_SRC, layer.input_shape(batch))
    weights = Operand("weights", ARG_WEIGHTS, layer.weight_shapes["weights"])
    dst = Operand("dst", ARG_DST, layer.output_shape(batch))
    diff_dst = Operand("diff_dst", ARG_DIFF_DST, dst.sizes)
    if pass_ == "forward":
        operands, products = (src, weights, dst), _both_ways(src, transposed(weights), dst, (ROWS,))
    elif pass_ == "backward_data":
        diff_src = Operand("diff_src", ARG_DIFF_SRC, src.sizes)
        operands, products = (weights, diff_dst, diff_src), _both_ways(diff_dst, weights, diff_src, (ROWS,))
    else:
        diff_weights = Operand("diff_weights", ARG_DIFF_WEIGHTS, weights.sizes)
        operands, products = (
            (src, diff_dst, diff_weights),
            _both_ways(transposed(diff_dst), src, diff_weights, (ROWS, COLUMNS)),
        )

    def create(descs: Sequence[Desc]) -> list[PrimitiveDesc]:
        return _inner_product(layer, batch, pass_, descs)

    anything = (OPAQUE, OPAQUE, OPAQUE)
    plain = (ROWS, ROWS, ROWS)
    columns = tuple(COLUMNS if "weights" in operand.name else ROWS for operand in operands)
    return [Problem("inner product", operands, create, (anything, plain, columns)), *products]


def _inner_product(layer: FC, batch: int, pass_: Pass, descs: Sequence[Desc]) -> list[PrimitiveDesc]:
    attributes = Attributes()
    first, second, result = descs

    def forward(src: Desc, weights: Desc, dst: Desc) -> list[PrimitiveDesc]:
        return implementations(_CREATE.format("forward"), FORWARD_TRAINING, src, weights, None, dst, attributes)

    if pass_ == "forward":
        return forward(first, second, result)
    sizes = (layer.input_shape(batch), layer.weight_shapes["weights"], layer.output_shape(batch))
    hints = forward(*(Desc.of_layout(size, OPAQUE) for size in sizes))
    if not hints:
        return []
    tensors = (result, first, second) if pass_ == "backward_data" else (first, result, None, second)
    return implementations(_CREATE.format(pass_), *tensors, hints[0], attributes)
