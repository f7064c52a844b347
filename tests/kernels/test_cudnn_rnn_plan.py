"""Ways to compute a recurrent layer, and where cuDNN has its weights."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.errors import KernelError
from layerbench.layers import DType

plans = importlib.import_module("layerbench.kernels._cudnn_rnn_plan")

STANDARD = plans.Plan("standard", "packed", "fma")


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
def test_plans_are_all_different_and_come_back_from_their_settings(dtype: DType) -> None:
    found = plans.plans(dtype)
    assert {plan.algorithm for plan in found} == set(plans.ALGORITHMS)
    assert len({plan.name for plan in found}) == len(found) == 8 * len(plans.MATH_TYPES[dtype])
    assert [plans.plan_of(plan.settings | {"fastest_first": []}) for plan in found] == found


def test_settings_of_no_plan_are_refused() -> None:
    with pytest.raises(KernelError, match="no plan is called"):
        plans.plan_of({"algorithm": "persist", "layout": "packed", "math": "fma"})


def test_fp32_never_uses_tf32_and_half_precision_is_summed_in_fp32() -> None:
    shape = plans.Shape("lstm", 6, 3, 5, 4)
    assert all(plan.math == "fma" for plan in plans.plans("fp32"))
    data_type, precision = slice(5, 6), slice(6, 7)
    for dtype, expected in {"fp32": (0, 0), "tf32": (0, 0), "fp64": (1, 1), "fp16": (2, 0), "bf16": (9, 0)}.items():
        values = plans.descriptor_values(shape, dtype, STANDARD)
        assert (*values[data_type], *values[precision]) == expected


def recorded(cell: str, inputs: int, hidden: int, gap: int = 0) -> tuple[Any, int, list[Any]]:
    """A layer and where cuDNN says its matrices are, with unused elements between them."""
    shape = plans.Shape(cell, 2, 2, inputs, hidden)
    matrices, at = [], 0
    for number in range(2 * shape.gates):
        columns = inputs if number < shape.gates else hidden
        at += gap
        matrices.append(plans.Matrix(at, (1, hidden, columns), (hidden * columns, columns, 1)))
        at += hidden * columns
    return shape, at + gap, matrices


@given(
    cell=st.sampled_from(["relu", "tanh", "lstm", "gru"]),
    inputs=st.integers(1, 5),
    hidden=st.integers(1, 5),
    gap=st.integers(0, 3),
)
def test_weights_come_back_from_where_they_are_packed(cell: str, inputs: int, hidden: int, gap: int) -> None:
    shape, elements, matrices = recorded(cell, inputs, hidden, gap)
    packing = plans.packing(shape, elements, matrices)
    rng = np.random.default_rng(0)
    weights = {
        "weights_input": rng.standard_normal((shape.gates * hidden, inputs)),
        "weights_hidden": rng.standard_normal((shape.gates * hidden, hidden)),
    }
    packed = packing.pack(weights)
    assert packed.shape == (elements,)
    assert np.count_nonzero(packed) == sum(weight.size for weight in weights.values())
    for number, matrix in enumerate(matrices):
        name = "weights_input" if number < shape.gates else "weights_hidden"
        gate = np.split(weights[name], shape.gates)[number % shape.gates]
        np.testing.assert_array_equal(packed[matrix.offset : matrix.offset + gate.size].reshape(gate.shape), gate)
    begin, end = packing.span
    assert (begin, end) == (gap, elements - gap)
    for name, found in packing.unpack(packed).items():
        np.testing.assert_array_equal(found, weights[name])


def test_gates_may_lie_in_any_order() -> None:
    shape, elements, matrices = recorded("lstm", 3, 2)
    weights = {"weights_input": np.arange(24.0).reshape(8, 3), "weights_hidden": np.arange(16.0).reshape(8, 2)}
    mixed = [matrices[number] for number in (3, 1, 0, 2, 7, 6, 5, 4)]
    packing = plans.packing(shape, elements, mixed)
    np.testing.assert_array_equal(packing.pack(weights)[mixed[0].offset :][:6], np.arange(6.0))
    np.testing.assert_array_equal(packing.unpack(packing.pack(weights))["weights_hidden"], weights["weights_hidden"])


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": (1, 2, 4)},
        {"sizes": (1, 3, 2), "strides": (6, 2, 1)},
        {"strides": (6, 1, 2)},
        {"offset": 1},
    ],
    ids=["size", "transposed", "by columns", "overlap"],
)
def test_weights_that_would_be_misread_are_refused(change: dict[str, Any]) -> None:
    shape, elements, matrices = recorded("lstm", 3, 2)
    with pytest.raises(KernelError, match="cudnn_rnn"):
        plans.packing(shape, elements, [replace(matrices[0], **change), *matrices[1:]])
    with pytest.raises(KernelError, match="do not fit"):
        plans.packing(shape, elements - 1, matrices)
