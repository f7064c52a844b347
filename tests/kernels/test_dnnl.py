"""The binding of oneDNN's C API: layouts, memories, primitives, errors."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.errors import KernelError

AVAILABLE = importlib.import_module("layerbench.kernels.onednn").KERNEL.availability()
pytestmark = pytest.mark.skipif(not AVAILABLE.ok, reason=f"oneDNN: {AVAILABLE.reason}")
dnnl = importlib.import_module("layerbench.kernels._dnnl")

LAYOUTS = ["abcd", "acdb", "cdba", "bacd", "aBcd8b", "aBcd16b", "ABcd16b16a", "ABcd16a16b", "Acdb16a", "ABcd8b8a"]


@given(
    layout=st.sampled_from(LAYOUTS),
    sizes=st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(2, 5), st.integers(2, 5)),
)
def test_a_layout_is_found_by_its_name_and_holds_every_element(layout: str, sizes: tuple[int, ...]) -> None:
    desc = dnnl.Desc.of_layout(sizes, layout)
    # Where one block holds a whole dimension, the order of the outer ones is open.
    assert sorted(desc.layout) == sorted(layout)
    assert desc.sizes == sizes
    values = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
    memory, back = dnnl.Memory(desc), np.full(sizes, np.nan, dtype=np.float32)
    dnnl.reorder(dnnl.Memory.of_array(values), memory)()
    dnnl.reorder(memory, dnnl.Memory.of_array(back))()
    np.testing.assert_array_equal(back, values)
    assert desc.padded == (memory.buffer.size > values.size)


def test_layouts_are_those_of_the_standard_tags() -> None:
    # Values of dnnl_format_tag_t: dnnl_abcd is the fifth, and dnnl_acdb stands for NHWC.
    assert dnnl.Desc.of_tag((2, 3, 4, 5), 5).layout == "abcd"
    nhwc = dnnl.Desc.of_layout((2, 3, 4, 5), "acdb")
    assert nhwc.equals(dnnl.Desc.of_strides((2, 3, 4, 5), (60, 1, 15, 3)))
    assert not nhwc.equals(dnnl.Desc.of_layout((2, 3, 4, 5), "abcd"))


def test_padding_counts_into_the_memory() -> None:
    desc = dnnl.Desc.of_layout((2, 3, 4, 5), "aBcd16b")
    assert desc.nbytes == 4 * 2 * 16 * 4 * 5
    assert desc.padded
    assert not dnnl.Desc.of_layout((2, 32, 4, 5), "aBcd16b").padded


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(KernelError, match="aBcd7b"):
        dnnl.Desc.of_layout((2, 3, 4, 5), "aBcd7b")


@pytest.mark.parametrize("nbytes", [4, 60, 64, 4096])
def test_buffers_start_on_a_cache_line(nbytes: int) -> None:
    buffer = dnnl.aligned(nbytes)
    assert buffer.ctypes.data % 64 == 0
    assert buffer.nbytes == nbytes
    assert not buffer.any()


def test_a_buffer_too_small_is_refused() -> None:
    with pytest.raises(KernelError, match=r"8 bytes .* 16 are needed"):
        dnnl.Memory(dnnl.Desc.of_layout((2, 2), "ab"), np.zeros(2, dtype=np.float32))


def test_a_failed_call_names_function_and_status() -> None:
    with pytest.raises(KernelError, match="dnnl_memory_desc_create_with_tag failed: invalid arguments"):
        dnnl.Desc.of_tag((2, 2), 5)


def test_an_operation_that_is_not_offered_has_no_implementations() -> None:
    left, right = dnnl.Desc.of_layout((2, 3), "ab"), dnnl.Desc.of_layout((4, 5), "ab")
    assert dnnl.implementations("dnnl_matmul_primitive_desc_create", left, right, None, left, dnnl.Attributes()) == []


def test_post_operations_follow_the_product() -> None:
    square = dnnl.Desc.of_layout((3, 3), "ab")
    values = np.random.default_rng(0).standard_normal((3, 3, 3), dtype=np.float32)
    attributes = dnnl.Attributes(dnnl.PostOps().sum().eltwise(dnnl.ELTWISE_LOGISTIC))
    for pd in dnnl.implementations("dnnl_matmul_primitive_desc_create", square, square, None, square, attributes):
        left, right, result = (np.ascontiguousarray(array) for array in values)
        memories = {
            dnnl.ARG_SRC: dnnl.Memory.of_array(left),
            dnnl.ARG_WEIGHTS: dnnl.Memory.of_array(right),
            dnnl.ARG_DST: dnnl.Memory.of_array(result),
            dnnl.ARG_SCRATCHPAD: dnnl.Memory(pd.scratchpad),
        }
        before = result.copy()
        dnnl.Primitive(pd).bind(memories)()
        np.testing.assert_allclose(result, 1 / (1 + np.exp(-(left @ right + before))), rtol=1e-5, atol=1e-6)
