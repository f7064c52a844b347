"""Layers that take operands from others: what is put there is computed on, and what is taken was computed."""

from __future__ import annotations

import importlib
import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job, Kernel
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, Pass

KERNELS: list[Kernel] = [
    importlib.import_module(f"layerbench.kernels.{name}").KERNEL for name in ("reference", "onednn", "pytorch")
]
ONEDNN = KERNELS[1]

LAYERS = [
    Conv(
        name="conv",
        input=(9, 8),
        in_channels=4,
        out_channels=6,
        filter=(3, 2),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    ),
    Conv(name="few channels", input=(11, 11), in_channels=3, out_channels=20, filter=(3, 3), padding=(1, 1)),
    FC(name="fc", in_features=37, out_features=21),
    LSTM(name="lstm", input_size=5, hidden_size=4, time_steps=6),
]

BATCH = 3

# An LSTM's weight gradient is computed from what backward_data leaves.
ORDER: tuple[Pass, ...] = ("forward", "backward_data", "backward_weights")


def operands(layer: AnyLayer, seed: int) -> dict[str, np.ndarray]:
    """Operands that have only the weights in common with those of another seed."""
    tensors = verify.tensors(layer, "fp32", 1, 0, BATCH)
    others = verify.tensors(layer, "fp32", 1 + seed, 0, BATCH)
    return tensors | {name: others[name] for name in ("src", "diff_dst")}


def computed(prepared: Any) -> dict[str, np.ndarray]:
    prepared.poison()
    found: dict[str, np.ndarray] = {}
    for pass_ in ORDER:
        prepared.run[pass_]()
        found |= prepared.results(pass_)
    return found


def put(prepared: Any, tensors: dict[str, np.ndarray]) -> None:
    """Put copies that are spoilt afterwards."""
    for name in ("src", "diff_dst"):
        array = tensors[name].copy()
        prepared.put(name, array)
        array.fill(np.nan)


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert np.isfinite(values).all(), name
        np.testing.assert_array_equal(values.view(np.uint32), expected[name].view(np.uint32), err_msg=name)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_what_is_put_is_computed_on_as_if_it_had_been_prepared(kernel: Kernel, layer: AnyLayer) -> None:
    if not (availability := kernel.availability()).ok:
        pytest.skip(availability.reason)
    assert getattr(kernel, "links_layers", False)
    job = Job(layer, BATCH, "fp32")
    first, second = operands(layer, 1), operands(layer, 2)
    choices = kernel.search(job, first, Budget(runs=1))
    expected = [computed(kernel.prepare(job, tensors, choices)) for tensors in (first, second)]
    assert not np.array_equal(expected[0]["dst"], expected[1]["dst"])

    prepared: Any = kernel.prepare(job, first, choices)
    for which in (1, 0, 1):
        put(prepared, (first, second)[which])
        assert_same_bits(computed(prepared), expected[which])
        for name in ("dst", "diff_src"):
            out = np.full_like(expected[which][name], np.nan)
            prepared.take(name, out)
            assert_same_bits({name: out}, {name: expected[which][name]})


onednn = pytest.mark.skipif(not ONEDNN.availability().ok, reason=f"oneDNN: {ONEDNN.availability().reason}")


@onednn
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.kind != "lstm"], ids=lambda layer: layer.name)
def test_every_layout_that_onednn_has_can_be_put_to_and_taken_from(layer: AnyLayer) -> None:
    single = importlib.import_module("layerbench.kernels._onednn_single")
    plans = importlib.import_module("layerbench.kernels._onednn_plan")
    offered = {
        pass_: [plan for problem in single._problems(layer, BATCH, pass_) for plan in plans.offered(problem)]
        for pass_ in PASSES
    }
    assert all(len(found) > 2 for found in offered.values())
    first, second = operands(layer, 1), operands(layer, 2)
    job = Job(layer, BATCH, "fp32")
    for index in range(max(map(len, offered.values()))):
        chosen = {pass_: found[index % len(found)] for pass_, found in offered.items()}
        choices = {pass_: Choice(plan.algorithm, plan.settings) for pass_, plan in chosen.items()}
        expected = computed(ONEDNN.prepare(job, second, choices))
        prepared: Any = ONEDNN.prepare(job, first, choices)
        put(prepared, second)
        assert_same_bits(computed(prepared), expected)
        for name in ("dst", "diff_src"):
            out = np.full_like(expected[name], np.nan)
            prepared.take(name, out)
            assert_same_bits({name: out}, {name: expected[name]})


@onednn
def test_an_array_that_onednn_would_misread_is_refused() -> None:
    layer = LAYERS[2]
    job, tensors = Job(layer, BATCH, "fp32"), operands(layer, 1)
    prepared: Any = ONEDNN.prepare(job, tensors, ONEDNN.search(job, tensors, Budget(runs=1)))
    src = tensors["src"]
    for wrong in (src.astype(np.float64), src[:-1], np.asfortranarray(src), np.repeat(src, 2, axis=1)[:, ::2]):
        with pytest.raises(KernelError, match="src is a contiguous float32 array of 111 elements"):
            prepared.put("src", wrong)
    with pytest.raises(KernelError, match="dst is a contiguous float32 array of 63 elements"):
        prepared.take("dst", np.empty((BATCH, 20), np.float32))


@pytest.mark.parametrize("kernel", KERNELS[:2], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(
    "layer",
    [
        Conv(name="conv", input=(64, 64), in_channels=8, out_channels=8, filter=(3, 3), padding=(1, 1)),
        FC(name="fc", in_features=40_000, out_features=8),
        LSTM(name="lstm", input_size=1024, hidden_size=16, time_steps=32),
    ],
    ids=lambda layer: layer.name,
)
def test_passing_on_allocates_nothing(kernel: Kernel, layer: AnyLayer) -> None:
    if not (availability := kernel.availability()).ok:
        pytest.skip(availability.reason)
    job, tensors = Job(layer, BATCH, "fp32"), operands(layer, 1)
    prepared: Any = kernel.prepare(job, tensors, kernel.search(job, tensors, Budget(runs=1)))
    dst, diff_src = np.empty_like(tensors["diff_dst"]), np.empty_like(tensors["src"])

    def step() -> None:
        prepared.put("src", tensors["src"])
        prepared.run["forward"]()
        prepared.take("dst", dst)
        prepared.put("diff_dst", dst)
        for pass_ in ORDER[1:]:
            prepared.run[pass_]()
        prepared.take("diff_src", diff_src)

    step()
    tracemalloc.start()
    try:
        for _ in itertools.repeat(None, 3):
            step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert diff_src.nbytes > 3e5
    # Inside a pass NumPy's loops have buffers of some 100 KB in all, whatever the arrays' size.
    assert peak < diff_src.nbytes / 2
